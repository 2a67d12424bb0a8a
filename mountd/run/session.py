"""One run from beginning to end: inputs, command, outputs, and everything taken down again.

The order of events is the contract: inputs side by side, then the command, then outputs (also of a command that
failed, if only it ran), then unmounting. Invariants:

- Whatever happens, a mount that was made is unmounted: a mount under way is taken to its end even while the run is
  being cancelled, and taking down is shielded from cancellation and from every signal but SIGKILL.
- The lines said are those that people know from Azure ML's job logs, where they fit.
- Only unexpected faults leave as an exception: what went wrong is said, and is in the outcome.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import trio

from mountd.aio.threads import Lane
from mountd.errors import MountdError, UnsafeError
from mountd.observe.redaction import redact
from mountd.run.child import Command
from mountd.run.environment import Mode, Presented, published_variables
from mountd.run.expand import Expander
from mountd.run.failures import ERROR_MARK, PreparationError
from mountd.run.guard import GRACE_S, RunGuard
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    exit_status: int
    error: str | None = None
    """Why it did not do what it was to do, one line."""
    canceled: bool = False
    """Whether that was somebody's wish."""


class Watcher(Protocol):
    """Is told how far a run is; each call may take as long as a small file takes to write."""

    async def running(self, presented: Sequence[Presented]) -> None:
        """Inputs are ready and the command is about to start."""

    async def finalizing(self) -> None:
        """The command is over, and outputs are about to be uploaded."""

    async def is_canceled(self) -> bool:
        """Whether somebody wants the run to end, and not only its command to hear of a signal."""

    async def keep_alive(self) -> None:
        """Say now and then that the run is alive; is cancelled when it is over."""


async def run_session(
    plan: RunPlan,
    *,
    operations: DataOperations,
    environment: Mapping[str, str],
    say: Callable[[str], None],
    watcher: Watcher | None = None,
    output: int | None = None,
    prepare: Callable[[], Awaitable[None]] | None = None,
    guard: RunGuard | None = None,
) -> Outcome:
    """Carry out `plan` and return how it ended.

    Args:
        plan: what to do.
        operations: how data gets here and away.
        environment: what the command would see without mountd.
        say: takes each line of the run's own log.
        watcher: is told how far the run is.
        output: a descriptor for what the command writes; its own terminal or pipes if left out.
        prepare: is done before the inputs, and fails the run if it raises a MountdError.
        guard: ends the command if this process is killed.
    """
    session = _Session(plan, operations, environment, lambda line: say(redact(line)), watcher, output, prepare, guard)
    async with routed_signals() as signals, trio.open_nursery() as nursery:
        if watcher is not None:
            nursery.start_soon(watcher.keep_alive)
        try:
            outcome = await session.work(signals)
        finally:
            with trio.CancelScope(shield=True):  # every step in there has its own deadline
                failure = await session.take_down(signals)
        nursery.cancel_scope.cancel()
    if failure is not None and outcome.exit_status == 0:
        return Outcome(failure.exit_code, failure.message)
    return outcome


