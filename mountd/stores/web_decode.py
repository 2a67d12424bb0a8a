"""Undoes the content encoding of an answer: a server may compress although it was asked not to."""

import zlib
from typing import Protocol

from mountd.errors import CorruptError, NonsenseError
from mountd.stores.web_copy import Body
from mountd.units import MIB

CAN_UNDO = frozenset({"gzip", "x-gzip", "deflate"})
_MOST_AT_ONCE = 1 * MIB


class _Decompressor(Protocol):
    """What `zlib.decompressobj` returns."""

    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class DecodedBody:
    """The decompressed bytes of `body`, never more than 1 MiB at once, however well they were compressed."""

    def __init__(self, what: str, body: Body, encoding: str) -> None:
        """`encoding` is one of `CAN_UNDO`."""
        self._what = what
        self._body = body
        self._is_gzip = encoding != "deflate"
        self._decompressor: _Decompressor | None = None
        self._pending = b""
        self._ended = False

    def read_some(self, most: int) -> bytes:
        """Return the next bytes, or nothing at the end.

        Raises:
            CorruptError: they are not compressed, or end too early.
            MountdError: the body cannot be read.
        """
        most = min(most, _MOST_AT_ONCE)
        while True:
            if not self._pending and not self._ended:
                self._pending = self._body.read_some(most)
                self._ended = not self._pending
            if not self._pending and self._ended:
                if self._decompressor is not None and not self._decompressor.eof:
                    found = self._decompress(b"", most)
                    if found:
                        return found
                    raise CorruptError(f"{self._what}: the compressed answer broke off")
                return b""
            found = self._decompress(self._pending, most)
            if found:
                return found

    def close(self) -> None:
        """Read no more."""
        self._body.close()

    def _decompress(self, data: bytes, most: int) -> bytes:
        if self._decompressor is None or (
            self._decompressor.eof and self._is_gzip
        ):  # a file may be many, one after another
            self._decompressor = self._new(data)
        try:
            found = self._decompressor.decompress(data, most)
        except zlib.error:
            failure = NonsenseError(f"{self._what}: the answer is not compressed as it says")
        else:
            self._pending = self._decompressor.unconsumed_tail or self._decompressor.unused_data
            if self._decompressor.eof and not self._is_gzip:
                self._pending = b""  # nothing belongs behind the end
            return found
        raise failure

    def _new(self, data: bytes) -> _Decompressor:
        if self._is_gzip:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        # "deflate" is zlib's format by the standard, and the bare stream to many servers.
        is_zlib = len(data) >= 1 and data[0] & 0x0F == 8
        return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
