"""The disk cache in one process: what goes in comes out, for this version only, across restarts, within its bounds."""

import contextlib
import os
import shutil
import socket
import stat
import time

import pytest

from mountd.cache.disk import room
from mountd.cache.disk.index import LEAST_REWRITTEN
from mountd.cache.disk.journal import MAGIC
from mountd.cache.disk.records import Need
from mountd.cache.disk.room import NO_CEILING, CacheLimits, Space
from mountd.errors import DeniedError, SetupError
from mountd.units import GIB, KIB, MIB, ByteRange
from tests.support.disk_cache import bytes_of, files_of, open_cache, piece_of, read, taken, version_of

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


@pytest.fixture
def cache(tmp_path):
    cache = open_cache(tmp_path / "cache")
    yield cache
    cache.close()


def whole(version):
    return ByteRange(0, version.size)


class TestBytes:
    @pytest.mark.parametrize(
        "wanted", [(0, 1), (0, FILE.size), (65_535, 65_537), (MIB - 1, 2 * MIB + 1), (FILE.size - 1, FILE.size)]
    )
    def test_any_range_of_what_went_in_comes_out(self, cache, wanted):
        assert cache.write([piece_of(FILE)])
        assert read(cache, FILE, ByteRange(*wanted)) == bytes_of(FILE, *wanted)

    def test_nothing_comes_out_where_a_byte_is_missing(self, cache):
        cache.write([piece_of(FILE, 0, MIB), piece_of(FILE, 2 * MIB)])
        assert read(cache, FILE, ByteRange(0, MIB + 1)) is None
        assert read(cache, FILE, ByteRange(2 * MIB - 1, 2 * MIB)) is None
        assert read(cache, FILE, ByteRange(2 * MIB, FILE.size)) == bytes_of(FILE, 2 * MIB)
        assert cache.gaps(FILE) == [ByteRange(MIB, 2 * MIB)]

    def test_pieces_that_overlap_serve_together(self, cache):
        cache.write([piece_of(FILE, 0, 192 * KIB)])
        cache.write([piece_of(FILE, 128 * KIB, 320 * KIB)])
        cache.write([piece_of(FILE, 64 * KIB, 128 * KIB)])
        assert read(cache, FILE, ByteRange(1, 320 * KIB)) == bytes_of(FILE, 1, 320 * KIB)

    def test_only_whole_cells_are_kept(self, cache):
        cache.write([piece_of(FILE, 1000, 200_000)])
        assert cache.gaps(FILE) == [ByteRange(0, 64 * KIB), ByteRange(192 * KIB, FILE.size)]

    def test_versions_live_side_by_side(self, cache):
        versions = [version_of("k", 70_000, number) for number in range(3)] + [version_of("k", 70_001)]
        for version in versions:
            cache.write([piece_of(version)])
        for version in versions:
            assert read(cache, version, whole(version)) == bytes_of(version)
        assert read(cache, version_of("k", 70_000, 9), ByteRange(0, 1)) is None

    def test_stores_are_told_apart(self, tmp_path, cache):
        cache.write([piece_of(FILE)])
        other = open_cache(tmp_path / "cache", store="another")
        assert read(other, FILE, ByteRange(0, 10)) is None
        other.close()

    def test_a_single_object_is_the_one_that_its_container_shows(self, tmp_path, cache):
        cache.write([piece_of(FILE)])
        single = open_cache(tmp_path / "cache", prefix="dir/")
        shown = FILE._replace(key="file.bin")
        assert read(single, shown, whole(shown)) == bytes_of(FILE)
        single.close()

    def test_a_complete_object_is_one_plain_file(self, tmp_path, cache):
        for start in range(0, FILE.size, 512 * KIB):
            assert cache.totals().complete == 0
            cache.write([piece_of(FILE, start, min(FILE.size, start + 512 * KIB))])
        (path,) = files_of(tmp_path / "cache")
        assert path.read_bytes() == bytes_of(FILE)
        assert cache.totals().complete == 1

    def test_nobody_else_may_look(self, tmp_path, cache):
        cache.write([piece_of(FILE)])
        for path in [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700

    def test_a_directory_that_others_could_enter_is_closed(self, tmp_path):
        (tmp_path / "cache").mkdir(mode=0o755)
        open_cache(tmp_path / "cache").close()
        assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700

    def test_a_directory_that_cannot_be_used(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises((DeniedError, SetupError), match="cache directory"):
            open_cache(tmp_path / "file")

    @pytest.mark.parametrize("name", ["objects/21/02f7ad8800a660208fd3ec8fa6027b", "letter.txt", "journal"])
    def test_a_directory_of_other_things_is_not_made_a_cache_and_left_as_it_is(self, tmp_path, name):
        (tmp_path / "mine").mkdir(mode=0o755)
        (tmp_path / "mine" / "HEAD").write_text("of a repository")
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
        if name == "journal":
            (tmp_path / "mine" / "HEAD").unlink()
        with pytest.raises(DeniedError, match=r"cache directory .*: holds other files \('\w+"):
            open_cache(tmp_path / "mine")
        assert path.read_text() == "precious"
        assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o755

    def test_a_link_to_a_directory_is_followed(self, tmp_path):
        (tmp_path / "scratch").mkdir(mode=0o755)
        (tmp_path / "cache").symlink_to("scratch")
        cache, other = open_cache(tmp_path / "cache"), open_cache(tmp_path / "scratch")
        cache.write([piece_of(FILE)])
        other.maintain()
        assert read(other, FILE, whole(FILE)) == bytes_of(FILE)
        assert stat.S_IMODE((tmp_path / "scratch").stat().st_mode) == 0o700
        (tmp_path / "cache").unlink()
        (tmp_path / "cache").symlink_to("elsewhere")
        assert read(cache, FILE, whole(FILE)) == bytes_of(FILE)
        cache.close()
        other.close()

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            ("nowhere", r"cache: is a link to nowhere, where no directory is; make it"),
            ("cache", r"cache: is a link to cache, where no directory is; make it"),
            ("file", r"cache, a link to .*/file: is not a directory of this user"),
            ("mine", r"cache, a link to .*/mine: holds other files \('letter'\)"),
        ],
    )
    def test_a_link_to_what_cannot_be_a_cache(self, tmp_path, target, said):
        (tmp_path / "file").write_text("")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "letter").write_text("")
        (tmp_path / "cache").symlink_to(target)
        with pytest.raises((DeniedError, SetupError), match=said):
            open_cache(tmp_path / "cache")

    def test_a_cache_in_which_somebody_left_a_note_is_one(self, tmp_path):
        open_cache(tmp_path).close()
        (tmp_path / "note").write_text("do not delete")
        open_cache(tmp_path).close()
        assert (tmp_path / "note").read_text() == "do not delete"


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
        os.unlink(cache.layout.file(cache._digest(lost)))
        monkeypatch.setattr("mountd.cache.disk.disk_cache._boot_id", lambda: "a later boot")
        again = open_cache(tmp_path)
        assert read(again, FILE, whole(FILE)) == bytes_of(FILE)
        assert not again.write([piece_of(other)])
        again.maintain()
        again.compare()
        (left,) = files_of(tmp_path)
        assert again.totals().disk == left.stat().st_blocks * 512
        assert again.totals().objects == 1
        assert again.write([piece_of(other)])
        again.close()

    def test_the_ceiling_does_not_shrink_when_a_full_cache_loses_its_index(self, tmp_path):
        first = open_cache(tmp_path, size="50%")
        before = first.first_free
        for number in range(20):
            first.write([piece_of(version_of(f"{number}", MIB))])
        first.close()
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
            assert sum(bad for _, bad in cache.verify()) == 1
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
        outcome = list(cache.verify())
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


