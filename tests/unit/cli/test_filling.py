"""How far a mount is with what it brings to disk, as people see it who wait for that."""

import io

import pytest

from mountd.cli import filling
from mountd.observe.statistics import FillStatus


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """Return what a stream shows of three looks, 6 seconds apart."""

    def show(stream, term="xterm"):
        now = [100.0]

        def wait_filled(_mountpoint, tell, *, ticket):
            assert ticket == "t"
            for files in range(3):
                now[0] += 6
                tell(
                    FillStatus(state="downloading", files=files, files_total=4, bytes=files << 20, bytes_total=4 << 20)
                )
            return "filled"

        monkeypatch.setattr("mountd.client.filling.wait_filled", wait_filled)
        monkeypatch.setattr(filling, "monotonic", lambda: now[0])
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setenv("TERM", term)
        assert filling.wait("/mnt", "t") == "filled"
        return stream.getvalue()

    return show


def test_a_terminal_has_a_bar_that_is_gone_at_the_end(shown):
    *_, last, after = shown(Terminal()).split("\r\x1b[K")
    assert (last, after) == (f"[{'#' * 12}{'-' * 12}] downloading 2.0 MiB of 4.0 MiB, 2 of 4 files", "")


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO, "xterm"), (Terminal, "dumb"), (Terminal, "")])
def test_everything_else_has_a_line_now_and_then(shown, stream, term):
    assert shown(stream(), term) == "mountd: downloading 1.0 MiB of 4.0 MiB, 1 of 4 files\n"
