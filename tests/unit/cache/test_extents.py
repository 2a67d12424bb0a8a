"""Extents against the simplest reference: a dictionary from every byte to its extent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.cache.extents import ExtentMap
from mountd.units import ByteRange

SIZE = 40
spans = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted)
ops = st.lists(st.tuples(st.sampled_from(["fill", "arrive", "remove", "ask"]), spans, st.integers(0, 100)), max_size=40)


class Reference:
    """Bytes one by one."""

    def __init__(self):
        self.owner = {}

    def at(self, offset):
        return self.owner.get(offset)

    def gaps(self, start, stop):
        missing = [byte for byte in range(start, stop) if byte not in self.owner]
        runs = []
        for byte in missing:
            if runs and runs[-1][1] == byte:
                runs[-1][1] = byte + 1
            else:
                runs.append([byte, byte + 1])
        return [ByteRange(*run) for run in runs]

    def holds(self, start, stop):
        return all(byte in self.owner and self.owner[byte].data is not None for byte in range(start, stop))

    def within(self, start, stop):
        found = []
        for byte in range(start, stop):
            extent = self.owner.get(byte)
            if extent is not None and extent not in found:
                found.append(extent)
        return found


@given(ops)
def test_any_order_of_filling_arriving_and_removing(ops):
    extents, reference = ExtentMap(), Reference()
    known = []
    for kind, (start, stop), pick in ops:
        if kind == "fill":
            for gap in extents.gaps(start, stop):
                extent = extents.add(gap.start, gap.stop)
                assert extent.range == gap
                known.append(extent)
                reference.owner |= dict.fromkeys(range(gap.start, gap.stop), extent)
        elif known and kind == "arrive":
            extent = known[pick % len(known)]
            extent.data = memoryview(bytes(extent.stop - extent.start))
        elif known and kind == "remove":
            extent = known.pop(pick % len(known))
            extents.remove(extent)
            reference.owner = {byte: owner for byte, owner in reference.owner.items() if owner is not extent}
        assert extents.gaps(start, stop) == reference.gaps(start, stop)
        assert extents.holds(start, stop) == reference.holds(start, stop)
        assert extents.within(start, stop) == reference.within(start, stop)
        assert len(extents) == len(known)
        for offset in range(SIZE + 1):
            assert extents.at(offset) is reference.at(offset)


def test_an_extent_is_removed_once():
    extents = ExtentMap()
    extent = extents.add(0, 10)
    extents.remove(extent)
    extents.add(0, 10)
    with pytest.raises(AssertionError):
        extents.remove(extent)


def test_an_empty_range_is_held_and_has_no_gaps():
    extents = ExtentMap()
    assert extents.holds(5, 5)
    assert extents.gaps(5, 5) == []
    assert extents.within(5, 5) == []
