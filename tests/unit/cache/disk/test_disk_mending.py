"""The disk cache over restarts and after harm to its files and its journal: it tells no lies and mends itself."""

import contextlib
import math
import os
import shutil
import socket

import pytest
from structlog.testing import capture_logs

from mountd.cache.disk import index
from mountd.cache.disk.entry import RUN
from mountd.cache.disk.index import LEAST_REWRITTEN
from mountd.cache.disk.journal import MAGIC
from mountd.cache.disk.room import Space
from mountd.errors import SetupError
from mountd.units import KIB, MIB, ByteRange
from tests.support.disk_cache import bytes_of, files_of, open_cache, piece_of, read, taken, version_of, whole

FILE = version_of("dir/file.bin", 3 * MIB + 12_345)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(path.parent):  # a path in full may be too long
        one.bind(path.name)


ALIENS = {
    "a directory": lambda path: path.joinpath("full").mkdir(parents=True),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link": lambda path: path.symlink_to("../../lock"),
    "a fifo": os.mkfifo,
    "a socket": _socket,
}


class TestRestarts:
    def test_everything_is_there_after_a_restart(self, tmp_path):
        cache = open_cache(tmp_path)
        cache.write([piece_of(FILE, 0, MIB)])
        cache.close()
        again = open_cache(tmp_path)
        assert read(again, FILE, ByteRange(0, MIB)) == bytes_of(FILE, 0, MIB)
        assert again.totals().owners == 1
        again.close()

    @pytest.mark.parametrize("garbage", [b"", b"no journal" * 1000, MAGIC, MAGIC + bytes(4)])
    def test_a_journal_that_cannot_be_read_means_a_new_beginning(self, tmp_path, garbage):
        cache = open_cache(tmp_path)
        cache.write([piece_of(FILE)])
        cache.close()
        (tmp_path / "journal").write_bytes(garbage)
        again = open_cache(tmp_path)
        assert read(again, FILE, ByteRange(0, 1)) is None
        assert not again.write([piece_of(FILE)])  # what is on the disk already is not accounted for yet
        again.compare()
        assert files_of(tmp_path) == []  # what the old index knew does not stay for ever
        assert again.write([piece_of(FILE)])
        assert read(again, FILE, whole(FILE)) == bytes_of(FILE)
        again.close()

    def test_a_journal_of_a_newer_mountd_is_left_alone(self, tmp_path):
        open_cache(tmp_path).close()
        header = MAGIC + (9).to_bytes(4, "little")
        (tmp_path / "journal").write_bytes(header)
        with pytest.raises(SetupError, match="newer mountd"):
            open_cache(tmp_path)
        assert (tmp_path / "journal").read_bytes() == header

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
    def test_a_bit_that_flips_in_the_journal_loses_what_comes_after_it_and_no_room(self, tmp_path, part):
        versions = [version_of(f"{number}", 100_000) for number in range(12)]
        cache = open_cache(tmp_path)
        for version in versions:
            cache.write([piece_of(version)])
        cache.close()
        journal = bytearray((tmp_path / "journal").read_bytes())
        journal[int(len(journal) * part)] ^= 4
        (tmp_path / "journal").write_bytes(journal)
        again = open_cache(tmp_path)
        again.maintain()
        again.compare()
        found = [read(again, version, whole(version)) for version in versions]
        assert found == sorted(found, key=lambda data: data is None)  # the first ones
        assert all(data is None or data == bytes_of(version) for data, version in zip(found, versions, strict=True))
        assert 0 < sum(data is None for data in found) <= 12
        assert len(files_of(tmp_path)) == sum(data is not None for data in found)
        assert again.totals().standing.charged >= taken(tmp_path)
        again.close()

    @pytest.mark.parametrize("length", [0, 10, 24, 60, -1])
    def test_a_journal_cut_short_under_a_process_is_noticed_and_harmless(self, tmp_path, length):
        cache, other = open_cache(tmp_path), open_cache(tmp_path)
        cache.write([piece_of(FILE)])
        other.maintain()
        os.truncate(tmp_path / "journal", length % (tmp_path / "journal").stat().st_size)
        assert read(cache, FILE, whole(FILE)) == bytes_of(FILE)
        for one in (cache, other, cache):
            one.maintain()
            one.compare()
        for one in (cache, other):
            data = read(one, FILE, whole(FILE))
            assert data is None or data == bytes_of(FILE)
        assert cache.write([piece_of(FILE)])
        other.maintain()
        assert read(other, FILE, whole(FILE)) == bytes_of(FILE)
        assert cache.totals().owners == 2
        assert cache.totals().standing.charged >= taken(tmp_path)
        cache.close()
        other.close()

    def test_a_journal_that_was_removed_under_two_processes_is_made_again_by_one(self, tmp_path):
        first, second = open_cache(tmp_path), open_cache(tmp_path)
        first.write([piece_of(FILE)])
        (tmp_path / "journal").unlink()
        second.maintain()
        second.compare()
        first.maintain()
        assert first.write([piece_of(FILE)])
        second.maintain()
        assert read(second, FILE, whole(FILE)) == bytes_of(FILE)
        assert second.totals().owners == 2
        first.close()
        second.close()

    def test_the_journal_is_rewritten_before_it_grows_long(self, tmp_path):
        cache, other = open_cache(tmp_path), open_cache(tmp_path)
        longest = 0
        for number in range(3000):
            cache._index.touch([1])
            cache.write([piece_of(version_of(f"{number % 7}", 1000))])
            longest = max(longest, (tmp_path / "journal").stat().st_size)
        assert longest <= 2 * LEAST_REWRITTEN
        other.maintain()
        version = version_of("3", 1000)
        assert read(other, version, whole(version)) == bytes_of(version)
        cache.close()
        other.close()

    def test_after_a_power_failure_files_and_index_agree_again(self, tmp_path, monkeypatch):
        cache = open_cache(tmp_path)
        other, lost = version_of("other", 100_000), version_of("lost", 100_000)
        cache.write([piece_of(FILE), piece_of(lost)])
        size = (tmp_path / "journal").stat().st_size
        cache.write([piece_of(other)])
        cache.close()
        # The end of the journal did not reach the disk, and a file did not either.
        os.truncate(tmp_path / "journal", size)
        os.unlink(cache.layout.file(cache.digest(lost)))
        monkeypatch.setattr("mountd.cache.disk.disk_cache._boot_id", lambda: "a later boot")
        again = open_cache(tmp_path)
        assert read(again, FILE, whole(FILE)) == bytes_of(FILE)
        assert not again.write([piece_of(other)])
        again.maintain()
        again.compare()
        (left,) = files_of(tmp_path)
        assert again.totals().disk == left.stat().st_blocks * 512 + 4096  # its runs may be as many extents
        assert again.totals().objects == 1
        assert again.write([piece_of(other)])
        again.close()

    def test_the_ceiling_does_not_shrink_when_a_full_cache_loses_its_index(self, tmp_path, monkeypatch):
        def disk_of_its_own(_):  # the real one is others', too
            taken = sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*") if path.is_file())
            return Space(block=4096, free=(1 << 36) - taken, free_inodes=None, inodes=0)

        monkeypatch.setattr(index, "measure", disk_of_its_own)
        first = open_cache(tmp_path, size="50%")
        before = first.first_free
        assert (1 << 36) - MIB < before <= 1 << 36
        for number in range(20):
            first.write([piece_of(version_of(f"{number}", MIB))])
        first.close()
        for path in files_of(tmp_path):  # what a file takes may be told as less while it is being brought to the disk
            with path.open("rb") as file:
                os.fsync(file.fileno())
        (tmp_path / "journal").unlink()
        again = open_cache(tmp_path, size="50%")
        again.compare()
        assert abs(again.first_free - before) < 8 * MIB
        again.close()


