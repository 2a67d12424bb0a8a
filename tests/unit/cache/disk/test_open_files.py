"""Objects whose files somebody has open for longer: whoever makes room leaves them alone, and their bytes stay."""

import os

import pytest

from mountd.cache.disk.open_files import OpenFiles
from mountd.units import MIB
from tests.support.disk_cache import files_of, open_cache, piece_of, version_of, whole

CEILING = "8MiB"
OPEN, *OTHERS = [version_of(f"file{number}", MIB) for number in range(12)]


@pytest.fixture
def caches(tmp_path):
    opened = []

    def start():
        opened.append(open_cache(tmp_path, size=CEILING))
        return opened[-1]

    yield start
    for cache in opened:
        cache.close()


def fill(cache):
    """Bring more than there is room for."""
    for version in OTHERS:
        assert cache.write([piece_of(version)])


def holds(cache, version=OPEN):
    cache.maintain()
    return cache.holds(version, whole(version))


def test_the_process_that_has_it_open_does_not_evict_it(caches):
    cache = caches()
    cache.write([piece_of(OPEN)])
    cache.opened(cache.digest(OPEN))
    fill(cache)
    assert cache.evicted
    assert holds(cache)
    cache.closed(cache.digest(OPEN))
    cache.write([piece_of(OTHERS[0])])  # closing it was its last use: others go first
    cache.maintain()
    fill(cache)
    fill(cache)
    assert not holds(cache)


def test_other_processes_spare_it_from_the_next_upkeep_on(caches):
    ours, theirs = caches(), caches()
    ours.write([piece_of(OPEN)])
    ours.opened(ours.digest(OPEN))
    ours.maintain()
    fill(theirs)
    assert theirs.evicted
    assert holds(ours)
    assert theirs.clear()
    assert holds(ours), "nor does `mountd cache clear` take it away"
    ours.closed(ours.digest(OPEN))
    ours.maintain()
    assert theirs.clear() == 1
    assert not holds(ours)


def test_one_who_dies_with_it_open_keeps_nothing(caches, tmp_path):
    dying = open_cache(tmp_path, size=CEILING)
    dying.write([piece_of(OPEN)])
    dying.opened(dying.digest(OPEN))
    dying.maintain()
    dying._index.abandon_process()
    cache = caches()
    cache.maintain()
    assert cache.clear() == 1


def test_it_is_told_again_after_trouble_and_after_the_journal_was_lost(caches, tmp_path):
    ours, theirs = caches(), caches()
    ours.write([piece_of(OPEN)])
    ours.opened(ours.digest(OPEN))
    ours.maintain()
    ours.reopen()
    ours.maintain()
    assert theirs.clear() == 0
    os.unlink(tmp_path / "journal")
    ours.maintain()  # nothing is known any more: there is nothing to be spared
    ours.compare()
    ours.write([piece_of(OPEN)])
    ours.maintain()
    assert theirs.clear() == 0


def test_a_rewritten_journal_still_says_it(caches):
    ours, theirs = caches(), caches()
    ours.write([piece_of(OPEN)])
    ours.opened(ours.digest(OPEN))
    ours.maintain()
    ours._index._rewrite()
    third = caches()
    assert third.clear() == theirs.clear() == 0


def test_bytes_go_on_for_who_has_it_open_when_it_was_taken_away_before_anybody_was_told(caches, tmp_path):
    ours, theirs = caches(), caches()
    ours.write([piece_of(OPEN)])
    (path,) = files_of(tmp_path)
    with path.open("rb") as opened:
        ours.opened(ours.digest(OPEN))
        assert theirs.clear() == 1
        assert opened.read() == piece_of(OPEN).data
        assert not holds(ours)
        ours.write([piece_of(OPEN)])  # it comes back, and stays from now on
        ours.maintain()
        assert theirs.clear() == 0
    ours.closed(ours.digest(OPEN))


def test_neither_opening_nor_closing_copies_what_is_open(caches, monkeypatch):
    cache = caches()

    def copied(_):
        pytest.fail("with ten thousand open, that takes milliseconds of the loop for each of them")

    with monkeypatch.context() as patching:
        patching.setattr(OpenFiles, "now", property(copied))
        cache.opened(1)
        cache.opened(1)
        cache.opened(2)
        cache.closed(1)
        cache.closed(2)
    assert cache.open_files.now == {1}
