"""The command of a run: a child in a process group of its own, with signals passed on and a shell's exit status.

Signals that mountd gets go to the command's whole group; mountd never ends it on its own account. The group is what is
left to ask when the command is over and something of it still sits on a mount (`end_leftovers`).
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import trio

from mountd.run.failures import CommandNotFoundError, NotExecutableError
from mountd.run.signals import ENDING, SignalRouter
from mountd.run.terminal import Terminal

Grace = Callable[[], Awaitable[float | None]]


async def _no_end() -> None:
    """However often it is asked to end, it may take the time it likes."""


class Command:
    """A running command."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._group = process.pid
        self.timed_out = False
        """Whether the command was asked to end because its time was over."""
        self.asked_by: signal.Signals | None = None
        """The first signal passed on that asks to end."""

    @property
    def group(self) -> int:
        """Its process group."""
        return self._group

    @property
    def ended_by(self) -> str | None:
        """The name of the signal that ended the command, if one did."""
        status = self._process.returncode
        if status is None or status >= 0:
            return None
        known = {number.value: number.name for number in signal.Signals}
        return known.get(-status, f"signal {-status}")

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: Path | None = None,
        output: int | None = None,
    ) -> "Command":
        """Start `arguments`.

        Args:
            arguments: the program and its arguments.
            environment: all of the command's variables.
            cwd: its working directory; mountd's own if left out.
            output: a descriptor for its standard output and error; its input is empty then. By default all three are
                mountd's own.

        Raises:
            CommandNotFoundError: no such file on the PATH of `environment`.
            NotExecutableError: it cannot be executed.
        """
        if not arguments[0]:
            raise CommandNotFoundError("the command is an empty word; a variable in it may be unset")
        try:
            # Not cancellable half-way: trio waits for the fork. process_group is set before the program runs.
            process = await trio.lowlevel.open_process(
                list(arguments),
                env=dict(environment),
                process_group=0,
                cwd=cwd,
                stdin=None if output is None else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        except FileNotFoundError:
            if cwd is not None and not cwd.is_dir():  # noqa: ASYNC240 - a directory of the run's own
                raise NotExecutableError(f"{cwd}: the working directory of the command is gone") from None
            raise CommandNotFoundError(_why_not_found(arguments[0])) from None
        except OSError as error:
            raise NotExecutableError(f"{arguments[0]}: cannot be executed: {os.strerror(error.errno or 0)}") from None
        except ValueError:
            raise NotExecutableError(f"{arguments[0]!r}: an argument or variable holds a zero byte") from None
        return cls(process)

    async def wait(self, signals: SignalRouter, *, timeout_s: float | None = None, grace: Grace = _no_end) -> int:
        """Return the exit status once the command is over: 128 + n if signal n ended it.

        Args:
            signals: are passed on to the command.
            timeout_s: after which the command is asked to end with SIGTERM.
            grace: returns after how many seconds a command that was asked to end, by us or by a signal that was passed
                on, is killed; None: not for that.
        """
        terminal = Terminal(self._group)
        asked = trio.Event()

        def on_signal(number: signal.Signals) -> None:
            if number == signal.SIGCHLD:
                with contextlib.suppress(ChildProcessError):  # it is over since
                    stopped = os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOHANG)
                    if stopped is not None:
                        terminal.on_stopped(stopped.si_status)
            elif number == signal.SIGCONT:
                terminal.on_continued()
            else:
                self._signal_group(number)
                if number in ENDING:
                    self.asked_by = self.asked_by or number
                    asked.set()

        async def time_out(seconds: float) -> None:
            await trio.sleep(seconds)
            self.timed_out = True
            self._signal_group(signal.SIGTERM)
            asked.set()

        async def kill_late() -> None:
            nonlocal asked
            seconds: float | None = None
            while seconds is None:
                await asked.wait()
                asked = trio.Event()  # it may be asked once more, by somebody with less patience
                seconds = await grace()
            await trio.sleep(seconds)
            self._signal_group(signal.SIGKILL)

        try:
            with signals.to(on_signal):
                async with trio.open_nursery() as nursery:
                    if timeout_s is not None:
                        nursery.start_soon(time_out, timeout_s)
                    nursery.start_soon(kill_late)
                    status = await self._process.wait()
                    nursery.cancel_scope.cancel()
        finally:
            terminal.close()
            if self._process.returncode is None:  # a fault of mountd's own: leave nothing running
                self._signal_group(signal.SIGKILL)
        return status if status >= 0 else 128 - status

    async def end_leftovers(self, grace_s: float) -> None:
        """End what the command left behind in its group: first politely, after `grace_s` seconds for good."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal_group(number)
            with trio.move_on_after(grace_s):
                while self._group_is_alive():  # noqa: ASYNC110 - not our children: nothing else tells when they end
                    await trio.sleep(0.02)
                return

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it is over, or changed its user
            os.killpg(self._group, number)

    def _group_is_alive(self) -> bool:
        try:
            os.killpg(self._group, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _why_not_found(program: str) -> str:
    if "/" in program and Path(program).exists():
        return f"{program}: the interpreter that its first line names was not found"
    where = "no such file" if "/" in program else "not found on the PATH"
    return f"{program}: {where}; check the spelling of the command after '--'"