class _Session:
    def __init__(
        self,
        plan: RunPlan,
        operations: DataOperations,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        watcher: Watcher | None,
        output: int | None,
        prepare: Callable[[], Awaitable[None]] | None,
        guard: RunGuard | None,
    ) -> None:
        self._plan = plan
        self._operations = operations
        self._environment = environment
        self._say = say
        self._watcher = watcher
        self._output = output
        self._prepare_first = prepare
        self._guard = guard
        self._lane = Lane("run", 16)
        self._inputs = Inputs(plan, operations, self._lane, say)
        self._command: Command | None = None
        self._troubles: list[str] = []
        """What the command got errors for from its inputs."""

    async def work(self, signals: SignalRouter) -> Outcome:
        """Do everything but the taking down; return how it went."""
        try:
            presented = await self._interruptible(signals, self._prepare)
            status = await self._call(presented, signals)
        except _InterruptedError as interrupted:
            why = f"ended by {interrupted.number.name} before the command was started"
            self._say(f"mountd: {why}")
            return Outcome(128 + interrupted.number, why, canceled=True)
        except MountdError as error:
            self._say(f"{ERROR_MARK}{error.message}")
            return Outcome(error.exit_code, error.message)
        if self._watcher is not None:
            await self._watcher.finalizing()
        unsafe = await self._upload_all(signals)
        return self._outcome(status, unsafe)

    async def take_down(self, signals: SignalRouter) -> MountdError | None:
        """Leave nothing mounted; return what is wrong if that did not work."""

        def on_signal(number: signal.Signals) -> None:
            if number in ENDING:
                self._say(f"mountd: got {number.name}; ending anyway, once everything is unmounted")

        with signals.to(on_signal):
            failure = await self._inputs.take_down(self._command)
        for trouble in self._troubles:  # at the end of the log, where people look
            self._say(f"{ERROR_MARK}{trouble}")
        return failure

    def _outcome(self, status: int, unsafe: str | None) -> Outcome:
        """Return how a run ended whose command was started: its `status` wins over what is wrong with outputs."""
        command = self._command
        error = unsafe
        if command is not None and command.timed_out:
            error = f"the command was ended: its time limit of {self._plan.timeout_s:g} s was over"
        elif command is not None and command.asked_by is not None:
            return Outcome(status, f"ended by {command.asked_by.name}", canceled=True)
        elif command is not None and command.ended_by is not None:
            error = f"the command was ended by {command.ended_by}"
        elif status != 0:
            error = f"the command ended with exit status {status}"
        if error is not None and self._troubles:
            error = "; ".join([error, *self._troubles])
        return Outcome(status or (UnsafeError.exit_code if unsafe else 0), error)

    async def _prepare(self) -> list[Presented]:
        if self._prepare_first is not None:
            await self._prepare_first()
        for output in self._plan.outputs:
            directory = output.path if output.is_directory else output.path.parent
            try:
                await self._lane.run(partial(directory.mkdir, parents=True, exist_ok=True))
            except OSError as error:
                raise PreparationError(f"output {output.name!r}: {directory}: {error.strerror}") from error
        self._say_of_job("Initialize DatasetContextManager.", "Enter __enter__ of DatasetContextManager")
        presented = await self._inputs.present()
        self._say_of_job("Exit __enter__ of DatasetContextManager", "Entering Run History Context Manager.")
        presented += self._plan.passed_on
        return presented + [
            Presented(name=output.name, mode=Mode.UPLOAD, path=str(output.path)) for output in self._plan.outputs
        ]

    async def _call(self, presented: list[Presented], signals: SignalRouter) -> int:
        plan = self._plan
        variables = published_variables(presented, self._environment)
        expander = Expander(presented, variables, plan.literals)
        self._say(f"Current directory:  {plan.cwd}")
        self._say(f"Preparing to call script {_shown(plan.command, plan)}")
        words = [expander.expand(word) for word in plan.command[: -1 if plan.is_shell_line else None]]
        if plan.is_shell_line:
            words.append(expander.expand_line(plan.command[-1]))
        self._say(f"After variable expansion, calling script {_shown(words, plan)}")
        self._say_of_job("", "Script type = None")
        if self._watcher is not None:
            await self._watcher.running(presented)
        self._command = await Command.start(
            words, {**self._environment, **variables}, cwd=plan.cwd, output=self._output
        )
        if self._guard is not None:
            self._guard.watch(self._command.group)
        status = await self._command.wait(signals, timeout_s=plan.timeout_s, grace=self._grace_s)
        if self._command.timed_out:
            self._say(f"mountd: the command was asked to end: its time limit of {plan.timeout_s:g} s was over")
        if self._command.ended_by is not None:
            self._say(f"mountd: the command was ended by {self._command.ended_by}")
        if status != 0 and self._command.asked_by is None:
            self._troubles = await self._inputs.troubles()  # while the mounts are there to be asked
        return status

    async def _grace_s(self) -> float | None:
        """Return how long the command may take to end now that it was asked to; None: for as long as it likes."""
        canceled = self._watcher is not None and await self._watcher.is_canceled()
        return GRACE_S if self._plan.grace_s is None and canceled else self._plan.grace_s

    async def _upload_all(self, signals: SignalRouter) -> str | None:
        """Return what is wrong unless every output that is there has arrived."""
        unsafe: str | None = None
        for output in self._plan.outputs:
            self._say(f"Uploading output '{output.name}'.")
            try:
                await self._interruptible(signals, partial(self._upload, output))
                continue
            except _InterruptedError as interrupted:
                reason = f"the upload was ended by {interrupted.number.name}"
            except MountdError as error:
                reason = error.message
            self._say(f"{ERROR_MARK}output {output.name!r}: {reason}")
            unsafe = unsafe or f"output {output.name!r}: {reason}"
        return unsafe

    async def _upload(self, output: Output) -> None:
        places = [output.path] if output.otherwise is None else [output.path, output.otherwise]
        for path in places:
            if await self._lane.run(os.path.exists, path):
                files = await self._operations.upload(
                    path, output.location, overwrite=output.overwrite, globs=output.globs
                )
                if not files:
                    break
                self._say(f"Uploaded output '{output.name}' to {output.location.source}.")
                return
        matching = f" that matches {', '.join(output.globs)}" if output.globs else ""
        self._say(f"mountd: warning: output {output.name!r}: the command left nothing at {output.path}{matching}")

    def _say_of_job(self, *lines: str) -> None:
        if self._plan.has_job_log:
            for line in lines:
                self._say(line)

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


def _shown(words: Sequence[str], plan: RunPlan) -> str:
    program, *arguments = words[plan.shown_from :]
    return f"[ {program} ] with arguments: {arguments}"
