"""`scripts/bench`: run scenarios and hold them against the targets."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from benchmarks import report, scenarios
from benchmarks.bench import Bench, Datasets
from benchmarks.harness import QUIET, Result
from benchmarks.origin.process import Settings, running_origin
from benchmarks.origin.tape import LARGE_PAGES

_AS_STARTED = {name: getattr(Settings(), name) for name in Settings.__struct_fields__}


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)  # ends like Ctrl-C: mounts and processes are gone afterwards
    repeat = arguments.repeat or (1 if arguments.quick else 3)
    datasets = Datasets.of_size(quick=arguments.quick)
    results: list[Result] = []
    with (
        tempfile.TemporaryDirectory(prefix="mountd-bench-", dir=arguments.scratch) as scratch,
        running_origin(*datasets.all(), tape_pages=LARGE_PAGES) as origin,
    ):
        bench = Bench(origin, datasets, Path(scratch), repeat, arguments.patience, arguments.quiet)
        for name in arguments.names or scenarios.ALL:
            origin.control(**_AS_STARTED)
            for result in scenarios.ALL[name](bench):
                results.append(result)
                print("\n".join(report.lines(result)), end="\n\n", flush=True)
    around = report.surroundings({"names": arguments.names, "quick": arguments.quick, "repeat": repeat})
    if arguments.json:
        arguments.json.write_bytes(report.as_json(results, around) + b"\n")
    print(report.table(results))
    return 0 if all(result.reached for result in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of: {', '.join(scenarios.ALL)}")
    parser.add_argument(
        "--quick", action="store_true", help="quarter-sized data, once: to try things out, not to judge"
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds; medians are reported (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument(
        "--patience",
        type=float,
        default=0,
        metavar="S",
        help="wait so long for a quiet machine before each measurement",
    )
    parser.add_argument(
        "--quiet",
        type=float,
        default=QUIET,
        metavar="N",
        help=f"processors that others may keep busy meanwhile ({QUIET})",
    )
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where mounts and caches go (the temp dir)")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in scenarios.ALL:
            parser.error(f"no scenario {name}; there are: {', '.join(scenarios.ALL)}")
    return arguments


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
