"""What the Blob service's answers mean: status and error code to mountd's errors.

Texts of the service and of HTTP clients are read, never passed on: they hold URLs, and URLs hold signatures.
"""

import re
from email.utils import parsedate_to_datetime
from time import time

from obstore.exceptions import GenericError

from mountd.errors import (
    BusyError,
    ChangedError,
    CorruptError,
    DeniedError,
    ExistsError,
    MountdError,
    NonsenseError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
    UsageError,
)
from mountd.stores.azure_place import Place

NO_NAME_SERVER = "its name cannot be looked up at present; check this machine's network and name servers"
_TEMPORARY = "Temporary failure in name resolution"
"""What the C library says while it reaches no name server: before the network is up, for one."""
_STATUS_SIGN = "Server returned non-2xx status code: "
_STATUS = re.compile(re.escape(_STATUS_SIGN) + r"(\d{3})")
_CODE = re.compile(r"<Code>(\w{1,80})</Code>")
_FAULTS = (  # what obstore's debug text says, in the order of looking, and what it means
    ("IncompleteBody", CorruptError, "the answer broke off"),
    ("NotPartial", NonsenseError, "the service did not answer with the range asked for"),
    ("Requested ", NonsenseError, "the service answered with another range than asked for"),
    (_TEMPORARY, UnavailableError, NO_NAME_SERVER),
    ("dns error", UnreachableError, "its name is not known; check the account name and the network"),
    ("ConnectionRefused", UnreachableError, "it refuses connections; check the endpoint"),
    ("certificate", DeniedError, "its TLS certificate is not trusted; check the endpoint and the machine's clock"),
    ("kind: Timeout", UnavailableError, "it does not answer in time"),
    ("TimedOut", UnavailableError, "it does not answer in time"),
    ("kind: Connect", UnavailableError, "it cannot be reached; check the endpoint and the network"),
)
_UNNAMEABLE = {"InvalidUri", "OutOfRangeInput", "InvalidResourceName"}
_ARCHIVED = {"BlobArchived", "BlobBeingRehydrated"}
_LEASED = {"LeaseIdMissing", "LeaseLost", "LeaseIdMismatchWithBlobOperation", "LeaseAlreadyPresent"}
_MANGLED = {"Md5Mismatch", "Crc64Mismatch"}
_TAKEN = {"BlobAlreadyExists", "PathAlreadyExists", "ResourceAlreadyExists", "UnauthorizedBlobOverwrite"}
_TRY_LATER = {"ContainerBeingDeleted", "OperationTimedOut", "ServerBusy", "InternalError", "SystemInUse"}


def from_answer(
    what: str, place: Place, status: int, code: str | None, *, retry_after_s: float | None = None
) -> MountdError:
    """Return what the answer `status` with the service's error `code` means for the request `what`."""
    said = f"{status} {code}" if code else str(status)
    if status < 300:
        return NonsenseError(f"{what}: the answer of {place.host} does not fit the request ({said})")
    if status in {429, 503} or status >= 500 or status == 408 or code in _TRY_LATER:
        busy = status in {429, 503}
        reason = f"{place.host} asks to slow down ({said})" if busy else f"{place.host} failed ({said})"
        return UnavailableError(f"{what}: {reason}; try again later", retry_after_s=retry_after_s)
    if code in _MANGLED:
        return CorruptError(f"{what}: the service received other bytes than were sent ({said})")
    if code in _TAKEN:
        return ExistsError(f"{what}: it exists already; allow overwriting or choose another name")
    if status in {401, 403}:
        return _denied(what, place, said)
    if status == 404 or code in _UNNAMEABLE:
        return _not_found(what, place, code)
    if code in _LEASED:
        return BusyError(f"{what}: somebody holds a lease on it ({code}); wait or break the lease")
    if status == 412:
        return ChangedError(f"{what}: the blob was replaced since it was listed")
    if status == 409:
        return _conflict(what, place, code, said)
    return UsageError(f"{what}: {place.host} refuses the request ({said}); check that it is a Blob endpoint")