class TestCeiling:
    def test_the_directory_never_takes_more_than_the_ceiling(self, tmp_path):
        ceiling = 8 * MIB
        cache = open_cache(tmp_path, size="8MB")
        kept = 0
        for number in range(120):
            version = version_of(f"{number}", 50_000 + 3_000 * number)
            kept += cache.write([piece_of(version)])
            assert taken(tmp_path) <= ceiling
            assert cache.totals().standing.charged >= taken(tmp_path)
        assert kept == 120
        assert cache.evicted > 60
        assert taken(tmp_path) > ceiling // 2  # it is used, too
        cache.close()

    def test_what_cannot_fit_is_refused_and_evicts_reasonably(self, tmp_path):
        cache = open_cache(tmp_path, size="1MB")
        assert not cache.write([piece_of(FILE)])
        assert taken(tmp_path) <= MIB
        cache.close()

    def test_the_least_recently_used_goes_first_whatever_the_clock_says(self, tmp_path, monkeypatch):
        cache = open_cache(tmp_path, size="7MB", prune_target=1.0)
        clock = iter(range(10**9, 0, -86_400))
        monkeypatch.setattr(time, "time", lambda: next(clock))
        versions = [version_of(f"{number}", MIB) for number in range(4)]
        for version in versions:
            cache.write([piece_of(version)])
        assert read(cache, versions[0], whole(FILE._replace(size=MIB))) is not None
        cache.maintain()
        cache.write([piece_of(version_of("a", 2 * MIB)), piece_of(version_of("b", MIB))])
        there = [read(cache, version, ByteRange(0, MIB)) is not None for version in versions]
        assert there[0] is True
        assert there[1] is False
        cache.close()

    def test_pinned_objects_stay(self, tmp_path):
        cache = open_cache(tmp_path, size="8MB")
        pinned = version_of("pinned", MIB)
        cache.write([piece_of(pinned, pinned=True)])
        for number in range(20):
            cache.write([piece_of(version_of(f"{number}", MIB))])
        assert read(cache, pinned, ByteRange(0, MIB)) == bytes_of(pinned)
        assert cache.totals().pinned == MIB
        assert cache.clear() > 1
        assert cache.totals().objects == 0
        assert files_of(tmp_path) == []
        cache.close()

    def test_a_cache_full_of_pinned_objects_refuses(self, tmp_path):
        cache = open_cache(tmp_path, size="6MB")
        outcomes = [cache.write([piece_of(version_of(f"{number}", MIB), pinned=True)]) for number in range(8)]
        assert outcomes[0] is True
        assert outcomes[-1] is False
        assert taken(tmp_path) <= 6 * MIB
        cache.close()

    def test_of_two_mounts_the_smaller_ceiling_holds(self, tmp_path):
        wide = open_cache(tmp_path, size="30MB")
        for number in range(10):
            wide.write([piece_of(version_of(f"{number}", MIB))])
        narrow = open_cache(tmp_path, size="6MB")
        narrow.maintain()
        assert taken(tmp_path) <= 6 * MIB
        wide.write([piece_of(version_of("more", MIB))])
        assert taken(tmp_path) <= 6 * MIB
        narrow.close()
        for number in range(10):
            wide.write([piece_of(version_of(f"{number}", MIB))])
        assert taken(tmp_path) > 8 * MIB
        wide.close()

    def test_room_that_one_process_has_reserved_is_not_given_to_another(self, tmp_path):
        slow, quick = open_cache(tmp_path, size="8MB"), open_cache(tmp_path, size="8MB")
        needs = [Need(slow._digest(version_of(f"s{n}", MIB)), MIB, 0, MIB) for n in range(4)]
        grants = slow._index.reserve(needs)
        assert sum(grant.reserved for grant in grants) >= 4 * MIB
        for number in range(10):  # evicts its own to make room, never what the other is about to write
            quick.write([piece_of(version_of(f"q{number}", MIB // 2))])
            assert taken(tmp_path) + 4 * MIB <= 8 * MIB
        slow._index.abandon(grants)
        for number in range(10):
            quick.write([piece_of(version_of(f"r{number}", MIB // 2))])
        assert taken(tmp_path) > 4 * MIB
        slow.close()
        quick.close()

    def test_the_reserve_of_the_disk_is_left_alone(self, tmp_path):
        found = os.statvfs(tmp_path)
        cache = open_cache(tmp_path, reserve=found.f_bavail * found.f_frsize + 64 * GIB)
        assert not cache.write([piece_of(FILE)])
        cache.close()

    @pytest.mark.parametrize(
        ("size", "ceiling", "kept_free"),
        [("10GB", 10 * GIB, GIB), ("80%", 80 * GIB, GIB), ("-20GB", NO_CEILING, 20 * GIB), ("-1MB", NO_CEILING, GIB)],
    )
    def test_ceilings_as_written(self, size, ceiling, kept_free):
        limits = CacheLimits(size=size)
        assert (limits.ceiling(100 * GIB), limits.kept_free()) == (ceiling, kept_free)

    def test_a_percentage_is_of_what_was_free_at_first_use(self, tmp_path, monkeypatch):
        first = open_cache(tmp_path, size="50%")
        ceiling = first.totals().standing.ceiling
        assert ceiling == first.first_free // 2
        first.close()
        monkeypatch.setattr(room, "measure", lambda _: Space(block=4096, free=10 * MIB, free_inodes=None, inodes=0))
        again = open_cache(tmp_path, size="50%")
        assert again.totals().standing.ceiling == ceiling
        again.close()

    def test_pruning_goes_down_to_the_target(self, tmp_path):
        cache = open_cache(tmp_path, size="16MB", prune_threshold=0.9, prune_target=0.5)
        most = 0
        for number in range(40):
            cache.write([piece_of(version_of(f"{number}", MIB // 2))])
            most = max(most, cache.totals().standing.charged)
        assert most <= 0.9 * 16 * MIB + MIB
        assert cache.evicted >= 10
        cache.close()
