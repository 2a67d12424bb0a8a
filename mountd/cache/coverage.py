"""Which bytes of a range were delivered, in whatever order readers came for them. Pure."""


class Coverage:
    """Parts of [start, stop): those that were covered so far, joined where they touch."""

    __slots__ = ("_parts", "_start", "_stop", "_upto")

    def __init__(self, start: int, stop: int) -> None:
        self._start = start
        self._stop = stop
        self._upto = start
        """All before it is covered."""
        self._parts: list[tuple[int, int]] = []
        """What is covered behind that, apart from each other and in order; nothing where readers go forwards."""

    def cover(self, start: int, stop: int) -> bool:
        """Add [start, stop), or what of it lies within; return whether all is covered."""
        if start > self._upto:
            self._add(start, min(stop, self._stop))
        elif stop > self._upto:
            self._upto = min(stop, self._stop)
            while self._parts and self._parts[0][0] <= self._upto:
                self._upto = max(self._upto, self._parts.pop(0)[1])
        return self._upto == self._stop

    def _add(self, start: int, stop: int) -> None:
        parts = []
        for part in self._parts:
            if part[0] <= stop and start <= part[1]:
                start, stop = min(start, part[0]), max(stop, part[1])
            else:
                parts.append(part)
        if start < stop:
            parts.append((start, stop))
        self._parts = sorted(parts)
