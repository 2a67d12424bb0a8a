"""URLs of files on web servers: taken apart, shown without secrets, gathered into one store.

Pure. A URL may hold a password in front of its host and a token of any name in its query: only `shown` is for people.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from mountd.catalog.model import WebFile, WebSpec
from mountd.catalog.naming import is_utf8, split_host
from mountd.errors import UsageError

LONGEST_NAME = 255
"""Bytes in the name of a file, on any file system."""

_URL = re.compile(r"(https?)://(?:([^/?#]*)@)?([^/?#@]*)([^?#]*)(\?[^#]*)?(#.*)?", re.IGNORECASE | re.DOTALL)
_SHOWN = re.compile(r"(https?://)(?:[^/?#]*@)?([^?#]*)(?:[?#].*)?", re.IGNORECASE | re.DOTALL)
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """A file on a web server."""

    url: str = field(repr=False)
    """As it is requested, secrets included: percent-encoded where it must be, scheme and host in lower case."""
    host: str
    """With the port if one was given."""
    path: str
    """Percent-decoded, without a leading slash; a slash that was written `%2F` stays `%2F`."""

    @property
    def shown(self) -> str:
        """The URL for people."""
        return shown_url(self.url)

    @property
    def file_name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]


def shown_url(url: str) -> str:
    """Return `url` without user, password and the values of its query."""
    match = _SHOWN.match(url)
    if match is None:
        return "***"
    return f"{match[1]}{match[2]}{'?***' if '?' in url else ''}"


def parse_web_url(text: str) -> WebAddress:
    """Return the file that the `http` or `https` URL `text` names.

    Raises:
        UsageError: it is malformed, or its path ends in no name that a file can have.
    """
    match = _URL.fullmatch(text)
    address = split_host(match[3]) if match else None
    if match is None or address is None or not is_utf8(text):
        # what looks like a host may be the half of a password
        raise UsageError(f"{text.partition(':')[0]}://***: its host is missing or malformed")
    if match[6]:
        raise _refused(text, "write %23 for a # in a name, and leave out what only a browser needs")
    scheme, user, path, query = match[1].lower(), match[2], match[4], match[5] or ""
    if _STRAY_PERCENT.search(path):
        raise _refused(text, "write %25 for a % in a name")
    if any(ord(character) < 0x20 or character == "\x7f" for character in text):
        raise _refused(text, "it holds a control character; write it as %0A and the like")
    segments = [_decode(segment, text) for segment in path.lstrip("/").split("/")]
    if "." in segments or ".." in segments:
        raise _refused(text, "its path cannot hold a `.` or `..` segment")
    if not segments[-1]:
        raise _refused(text, "its path ends in a slash, so there is no file to name; write the URL of one file")
    if len(segments[-1].encode()) > LONGEST_NAME:
        raise _refused(text, f"the name of its file is longer than {LONGEST_NAME} bytes")
    host, port = address
    netloc = host if port is None else f"{host}:{port}"
    login = "" if user is None else quote(user, safe="%:!$&'()*+,;=~-._") + "@"
    url = f"{scheme}://{login}{netloc}{quote(path, safe=_PATH_SAFE)}{quote(query, safe=_PATH_SAFE + '?')}"
    return WebAddress(url=url, host=netloc, path="/".join(segments))


def web_spec(files: Iterable[tuple[str, WebAddress]]) -> WebSpec:
    """Return the store that shows each address under its key.

    Raises:
        UsageError: there are none; a key is no relative path; two are in each other's way.
    """
    found: dict[str, WebAddress] = {}
    for key, address in files:
        if any(segment in {"", ".", ".."} for segment in key.split("/")):
            raise UsageError(f"{address.shown}: cannot be shown as {key!r}")
        other = found.setdefault(key, address)
        if other is not address:
            raise UsageError(f"{other.shown} and {address.shown}: both would be shown as {key!r}")
    for key, address in found.items():
        parent = key.rpartition("/")[0]
        while parent:
            if parent in found:
                raise UsageError(
                    f"{found[parent].shown} and {address.shown}: {parent!r} would be a file and a directory"
                )
            parent = parent.rpartition("/")[0]
    if not found:
        raise UsageError("a set of web files needs at least one URL")
    addresses = list(found.values())
    if len(addresses) == 1 and next(iter(found)) == addresses[0].file_name:
        name = addresses[0].shown.partition("?")[0].rpartition("/")[0]
    else:
        hosts = {address.host for address in addresses}
        name = f"web files of {hosts.pop()}" if len(hosts) == 1 else f"web files of {len(hosts)} hosts"
    return WebSpec(name=name, files=tuple(WebFile(key=key, url=address.url) for key, address in found.items()))


def _decode(segment: str, text: str) -> str:
    try:
        decoded = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise _refused(text, "its percent-escapes are not UTF-8") from None
    if "\0" in decoded:
        raise _refused(text, "it holds a NUL character")
    return decoded.replace("/", "%2F")  # one name, not two


def _refused(text: str, why: str) -> UsageError:
    shown = shown_url(text).encode("utf-8", "replace").decode("utf-8")
    return UsageError(f"{' '.join(shown.split())}: {why}")
