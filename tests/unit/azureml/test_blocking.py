"""The API in programs that have a loop of their own: real loops, real signals."""

import asyncio  # noqa: TID251 - what a script may run on
import os
import signal
import threading

import pytest
import trio

from mountd.azureml import blocking
from mountd.azureml.errors import UserErrorException
from mountd.errors import NotFoundError


async def answer():
    await trio.lowlevel.checkpoint()
    return 42


async def fail():
    await trio.lowlevel.checkpoint()
    raise NotFoundError("there is none")


def in_trio(call):
    async def main():
        return call()

    return trio.run(main)


def in_asyncio(call):
    async def main():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)
        return call()

    return asyncio.run(main())


@pytest.mark.parametrize("host", [in_trio, in_asyncio])
def test_what_is_done_and_what_fails(host):
    assert host(lambda: blocking.run(answer)) == 42
    with pytest.raises(UserErrorException, match="there is none"):
        host(lambda: blocking.run(fail))


def test_a_signal_of_asyncios_arrives_while_the_api_works():
    async def main():
        arrived = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, arrived.set)

        async def work():
            os.kill(os.getpid(), signal.SIGUSR1)
            await trio.lowlevel.checkpoint()

        blocking.run(work)
        async with asyncio.timeout(20):
            await arrived.wait()

    asyncio.run(main())


@pytest.mark.parametrize("host", [lambda call: call(), in_trio])
def test_ctrl_c_cancels_and_gives_everything_back(host):
    given_back = threading.Event()

    async def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await trio.sleep_forever()
        finally:
            given_back.set()

    with pytest.raises(KeyboardInterrupt):
        host(lambda: blocking.run(work))
    assert given_back.is_set()


@pytest.mark.parametrize("runs_first", [True, False])
def test_ctrl_c_while_the_thread_is_being_started_leaves_nothing_behind(monkeypatch, runs_first):
    begun, given_back = threading.Event(), threading.Event()
    start = threading.Thread.start
    held = []

    async def work():
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            given_back.set()

    def interrupted(thread):
        if runs_first:
            start(thread)
            assert begun.wait(20)
        else:
            held.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_trio(lambda: blocking.run(work))
    for thread in held:
        start(thread)
        thread.join(20)
    assert begun.is_set() == given_back.is_set() == runs_first
