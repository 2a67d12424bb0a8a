import trio

from mountd.daemon import program
from mountd.daemon.connection import Connection, as_stream
from mountd.daemon.program import cut_log
from mountd.daemon.supervisor import Supervisor
from mountd.wire import sockets
from mountd.wire.messages import Done, Reply, Shutdown


def lines(count):
    return b"".join(b'{"line": %d}\n' % number for number in range(count))


def test_a_short_log_is_left_alone(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(lines(10))
    cut_log(log)
    assert log.read_bytes() == lines(10)


def test_a_long_log_keeps_its_last_whole_lines_and_its_writers(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_LOG_LIMIT_BYTES", 2000)
    monkeypatch.setattr(program, "_LOG_KEPT_BYTES", 500)
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(lines(1000))
        cut_log(log)
        writer.write(b"later\n")
    kept = log.read_bytes()
    assert len(kept) <= 506
    assert kept.endswith(lines(1000)[-100:] + b"later\n")
    assert kept.startswith(b'{"line": ')


async def test_whoever_asked_for_what_ends_the_program_still_hears_the_answer(tmp_path, monkeypatch):
    asked = trio.Event()

    async def answer(self, request):
        asked.set()
        await trio.sleep(0.1)  # long enough for the program to find that its work is over
        return Done()

    monkeypatch.setattr(Supervisor, "answer", answer)

    async def work(supervisor):
        await asked.wait()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program._supervise, tmp_path, "one.sock", work, True, None)
            while not (tmp_path / "one.sock").exists():  # noqa: ASYNC110 - made by the program
                await trio.sleep(0.001)
            async with as_stream(sockets.connect(tmp_path / "one.sock", 5)) as stream:
                connection = Connection(stream, Reply)
                await connection.send(Shutdown())
                assert await connection.receive() == Done()
