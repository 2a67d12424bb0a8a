"""Steps of a dataset: which files pass."""

import pytest

from mountd.catalog.selection import Candidate, Filter, Part, Sample, Skip, Take, check_steps, select
from mountd.errors import UsageError

FILES = [Candidate(f"d/{n:03d}.{'jpg' if n % 2 else 'png'}", 0, n, n * 10**9, "e") for n in range(200)]


def sizes(*steps):
    return [file.size for file in select(FILES, steps)]


def test_take_and_skip_in_any_order():
    assert sizes(Take(3)) == [0, 1, 2]
    assert sizes(Skip(1), Take(2)) == [1, 2]
    assert sizes(Take(2), Skip(1)) == [1]
    assert sizes(Take(1000)) == sizes()


def test_the_parts_of_a_split_share_nothing_and_miss_nothing():
    first, second = sizes(Part(0, 0.3, 7)), sizes(Part(0.3, 1, 7))
    assert sorted(first + second) == sizes()
    assert 30 < len(first) < 90
    assert sizes(Part(0, 0.3, 7)) == first != sizes(Part(0, 0.3, 8))


def test_a_sample_is_the_same_for_the_same_seed():
    assert sizes(Sample(0.5, 1)) == sizes(Sample(0.5, 1)) != sizes(Sample(0.5, 2))
    assert sizes(Sample(0, 1)) == []
    assert sizes(Sample(1, 1)) == sizes()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (["<", "Size", 2], [0, 1]),
        (["and", [">=", "Size", 2], ["<=", "Size", 4]], [2, 3, 4]),
        (["or", ["==", "Size", 2], ["==", "Size", 9]], [2, 9]),
        (["not", [">", "Size", 0]], [0]),
        (["and", ["==", "Extension", ".jpg"], ["<", "Size", 5]], [1, 3]),
        (["<", "LastModifiedTime", "1970-01-01T00:00:02"], [0, 1]),
        (["<", "CreationTime", "1970-01-01T01:00:02+01:00"], [0, 1]),
        (["!=", "CanSeek", True], []),
    ],
)
def test_conditions(expression, expected):
    assert sizes(Filter(expression)) == expected


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Take(-1), "-1 files"),
        (Sample(1.5, 0), "numbers from 0 to 1"),
        (Part(0.5, 0.2, 0), "numbers from 0 to 1"),
        (Filter(["<", "Colour", 1]), "no condition"),
        (Filter(["<", "Size", "big"]), "cannot be compared"),
        (Filter(["<", "LastModifiedTime", "yesterday"]), "not a time"),
        (Filter([]), "no condition"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(step, why):
    with pytest.raises(UsageError, match=why):
        check_steps([step])
