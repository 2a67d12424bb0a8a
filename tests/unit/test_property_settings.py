"""A property test fails for its property, never because the machine is busy."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st


def test_an_example_may_take_its_time():
    @settings(max_examples=1, database=None)
    @given(st.none())
    def slow(_):
        threading.Event().wait(0.3)  # more than the 200 ms that Hypothesis allows by itself

    slow()
