"""Bandwidth and faults of the origin as pure functions of time and of the body."""

import pytest

from benchmarks.origin.answer import End, Pause, Window, lay_out
from benchmarks.origin.blob import Response
from benchmarks.origin.pacing import Clock, Pacer
from benchmarks.origin.settings import Fault, Settings
from benchmarks.origin.tape import PAGE, Tape


def sent_by(pacer: Pacer, clocks: list[Clock], until: float) -> int:
    """Return how many bytes connections that always have more to send were granted up to the time `until`."""
    total, pending = 0, [(0.0, clock) for clock in clocks]
    while pending:
        now, clock = min(pending, key=lambda entry: entry[0])
        pending.remove((now, clock))
        granted, when = pacer.grant(clock, 1 << 30, now)
        if when <= until:
            total += granted
            pending.append((when, clock))
    return total


@pytest.mark.parametrize(
    ("connections", "expected"), [(1, 60e6), (4, 240e6), (20, 400e6)], ids=["one", "below the total", "above it"]
)
def test_bandwidth_holds_for_each_connection_and_in_total(connections: int, expected: float) -> None:
    pacer = Pacer(Settings(connection_bytes_s=60e6, total_bytes_s=400e6))

    sent = sent_by(pacer, [Clock() for _ in range(connections)], until=2.0)

    assert sent == pytest.approx(2 * expected, rel=0.02)


def test_an_idle_connection_saves_nothing_up() -> None:
    pacer, clock = Pacer(Settings(connection_bytes_s=1e6)), Clock()
    pacer.grant(clock, 100, 0.0)

    granted, first = pacer.grant(clock, 1 << 20, 50.0)
    _, second = pacer.grant(clock, 1 << 20, 50.0)

    assert first <= 50.0
    assert second == pytest.approx(50.0 + granted / 1e6, abs=0.005)


def test_without_limits_nothing_is_paced() -> None:
    assert not Pacer(Settings()).active


def response(length: int, tape_start: int = -1) -> Response:
    made = Response("get", 200, body=b"x" * length if tape_start < 0 else b"")
    made.length, made.tape_start = length, tape_start
    return made


@pytest.fixture(scope="module")
def tape() -> Tape:
    return Tape(pages=17)


def sizes(segments: list[object]) -> list[object]:
    """Return the body's segments with bytes as their lengths; the head is left out."""
    kept = [one for one in segments if not (isinstance(one, bytes) and one.startswith(b"HTTP/"))]
    return [len(one) if isinstance(one, bytes | memoryview) else one for one in kept]


def test_a_body_of_the_tape_goes_on_at_its_beginning(tape: Tape) -> None:
    segments = lay_out(response(5 * PAGE, 15 * PAGE), b"", tape, with_body=True, fault=None)

    assert segments[1:] == [Window(15 * PAGE, 2 * PAGE), Window(0, 3 * PAGE)]


def test_a_small_body_leaves_with_its_head(tape: Tape) -> None:
    (only,) = lay_out(response(100, PAGE), b"", tape, with_body=True, fault=None)

    assert bytes(only).endswith(tape.read(PAGE, 100))


@pytest.mark.parametrize(
    ("kind", "stop"), [("reset", End(reset=True)), ("truncate", End(reset=False)), ("stall", Pause(2.0))]
)
def test_a_fault_lies_where_it_is_to_strike(tape: Tape, kind: str, stop: object) -> None:
    fault = Fault(kind=kind, at=0.5, seconds=2.0)

    assert sizes(lay_out(response(1000), b"", tape, with_body=True, fault=fault)) == [500, stop, 500]
    crossing = lay_out(response(4 * PAGE, 14 * PAGE), b"", tape, with_body=True, fault=fault)
    assert crossing[1:] == [Window(14 * PAGE, 2 * PAGE), stop, Window(16 * PAGE, PAGE), Window(0, PAGE)]
    at_the_end = lay_out(response(1000), b"", tape, with_body=True, fault=Fault(kind=kind, at=1.0, seconds=2.0))
    assert sizes(at_the_end) == [1000, stop]


def test_a_fault_at_zero_comes_before_the_head(tape: Tape) -> None:
    segments = lay_out(response(10), b"", tape, with_body=True, fault=Fault(kind="stall", at=0))

    assert segments[0] == Pause(0.0)
    assert len(segments) == 3