class TestTrouble:
    @pytest.mark.parametrize("at", [0, 65_536, MIB - 1, MIB, FILE.size - 1])
    def test_a_flipped_bit_is_a_miss_and_counted_and_mended(self, tmp_path, cache, at):
        cache.write([piece_of(FILE)])
        (path,) = files_of(tmp_path / "cache")
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))
        assert read(cache, FILE, whole(FILE)) is None
        assert cache.write([piece_of(FILE)])
        assert read(cache, FILE, whole(FILE)) == bytes_of(FILE)
        assert cache.corrupt == 1

    def test_a_file_with_many_bad_runs_is_one_line_in_the_log(self, tmp_path, cache):
        cache.write([piece_of(FILE)])
        (path,) = files_of(tmp_path / "cache")
        damaged = bytes(byte ^ 0x10 for byte in path.read_bytes())
        with capture_logs() as lines:
            for _ in range(2):
                path.write_bytes(damaged)
                runs = math.ceil(FILE.size / RUN)
                for at in range(0, FILE.size, RUN):
                    assert read(cache, FILE, ByteRange(at, min(at + RUN, FILE.size))) is None
                assert cache.write([piece_of(FILE)])
        assert [(line["file"], line["others"]) for line in lines] == [(path.name, runs - 1)] * 2
        assert all("checksum" in line["event"] for line in lines)

    def test_what_was_found_bad_is_not_forgotten_over_a_disk_in_trouble(self, tmp_path, cache, monkeypatch):
        cache.write([piece_of(FILE)])
        (path,) = files_of(tmp_path / "cache")
        path.write_bytes(bytes(FILE.size))
        assert read(cache, FILE, ByteRange(0, 1)) is None

        def fail(*_):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("mountd.cache.disk.files.os.pread", fail)
            with pytest.raises(OSError, match="Input/output"):
                cache.maintain()
        assert cache.corrupt == 0
        cache.maintain()
        assert cache.corrupt == 1

    def test_a_file_that_is_another_by_now_is_neither_corrupt_nor_taken_away(self, tmp_path, cache):
        other = open_cache(tmp_path / "cache")
        lost = version_of("lost", 100_000)
        other.write([piece_of(FILE), piece_of(lost)])
        cache.maintain()
        other.clear()
        other.write([piece_of(FILE, 2 * MIB)])
        assert read(cache, FILE, ByteRange(0, MIB)) is None  # by an index that knows of no clearing
        assert read(cache, lost, whole(lost)) is None
        other.write([piece_of(FILE, 0, 2 * MIB), piece_of(lost)])
        cache.maintain()
        assert cache.corrupt == 0
        for version in (FILE, lost):
            assert read(cache, version, whole(version)) == bytes_of(version)
        other.close()

    @pytest.mark.parametrize("harm", [os.unlink, lambda path: os.truncate(path, 100)])
    def test_a_file_that_was_tampered_with_is_a_miss_and_mended(self, tmp_path, cache, harm):
        cache.write([piece_of(FILE)])
        harm(files_of(tmp_path / "cache")[0])
        assert read(cache, FILE, ByteRange(0, MIB)) is None
        cache.maintain()
        cache.write([piece_of(FILE)])
        assert read(cache, FILE, whole(FILE)) == bytes_of(FILE)

    @pytest.mark.parametrize("alien", ALIENS)
    @pytest.mark.parametrize("work", ["read", "write", "verify", "compare"])
    def test_what_is_no_file_is_a_miss_and_makes_way(self, tmp_path, cache, alien, work):
        cache.write([piece_of(FILE, 0, MIB)])
        (path,) = files_of(tmp_path / "cache")
        path.unlink()
        ALIENS[alien](path)
        if work == "read":
            assert read(cache, FILE, ByteRange(0, MIB)) is None
            cache.maintain()
        elif work == "verify":
            assert sum(bad for _, bad in cache.verify()) == MIB // RUN
        elif work == "compare":
            (tmp_path / "cache" / "journal").unlink()
            cache.maintain()
            cache.compare()
        cache.write([piece_of(FILE, MIB)])
        assert read(cache, FILE, ByteRange(0, MIB)) is None
        cache.write([piece_of(FILE)])
        assert read(cache, FILE, whole(FILE)) == bytes_of(FILE)
        assert path.is_file()
        assert (tmp_path / "cache" / "lock").stat().st_size == 0

    def test_a_file_where_a_directory_of_files_belongs_makes_way(self, tmp_path, cache):
        cache.write([piece_of(FILE)])
        (path,) = files_of(tmp_path / "cache")
        shutil.rmtree(path.parent)
        path.parent.write_text("in the way")
        assert read(cache, FILE, ByteRange(0, MIB)) is None
        assert cache.write([piece_of(FILE)])
        assert read(cache, FILE, whole(FILE)) == bytes_of(FILE)

    @pytest.mark.parametrize("alien", ["a link", "a dangling link", "a fifo"])
    def test_a_journal_that_is_no_file_is_made_anew(self, tmp_path, cache, alien):
        cache.write([piece_of(FILE)])
        (tmp_path / "cache" / "journal").unlink()
        ALIENS[alien](tmp_path / "cache" / "journal")
        (tmp_path / "other").write_bytes(b"not ours")
        for one in (cache, open_cache(tmp_path / "cache")):
            one.maintain()
            one.compare()
            assert one.write([piece_of(FILE)])
            assert read(one, FILE, whole(FILE)) == bytes_of(FILE)
        one.close()

    @pytest.mark.parametrize("mine", [b"precious", None], ids=["another file", "the journal"])
    def test_a_journal_with_another_name_is_left_as_it_is(self, tmp_path, mine):
        cache, other = open_cache(tmp_path / "cache"), open_cache(tmp_path / "cache")
        cache.write([piece_of(FILE)])
        journal = tmp_path / "cache" / "journal"
        kept = journal.read_bytes() if mine is None else mine
        if mine is None:
            os.link(journal, tmp_path / "mine")
        else:
            (tmp_path / "mine").write_bytes(mine)
            journal.unlink()
            os.link(tmp_path / "mine", journal)
        (tmp_path / "new").write_bytes(b"mine too")
        os.link(tmp_path / "new", tmp_path / "cache" / "journal.new")
        for one in (cache, other, open_cache(tmp_path / "cache")):
            one.maintain()
            one.compare()
            assert one.write([piece_of(FILE)])
            assert read(one, FILE, whole(FILE)) == bytes_of(FILE)
            one.close()
        assert (tmp_path / "mine").read_bytes() == kept
        assert (tmp_path / "new").read_bytes() == b"mine too"

    def test_a_journal_that_got_another_name_is_left_as_it_is_when_it_is_rewritten(self, tmp_path, cache):
        cache.write([piece_of(FILE)])
        index = cache._index
        with index._changing():
            os.link(tmp_path / "cache" / "journal", tmp_path / "copy")
            kept = (tmp_path / "copy").read_bytes()
            index._rewrite()
        assert (tmp_path / "copy").read_bytes() == kept

    def test_verify_finds_every_flipped_bit(self, tmp_path, cache):
        versions = [version_of(f"{number}", 100_000) for number in range(5)]
        cache.write([piece_of(version) for version in versions])
        files = files_of(tmp_path / "cache")
        os.unlink(files[0])
        with files[1].open("r+b") as file:
            file.write(b"\0\0\0\0")
        with capture_logs() as lines:
            outcome = list(cache.verify())
        assert [line["file"] for line in lines] == [files[1].name]
        assert sum(bad for _, bad in outcome) == 2
        assert sum(good for good, _ in outcome) == 300_000
        assert sum(bad for _, bad in cache.verify()) == 0

    def test_a_write_that_fails_leaves_nothing_charged(self, tmp_path, cache, monkeypatch):
        before = cache.totals().standing.charged

        def fail(*_):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("mountd.cache.disk.files.os.pwrite", fail)
            with pytest.raises(OSError, match="Input/output"):
                cache.write([piece_of(FILE)])
        assert read(cache, FILE, ByteRange(0, 1)) is None
        assert files_of(tmp_path / "cache") == []
        assert cache.totals().standing.charged <= before + 64 * KIB  # the index's own growth
