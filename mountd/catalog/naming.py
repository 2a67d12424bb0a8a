"""Which names and hosts Azure Storage and its emulators have, and which texts are names at all.

Pure. A host is written with or without a port, an IPv6 address in brackets.
"""

import ipaddress
import re

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_EMULATED_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$[a-z]+")
_DATASTORE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,249}")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?::(\d{1,5}))?")

CONTAINER_RULE = "3 to 63 of a-z, 0-9 and single hyphens between them"
DATASTORE_RULE = "letters, digits, `_`, and `-` but not first"


def is_account_name(name: str, *, emulated: bool) -> bool:
    """Tell whether `name` can be a storage account's; emulators allow more than Azure."""
    return (_EMULATED_ACCOUNT if emulated else _ACCOUNT).fullmatch(name) is not None


def is_container_name(name: str) -> bool:
    """Tell whether `name` can be a container's: `CONTAINER_RULE`, or `$root` and its kin."""
    return _CONTAINER.fullmatch(name) is not None


def is_datastore_name(name: str) -> bool:
    """Tell whether `name` can be a datastore's: `DATASTORE_RULE`."""
    return _DATASTORE.fullmatch(name) is not None


def split_host(text: str) -> tuple[str, int | None] | None:
    """Return host (lower case) and port of `text`, None if it is not `HOST` or `HOST:PORT`."""
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        return None
    host, port = match[1].lower(), None if match[2] is None else int(match[2])
    if (port is not None and port > 65535) or (host.startswith("[") and _ip(host[1:-1]) is None):
        return None
    return host, port


def is_emulator_host(host: str) -> bool:
    """Tell whether `host` is an IP address or `localhost`: URLs there begin with the account."""
    name = _host_name(host)
    return name == "localhost" or _ip(name) is not None


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this node."""
    name = _host_name(host)
    address = _ip(name)
    return name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback)


def account_url(protocol: str, endpoint: str, account: str, *, service: str = "blob") -> str:
    """Return the URL of a `service` (`blob`, `file`, `dfs`) of `account`, without a trailing slash.

    `core.windows.net` gives `https://acct.blob.core.windows.net`; an emulator's `127.0.0.1:10000` gives
    `http://127.0.0.1:10000/acct`.
    """
    if is_emulator_host(endpoint):
        return f"{protocol}://{endpoint}/{account}"
    return f"{protocol}://{account}.{service}.{endpoint}"


def is_utf8(text: str) -> bool:
    """Tell whether `text` can be written as UTF-8: names that came from the file system may not be."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0][1:].lower()
    return host.partition(":")[0].lower()


def _ip(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
