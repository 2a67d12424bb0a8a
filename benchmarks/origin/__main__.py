"""`python -m benchmarks.origin`: read the set-up as one JSON line, print the port, serve until standard input ends."""

import signal
import sys

import msgspec

from benchmarks.origin.objects import Account
from benchmarks.origin.server import Server
from benchmarks.origin.settings import Setup
from benchmarks.origin.tape import Tape


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the program that started this one
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=Setup)
    account = Account(Tape(pages=setup.tape_pages))
    for dataset in setup.datasets:
        account.container(dataset.container).generate(dataset)
    server = Server(account, setup.settings, port=setup.port)
    print(server.port, flush=True)
    server.run()


if __name__ == "__main__":
    main()
