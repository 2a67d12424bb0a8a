"""Follows a log that somebody else writes, from its start. Blocking; a read that finds nothing new returns at once."""

import codecs
import os
from pathlib import Path

_READ_BYTES = 256 << 10


class LogTail:
    """What of one file was not yet handed out, as text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read_new(self) -> str:
        """Return some of what was written since the last call, empty if nothing was or there is no file yet."""
        return self._decoder.decode(self._read())

    def read_rest(self) -> str:
        """Return all that was written since the last call."""
        parts = []
        while data := self._read():
            parts.append(self._decoder.decode(data))
        return "".join(parts)

    def _read(self) -> bytes:
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return b""
        data = os.pread(self._descriptor, _READ_BYTES, self._offset)
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
