"""The part of the Blob REST interface that readers and simple writers use, over `objects`.

Pure: a `Request` in, a `Response` out. Names, statuses, headers and error codes are the service's. Not there:
authentication (any is accepted), leases, tiers, copies, snapshots, conditions on times.
"""

import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape, unescape

from benchmarks.origin.objects import PAGE_LIMIT, Account, Container, ListQuery, StoredObject, sent_object
from benchmarks.origin.settings import Operation

ACCOUNT = "devstoreaccount1"

_RANGE = re.compile(rb"bytes=(\d+)-(\d*)\Z")
_BLOCK = re.compile(r"<(?:Latest|Uncommitted|Committed)>(.*?)</")
_REASONS = {
    200: b"OK", 201: b"Created", 202: b"Accepted", 206: b"Partial Content", 304: b"Not Modified", 400: b"Bad Request",
    403: b"Forbidden", 404: b"Not Found", 409: b"Conflict", 412: b"Precondition Failed", 416: b"Range Not Satisfiable",
    429: b"Too Many Requests", 500: b"Internal Server Error", 501: b"Not Implemented", 503: b"Server Busy",
}  # fmt: skip
_ERROR_CODES = {403: "AuthenticationFailed", 429: "TooManyRequests", 500: "InternalError", 503: "ServerBusy"}


class Request(NamedTuple):
    """One parsed request; header names are lower-case."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes


class Response:
    """Status, header lines (each with its line end), and a body: bytes, or `length` bytes of the tape."""

    __slots__ = ("body", "headers", "key", "length", "operation", "status", "tape_start")

    def __init__(
        self, operation: Operation, status: int, headers: bytes = b"", body: bytes | memoryview = b"", key: str = ""
    ) -> None:
        self.operation = operation
        self.status = status
        self.headers = headers
        self.body = body
        self.length = len(body)
        self.tape_start = -1
        self.key = key

    def head(self, common: bytes) -> bytes:
        """Return the head as it goes over the wire, `common` header lines included."""
        reason = _REASONS.get(self.status, b"Error")
        return b"HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\n%s\r\n" % (
            self.status, reason, self.headers, self.length, common,
        )  # fmt: skip


class Target(NamedTuple):
    """What a request's target names."""

    container: str
    key: str
    query: dict[str, str]


class BlobService:
    """Answers requests from an `Account`."""

    def __init__(self, account: Account, endpoint: str) -> None:
        self._account = account
        self._endpoint = endpoint
        self._targets: dict[bytes, Target] = {}

    def answer(self, request: Request) -> Response:
        """Return the response to `request`."""
        target = self._targets.get(request.target) or self._parse(request.target)
        if not target.container:
            return error("other", 400, "InvalidUri", "The requested URI does not represent any resource on the server.")
        container = self._account.containers.get(target.container)
        if not target.key:
            return self._container(request, target, container)
        if container is None:
            return error("other", 404, "ContainerNotFound", "The specified container does not exist.", target.key)
        if request.method in (b"GET", b"HEAD"):
            return _read(request, target, container)
        if request.method == b"PUT":
            return _write(request, target, container)
        if request.method == b"DELETE":
            if not container.delete(target.key):
                return _no_blob("delete", target.key)
            return Response("delete", 202, b"x-ms-delete-type-permanent: true\r\n", key=target.key)
        return error("other", 501, "NotImplemented", "This origin does not know the request.")

    def _parse(self, target: bytes) -> Target:
        if len(self._targets) > 200_000:
            self._targets.clear()
        path, _, query = target.decode("latin-1").partition("?")
        account, _, rest = path.lstrip("/").partition("/")
        container, _, key = rest.partition("/") if account == ACCOUNT else ("", "", "")
        fields = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
        parsed = self._targets[target] = Target(unquote(container), unquote(key), fields)
        return parsed

    def _container(self, request: Request, target: Target, container: Container | None) -> Response:
        if request.method == b"PUT":
            if container is not None:
                return error("container", 409, "ContainerAlreadyExists", "The specified container already exists.")
            self._account.container(target.container)
            return Response("container", 201, b'ETag: "0x8D0000000000001"\r\n')
        if container is None:
            return error("container", 404, "ContainerNotFound", "The specified container does not exist.")
        if request.method == b"DELETE":
            del self._account.containers[target.container]
            return Response("container", 202)
        if target.query.get("comp") == "list":
            limit = int(target.query.get("maxresults", PAGE_LIMIT))
            query = ListQuery(
                prefix=target.query.get("prefix", ""),
                delimiter=target.query.get("delimiter", ""),
                marker=target.query.get("marker", ""),
                limit=min(limit, PAGE_LIMIT),
                metadata="metadata" in target.query.get("include", ""),
            )
            page = container.page(query, self._endpoint)
            return Response("list", 200, b"Content-Type: application/xml\r\n", page, query.prefix)
        headers = (
            b'ETag: "0x8D0000000000001"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
            b"x-ms-lease-status: unlocked\r\nx-ms-lease-state: available\r\nx-ms-has-immutability-policy: false\r\n"
            b"x-ms-has-legal-hold: false\r\n"
        )
        return Response("container", 200, headers)


