"""Blob requests through the official SDK's pipeline: signing, user agent, proxies; everything but retries.

Used for odd names, writes, and for what others decline. The SDK is imported with the first request, since that costs
0.2 to 0.5 s and 18 MiB: listing and reading need none of it. Blocking calls, for threads only. What HTTP clients say in
exceptions holds URLs and is never passed on.
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from mountd.aio.progress import current
from mountd.catalog.model import AccountKey, BlobSpec, Sas
from mountd.errors import CorruptError, DeniedError, MountdError, NonsenseError, UnavailableError
from mountd.stores.azure_errors import from_answer, no_connection, retry_after_s
from mountd.stores.azure_listing import http_date_ns
from mountd.stores.azure_place import API_VERSION, Place, Timeouts, quoted
from mountd.stores.base import ObjectInfo

if TYPE_CHECKING:
    from azure.core.pipeline import Pipeline
    from azure.core.pipeline.transport import HttpRequest, HttpResponse

    SdkPipeline = Pipeline[HttpRequest, HttpResponse]

_PIECE_BYTES = 16 << 10
"""Bodies are read in pieces of this length; between them progress is told and the time is checked."""


class Answer(NamedTuple):
    """The service's answer to one request."""

    status: int
    headers: Mapping[str, str]
    """Names are case-insensitive."""
    body: bytes

    def header(self, what: str, name: str) -> str:
        """Return the header `name`.

        Raises:
            NonsenseError: the answer to the request `what` has none.
        """
        value = self.headers.get(name)
        if value is None:
            raise NonsenseError(f"{what}: the answer has no {name}")
        return value

    def info(self, what: str, key: str, size: int) -> ObjectInfo:
        """Return the version that the headers describe.

        Raises:
            NonsenseError: they do not.
        """
        try:
            modified_ns = http_date_ns(self.header(what, "Last-Modified"))
            return ObjectInfo(key, size, modified_ns, quoted(self.header(what, "ETag")))
        except ValueError as error:
            failure = NonsenseError(f"{what}: the answer does not name a version ({error})")
        raise failure

    @property
    def code(self) -> str | None:
        """The service's own error code."""
        return self.headers.get("x-ms-error-code")


class AzureRest:
    """Requests to one container.

    Args:
        spec: the container and the credential.
        timeouts: what one request may take.
        connections: most connections that are kept open.
    """

    def __init__(self, spec: BlobSpec, timeouts: Timeouts, *, connections: int) -> None:
        self._spec = spec
        self._place = Place.of(spec)
        self._timeouts = timeouts
        self._connections = connections
        self._lock = threading.Lock()
        self._made: SdkPipeline | None = None

    def send(
        self,
        what: str,
        method: str,
        key: str | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | memoryview | None = None,
    ) -> Answer:
        """Send one request about the container (`key` None) or a blob and return the answer, whatever its status.

        Raises:
            UnavailableError: no whole answer came.
            CorruptError: the answer broke off.
            DeniedError: the credential cannot be used at all.
        """
        from azure.core import exceptions as azure  # noqa: PLC0415 - imported late, see the module's docstring

        try:
            return self._send(method, key, query or {}, headers or {}, body)
        except (azure.ServiceRequestTimeoutError, azure.ServiceResponseTimeoutError, TimeoutError):
            failure: MountdError = UnavailableError(
                f"{what}: cannot reach {self._place.host}: it does not answer in time"
            )
        except azure.ClientAuthenticationError:
            failure = DeniedError(
                f"{what}: {self._place.credential} for '{self._place.account}' is malformed; check it"
            )
        except azure.ServiceRequestError as error:
            failure = no_connection(what, self._place, error)
        except azure.AzureError as error:
            if "IncompleteRead" in str(error):
                failure = CorruptError(f"{what}: the answer broke off")
            else:
                failure = UnavailableError(f"{what}: the connection to {self._place.host} failed")
        raise failure

    def expect(self, what: str, answer: Answer, statuses: Iterable[int]) -> Answer:
        """Return `answer` if its status is one of `statuses`.

        Raises:
            MountdError: it is not; what that means.
        """
        if answer.status in statuses:
            return answer
        wait = retry_after_s(answer.headers.get("Retry-After"), answer.headers.get("x-ms-retry-after-ms"))
        raise from_answer(what, self._place, answer.status, answer.code, retry_after_s=wait)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._made is not None:
                self._made._transport.close()  # noqa: SLF001 - the pipeline's own exit does just this
                self._made = None

    # ---- inside

    def _send(
        self,
        method: str,
        key: str | None,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | memoryview | None,
    ) -> Answer:
        from azure.core.pipeline.transport import HttpRequest  # noqa: PLC0415 - imported late

        url = self._place.url(key)
        if query:
            url += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        request = HttpRequest(method, url, headers={"x-ms-version": API_VERSION, **headers})
        if body is not None:
            # A view is sent as it is: a copy of each part would double the memory of an upload.
            request.data = body  # type: ignore[assignment] # the annotation knows no views, the transport does
            request.headers["Content-Length"] = str(memoryview(body).nbytes)
        pipeline = self._pipeline()
        progress = current()
        # stream: the SDK's policies would otherwise read and parse the body
        response = pipeline.run(request, stream=True).http_response
        pieces = []
        for piece in response.stream_download(pipeline, decompress=False):
            pieces.append(piece)
            progress.moved(len(piece))
            if not progress.left_s(self._timeouts.total_s):
                response.internal_response.close()
                raise TimeoutError
        return Answer(response.status_code, response.headers, b"".join(pieces))

    def _pipeline(self) -> "SdkPipeline":
        with self._lock:
            if self._made is None:
                self._made = _pipeline(self._spec, self._place, self._timeouts, self._connections)
            return self._made


def _pipeline(spec: BlobSpec, place: Place, timeouts: Timeouts, connections: int) -> "SdkPipeline":
    """Return the pipeline of an SDK client that neither retries nor follows redirects."""
    from azure.core.credentials import AzureSasCredential  # noqa: PLC0415 - imported late
    from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415 - imported late
    from azure.storage.blob import ContainerClient  # noqa: PLC0415 - imported late

    transport = RequestsTransport(
        connection_timeout=timeouts.connect_s, read_timeout=timeouts.stall_s, connection_data_block_size=_PIECE_BYTES
    )
    transport.open()
    # What urllib3 has to say holds whole URLs, signatures included, and reaches us as exceptions anyhow.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    # The default keeps 10 connections and throws away every other one after each use.
    transport.session.get_adapter(place.account_url).init_poolmanager(2, connections)
    credential: dict[str, str] | AzureSasCredential | None = None
    if isinstance(spec.credential, AccountKey):
        credential = {"account_name": spec.account_name, "account_key": spec.credential.key}
    elif isinstance(spec.credential, Sas):
        credential = AzureSasCredential(spec.credential.token)
    client = ContainerClient(
        place.account_url,
        spec.container,
        credential=credential,
        transport=transport,
        retry_total=0,
        permit_redirects=False,  # a redirect would carry the SAS to another host
        user_agent=f"mountd/{version('mountd')}",
    )
    # A private name, within the bounds of pyproject.toml and tried by the tests: no public method sends a raw request.
    return client._pipeline  # noqa: SLF001 - see above
