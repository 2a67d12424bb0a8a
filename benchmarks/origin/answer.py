"""One answer as a list of segments for the event loop, with a fault laid between two of them.

Pure. A segment is bytes, a window on the tape, an end, or a pause; a fault splits the body where it strikes.
"""

from typing import NamedTuple

from benchmarks.origin.blob import Response
from benchmarks.origin.settings import Fault
from benchmarks.origin.tape import Tape

SMALL_BODY = 16 << 10  # up to here one copying send is cheaper than send and sendfile


class Window(NamedTuple):
    """`length` bytes of the tape from `offset` on."""

    offset: int
    length: int


class End(NamedTuple):
    """The connection ends here, by a reset or in an orderly way."""

    reset: bool


class Pause(NamedTuple):
    """Nothing is sent for `seconds`; 0 is for ever."""

    seconds: float


Segment = bytes | memoryview | Window | End | Pause


def lay_out(response: Response, common: bytes, tape: Tape, *, with_body: bool, fault: Fault | None) -> list[Segment]:
    """Return the segments of `response`; `common` are the header lines that every answer has."""
    head = response.head(common)
    body: list[Segment] = []
    if with_body and response.length:
        if response.tape_start < 0:
            body = [response.body]
        else:
            body = [Window(offset, length) for offset, length in tape.windows(response.tape_start, response.length)]
            if len(body) == 1 and response.length <= SMALL_BODY and fault is None:
                offset = response.tape_start % tape.length
                return [head + tape.view[offset : offset + response.length]]
    if fault is None or fault.kind in ("etag", "status"):
        return [head, *body]
    stop = Pause(fault.seconds) if fault.kind == "stall" else End(reset=fault.kind == "reset")
    if fault.at <= 0:
        return [stop, head, *body]
    return [head, *_with_stop(body, int(response.length * fault.at), stop)]


def _with_stop(body: list[Segment], left: int, stop: Segment) -> list[Segment]:
    """Return `body` with `stop` after its first `left` bytes."""
    result: list[Segment] = []
    for position, segment in enumerate(body):
        if isinstance(segment, Window):
            if left < segment.length:
                first, second = Window(segment.offset, left), Window(segment.offset + left, segment.length - left)
                return [*result, first, stop, second, *body[position + 1 :]]
            left -= segment.length
        elif isinstance(segment, bytes | memoryview):
            if left < len(segment):
                view = memoryview(segment)
                return [*result, view[:left], stop, view[left:], *body[position + 1 :]]
            left -= len(segment)
        result.append(segment)
    return [*result, stop]
