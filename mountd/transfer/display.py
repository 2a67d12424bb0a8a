"""Shows a transfer's progress to people: a bar on a terminal, a line now and then elsewhere."""

from typing import TextIO

import trio

from mountd.observe.terminals import redraws
from mountd.transfer.progress import Progress, Rate, remaining_s
from mountd.units import format_duration, format_size

BAR_EVERY_S = 0.1
LINE_EVERY_S = 10.0
"""In a log file a line is for whoever comes back later and wonders whether it still moves."""

TOLD_FROM = 50
"""The time left is told once a fiftieth is done: before that it is a guess about the first connections."""


async def show(progress: Progress, verb: str, stream: TextIO) -> None:
    """Show `progress` on `stream` until cancelled.

    Args:
        progress: what to show; is only read.
        verb: starts the line: `downloading`.
        stream: a terminal that can gets a bar that removes itself at the end.
    """
    try:
        await (_show_bar if redraws(stream) else _show_lines)(progress, verb, stream)
    except (OSError, ValueError):
        await trio.sleep_forever()  # whoever looked is gone; the transfer goes on


def line(progress: Progress, verb: str, rate: float) -> str:
    """Return how far it is, on one line."""
    size = f"{format_size(progress.size_done)} of {format_size(progress.size_found)}"
    files = f"{progress.files_done} of {progress.files_found}{'' if progress.listed else '+'} files"
    parts = [f"{verb} {files}", size, f"{format_size(rate)}/s"]
    left = remaining_s(progress, rate)
    if left is not None and progress.size_done * TOLD_FROM >= progress.size_found:
        parts.append(f"{format_duration(left)} left")
    for count, what in ((progress.skipped, "skipped"), (progress.failed, "not transferred")):
        if count:
            parts.append(f"{count} {what}")
    insisting = progress.insisting()
    if insisting:
        failing = f"{len(insisting)} failing request{'' if len(insisting) == 1 else 's'}"
        parts.append(f"{failing} tried again for {insisting[0].seconds:.0f} s so far")
    return ", ".join(parts)


async def _show_lines(progress: Progress, verb: str, stream: TextIO) -> None:
    rate = Rate()
    rate.sample(trio.current_time(), progress.moved)
    while True:
        await trio.sleep(LINE_EVERY_S)
        stream.write(f"mountd: {line(progress, verb, rate.sample(trio.current_time(), progress.moved))}\n")
        stream.flush()


async def _show_bar(progress: Progress, verb: str, stream: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - 60 ms that a script does not have to wait for
    from rich.progress import BarColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    rate = Rate()
    # No refresh thread of rich's own: it would draw while the loop changes what is drawn.
    bar = Bar(
        BarColumn(bar_width=24),
        TextColumn("{task.description}", markup=False),
        console=Console(file=stream),
        auto_refresh=False,
        transient=True,
    )
    task = bar.add_task("")
    with bar:
        while True:
            text = line(progress, verb, rate.sample(trio.current_time(), progress.moved))
            total = progress.size_found if progress.listed else None
            bar.update(task, description=text, total=total, completed=min(progress.size_done, progress.size_found))
            bar.refresh()
            await trio.sleep(BAR_EVERY_S)
