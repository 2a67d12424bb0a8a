"""What is in flight follows the link; what is shown follows what happened."""

import io

import pytest
import trio

from mountd.errors import NoRoomError, UnsafeError
from mountd.stores.guarded import InFlight
from mountd.transfer.display import LINE_EVERY_S, line, show
from mountd.transfer.in_flight import FIRST_BYTES, BytesInFlight
from mountd.transfer.limits import TransferLimits
from mountd.transfer.progress import Progress, Rate, remaining_s
from mountd.transfer.report import PROBLEMS_KEPT, DownloadReport, Problem, Problems, printable
from mountd.transfer.summary import as_fields, as_sentence
from mountd.units import MIB


async def carry(in_flight, seconds, rounds, count=8 * MIB, workers=64):
    async def work():
        for _ in range(rounds):
            async with in_flight.carry(count):
                await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work)


async def test_a_quick_link_gets_the_whole_ceiling(autojump_clock):
    in_flight = BytesInFlight(TransferLimits())
    assert in_flight.granted_at_most == FIRST_BYTES
    await carry(in_flight, 0.02, 2)
    assert in_flight.granted_at_most == in_flight.peak == 256 * MIB


async def test_a_slow_link_carries_the_long_parts_of_a_huge_file_to_the_end(autojump_clock):
    """A file of a terabyte goes in parts that are longer than a range; the pace must leave room for one."""
    in_flight = BytesInFlight(TransferLimits())
    with trio.fail_after(100_000):
        await carry(in_flight, 30, 8, count=24 * MIB, workers=16)


