"""A transfer's result in one sentence for people, or as fields for programs. Pure."""

from typing import Any

from mountd.transfer.report import DownloadReport, TransferReport, UploadReport, printable
from mountd.units import format_duration, format_size


def as_sentence(report: TransferReport, sentence: str) -> str:
    """Return one line.

    Args:
        report: what was done.
        sentence: how it begins, with `{files}` where the number of files goes.
    """
    files = f"{report.files} file{'' if report.files == 1 else 's'} ({format_size(report.size)})"
    parts = [
        f"{sentence.replace('{files}', files, 1)} in {format_duration(report.seconds)}, {format_size(report.rate)}/s"
    ]
    if report.skipped:
        parts.append(f"{report.skipped} skipped because they exist (--overwrite replaces them)")
    if isinstance(report, DownloadReport) and report.resumed:
        parts.append(f"{report.resumed} complete from an interrupted run")
    if isinstance(report, UploadReport) and report.left_out:
        parts.append(f"{report.left_out} left out (unfinished downloads, or the target itself)")
    if report.problem_count:
        parts.append(f"{report.problem_count} not transferred")
    return "; ".join(parts)


def as_fields(report: TransferReport) -> dict[str, Any]:
    """Return the report as plain data: counts, bytes, seconds, bytes per second."""
    fields: dict[str, Any] = {
        "files": report.files,
        "bytes": report.size,
        "bytes_moved": report.moved,
        "skipped": report.skipped,
        "seconds": round(report.seconds, 3),
        "bytes_per_second": round(report.rate),
        "not_transferred": report.problem_count,
        "problems": [{"name": printable(problem.name), "reason": problem.reason} for problem in report.problems],
    }
    if isinstance(report, DownloadReport):
        fields["resumed"] = report.resumed
        fields["single_file"] = None if report.single_file is None else printable(str(report.single_file))
    if isinstance(report, UploadReport):
        fields["left_out"] = report.left_out
    return fields
