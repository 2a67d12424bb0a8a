"""What is a scan of a directory and what is not, and how far it is looked ahead."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.vfs.scans import BEFORE, FIRST_WINDOW, LARGEST_WINDOW, MOST_OF_THEM, MOST_SCANS, SLACK, Scans

COUNT = 2000


def drive(scans, places, *, stalled=lambda place: True, largest=LARGEST_WINDOW):
    """Return every place that was to be fetched, in order, given opens of `places`."""
    fetched = []
    for place in places:
        fetched += scans.observe(place, stalled=stalled(place), largest=largest)
    return fetched


def test_a_scan_from_the_start_is_noticed_soon_and_everything_after_is_fetched_once():
    fetched = drive(Scans(), range(COUNT))
    assert fetched[0] == MOST_OF_THEM + 1
    assert fetched == list(range(fetched[0], fetched[-1] + 1))
    assert fetched[-1] == COUNT - 1 + LARGEST_WINDOW


def test_the_window_grows_from_small_to_large_and_only_while_opens_wait():
    scans = Scans()
    before = drive(scans, range(500), stalled=lambda _: False)
    assert before[-1] == 499 + FIRST_WINDOW
    after = drive(scans, range(500, 700))
    assert after[-1] == 699 + LARGEST_WINDOW


@pytest.mark.parametrize("largest", [1, 5, 64])
def test_large_files_have_a_smaller_window(largest):
    assert drive(Scans(), range(500), largest=largest)[-1] == 499 + largest


def test_workers_that_share_a_scan_are_a_little_out_of_order():
    draw = random.Random(1)
    places = sorted(range(COUNT), key=lambda place: place + draw.uniform(0, 12))
    fetched = drive(Scans(), places)
    assert len(fetched) == len(set(fetched))
    assert len(set(fetched) & set(range(COUNT))) > 0.85 * COUNT


@pytest.mark.parametrize("workers", [2, 8])
def test_workers_with_batches_of_their_own_are_scans_of_their_own(workers):
    batch, opened, ahead, useful = 64, set(), set(), 0
    scans = Scans()
    for first in range(0, 64 * COUNT, batch * workers):
        for place in range(first, first + batch):
            for worker in range(workers):
                at = place + worker * batch
                useful += at in ahead
                opened.add(at)
                ahead.update(scans.observe(at, stalled=at not in ahead))
        if len(opened) > 4 * COUNT:
            break
    assert useful > 0.9 * len(opened)
    assert len(ahead - opened) < 0.2 * len(opened)


@pytest.mark.parametrize("seed", range(20))
def test_opens_in_no_order_fetch_next_to_nothing(seed):
    places = list(range(COUNT))
    random.Random(seed).shuffle(places)
    assert len(drive(Scans(), places)) <= 2 * FIRST_WINDOW


@pytest.mark.parametrize("count", [10, 20, 30, 50, 100, 200])
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_a_part_of_a_small_directory_in_no_order_is_about_what_is_fetched(count, part):
    """Where all files were opened lately, those before one prove nothing by themselves."""
    asked = unread = 0
    for seed in range(60):
        places = random.Random(seed).sample(range(count), int(count * part))
        fetched = {place for place in drive(Scans(), places) if place < count}
        asked += len(places)
        unread += len(fetched - set(places))
    assert unread <= 0.02 * asked


@pytest.mark.parametrize("step", [2, 3, 4, 10, 16])
def test_every_nth_file_is_no_scan(step):
    assert drive(Scans(), range(0, COUNT, step)) == []


def test_a_scan_that_becomes_sparse_ends():
    scans = Scans()
    drive(scans, range(100))
    assert len(drive(scans, range(100, COUNT, 10))) <= BEFORE


def test_backwards_is_no_scan():
    assert drive(Scans(), range(COUNT, 0, -1)) == []


def test_what_was_refused_is_asked_for_again_with_a_smaller_window():
    scans = Scans()
    ahead = drive(scans, range(200))
    top = ahead[-1]
    scans.refused(top - 9)
    again = drive(scans, range(200, 260), stalled=lambda _: False)
    assert again[0] >= top - 9
    assert again[-1] == 259 + LARGEST_WINDOW // 2
    for _ in range(20):
        scans.refused(10**6)
    assert drive(scans, range(260, 400), stalled=lambda _: False)[-1] == 399 + 1


@given(
    st.lists(
        st.one_of(
            st.integers(0, 300).map(lambda first: list(range(first, first + 20))),
            st.lists(st.integers(0, 300), max_size=20),
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_nothing_behind_the_reader_and_nothing_far_away(runs, stalled):
    scans = Scans()
    for place in [place for run in runs for place in run]:
        ahead = scans.observe(place, stalled=stalled)
        if ahead:
            assert place < ahead.start + SLACK
            assert ahead.stop <= place + SLACK + 1 + LARGEST_WINDOW
            assert ahead.start > place - SLACK
        assert len(scans._scans) <= MOST_SCANS
