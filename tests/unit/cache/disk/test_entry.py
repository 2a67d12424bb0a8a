"""The packed entry: whatever runs are added and taken away, it says what a plain set of bytes says."""

from hypothesis import given
from hypothesis import strategies as st

from mountd.cache.disk import entry as entries
from mountd.cache.disk.entry import CELL, REGION, RUN, Run
from mountd.units import MIB

SIZE = 3 * MIB + 12_345
LAST = -(-SIZE // CELL)


def runs_between(first, last, longest):
    """Return the runs that a write of the cells [first, last) makes, by this version or one whose runs are longer."""
    position, stop, runs = first * CELL, min(SIZE, last * CELL), []
    while position < stop:
        upto = min(stop, position - position % longest + longest)
        runs.append(Run(position, upto, position + upto))
        position = upto
    return runs


spans = st.tuples(st.integers(0, LAST - 1), st.integers(1, LAST)).map(lambda span: (span[0], min(LAST, sum(span))))
lengths = st.sampled_from([CELL, RUN, REGION])


@given(st.lists(st.tuples(spans, lengths), max_size=12), st.lists(st.integers(0, 50), max_size=4), spans)
def test_it_says_what_a_set_of_cells_says(added, removed, asked):
    entry = entries.with_pin(entries.with_disk(entries.new(SIZE), 123 << 40))
    known: set[Run] = set()
    for (first, last), longest in added:
        new = runs_between(first, last, longest)
        entry = entries.with_runs(entry, new)
        known = {run for run in known if not any(one.start <= run.start and run.stop <= one.stop for one in new)}
        known |= set(new)
    for which in removed:
        if known:
            run = sorted(known)[which % len(known)]
            known.discard(run)
            entry = entries.without_run(entry, run)
    cells = {cell for run in known for cell in range(run.start // CELL, -(-run.stop // CELL))}
    assert set(entries.runs_of(entry)) == known
    assert entries.runs_of(entry) == sorted(known)
    assert entries.is_complete(entry) == (len(cells) == LAST)
    assert entries.is_empty(entry) == (not known)
    assert (entries.size_of(entry), entries.disk_of(entry), entries.is_pinned(entry)) == (SIZE, 123 << 40, True)
    missing = {cell for gap in entries.gaps(entry) for cell in range(gap.start // CELL, -(-gap.stop // CELL))}
    assert missing == set(range(LAST)) - cells
    start, stop = asked[0] * CELL, min(SIZE, asked[1] * CELL)
    found = entries.cover(entry, start, stop)
    assert (found is not None) == (set(range(*asked)) <= cells)
    if found is not None:
        position = start
        for run in found:
            assert run.start <= position
            position = run.stop
        assert position >= stop


def test_sizes_of_other_worlds_fit():
    entry = entries.new(190 << 40)
    entry = entries.with_disk(entry, 190 << 40)
    assert (entries.size_of(entry), entries.disk_of(entry), entries.is_pinned(entry)) == (190 << 40, 190 << 40, False)