def _denied(what: str, place: Place, said: str) -> MountdError:
    if place.credential.startswith("a request without"):
        advice = "give an account key or a SAS"
    else:
        advice = "check the key or SAS, its permissions and expiry, and this machine's clock"
    where = f"account '{place.account}' refuses {place.credential} for container '{place.container}'"
    return DeniedError(f"{what}: {where} ({said}); {advice}")


def _not_found(what: str, place: Place, code: str | None) -> MountdError:
    if code == "ContainerNotFound":
        return NotFoundError(
            f"{what}: container '{place.container}' does not exist in account '{place.account}'; check both names"
        )
    if code == "ResourceNotFound" and place.credential.startswith("a request without"):
        return NotFoundError(f"{what}: it does not exist or is not public; check the name, or give a key or SAS")
    return NotFoundError(f"{what}: no such blob")


def _conflict(what: str, place: Place, code: str | None, said: str) -> MountdError:
    if code in _ARCHIVED:
        state = "is in the archive tier" if code == "BlobArchived" else "is on its way out of the archive tier"
        return DeniedError(f"{what}: the blob {state}; set its tier to Hot or Cool and wait until that is done")
    if code == "PublicAccessNotPermitted":
        return _denied(what, place, said)
    return UsageError(f"{what}: what is there does not allow it ({said})")


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that an exception of obstore stands for, if an answer came at all."""
    answer = _STATUS.search(str(error))
    return int(answer[1]) if answer else None


def is_past_the_end(error: Exception) -> bool:
    """Whether an exception of obstore says that no byte of the range exists.

    The service answers 416. Azurite, asked for one byte at the very end, answers 206 with a range that is none.
    """
    if status_of(error) == 416:
        return True
    text = str(error)
    return isinstance(error, GenericError) and ("StartTooLarge" in text or "bytes 0--1/0" in text)


def from_obstore(what: str, place: Place, error: Exception) -> MountdError:
    """Return what an exception of obstore means for the request `what`."""
    text = str(error)
    status = status_of(error)
    if status is not None:
        code = _CODE.search(text, text.index(_STATUS_SIGN))
        return from_answer(what, place, status, code[1] if code else None)
    if isinstance(error, FileNotFoundError):
        return _not_found(what, place, None)
    for sign, kind, meaning in _FAULTS:
        if sign in text:
            where = "" if issubclass(kind, CorruptError) else f"cannot reach {place.host}: "
            return kind(f"{what}: {where}{meaning}")
    return UnavailableError(f"{what}: the connection to {place.host} failed")


def no_connection(what: str, place: Place, error: Exception) -> MountdError:
    """Return why the SDK got no connection; one of some fixed texts, since its own holds the URL."""
    why, kind = _why_unreachable(str(error))
    return kind(f"{what}: cannot reach {place.host}: {why}")


def _why_unreachable(text: str) -> tuple[str, type[UnavailableError | DeniedError]]:
    if _TEMPORARY in text:
        return NO_NAME_SERVER, UnavailableError
    if "Name or service not known" in text or "NameResolutionError" in text or "getaddrinfo" in text:
        return "its name is not known; check the account name and the network", UnreachableError
    if "Connection refused" in text:
        return "it refuses connections; check the endpoint", UnreachableError
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its TLS certificate is not trusted; check the endpoint and the machine's clock", DeniedError
    return "the connection failed; check the endpoint and the network", UnavailableError


def retry_after_s(value: str | None, value_ms: str | None = None) -> float | None:
    """Return the seconds that `Retry-After` (or `x-ms-retry-after-ms`) asks for, or None if it says nothing."""
    try:
        if value_ms:
            return max(0.0, int(value_ms) / 1000)
        if not value:
            return None
        if value.strip().isdecimal():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None
