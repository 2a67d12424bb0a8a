"""The command as a child: exit statuses, signals, process groups."""

import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest
import trio

from mountd.run.child import Command
from mountd.run.failures import CommandNotFoundError, NotExecutableError
from mountd.run.signals import SignalRouter, routed_signals
from tests.support.processes import wait_until_over


async def finish(command):
    with trio.fail_after(20):
        return await command.wait(SignalRouter())


async def run_shell(script):
    return await finish(await Command.start(["sh", "-c", script], os.environ))


@pytest.mark.parametrize("status", [0, 1, 2, 42, 125, 255])
async def test_the_exit_status_is_the_commands_own(status):
    assert await run_shell(f"exit {status}") == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1])
async def test_a_signal_that_ends_the_command_is_128_and_its_number(number):
    command = await Command.start(["sh", "-c", f"kill -{int(number)} $$"], os.environ)
    assert await finish(command) == 128 + number
    assert command.ended_by == number.name


async def test_a_real_time_signal_has_a_number_for_a_name():
    command = await Command.start(["sh", "-c", "kill -40 $$"], os.environ)
    assert await finish(command) == 168
    assert command.ended_by == "signal 40"


@pytest.mark.parametrize("name", ["no-such-program-anywhere", "./no/such/file", "/no/such/file", ""])
async def test_a_missing_command_is_not_found(name):
    with pytest.raises(CommandNotFoundError) as caught:
        await Command.start([name], os.environ)
    assert caught.value.exit_code == 127
    assert name in caught.value.message


