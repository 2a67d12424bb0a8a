from mountd.daemon import program
from mountd.daemon.program import cut_log


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
