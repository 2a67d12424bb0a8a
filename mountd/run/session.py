"""One run from beginning to end: inputs, command, outputs, and everything taken down again.

The order of events is the contract: inputs side by side, then the command, then outputs (also of a command that
failed, if only it ran), then unmounting. Invariants:

- Whatever happens, a mount that was made is unmounted: a mount under way is taken to its end even while the run is
  being cancelled, and taking down is shielded from cancellation and from every signal but SIGKILL.
- The lines said are those that people know from Azure ML's job logs, where they fit.
- Only unexpected faults leave as an exception: what went wrong is said, and is in the exit status.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

import trio

from mountd.aio.threads import Lane
from mountd.errors import MountdError, UnsafeError
from mountd.observe.redaction import redact
from mountd.run.child import Command
from mountd.run.environment import Mode, Presented, published_variables
from mountd.run.expand import Expander
from mountd.run.failures import PreparationError
from mountd.run.inputs import Inputs
from mountd.run.operations import DataOperations
from mountd.run.plan import Output, RunPlan
from mountd.run.signals import ENDING, SignalRouter, routed_signals

T = TypeVar("T")


class _InterruptedError(Exception):
    """A signal asked the run to end."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


async def run_session(
    plan: RunPlan,
    *,
    operations: DataOperations,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> int:
    """Carry out `plan` and return its exit status.

    Args:
        plan: what to do.
        operations: how data gets here and away.
        environment: what the command would see without mountd.
        say: takes each line of the run's own log.
    """
    session = _Session(plan, operations, environment, lambda line: say(redact(line)))
    async with routed_signals() as signals:
        try:
            status = await session.work(signals)
        finally:
            with trio.CancelScope(shield=True):  # every step in there has its own deadline
                failure = await session.take_down(signals)
    return status or (failure.exit_code if failure else 0)


class _Session:
    def __init__(
        self,
        plan: RunPlan,
        operations: DataOperations,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._operations = operations
        self._environment = environment
        self._say = say
        self._lane = Lane("run", 16)
        self._inputs = Inputs(plan, operations, self._lane, say)
        self._command: Command | None = None

    async def work(self, signals: SignalRouter) -> int:
        """Do everything but the taking down; return the exit status."""
        try:
            presented = await self._interruptible(signals, self._prepare)
            status = await self._call(presented, signals)
        except _InterruptedError as interrupted:
            self._say(f"mountd: ended by {interrupted.number.name} before the command was started")
            return 128 + interrupted.number
        except MountdError as error:
            self._say(f"mountd: error: {error.message}")
            return error.exit_code
        all_safe = await self._upload_all(signals)
        return status or (0 if all_safe else UnsafeError.exit_code)

    async def take_down(self, signals: SignalRouter) -> MountdError | None:
        """Leave nothing mounted; return what is wrong if that did not work."""

        def on_signal(number: signal.Signals) -> None:
            if number in ENDING:
                self._say(f"mountd: got {number.name}; ending anyway, once everything is unmounted")

        with signals.to(on_signal):
            return await self._inputs.take_down(self._command)

    async def _prepare(self) -> list[Presented]:
        for output in self._plan.outputs:
            try:
                await self._lane.run(lambda path: path.parent.mkdir(parents=True, exist_ok=True), output.path)
            except OSError as error:
                raise PreparationError(f"output {output.name!r}: {output.path.parent}: {error.strerror}") from error
        presented = await self._inputs.present()
        return presented + [
            Presented(name=output.name, mode=Mode.UPLOAD, path=str(output.path)) for output in self._plan.outputs
        ]

    async def _call(self, presented: list[Presented], signals: SignalRouter) -> int:
        variables = published_variables(presented, self._environment)
        expander = Expander(presented, variables)
        program, *arguments = self._plan.command
        self._say(f"Current directory:  {self._plan.cwd}")
        self._say(f"Preparing to call script [ {program} ] with arguments: {arguments}")
        program, *arguments = (expander.expand(argument) for argument in self._plan.command)
        self._say(f"After variable expansion, calling script [ {program} ] with arguments: {arguments}")
        self._command = await Command.start([program, *arguments], {**self._environment, **variables})
        status = await self._command.wait(signals)
        if self._command.ended_by is not None:
            self._say(f"mountd: the command was ended by {self._command.ended_by}")
        return status

    async def _upload_all(self, signals: SignalRouter) -> bool:
        """Return whether every output that is there has arrived."""
        all_safe = True
        for output in self._plan.outputs:
            self._say(f"Uploading output '{output.name}'.")
            try:
                await self._interruptible(signals, partial(self._upload, output))
            except _InterruptedError as interrupted:
                self._say(f"mountd: error: output {output.name!r}: the upload was ended by {interrupted.number.name}")
                all_safe = False
            except MountdError as error:
                self._say(f"mountd: error: output {output.name!r}: {error.message}")
                all_safe = False
        return all_safe

    async def _upload(self, output: Output) -> None:
        if not await self._lane.run(os.path.exists, output.path):
            self._say(f"mountd: warning: output {output.name!r}: the command left nothing at {output.path}")
            return
        await self._operations.upload(output.path, output.location)
        self._say(f"Uploaded output '{output.name}' to {output.location.source}.")

    async def _interruptible(self, signals: SignalRouter, body: Callable[[], Awaitable[T]]) -> T:
        """Return what `body` does; cancel it when a signal asks to end.

        Raises:
            _InterruptedError: that happened.
        """
        ending: signal.Signals | None = None
        result: list[T] = []
        with trio.CancelScope() as scope:

            def on_signal(number: signal.Signals) -> None:
                nonlocal ending
                if number in ENDING and ending is None:
                    ending = number
                    self._say(f"mountd: got {number.name}; ending")
                    scope.cancel()

            with signals.to(on_signal):
                result.append(await body())
        if ending is not None:
            raise _InterruptedError(ending)
        return result[0]
