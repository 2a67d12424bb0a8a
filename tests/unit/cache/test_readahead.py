"""Read-ahead as a pure machine: what it plans for every kind of reader."""

import random
from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.cache.readahead import GRID, SLACK, ReadAhead, WindowLimits
from mountd.units import GIB, KIB, MIB

LIMITS = WindowLimits()
SMALL = WindowLimits(first=256 * KIB, largest=2 * MIB, part_smallest=64 * KIB, part_largest=256 * KIB)

reads = st.lists(
    st.tuples(st.sampled_from(["seq", "jump"]), st.integers(0, 1 << 40), st.integers(1, 2 * MIB), st.booleans()),
    min_size=1,
    max_size=60,
)


def places(ops, size):
    """Turn op tuples into reads within an object of `size` bytes: on from the last read, or anywhere."""
    position = 0
    for kind, offset, length, stalled in ops:
        start = (position if kind == "seq" else offset) % size
        stop = min(size, start + length)
        yield start, stop, stalled
        position = stop


def walk(readahead, start, stop, step, *, stalled=False):
    """Read [start, stop) in order; return the plans."""
    return [readahead.observe(at, min(at + step, stop), stalled=stalled) for at in range(start, stop, step)]


def planned_bytes(plans):
    return sum(plan.demand.length + (plan.ahead.length if plan.ahead else 0) for plan in plans)


def prefetched(plans):
    return [plan.ahead for plan in plans if plan.ahead is not None]


# ---- what holds for any reader


@given(ops=reads, size=st.integers(1, 64 * MIB), limits=st.sampled_from([LIMITS, SMALL]))
def test_plans_are_well_formed(ops, size, limits):
    readahead = ReadAhead(size, limits)
    for start, stop, stalled in places(ops, size):
        demand, ahead, part = readahead.observe(start, stop, stalled=stalled)
        assert demand.start <= start
        assert demand.stop >= stop
        assert demand.start % GRID == 0
        assert demand.stop % GRID == 0 or demand.stop == size
        assert demand.length < (stop - start) + 2 * GRID
        assert all(0 <= window <= limits.largest for window in readahead.windows)
        assert len(readahead.windows) <= limits.streams
        if ahead is not None:
            assert 0 <= ahead.start < ahead.stop <= size
            assert ahead.stop % part == 0 or ahead.stop == size
            assert ahead.stop <= stop + SLACK + limits.largest, "no further than a window from the stream's position"
            assert limits.part_smallest <= part <= limits.part_largest
            assert part & (part - 1) == 0


@given(ops=reads, size=st.integers(1, 64 * MIB))
def test_what_was_planned_ahead_in_one_stream_is_not_planned_again(ops, size):
    """A lone sequential reader: every byte is planned ahead once."""
    readahead = ReadAhead(size, SMALL)
    position, frontier = 0, 0
    for _, _, length, stalled in ops:
        stop = min(size, position + length)
        if stop == position:
            break
        ahead = readahead.observe(position, stop, stalled=stalled).ahead
        if ahead is not None:
            assert ahead.start >= frontier
            frontier = ahead.stop
        position = stop


# ---- sequential readers


@pytest.mark.parametrize("step", [128 * KIB, 256 * KIB, MIB])
def test_a_scan_from_the_start_is_fetched_ahead_from_its_first_read(step):
    readahead = ReadAhead(GIB, LIMITS)
    plan = readahead.observe(0, step, stalled=True)
    assert plan.ahead is not None
    assert plan.ahead.start == plan.demand.stop
    assert plan.ahead.stop >= LIMITS.first


def test_a_short_read_of_a_header_fetches_nothing_ahead():
    readahead = ReadAhead(GIB, LIMITS)
    assert readahead.observe(0, 4 * KIB, stalled=True).ahead is None
    assert readahead.observe(0, 64 * KIB, stalled=True).ahead is None


@given(
    start=st.integers(0, 512 * MIB),
    step=st.sampled_from([4 * KIB, 64 * KIB, 128 * KIB, MIB, 100_000]),
)
def test_the_second_read_in_a_row_is_fetched_ahead_anywhere(start, step):
    readahead = ReadAhead(GIB, LIMITS)
    plans = walk(readahead, start, start + 64 * step, step)
    assert any(prefetched(plans[:33])), "at the latest when a part is read"
    window = max(readahead.windows)
    assert LIMITS.part_smallest <= window <= LIMITS.first


@pytest.mark.parametrize(
    ("step", "window"), [(64 * KIB, MIB), (256 * KIB, 2 * MIB), (MIB, 8 * MIB), (4 * MIB, 8 * MIB)]
)
def test_the_first_window_is_what_two_reads_in_a_row_are_worth(step, window):
    readahead = ReadAhead(GIB, LIMITS)
    walk(readahead, 100 * MIB, 100 * MIB + 2 * step, step)
    assert readahead.windows == [window]


