"""A ceiling in percent: of the most that was free while the cache was empty, in every process the same."""

import copy
import os

import pytest

from mountd.cache.disk import index
from mountd.cache.disk.records import Need
from mountd.cache.disk.room import Space
from mountd.modes.cache import clear
from mountd.units import GIB, KIB, MIB
from tests.support.disk_cache import open_cache, piece_of, read, version_of, whole

FILE, SECOND = version_of("dir/file.bin", MIB), version_of("second", MIB)


@pytest.fixture
def disk(monkeypatch):
    """Say what the disk has free, whatever is written to it."""

    def says(free, free_inodes=None):
        inodes = 0 if free_inodes is None else 1000
        monkeypatch.setattr(index, "measure", lambda _: Space(4096, free, free_inodes, inodes))

    return says


def ceiling(cache):
    return cache.totals().standing.ceiling


def check_journal(path, cache):
    """Who reads the journal from its start knows what `cache` does."""
    cache.maintain()
    other = open_cache(path, size="50%")
    ours, theirs = cache._index._state, other._index._state
    assert (theirs.first_free, theirs.begin.most_objects) == (ours.first_free, ours.begin.most_objects)
    assert {number: theirs.owners[number] for number in ours.owners} == ours.owners
    assert theirs.next_owner == ours.next_owner + 1
    other.close()


def test_what_became_free_while_something_is_in_it_changes_nothing(tmp_path, disk):
    disk(40 * MIB)
    cache = open_cache(tmp_path, size="50%")
    cache.write([piece_of(FILE)])
    cache.close()
    for free in (10 * MIB, GIB):
        disk(free)
        again = open_cache(tmp_path, size="50%")
        again.maintain()
        assert again.totals().standing.free == free
        assert ceiling(again) == 20 * MIB
        again.close()


def test_less_free_while_it_is_empty_changes_nothing(tmp_path, disk):
    disk(40 * MIB)
    cache = open_cache(tmp_path, size="50%")
    disk(200 * KIB)  # less than the journal and the directories are charged with
    cache.maintain()
    again = open_cache(tmp_path, size="50%")
    assert ceiling(cache) == ceiling(again) == 20 * MIB
    cache.close()
    again.close()


@pytest.mark.parametrize("free", [0, 500 * KIB])
def test_a_cache_made_on_a_full_disk_is_of_use_once_there_is_room(tmp_path, disk, free):
    disk(free)
    cache = open_cache(tmp_path, size="50%")
    assert not cache.write([piece_of(FILE)])
    disk(GIB)
    cache.maintain()
    assert ceiling(cache) == GIB // 2
    assert cache.write([piece_of(FILE)])
    check_journal(tmp_path, cache)
    cache.close()
    disk(10 * GIB)
    again = open_cache(tmp_path, size="50%")
    assert ceiling(again) == GIB // 2
    assert read(again, FILE, whole(FILE)) is not None
    again.close()


def test_two_processes_leave_a_journal_of_a_full_disk_alone(tmp_path, disk):
    disk(0)
    first, second = open_cache(tmp_path, size="50%"), open_cache(tmp_path, size="50%")
    inode = os.stat(tmp_path / "journal").st_ino
    first.maintain()
    second.maintain()
    assert os.stat(tmp_path / "journal").st_ino == inode
    assert first.totals().owners == second.totals().owners == 2
    first.close()
    second.close()


def test_the_next_mount_of_an_empty_cache_finds_the_room(tmp_path, disk):
    disk(500 * KIB)
    open_cache(tmp_path, size="50%").close()
    disk(GIB)
    again = open_cache(tmp_path, size="50%")
    assert ceiling(again) == GIB // 2
    again.close()


def test_clearing_lets_mounts_that_live_find_the_room(tmp_path, disk):
    disk(10 * MIB)
    half, fifth = open_cache(tmp_path, size="50%"), open_cache(tmp_path, size="20%")
    half.write([piece_of(version_of("small", 1000))])
    disk(GIB)
    half.maintain()
    assert ceiling(half) == 2 * MIB
    assert clear(str(tmp_path)) == 1
    half.maintain()
    assert half.first_free == GIB
    assert ceiling(half) == 2 * MIB  # the other has not looked yet, and its ceiling is the smallest
    fifth.maintain()
    half.maintain()
    assert ceiling(half) == ceiling(fifth) == GIB // 5
    half.close()
    fifth.close()


def test_what_a_process_has_reserved_and_wants_outlives_a_new_ceiling(tmp_path, disk):
    disk(0)
    cache, other = open_cache(tmp_path, size="50%"), open_cache(tmp_path, size="50%")
    other.want(5 * MIB, b"what", True)
    disk(GIB)
    cache.maintain()
    other.maintain()
    grants = other._index.reserve([Need(other.digest(FILE), MIB, 0, MIB), Need(other.digest(SECOND), MIB, 0, MIB)])
    with other._index._changing():
        number, state = other._index._number, other._index._state
        before = copy.deepcopy(state.owners[number])
        other._index._say(state.joining(number, before.ceiling))
        assert state.owners[number] == before
        assert (before.reserved, before.files, len(before.held)) == (sum(one.reserved for one in grants), 2, 2)
    cache.maintain()
    assert cache._index._state.owners[number] == before
    assert (before.ceiling, before.wanted, before.what, before.filling) == (GIB // 2, 5 * MIB, b"what", True)
    other._index.abandon(grants)
    cache.maintain()
    assert cache.totals().standing.charged < MIB
    cache.close()
    other.close()


def test_inodes_that_became_free_count_as_well(tmp_path, disk):
    disk(GIB, free_inodes=0)
    cache = open_cache(tmp_path, size="50%")
    assert not cache.write([piece_of(FILE)])
    disk(GIB, free_inodes=900)
    assert cache.write([piece_of(FILE)])
    check_journal(tmp_path, cache)
    cache.close()


def test_an_empty_cache_on_a_busy_disk_says_nothing_of_every_block(tmp_path, disk):
    disk(GIB)
    cache = open_cache(tmp_path, size="50%")
    before = (tmp_path / "journal").stat().st_size
    for number in range(20):
        disk(GIB + number * 4096)
        cache.maintain()
    assert (tmp_path / "journal").stat().st_size == before
    cache.close()
