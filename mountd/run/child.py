"""The command of a run: a child in a process group of its own, with signals passed on and a shell's exit status.

Signals that mountd gets go to the command's whole group; mountd never ends it on its own account. The group is what is
left to ask when the command is over and something of it still sits on a mount (`end_leftovers`).
"""

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from mountd.run.failures import CommandNotFoundError, NotExecutableError
from mountd.run.signals import SignalRouter
from mountd.run.terminal import Terminal


class Command:
    """A running command."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._group = process.pid

    @property
    def ended_by(self) -> str | None:
        """The name of the signal that ended the command, if one did."""
        status = self._process.returncode
        if status is None or status >= 0:
            return None
        known = {number.value: number.name for number in signal.Signals}
        return known.get(-status, f"signal {-status}")

    @classmethod
    async def start(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> "Command":
        """Start `arguments` with mountd's own standard streams and working directory.

        Raises:
            CommandNotFoundError: no such file on the PATH of `environment`.
            NotExecutableError: it cannot be executed.
        """
        if not arguments[0]:
            raise CommandNotFoundError("the command is an empty word; a variable in it may be unset")
        try:
            # Not cancellable half-way: trio waits for the fork. process_group is set before the program runs.
            process = await trio.lowlevel.open_process(list(arguments), env=dict(environment), process_group=0)
        except FileNotFoundError:
            raise CommandNotFoundError(_why_not_found(arguments[0])) from None
        except OSError as error:
            raise NotExecutableError(f"{arguments[0]}: cannot be executed: {os.strerror(error.errno or 0)}") from None
        except ValueError:
            raise NotExecutableError(f"{arguments[0]!r}: an argument or variable holds a zero byte") from None
        return cls(process)

    async def wait(self, signals: SignalRouter) -> int:
        """Return the exit status once the command is over: 128 + n if signal n ended it."""
        terminal = Terminal(self._group)

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

        try:
            with signals.to(on_signal):
                status = await self._process.wait()
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