def test_a_sequential_reader_always_has_a_window_ahead_of_it():
    readahead = ReadAhead(GIB, LIMITS)
    fetched = 0
    for at in range(0, 256 * MIB, MIB):
        plan = readahead.observe(at, at + MIB, stalled=False)
        fetched = max(fetched, plan.demand.stop, plan.ahead.stop if plan.ahead else 0)
        (window,) = readahead.windows
        assert fetched - (at + MIB) > window - plan.part, "short of a window by less than a part"
        assert fetched - (at + MIB) <= window


def test_the_last_part_ends_at_the_end_of_the_object():
    size = 20 * MIB + 12_345
    readahead = ReadAhead(size, LIMITS)
    plans = walk(readahead, 0, size, MIB)
    assert prefetched(plans)[-1].stop == size
    assert plans[-1].demand.stop == size


# ---- growing and shrinking


@given(stalls=st.lists(st.booleans(), min_size=10, max_size=200), step=st.sampled_from([128 * KIB, MIB]))
def test_a_window_grows_at_most_once_per_quarter_window_and_only_on_stalls(stalls, step):
    readahead = ReadAhead(GIB, LIMITS)
    readahead.observe(0, step, stalled=True)
    (window,) = readahead.windows
    grown_at = None
    for number, stalled in enumerate(stalls, 1):
        position = number * step
        readahead.observe(position, position + step, stalled=stalled)
        (after,) = readahead.windows
        if after != window:
            assert stalled
            assert after == min(LIMITS.largest, window * (4 if window == LIMITS.first else 2))
            if grown_at is not None:
                assert position + step - grown_at >= window // 4, "less than a quarter of the window was consumed"
            grown_at = position + step
            window = after


def test_a_reader_that_always_stalls_gets_the_largest_window():
    readahead = ReadAhead(GIB, LIMITS)
    walk(readahead, 0, 512 * MIB, MIB, stalled=True)
    assert readahead.windows == [LIMITS.largest]


def test_a_reader_that_never_stalls_keeps_the_first_window():
    readahead = ReadAhead(GIB, LIMITS)
    walk(readahead, 0, 512 * MIB, MIB)
    assert readahead.windows == [LIMITS.first]


def test_several_requests_that_stall_together_count_once():
    readahead = ReadAhead(GIB, LIMITS)
    walk(readahead, 0, 8 * MIB, MIB)
    (before,) = readahead.windows
    walk(readahead, 8 * MIB, 12 * MIB, MIB, stalled=True)  # the 4 MiB that the kernel reads ahead
    assert readahead.windows == [4 * before]


def test_shrinking_halves_down_to_a_part_and_stalls_grow_it_again():
    readahead = ReadAhead(GIB, LIMITS)
    walk(readahead, 0, 64 * MIB, MIB, stalled=True)
    seen = [readahead.windows[0]]
    while len(seen) < 2 or seen[-1] != seen[-2]:
        readahead.shrink()
        seen.append(readahead.windows[0])
    assert seen[1] == seen[0] // 2
    assert seen[-1] == LIMITS.part_smallest
    walk(readahead, 64 * MIB, 512 * MIB, MIB, stalled=True)
    assert readahead.windows[0] > LIMITS.first


