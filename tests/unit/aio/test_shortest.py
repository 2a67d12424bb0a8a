"""The shortest of the latest durations."""

from hypothesis import given
from hypothesis import strategies as st

from mountd.aio.shortest import FEW, ShortestLately


def test_nothing_is_known_at_first():
    shortest = ShortestLately()
    for _ in range(FEW - 1):
        assert shortest.value_s == 0
        shortest.note(0.015)
    shortest.note(0.2)
    assert shortest.value_s == 0.015


@given(st.lists(st.floats(0.0001, 10), min_size=FEW, max_size=300))
def test_it_is_that_of_the_last_32_to_64(durations):
    shortest = ShortestLately()
    for duration in durations:
        shortest.note(duration)
    assert min(durations[-64:]) <= shortest.value_s <= min(durations[-32:])
