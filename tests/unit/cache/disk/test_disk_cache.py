"""The disk cache in one process: what goes in comes out, for this version only, within its bounds."""

import os
import stat
import time

import pytest

from mountd.cache.disk import entry as entries
from mountd.cache.disk import files
from mountd.cache.disk.entry import REGION
from mountd.cache.disk.records import Need
from mountd.cache.disk.room import NO_CEILING, CacheLimits
from mountd.errors import DeniedError, SetupError, UsageError
from mountd.units import GIB, KIB, MIB, ByteRange
from tests.support.disk_cache import bytes_of, files_of, open_cache, piece_of, read, taken, version_of, whole

FILE = version_of("dir/file.bin", 3 * MIB + 12_345)


def runs_in(cache, version):
    """Return the runs of a version that the index has."""
    return entries.runs_of(cache._index.entry(cache.digest(version)))


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

    def test_what_former_versions_kept_in_longer_runs_is_served_and_added_to(self, cache, monkeypatch):
        with monkeypatch.context() as former:
            former.setattr(files, "RUN", REGION)
            cache.write([piece_of(FILE, 0, 2 * MIB)])
        assert [run.stop for run in runs_in(cache, FILE)] == [MIB, 2 * MIB]
        part = ByteRange(MIB + 300 * KIB, MIB + 304 * KIB)
        assert read(cache, FILE, part) == bytes_of(FILE, *part)
        cache.write([piece_of(FILE, 2 * MIB)])
        assert read(cache, FILE, whole(FILE)) == bytes_of(FILE)
        assert cache.totals().complete == 1
        assert list(cache.verify()) == [(FILE.size, 0)]
        cache.write([piece_of(FILE, MIB)])  # within a longer run: both are here, and either serves
        assert read(cache, FILE, whole(FILE)) == bytes_of(FILE)

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
        with pytest.raises(UsageError, match=r"cache directory .*/file: is not a directory; give another"):
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
            ("file", r"cache, a link to .*/file: is not a directory; give another"),
            ("mine", r"cache, a link to .*/mine: holds other files \('letter'\)"),
        ],
    )
    def test_a_link_to_what_cannot_be_a_cache(self, tmp_path, target, said):
        (tmp_path / "file").write_text("")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "letter").write_text("")
        (tmp_path / "cache").symlink_to(target)
        with pytest.raises((DeniedError, SetupError, UsageError), match=said):
            open_cache(tmp_path / "cache")

    def test_a_cache_in_which_somebody_left_a_note_is_one(self, tmp_path):
        open_cache(tmp_path).close()
        (tmp_path / "note").write_text("do not delete")
        open_cache(tmp_path).close()
        assert (tmp_path / "note").read_text() == "do not delete"


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
        needs = [Need(slow.digest(version_of(f"s{n}", MIB)), MIB, 0, MIB) for n in range(4)]
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

    def test_pruning_goes_down_to_the_target(self, tmp_path):
        cache = open_cache(tmp_path, size="16MB", prune_threshold=0.9, prune_target=0.5)
        most = 0
        for number in range(40):
            cache.write([piece_of(version_of(f"{number}", MIB // 2))])
            most = max(most, cache.totals().standing.charged)
        assert most <= 0.9 * 16 * MIB + MIB
        assert cache.evicted >= 10
        cache.close()