async def test_a_missing_interpreter_is_named_as_the_reason(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(CommandNotFoundError, match="the interpreter that its first line names"):
        await Command.start([str(script)], os.environ)


async def test_what_cannot_be_executed_is_126(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a program")
    program = tmp_path / "garbage"
    program.write_bytes(b"\x00\x01\x02")
    program.chmod(0o755)
    for path in (text, program, tmp_path):
        with pytest.raises(NotExecutableError) as caught:
            await Command.start([str(path)], os.environ)
        assert caught.value.exit_code == 126
        assert str(path) in caught.value.message


async def test_the_command_is_looked_up_on_the_path_it_is_given(tmp_path):
    tool = tmp_path / "my-tool"
    tool.write_text("#!/bin/sh\nexit 7\n")
    tool.chmod(0o755)
    command = await Command.start(["my-tool"], {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert await finish(command) == 7


async def test_the_command_leads_a_process_group_of_its_own(tmp_path):
    out = tmp_path / "out"
    program = f"import os; open({str(out)!r}, 'w').write(f'{{os.getpid()}} {{os.getpgrp()}} {{os.getsid(0)}}')"
    assert await finish(await Command.start([sys.executable, "-c", program], os.environ)) == 0
    pid, group, session = map(int, out.read_text().split())
    assert pid == group != os.getpgrp()
    assert session == os.getsid(0)


async def test_signals_are_passed_to_the_whole_group(tmp_path):
    ready, got = tmp_path / "ready", tmp_path / "got"
    os.mkfifo(ready)
    # Both the shell and the child it waits for must get the signal.
    script = f"""
        trap 'echo outer >> {got}; wait; exit 3' USR1
        sh -c 'trap "echo inner >> {got}; exit 4" USR1; echo go > {ready}; while :; do sleep 0.02; done' &
        wait
    """
    async with routed_signals() as signals:
        command = await Command.start(["sh", "-c", script], os.environ)
        async with trio.open_nursery() as nursery:

            async def poke():
                async with await trio.open_file(ready) as fifo:
                    await fifo.read()
                os.kill(os.getpid(), signal.SIGUSR1)

            nursery.start_soon(poke)
            with trio.fail_after(20):
                status = await command.wait(signals)
    assert status == 3
    assert sorted(got.read_text().split()) == ["inner", "outer"]


async def test_signals_that_came_before_the_command_reach_it():
    signals = SignalRouter()
    signals.route(signal.SIGTERM)
    command = await Command.start(["sleep", "60"], os.environ)
    with trio.fail_after(20):
        assert await command.wait(signals) == 128 + signal.SIGTERM


async def test_leftovers_of_the_command_are_ended(tmp_path):
    pid_file = tmp_path / "pid"
    status = await finish(
        command := await Command.start(
            ["sh", "-c", f"trap '' TERM; sleep 60 & echo $! > {pid_file}; exit 0"], os.environ
        )
    )
    assert status == 0
    pid = int(pid_file.read_text())
    os.kill(pid, 0)
    with trio.fail_after(20):
        await command.end_leftovers(grace_s=0.2)
    await wait_until_over(pid)


async def test_ending_leftovers_of_a_clean_command_is_quick():
    command = await Command.start(["true"], os.environ)
    assert await finish(command) == 0
    with trio.fail_after(20):
        await command.end_leftovers(grace_s=60)


async def test_ignored_signals_stay_ignored_for_the_command(tmp_path):
    out = tmp_path / "out"
    program = f"import signal; open({str(out)!r}, 'w').write(str(signal.getsignal(signal.SIGHUP)))"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with routed_signals() as signals:
            command = await Command.start([sys.executable, "-c", program], os.environ)
            assert await command.wait(signals) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert out.read_text() == str(signal.SIG_IGN)


@asynccontextmanager
async def started(script):
    """Yield a command once its shell has come as far as `echo up`: before that it has no trap."""
    reading, writing = os.pipe()
    command = await Command.start(["sh", "-c", script], os.environ, output=writing)
    os.close(writing)
    async with trio.lowlevel.FdStream(reading) as output:
        with trio.fail_after(20):
            assert await output.receive_some() == b"up\n"
            yield command


def grace_of(*seconds):
    """Each time that a command is asked to end, it gets the next of `seconds`."""
    left = list(seconds)

    async def grace():
        await trio.lowlevel.checkpoint()
        return left.pop(0)

    return grace


async def test_each_who_asks_has_a_patience_of_his_own():
    async with started("trap '' TERM; echo up; while :; do sleep 0.01; done") as command, routed_signals() as signals:
        asked = 0

        async def grace():
            nonlocal asked
            asked += 1
            if asked == 1:
                os.kill(os.getpid(), signal.SIGTERM)  # somebody else
            await trio.lowlevel.checkpoint()
            return None if asked == 1 else 0.05

        os.kill(os.getpid(), signal.SIGTERM)
        with trio.fail_after(20):
            assert await command.wait(signals, grace=grace) == 128 + signal.SIGKILL
    assert asked == 2


async def test_a_command_whose_time_is_over_is_asked_to_end():
    async with started("trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done") as command:
        assert await command.wait(SignalRouter(), timeout_s=0.1) == 5
    assert command.timed_out


async def test_a_command_that_does_not_end_when_asked_is_killed():
    async with started("trap '' TERM; echo up; while :; do sleep 0.01; done") as command:
        assert await command.wait(SignalRouter(), timeout_s=0.05, grace=grace_of(0.05)) == 128 + signal.SIGKILL


async def test_a_command_that_was_signalled_is_killed_after_its_grace():
    async with started("trap '' TERM; echo up; while :; do sleep 0.01; done") as command, routed_signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await command.wait(signals, grace=grace_of(0.1)) == 128 + signal.SIGKILL
    assert command.asked_by == signal.SIGTERM
    assert not command.timed_out


async def test_output_and_working_directory(tmp_path):
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    script = "pwd; echo err >&2; cat"
    command = await Command.start(["sh", "-c", script], os.environ, cwd=tmp_path, output=log)
    assert await finish(command) == 0
    os.close(log)
    assert (tmp_path / "log").read_text() == f"{tmp_path}\nerr\n"
    with pytest.raises(NotExecutableError, match="the working directory of the command is gone"):
        await Command.start(["sh", "-c", script], os.environ, cwd=tmp_path / "gone")
