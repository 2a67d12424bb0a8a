"""What was delivered of a range: against a set of bytes."""

import random

import pytest

from mountd.cache.coverage import Coverage


@pytest.mark.parametrize("seed", range(200))
def test_all_is_covered_once_each_byte_was(seed):
    draw = random.Random(seed)
    start = draw.randrange(10)
    stop = start + draw.randrange(1, 40)
    coverage, missing = Coverage(start, stop), set(range(start, stop))
    for _ in range(100):
        at = draw.randrange(stop)
        upto = at + draw.randrange(1, 12)
        missing -= set(range(at, upto))
        assert coverage.cover(at, upto) == (not missing)