def error(operation: Operation, status: int, code: str, message: str, key: str = "", headers: bytes = b"") -> Response:
    """Return an error in the service's XML."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<Error>\n  <Code>{code}</Code>\n'
        f"  <Message>{escape(message)}</Message>\n</Error>"
    ).encode()
    lines = b"Content-Type: application/xml\r\nx-ms-error-code: %s\r\n%s" % (code.encode(), headers)
    return Response(operation, status, lines, body, key)


def fault_status(operation: Operation, status: int, retry_after_s: int | None, key: str) -> Response:
    """Return the answer of a `status` fault."""
    extra = b"" if retry_after_s is None else b"Retry-After: %d\r\n" % retry_after_s
    code = _ERROR_CODES.get(status, "InternalError")
    return error(operation, status, code, "The server is asked to fail.", key, extra)


def _no_blob(operation: Operation, key: str) -> Response:
    return error(operation, 404, "BlobNotFound", "The specified blob does not exist.", key)


def _condition_not_met(operation: Operation, key: str) -> Response:
    message = "The condition specified using HTTP conditional header(s) is not met."
    return error(operation, 412, "ConditionNotMet", message, key)


def _matches(condition: bytes, stored: StoredObject | None) -> bool:
    if stored is None:
        return False
    wanted = condition.decode("latin-1")
    return wanted == "*" or stored.etag in (part.strip() for part in wanted.split(","))


def _read(request: Request, target: Target, container: Container) -> Response:
    key, headers = target.key, request.headers
    operation: Operation = "get" if request.method == b"GET" else "head"
    stored = container.objects.get(key)
    if stored is None:
        return _no_blob(operation, key)
    if b"if-match" in headers and not _matches(headers[b"if-match"], stored):
        return _condition_not_met(operation, key)
    if b"if-none-match" in headers and _matches(headers[b"if-none-match"], stored):
        return Response(operation, 304, b"ETag: %s\r\n" % stored.etag.encode(), key=key)
    start, stop, status, lines = 0, stored.size, 200, stored.headers
    asked = headers.get(b"x-ms-range") or headers.get(b"range")
    if asked is not None and operation == "get":
        match = _RANGE.match(asked)
        if match is None:
            return error(operation, 400, "InvalidHeaderValue", "The value for one of the HTTP headers is invalid.", key)
        start = int(match[1])
        stop = min(int(match[2]) + 1, stored.size) if match[2] else stored.size
        if start >= stored.size or stop <= start:
            message = "The range specified is invalid for the current size of the resource."
            return error(operation, 416, "InvalidRange", message, key, b"Content-Range: bytes */%d\r\n" % stored.size)
        status = 206
        lines = b"%sContent-Range: bytes %d-%d/%d\r\n" % (lines, start, stop - 1, stored.size)
    response = Response(operation, status, lines, key=key)
    response.length = stop - start
    if isinstance(stored.source, int):
        response.tape_start = stored.source + start
    else:
        response.body = stored.source[start:stop]
    return response


def _write(request: Request, target: Target, container: Container) -> Response:
    key, headers, comp = target.key, request.headers, target.query.get("comp", "")
    if comp == "block":
        container.blocks.setdefault(key, {})[target.query.get("blockid", "")] = request.body
        return Response("block", 201, b"x-ms-request-server-encrypted: true\r\n", key=key)
    operation: Operation = "commit" if comp == "blocklist" else "put"
    if comp not in ("", "blocklist") or b"x-ms-copy-source" in headers:
        return error(operation, 501, "NotImplemented", "This origin does not know the request.", key)
    current = container.objects.get(key)
    if b"if-match" in headers and not _matches(headers[b"if-match"], current):
        return _condition_not_met(operation, key)
    if b"if-none-match" in headers and _matches(headers[b"if-none-match"], current):
        return error(operation, 409, "BlobAlreadyExists", "The specified blob already exists.", key)
    data = request.body
    if operation == "commit":
        staged = container.blocks.get(key, {})
        wanted = [unescape(block) for block in _BLOCK.findall(data.decode())]
        if any(block not in staged for block in wanted):
            return error(operation, 400, "InvalidBlockList", "The specified block list is invalid.", key)
        data = b"".join(staged[block] for block in wanted)
        container.blocks.pop(key, None)
    metadata = {
        name[10:].decode("latin-1"): value.decode("latin-1")
        for name, value in headers.items()
        if name.startswith(b"x-ms-meta-")
    }
    stored = sent_object(data, metadata)
    container.put(key, stored)
    # the last two of the object's own lines are about reading it; a writer is told its version
    lines = f"ETag: {stored.etag}\r\nx-ms-request-server-encrypted: true\r\n".encode()
    modified = next(line for line in stored.headers.split(b"\r\n") if line.startswith(b"Last-Modified"))
    return Response(operation, 201, lines + modified + b"\r\n", key=key)
