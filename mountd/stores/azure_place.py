"""Which container a Blob store stands for, how long to wait for it, and how its keys travel in URLs.

No secrets in here: everything may appear in messages.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from mountd.catalog.model import AccountKey, BlobSpec, Sas
from mountd.units import ETag

API_VERSION = "2023-11-03"
"""The REST version that is asked for, the same that obstore asks for."""
MOST_KEY_CHARACTERS = 1024

_ORDINARY = re.compile(r"(?!\.\.?(?:/|\Z))[A-Za-z0-9_.~-]+(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9_.~-]+)*")
_DOTS = re.compile(r"(?:\A|/)\.\.?(?:/|\Z)")
_ONLY_THE_SDK = re.compile(r"\A/|/\Z|//|[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """What one request may take, in seconds."""

    connect_s: float = 10.0
    stall_s: float = 20.0
    """Without a byte moving."""
    total_s: float = 60.0
    """Without progress (`aio.progress`); where that is not told, from the first byte sent to the last received."""


@dataclass(frozen=True, slots=True)
class Place:
    """A container, for requests and for messages."""

    account: str
    container: str
    account_url: str
    credential: str
    """What kind of credential is used, in words."""

    @classmethod
    def of(cls, spec: BlobSpec) -> "Place":
        """Return the place that `spec` describes."""
        match spec.credential:
            case AccountKey():
                words = "the account key"
            case Sas():
                words = "the SAS"
            case _:
                words = "a request without a credential"
        return cls(spec.account_name, spec.container, spec.account_url.rstrip("/"), words)

    @property
    def name(self) -> str:
        """The container for people: `account/container`."""
        return f"{self.account}/{self.container}"

    def what(self, verb: str, key: str) -> str:
        """Return what is done to what, for messages."""
        return f"{verb} {self.name}/{key}"

    @property
    def host(self) -> str:
        """Where requests go."""
        return urlsplit(self.account_url).netloc.rpartition("@")[2]

    def url(self, key: str | None) -> str:
        """Return the URL of the container, or of the blob `key`."""
        container = f"{self.account_url}/{quote(self.container, safe='$')}"
        return container if key is None else f"{container}/{self.escaped(key)}"

    @staticmethod
    def escaped(key: str) -> str:
        """Return `key` as it stands in URLs."""
        return key if is_ordinary(key) else quote(key, safe="/~")


def is_ordinary(key: str) -> bool:
    """Whether `key` can exist, is plain and stands in URLs as it is: most are, and one look tells."""
    return len(key) <= MOST_KEY_CHARACTERS and _ORDINARY.fullmatch(key) is not None


def can_exist(key: str) -> bool:
    """Whether a request can name the blob `key`.

    HTTP clients and servers resolve `.` and `..` segments before anybody else sees them: such a request would reach
    another blob, or another container. Surrogates have no UTF-8.
    """
    if not key or len(key) > MOST_KEY_CHARACTERS or "\0" in key or _DOTS.search(key):
        return False
    return key.isascii() or _has_utf8(key)


def is_plain(key: str) -> bool:
    """Whether obstore sends `key` unchanged.

    It drops outer slashes and refuses empty segments and control characters; everything else arrives as it is, percent
    signs and backslashes included (tried for every character).
    """
    return _ONLY_THE_SDK.search(key) is None


def quoted(etag: str) -> ETag:
    """Return `etag` in the form of the service's `ETag` header; listings leave out the quotes.

    Raises:
        ValueError: it is empty, and would stand for every version.
    """
    if not etag:
        raise ValueError("an empty ETag")
    return ETag(etag if etag.startswith(('"', "W/")) else f'"{etag}"')


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
