"""What is left of a run whose process is killed outright: its command is ended, and after it its mounts.

A small shell in a session of its own listens to a pipe that only the run's process holds open. When that ends without a
word, the command's process group gets SIGTERM, and SIGKILL if it goes on for `GRACE_S`; only then the shell ends, and
with it, since it is the owner of the run's mounts (`wire.messages.Mount`), the mounts: a command that is asked to write
its last checkpoint has its data until it is over, and never sees an empty directory in its place. A shell, since it
takes 1 MB for as long as the run lasts. Blocking.
"""

import contextlib
import os
import subprocess
from types import TracebackType
from typing import Self

from mountd.errors import SetupError

GRACE_S = 30
"""As long as a command that is asked to end by `mountd runs cancel` gets."""
_ENDS_WITHIN_S = 5.0
_SCRIPT = """
trap '' HUP INT QUIT TERM
group=
goes_on() {  # zombies do not: in a container nobody may collect them
  kill -s 0 -- "-$group" || return 1
  for stat in /proc/[0-9]*/stat; do
    read -r line < "$stat" || continue
    set -- ${line##*) }
    [ "$3" = "$group" ] && [ "$1" != Z ] && return 0
  done
  return 1
}
while read -r word; do
  [ "$word" = over ] && exit 0
  group=$word
done
[ -n "$group" ] || exit 0
kill -s TERM -- "-$group"
kill -s CONT -- "-$group"
left=$1
while [ "$left" -gt 0 ] && goes_on; do
  sleep 0.1
  left=$((left - 1))
done
kill -s KILL -- "-$group"
"""


class RunGuard:
    """The shell; use it as a context around all of a run."""

    def __init__(self, *, grace_s: float = GRACE_S) -> None:
        """`grace_s` is what the command gets to end by itself."""
        self._tenths = round(grace_s * 10)

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            SetupError: there is no process to be had.
        """
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "mountd-run-guard", str(self._tenths)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.defpath},
            )
        except OSError as error:
            raise SetupError(f"the run: no process to watch over it can be started: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it: the run took care of its command and mounts itself."""
        self._tell("over")
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        """The process whose end ends the run's mounts."""
        return self._process.pid

    def watch(self, group: int) -> None:
        """The command of the run is the process group `group`."""
        self._tell(str(group))

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # somebody killed it: the run goes on without
            os.write(self._process.stdin.fileno(), f"{word}\n".encode())