def test_what_was_refused_is_planned_again():
    readahead = ReadAhead(GIB, LIMITS)
    plan = readahead.observe(0, MIB, stalled=True)
    refused_at = plan.ahead.start + 3 * plan.part
    readahead.refused(refused_at)
    assert readahead.windows == [LIMITS.first // 2]
    again = prefetched(walk(readahead, MIB, 8 * MIB, MIB))
    assert again[0].start == refused_at
    spans = [(a.start, a.stop) for a in again]
    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_a_refusal_behind_the_reader_moves_nothing_back():
    readahead = ReadAhead(GIB, LIMITS)
    walk(readahead, 0, 32 * MIB, MIB)
    readahead.refused(30 * MIB)
    ahead = prefetched(walk(readahead, 32 * MIB, 40 * MIB, MIB))
    assert ahead[0].start >= 32 * MIB


# ---- several streams


@given(
    starts=st.lists(st.integers(0, 31), min_size=2, max_size=8, unique=True),
    order=st.randoms(use_true_random=False),
    step=st.sampled_from([128 * KIB, MIB]),
)
def test_interleaved_streams_are_told_apart(starts, order, step):
    """Each reads 8 MiB of its own 32 MiB, in turns of any order; each is fetched ahead, nobody in between is."""
    readahead = ReadAhead(GIB, LIMITS)
    waiting = {start * 32 * MIB: deque(range(0, 8 * MIB, step)) for start in starts}
    got = {start: [] for start in waiting}
    while waiting:
        start = order.choice(sorted(waiting))
        at = start + waiting[start].popleft()
        got[start].append(readahead.observe(at, at + step, stalled=False))
        if not waiting[start]:
            del waiting[start]
    for start, plans in got.items():
        ahead = prefetched(plans)
        assert ahead, "a sequential reader among others is one all the same"
        assert all(start <= a.start and a.stop <= start + 8 * MIB + LIMITS.first for a in ahead)
        assert sum(a.length for a in ahead) <= 8 * MIB + LIMITS.first
    assert sum(1 for window in readahead.windows if window) == len(starts)


@given(seed=st.integers(0, 10_000), at=st.sampled_from([0, 100 * MIB]), reach=st.integers(1, 3))
def test_requests_of_one_stream_that_come_out_of_order_stay_one_stream(seed, at, reach):
    """What the kernel sends for one reader: 1 MiB requests, each up to `reach` places off."""
    draw = random.Random(seed)
    order = sorted(range(2, 120), key=lambda index: index + draw.random() * reach)
    readahead = ReadAhead(GIB, LIMITS)
    plans = [readahead.observe(at + i * MIB, at + (i + 1) * MIB, stalled=False) for i in [0, 1, *order]]
    assert readahead.windows == [LIMITS.first]
    ahead = prefetched(plans)
    assert sum(a.length for a in ahead) <= 120 * MIB + LIMITS.first
    assert ahead[-1].stop >= at + 120 * MIB
    position = at
    for plan in plans:
        position = max(position, plan.demand.stop)
        if plan.ahead is not None:
            assert plan.ahead.stop > position


def test_a_stream_goes_on_behind_what_the_page_cache_already_had():
    readahead = ReadAhead(GIB, LIMITS)
    walk(readahead, 0, 16 * MIB, MIB)
    plans = walk(readahead, 18 * MIB, 32 * MIB, MIB)
    assert plans[0].ahead is not None
    assert readahead.windows == [LIMITS.first]


def test_only_so_many_streams_are_remembered_and_the_oldest_makes_room():
    readahead = ReadAhead(GIB, LIMITS)
    walk(readahead, 0, 2 * MIB, MIB)
    for number in range(LIMITS.streams - 1):
        readahead.observe((number + 1) * 30 * MIB, (number + 1) * 30 * MIB + 4096, stalled=True)
    assert readahead.windows.count(0) == LIMITS.streams - 1
    assert readahead.observe(2 * MIB, 3 * MIB, stalled=False).ahead is not None, "the first is still known"
    for number in range(LIMITS.streams):
        readahead.observe(number * 30 * MIB + 10 * MIB, number * 30 * MIB + 10 * MIB + 4096, stalled=True)
    assert len(readahead.windows) == LIMITS.streams
    assert not any(readahead.windows)


# ---- random readers


@given(seed=st.integers(0, 1_000_000), length=st.sampled_from([4 * KIB, 64 * KIB]))
def test_random_reads_apart_from_each_other_fetch_nothing_ahead(seed, length):
    draw = random.Random(seed)
    blocks = GIB // (256 * KIB)
    readahead = ReadAhead(GIB, LIMITS)
    for block in draw.sample(range(blocks), 100):
        at = block * 256 * KIB
        plan = readahead.observe(at, at + length, stalled=True)
        assert plan.ahead is None
        assert plan.demand.length == 64 * KIB
    assert not any(readahead.windows)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("count", [500, 4000])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("always_stalls", [True, False])
def test_random_64_kib_reads_cost_no_more_than_two_and_a_half_times_their_bytes(seed, count, aligned, always_stalls):
    """Some of them lie side by side by chance; that must not start a scan of the whole file."""
    draw = random.Random(seed)
    readahead = ReadAhead(GIB, LIMITS)
    plans = []
    for _ in range(count):
        at = draw.randrange(0, GIB - 64 * KIB, 64 * KIB if aligned else 4 * KIB)
        plans.append(readahead.observe(at, at + 64 * KIB, stalled=always_stalls or draw.random() < 0.5))
    assert planned_bytes(plans) <= 2.5 * count * 64 * KIB


def test_random_reads_into_the_window_of_a_sequential_reader_do_not_push_it_away():
    draw = random.Random(1)
    readahead = ReadAhead(GIB, LIMITS)
    plans = []
    for number in range(1000):
        at = number * 128 * KIB
        plans.append(readahead.observe(at, at + 128 * KIB, stalled=True))
        elsewhere = draw.randrange(0, GIB - 4096, 4096)
        plans.append(readahead.observe(elsewhere, elsewhere + 4096, stalled=True))
    read = 1000 * 128 * KIB
    ahead = sum(a.length for a in prefetched(plans))
    assert ahead <= 1.25 * read + LIMITS.largest


@given(stride=st.sampled_from([256 * KIB, MIB, 3 * MIB]), length=st.sampled_from([4 * KIB, 64 * KIB]))
def test_strides_with_large_holes_are_random_reads(stride, length):
    readahead = ReadAhead(GIB, LIMITS)
    plans = [readahead.observe(at, at + length, stalled=True) for at in range(MIB, MIB + 200 * stride, stride)]
    assert planned_bytes(plans) == 200 * 64 * KIB
