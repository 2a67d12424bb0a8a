"""The wait of the fast path, without a kernel: requests, and tasks that take them."""

import os

import pyfuse3
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mountd.fuse.fastpath import FAIR_EVERY, WAIT, FastPath, fuse_descriptors, wait_readable


class Device:
    """Requests that arrive one by one; reading when there is none would block the whole process."""

    def __init__(self):
        self.pending = 0
        self.over = False
        self.waits = 0
        self._news = trio.Event()
        self._lock = trio.Lock()

    def arrive(self, count=1):
        self.pending += count
        self._tell()

    def close(self):
        self.over = True
        self._tell()

    def readable(self):
        return self.pending > 0

    async def wait(self):
        """As pyfuse3's own: one task at a time watches, and whoever is told may find it gone by the time it runs."""
        self.waits += 1
        async with self._lock:
            while self.pending == 0 and not self.over:
                await self._news.wait()
        await trio.lowlevel.checkpoint()
        return not self.over

    def read(self):
        assert self.pending > 0, "this read would block the loop"
        self.pending -= 1

    def _tell(self):
        news, self._news = self._news, trio.Event()
        news.set()


async def test_a_request_that_is_there_is_taken_without_waiting():
    device = Device()
    wait = wait_readable(device.readable, device.wait)
    device.arrive()
    assert await wait()
    assert device.waits == 0


async def test_without_a_request_it_waits_as_stock_does():
    device = Device()
    wait = wait_readable(device.readable, device.wait)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert device.waits == 1
            device.arrive()


async def test_the_end_of_the_session_is_passed_on():
    device = Device()
    wait = wait_readable(device.readable, device.wait)
    async with trio.open_nursery() as nursery:

        async def expect_the_end():
            assert await wait() is False

        nursery.start_soon(expect_the_end)
        await trio.testing.wait_all_tasks_blocked()
        device.close()


async def test_a_waiter_whose_request_was_taken_waits_again(autojump_clock):
    """The trap: it was woken for a request that another task takes by the fast path before it runs."""
    device = Device()
    wait = wait_readable(device.readable, device.wait)
    taken = []

    async def worker(name):
        while await wait():
            device.read()
            taken.append(name)

    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker, "waiter")
            await trio.testing.wait_all_tasks_blocked()
            device.arrive()
            device.read()  # somebody else was faster
            await trio.testing.wait_all_tasks_blocked()
            assert taken == []
            device.arrive()
            await trio.testing.wait_all_tasks_blocked()
            assert taken == ["waiter"]
            device.close()


@given(arrivals=st.lists(st.integers(0, 5), min_size=1, max_size=30), workers=st.integers(1, 6), work=st.booleans())
def test_no_worker_ever_reads_what_is_not_there_and_none_is_left(arrivals, workers, work):
    async def main():
        device = Device()
        wait = wait_readable(device.readable, device.wait, fair_every=3)
        done = 0

        async def worker():
            nonlocal done
            while await wait():
                device.read()
                done += 1
                if work:
                    await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(worker)
            for count in arrivals:
                device.arrive(count)
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert (done, device.pending) == (sum(arrivals), 0)
            device.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_requests_without_end_leave_others_their_turn():
    device = Device()
    device.arrive(10**9)
    wait = wait_readable(device.readable, device.wait)
    turns = 0

    async def worker():
        nonlocal turns
        while await wait():
            device.read()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker)
        for _ in range(10):
            before = turns
            await trio.lowlevel.checkpoint()
            assert turns - before <= 2 * FAIR_EVERY
        nursery.cancel_scope.cancel()
    assert turns > 0


async def test_it_can_be_cancelled_while_requests_keep_coming():
    device = Device()
    device.arrive(10**9)
    wait = wait_readable(device.readable, device.wait)
    with trio.move_on_after(0.01) as scope:
        while True:
            await wait()
    assert scope.cancelled_caught


async def test_installing_wraps_the_private_name_and_removing_restores_it():
    outlet, inlet = os.pipe()
    before = getattr(pyfuse3, WAIT)
    fast = FastPath(outlet)
    assert fast.available
    fast.install()
    try:
        os.write(inlet, b"x")
        assert await getattr(pyfuse3, WAIT)()
    finally:
        fast.remove()
        os.close(outlet)
        os.close(inlet)
    assert getattr(pyfuse3, WAIT) is before


async def test_where_the_name_is_missing_nothing_is_touched(monkeypatch):
    monkeypatch.delattr(pyfuse3, WAIT)
    fast = FastPath(0)
    assert not fast.available
    fast.install()
    fast.remove()
    assert not hasattr(pyfuse3, WAIT)


@pytest.mark.fuse
def test_descriptors_of_the_device_are_found():
    before = fuse_descriptors()
    fd = os.open("/dev/fuse", os.O_RDWR)
    try:
        assert fuse_descriptors() - before == {fd}
    finally:
        os.close(fd)
    assert fuse_descriptors() == before
