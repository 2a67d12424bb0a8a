"""A burst of reads begins with a reader that waits after a pause, and ends with a pause."""

import pytest
import trio

from mountd.cache.disk.demand import BURST_AFTER_S, LATELY_S, Demand


class Bursts:
    """Counts them, in the place of a pace."""

    def __init__(self):
        self.count = 0

    def burst_begins(self):
        self.count += 1


@pytest.mark.usefixtures("autojump_clock")
async def test_short_pauses_end_no_burst():
    bursts = Bursts()
    demand = Demand(bursts)
    assert not demand.lately
    demand.begin()
    demand.begin()
    await trio.sleep(10)
    demand.end()
    assert (demand.waiting, demand.lately) == (1, True)
    demand.begin()
    demand.end()
    demand.end()
    await trio.sleep(LATELY_S * 0.9)
    assert (demand.waiting, demand.lately, bursts.count) == (0, True, 1)
    demand.begin()
    demand.end()
    assert bursts.count == 1
    await trio.sleep(LATELY_S * 1.1)
    assert not demand.lately
    demand.begin()
    demand.end()
    assert (demand.lately, bursts.count) == (True, 1)
    await trio.sleep(BURST_AFTER_S)
    demand.begin()
    assert (demand.lately, bursts.count) == (True, 2)
