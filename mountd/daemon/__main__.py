"""`python -m mountd.daemon`: a supervisor, started by the client or by a service manager.

private DIRECTORY NAME LOG    detaches; the client's connection is its standard input
service DIRECTORY             stays in the foreground
"""

import os
import sys


def main(arguments: list[str]) -> None:
    """Run the supervisor that `arguments` ask for."""
    match arguments:
        case ["private", directory, name, log]:
            if os.fork() > 0:
                os._exit(0)  # the client waits for this process only; the supervisor is nobody's child
            _private(directory, name, log)
        case ["service", directory]:
            _service(directory)
        case _:
            raise SystemExit(f"{__doc__}")


def _private(directory: str, name: str, log: str) -> None:
    import socket  # noqa: PLC0415 - after the fork: the client is waiting
    from pathlib import Path  # noqa: PLC0415

    from mountd.daemon.program import run_private  # noqa: PLC0415
    from mountd.observe import logs  # noqa: PLC0415

    logs.configure()
    first = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    run_private(Path(directory), name, Path(log), first)


def _service(directory: str) -> None:
    from pathlib import Path  # noqa: PLC0415

    from mountd.daemon.program import run_service  # noqa: PLC0415
    from mountd.observe import logs  # noqa: PLC0415

    logs.configure()
    run_service(Path(directory))


if __name__ == "__main__":
    main(sys.argv[1:])
