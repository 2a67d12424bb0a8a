"""Lanes: blocking calls in threads, no more of them than allowed. Real threads, held by events, no clock."""

import threading

import pytest
import trio
import trio.testing

from mountd.aio.threads import Lane


class Blocking:
    """Blocking calls that wait to be let go, and count how many of them run."""

    def __init__(self):
        self.go = threading.Event()
        self.running = 0
        self.most = 0
        self.done = 0
        self._lock = threading.Lock()

    def __call__(self, value=None):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go.wait(10)
        with self._lock:
            self.running -= 1
            self.done += 1
        return value


async def until(condition):
    """Wait, in real time, until threads made `condition` true."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - threads cannot set trio's events
            await trio.sleep(0.001)


async def test_a_call_runs_in_a_thread_and_gives_its_result():
    lane = Lane("read", 1)
    loop = threading.get_ident()
    assert await lane.run(threading.get_ident) != loop
    assert await lane.run(divmod, 7, 2) == (3, 1)


async def test_an_exception_comes_back():
    with pytest.raises(ZeroDivisionError):
        await Lane("read", 1).run(divmod, 1, 0)


async def test_no_more_calls_run_than_the_limit():
    lane, call = Lane("read", 3), Blocking()
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(lane.run, call)
        await until(lambda: call.running == 3)
        assert (lane.busy, lane.limit) == (3, 3)
        call.go.set()
    assert (call.most, call.done) == (3, 8)
    assert lane.busy == 0


async def test_a_cancelled_caller_leaves_at_once_and_its_call_keeps_its_place():
    lane, stuck, quick = Lane("read", 1), Blocking(), Blocking()
    quick.go.set()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.run, stuck)
            await until(lambda: stuck.running == 1)
            scope.cancel()
    assert stuck.running == 1, "the caller did not wait for the thread"
    assert lane.busy == 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run, quick)
        for _ in range(20):
            await trio.sleep(0.001)
        assert quick.done == 0, "no second thread while the first one runs on"
        stuck.go.set()
    assert (stuck.done, quick.done) == (1, 1)


async def test_who_is_cancelled_while_waiting_for_a_place_never_runs():
    lane, stuck, never = Lane("read", 1), Blocking(), Blocking()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run, stuck)
        await until(lambda: stuck.running == 1)
        with trio.move_on_after(0.01) as scope:
            await lane.run(never)
        assert scope.cancelled_caught
        stuck.go.set()
    assert await lane.run(divmod, 1, 1) == (1, 0)
    assert never.most == 0


async def test_lanes_do_not_wait_for_each_other():
    busy, free, stuck = Lane("list", 1), Lane("read", 1), Blocking()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.run, stuck)
        await until(lambda: stuck.running == 1)
        assert await free.run(divmod, 3, 2) == (1, 1)
        stuck.go.set()


def test_a_lane_serves_one_loop_after_the_other():
    """A store is used in one loop and closed in another; what the first one left behind is nobody's business."""
    lane, stuck = Lane("read", 2), Blocking()

    async def leave_one_behind():
        with trio.move_on_after(0.01):
            await lane.run(stuck)

    async def use():
        with trio.fail_after(10):
            return [await lane.run(divmod, 7, 2) for _ in range(3)]

    trio.run(leave_one_behind)
    assert trio.run(use) == [(3, 1)] * 3
    stuck.go.set()
    assert trio.run(use) == [(3, 1)] * 3


async def test_results_that_are_ready_together_all_arrive():
    lane = Lane("read", 16)
    results = []

    async def one(number):
        results.append(await lane.run(divmod, number, 7))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(one, number)
    assert sorted(results) == sorted(divmod(number, 7) for number in range(500))


async def test_idle_threads_end(monkeypatch):
    monkeypatch.setattr("mountd.aio.threads.IDLE_S", 0.01)
    lane = Lane("short-lived", 4)  # a name of its own: other tests' threads take seconds to end
    assert await lane.run(divmod, 7, 2) == (3, 1)
    await until(lambda: not any(thread.name == "mountd short-lived" for thread in threading.enumerate()))
    assert await lane.run(divmod, 7, 2) == (3, 1)


async def test_what_is_posted_runs_in_order_and_nobody_waits_for_it():
    lane, call, order = Lane("replies", 1), Blocking(), []
    lane.post(call)
    for number in range(5):
        lane.post(order.append, number)
    assert order == []
    call.go.set()
    assert await lane.run(len, order) == 5
    assert order == list(range(5))


async def test_what_a_posted_call_raises_stops_nothing():
    lane = Lane("replies", 1)
    lane.post(lambda: 1 / 0)
    assert await lane.run(divmod, 7, 2) == (3, 1)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
async def test_without_a_thread_to_be_had_a_call_never_runs(monkeypatch, error):
    lane, ran = Lane("replies", 1), []

    def refuse(_thread):
        raise error("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(error):
            lane.post(ran.append, "posted")
        with pytest.raises(error):
            await lane.run(ran.append, "run")
    assert await lane.run(len, ran) == 0
    assert (ran, lane.busy) == ([], 0)


async def test_a_thread_that_cannot_be_had_is_not_missed_while_there_are_others(monkeypatch):
    lane, call, ran = Lane("replies", 2), Blocking(), []
    lane.post(call)
    await until(lambda: call.running == 1)

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        lane.post(ran.append, 1)
    call.go.set()
    await until(lambda: ran == [1])
