"""What the answers of web servers and the failures of connections mean: to mountd's errors.

The text of servers and of the HTTP library is never passed on: it may hold a URL, and that a token.
"""

import http.client
import re
import socket
import ssl
from email.message import Message

from mountd.errors import (
    ChangedError,
    CorruptError,
    DeniedError,
    MountdError,
    NonsenseError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
    UsageError,
)
from mountd.stores.azure_errors import NO_NAME_SERVER, retry_after_s

_TRY_LATER = {408, 423, 425, 429, 503}
_CANNOT = {501, 505}
_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA}


def from_status(what: str, host: str, status: int, headers: Message) -> MountdError:
    """Return what the status of an answer that holds no file means.

    Args:
        what: names the request, without secrets.
        host: who answered.
        status: 300 to 599, or a 2xx that does not fit the request.
        headers: of the answer; names are case-insensitive.
    """
    if status in {404, 410}:
        return NotFoundError(f"{what}: {host} has no such file ({status})")
    if status in {401, 403, 407, 451}:
        return DeniedError(
            f"{what}: {host} refuses it ({status}); check the token or password in the URL, and whether it has run out"
        )
    if status == 412:
        return ChangedError(f"{what}: the file was replaced since it was listed")
    if status in _TRY_LATER or (status >= 500 and status not in _CANNOT):
        asked = retry_after_s(headers.get("Retry-After"))
        return UnavailableError(f"{what}: {host} cannot answer now ({status}); try again later", retry_after_s=asked)
    if status < 400:
        return NonsenseError(f"{what}: the answer of {host} does not fit the request ({status})")
    return UsageError(f"{what}: {host} refuses the request ({status}); check the URL")


def from_failure(what: str, host: str, error: Exception) -> MountdError:
    """Return what a failed connection or a malformed answer means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DeniedError(
            f"{what}: cannot reach {host}: its TLS certificate is not trusted; check the host and the machine's clock, "
            "or name its authority in SSL_CERT_FILE"
        )
    if isinstance(error, OSError):
        return _from_os(what, host, error)
    if isinstance(error, http.client.IncompleteRead):
        return CorruptError(f"{what}: the answer of {host} broke off")
    return NonsenseError(f"{what}: the answer of {host} is malformed; check that a web server is there")


def _from_os(what: str, host: str, error: OSError) -> MountdError:
    """Return what a connection that did not come about, or that failed, means."""
    unreached = f"{what}: cannot reach {host}: "
    proxy = re.match(r"Tunnel connection failed: (\d)", str(error))
    if isinstance(error, TimeoutError):
        return UnavailableError(f"{unreached}it does not answer in time")
    if isinstance(error, socket.gaierror) and error.errno not in _NO_SUCH_NAME:
        return UnavailableError(f"{unreached}{NO_NAME_SERVER}")
    if isinstance(error, socket.gaierror):
        return UnreachableError(f"{unreached}its name is not known; check it and the network")
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(f"{unreached}it refuses connections; check the port")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return NonsenseError(f"{unreached}it does not speak TLS as it should; check scheme and port")
    if proxy is not None:
        kind = DeniedError if proxy[1] == "4" else UnavailableError
        return kind(f"{unreached}the proxy refuses to connect to it")
    return UnavailableError(f"{what}: the connection to {host} failed")