async def test_a_slow_link_gets_few_ranges_at_once_and_they_stay_short(autojump_clock):
    in_flight = BytesInFlight(TransferLimits())
    shortest_s = 8.0  # of one range alone: 1 MiB/s
    active, longest = 0, []

    async def work():
        nonlocal active
        for _ in range(4):
            async with in_flight.carry(8 * MIB):
                active += 1
                began, done = trio.current_time(), 0.0
                while done < shortest_s:
                    await trio.sleep(0.5)
                    done += 0.5 / active
                active -= 1
                longest.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(32):
            nursery.start_soon(work)
    assert in_flight.granted_at_most <= 16 * MIB
    assert max(longest) < 45
    assert sorted(longest)[len(longest) // 2] <= 17


async def test_more_than_the_ceiling_is_refused(autojump_clock):
    in_flight = BytesInFlight(TransferLimits())
    with pytest.raises(NoRoomError):
        async with in_flight.carry(257 * MIB):
            pass
    async with in_flight.carry(256 * MIB):
        pass


def test_a_rate_covers_the_recent_past():
    rate = Rate()
    assert rate.sample(0, 0) == 0
    assert rate.sample(1, 100) == 100
    for second in range(2, 30):
        rate.sample(second, 100 + 10 * second)
    assert rate.sample(30, 400) == 10
    for second in range(31, 45):
        shown = rate.sample(second, 400)
    assert shown == 0


def test_the_time_left_is_known_once_all_is_listed():
    progress = Progress()
    progress.found(1000)
    progress.kept(400)
    assert remaining_s(progress, 100) is None
    progress.listed = True
    assert remaining_s(progress, 100) == 6
    assert remaining_s(progress, 0) is None


async def test_without_a_terminal_a_line_comes_now_and_then(autojump_clock):
    stream, progress = io.StringIO(), Progress()
    progress.found(4 * MIB)
    progress.received(MIB)
    progress.kept(MIB)
    with trio.move_on_after(LINE_EVERY_S * 2.5):
        await show(progress, "downloading", stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("mountd: downloading 0 of 1+ files, 1.0 MiB of 4.0 MiB")


class Terminal(io.StringIO):
    def isatty(self):
        return True


async def test_a_terminal_that_only_appends_gets_lines(autojump_clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream, progress = Terminal(), Progress()
    progress.found(4 * MIB)
    with trio.move_on_after(LINE_EVERY_S * 1.5):
        await show(progress, "downloading", stream)
    assert stream.getvalue().splitlines() == ["mountd: downloading 0 of 1+ files, 0 B of 4.0 MiB, 0 B/s"]


async def test_a_terminal_gets_a_bar(autojump_clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream, progress = Terminal(), Progress()
    progress.found(4 * MIB)
    progress.listed = True
    with trio.move_on_after(1):
        await show(progress, "downloading", stream)
    assert "downloading 0 of 1 files" in stream.getvalue()


async def test_a_reader_that_went_away_ends_no_transfer(autojump_clock):
    class Gone(io.StringIO):
        def write(self, _text):
            raise BrokenPipeError

    with trio.move_on_after(LINE_EVERY_S * 3) as scope:
        await show(Progress(), "downloading", Gone())
    assert scope.cancelled_caught


def test_the_line_names_what_was_not_transferred():
    progress = Progress(skipped=2, failed=3, listed=True)
    assert line(progress, "uploading", 0.0).endswith("2 skipped, 3 not transferred")


def test_a_transfer_that_stands_still_says_why():
    progress = Progress()
    assert "tried again" not in line(progress, "downloading", 0.0)
    progress.watch(lambda: [InFlight("list", "", 41.2, 7), InFlight("read", "a", 3.0, 1)])
    assert line(progress, "downloading", 0.0).endswith("1 failing request tried again for 41 s so far")


def test_the_time_left_is_no_guess():
    progress = Progress(files_found=2, size_found=1000, size_done=19, listed=True)
    assert "left" not in line(progress, "downloading", 10.0)
    progress.kept(1)
    assert "10 s left" in line(progress, "downloading", 98.0)


def report(**changes):
    values = {
        "files": 2,
        "size": 3 * MIB,
        "moved": 2 * MIB,
        "skipped": 0,
        "missing_count": 0,
        "resumed": 0,
        "seconds": 2.0,
        "problem_count": 0,
        "problems": (),
        "single_file": None,
    }
    return DownloadReport(**(values | changes))


def test_the_summary_says_all_that_happened_and_no_more():
    assert as_sentence(report(), "Downloaded {files} to D") == "Downloaded 2 files (3.0 MiB) to D in 2.0 s, 1.0 MiB/s"
    full = as_sentence(report(files=1, skipped=4, resumed=5, problem_count=6), "Downloaded {files} to D")
    assert full.startswith("Downloaded 1 file (3.0 MiB) to D")
    assert "4 skipped" in full
    assert "5 complete from an interrupted run" in full
    assert full.endswith("6 not transferred")


def test_the_fields_hold_the_same():
    fields = as_fields(report(problem_count=1, problems=(Problem(name="a\nb", reason="r"),)))
    assert fields["files"] == 2
    assert fields["bytes"] == 3 * MIB
    assert fields["bytes_per_second"] == MIB
    assert fields["problems"] == [{"name": "a\\nb", "reason": "r"}]


def test_an_incomplete_transfer_is_unsafe():
    report().check_complete("download of x")
    with pytest.raises(UnsafeError, match="download of x is not complete: a: r and 2 more"):
        report(problem_count=3, problems=(Problem(name="a", reason="r"),)).check_complete("download of x")


@pytest.mark.parametrize(
    ("name", "reason", "line"),
    [
        ("a/f.txt", "dd:1: a/f.txt: was replaced; make it anew", "dd:1: a/f.txt: was replaced; make it anew"),
        ("a/f.txt", "read data/a/f.txt: no permission", "read data/a/f.txt: no permission"),
        ("f.txt", "f.txt: why", "f.txt: why"),
        ("f.txt", "why: for no reason", "f.txt: why: for no reason"),
        ("f.txt", "read of.txt: why", "f.txt: read of.txt: why"),
        ("a\nb", "why", "a\\nb: why"),
    ],
)
def test_a_problem_names_its_file_once(name, reason, line):
    assert Problem(name=name, reason=reason).line == line


def test_a_million_problems_are_counted_and_not_kept():
    problems = Problems()
    for number in range(PROBLEMS_KEPT + 5):
        problems.add(str(number), "r")
    assert problems.count == PROBLEMS_KEPT + 5
    assert len(problems.kept) == PROBLEMS_KEPT


def test_names_are_printed_on_one_line_whatever_is_in_them():
    assert printable("é b") == "é b"
    assert printable("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"
