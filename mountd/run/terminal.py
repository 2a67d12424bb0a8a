"""The controlling terminal, lent to a command that runs in a process group of its own.

The command starts in the background of the terminal, where it may write but not read: Ctrl-C then reaches mountd and
the rest of its pipeline as usual, and mountd passes it on. Only a command that touches the terminal's input is stopped
by the kernel (SIGTTIN, SIGTTOU), and is then given the terminal and continued. So `mountd run -- python` is as
interactive as `python`, and `mountd run … | less` leaves the keyboard to `less`.

When the command is stopped from the keyboard, mountd's own group stops with it, so that the shell above sees one job.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_STOPS_OF_THE_TERMINAL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Terminal:
    """The terminal of this process, if it has one, and the one process group it is lent to."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._lent = False
        try:
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1  # a service, a container without -t, a test: there is nothing to lend

    def on_stopped(self, by: int) -> None:
        """Decide what happens after the command was stopped by the signal `by`."""
        if by not in _STOPS_OF_THE_TERMINAL or self._fd < 0:
            return  # somebody's `kill -STOP`: theirs to continue
        if by != signal.SIGTSTP and self._lend():
            return
        if os.getsid(0) == os.getpgrp():
            os.killpg(self._group, signal.SIGCONT)  # no shell above us could ever continue it
        else:
            self._reclaim()
            os.killpg(os.getpgrp(), signal.SIGSTOP)

    def on_continued(self) -> None:
        """Continue the command as this process was continued."""
        if not (self._lent and self._lend()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGCONT)

    def close(self) -> None:
        """Take the terminal back for good."""
        if self._fd >= 0:
            self._reclaim()
            os.close(self._fd)
            self._fd = -1

    def _lend(self) -> bool:
        """Put the command into the foreground if that place is ours to give, and continue it there.

        SIGCONT throws away stops that wait behind the one it ends (signal(7)). So a Ctrl-Z that was passed on to the
        stopped command is sent again. One typed in the microseconds between the next two calls is lost, as in a shell.
        """
        with contextlib.suppress(OSError), _unstopped():  # the terminal may have been hung up
            asked_to_stop = _is_pending(self._group, signal.SIGTSTP)
            foreground = os.tcgetpgrp(self._fd)
            if foreground == os.getpgrp():
                os.tcsetpgrp(self._fd, self._group)
                self._lent = True
            elif foreground != self._group:
                return False
            os.killpg(self._group, signal.SIGCONT)
            if asked_to_stop:
                os.killpg(self._group, signal.SIGTSTP)
            return True
        return False

    def _reclaim(self) -> None:
        with contextlib.suppress(OSError), _unstopped():
            if self._lent and os.tcgetpgrp(self._fd) == self._group:
                os.tcsetpgrp(self._fd, os.getpgrp())


def _is_pending(process: int, number: signal.Signals) -> bool:
    """Return whether the signal was sent to `process`, a stopped one, and waits (`ShdPnd` of proc_pid_status(5))."""
    with contextlib.suppress(OSError):  # it was killed since
        for line in Path(f"/proc/{process}/status").read_text("ascii", errors="replace").splitlines():
            if line.startswith("ShdPnd:"):
                return bool(int(line.split()[1], 16) & 1 << (number - 1))
    return False


@contextlib.contextmanager
def _unstopped() -> Iterator[None]:
    """Keep the kernel from stopping us for changing the terminal from its background."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
