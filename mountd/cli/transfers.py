"""`mountd download` and `mountd upload`."""

import gc
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mountd.cli.workspace_option import WorkspaceOption, open_workspace
from mountd.errors import MountdError, UnsafeError, UsageError

if TYPE_CHECKING:
    from mountd.catalog.model import Location
    from mountd.transfer.progress import Progress
    from mountd.transfer.report import TransferReport

# Heavy modules are imported where they are needed: `mountd --help` stays quick.
# ruff: noqa: PLC0415

PROBLEMS_SHOWN = 20

OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace what exists; without it, what exists is skipped.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary, only errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def _path(text: str) -> Path:
    """Return `text` as a path; an empty one is a variable that is not set, more likely than the current directory."""
    if not text:
        raise UsageError("DIR or SRC is empty; write . for the current directory")
    return Path(text)


def register(app: typer.Typer) -> None:
    """Add both commands to `app`."""
    app.command("download")(download)
    app.command("upload")(upload)


def download(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to download.", show_default=False)],
    directory: Annotated[
        Path, typer.Argument(parser=_path, metavar="DIR", help="Where to; made if it is missing.", show_default=False)
    ],
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Copy a datastore, a directory of it or one file to DIR.

    An interrupted download goes on where it was when the same command is run again. The exit status is 7 if some files
    could not be transferred; they are named, and the rest is there.
    """
    location = _resolve(source, workspace, must_exist=True)
    from mountd.modes.download import download as run_download  # after the input is known to be right

    async def work(progress: "Progress") -> "TransferReport":
        return await run_download(location, directory, overwrite=overwrite, progress=progress)

    report = _run(work, "downloading", quiet=quiet)
    _print(report, "Downloaded {files} to " + str(directory), location, quiet=quiet, as_json=as_json)
    _check(report, f"download {location.source}")


def upload(
    source: Annotated[
        Path, typer.Argument(parser=_path, metavar="SRC", help="A local directory or file.", show_default=False)
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The directory in storage that gets it.", show_default=False)
    ],
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Copy the contents of the directory SRC, or the file SRC, to a directory in storage.

    For a file, a TARGET that ends in the file's own name is the object itself. The exit status is 7 if some files could
    not be transferred; they are named, and the rest is there.
    """
    if not target:
        raise UsageError("TARGET is empty; write a URI, a URL or a path")
    location = _resolve(target, workspace, must_exist=False)
    from mountd.modes.upload import upload as run_upload  # after the input is known to be right

    async def work(progress: "Progress") -> "TransferReport":
        return await run_upload(source, location, overwrite=overwrite, progress=progress)

    report = _run(work, "uploading", quiet=quiet)
    _print(report, "Uploaded {files} to " + location.source, location, quiet=quiet, as_json=as_json)
    _check(report, f"upload {source}")


def _resolve(text: str, workspace: Path | None, *, must_exist: bool) -> "Location":
    from mountd.catalog.resolve import resolve
    from mountd.observe.logs import configure

    configure()
    found = open_workspace(workspace, [text])
    return resolve(text, workspace=found, environ=os.environ, cwd=Path.cwd(), must_exist=must_exist)


def _run(work: "Callable[[Progress], Awaitable[TransferReport]]", verb: str, *, quiet: bool) -> "TransferReport":
    import trio

    from mountd.transfer.progress import Progress

    # Measured on small files: at the default threshold the collector's passes cost a tenth of the time.
    gc.set_threshold(10_000, 20, 20)
    progress = Progress()
    outcome = trio.run(_supervise, work, progress, None if quiet else verb)
    if isinstance(outcome, signal.Signals):
        again = "run the same command again to go on"
        typer.echo(f"mountd: {verb} was interrupted, {progress.files_done} files are complete; {again}", err=True)
        # At once: whoever pressed Ctrl-C waits, and taking the interpreter and its hundreds of threads down takes
        # seconds on a busy machine. All that the next run needs is in files already.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + outcome)
    return outcome


async def _supervise(
    work: "Callable[[Progress], Awaitable[TransferReport]]", progress: "Progress", verb: str | None
) -> "TransferReport | signal.Signals":
    """Return the report of `work`, or the signal that ended it."""
    import trio

    from mountd.transfer.display import show

    outcome: TransferReport | signal.Signals | MountdError | None = None
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup stays nohup
    with trio.open_signal_receiver(*heeded) as arriving:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                nonlocal outcome
                async for number in arriving:
                    outcome = outcome or signal.Signals(number)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            if verb is not None:
                nursery.start_soon(show, progress, verb, sys.stderr)
            try:
                outcome = await work(progress)
            except MountdError as error:
                outcome = error
            nursery.cancel_scope.cancel()
    if isinstance(outcome, MountdError):
        raise outcome
    assert outcome is not None
    return outcome


def _print(report: "TransferReport", sentence: str, location: "Location", *, quiet: bool, as_json: bool) -> None:
    from mountd.transfer.summary import as_fields, as_sentence

    for problem in report.problems[:PROBLEMS_SHOWN]:
        typer.echo(f"mountd: not transferred: {problem.line}", err=True)
    if report.problem_count > PROBLEMS_SHOWN:
        typer.echo(f"mountd: not transferred: {report.problem_count - PROBLEMS_SHOWN} more", err=True)
    if as_json:
        typer.echo(json.dumps({"location": location.source, **as_fields(report)}, indent=2))
    elif not quiet:
        typer.echo(as_sentence(report, sentence))


def _check(report: "TransferReport", what: str) -> None:
    if report.problem_count:
        count = "1 file was" if report.problem_count == 1 else f"{report.problem_count} files were"
        raise UnsafeError(f"{what}: {count} not transferred, as named above; mend that and run the same command again")
