"""Which object becomes which file: names that fit, names that do not, files beside directories."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mountd.stores.base import ObjectInfo, Page
from mountd.transfer.plan import (
    FILE_AND_DIRECTORY,
    DownloadPlan,
    PassedOver,
    PlannedDirectory,
    PlannedFile,
    Refusal,
    is_own_name,
    refusal_reason,
)
from mountd.units import ETag


def info(key, size=1):
    return ObjectInfo(key, size, 0, ETag(f'"{key}"'))


def plan_of(base, *pages):
    plan = DownloadPlan(base)
    entries = [entry for page in pages for entry in plan.feed(page)]
    return entries + list(plan.finish())


def page(*items, directories=()):
    return Page([item if isinstance(item, ObjectInfo) else info(item) for item in items], list(directories), None)


def relatives(entries):
    return {entry.relative for entry in entries if isinstance(entry, PlannedFile)}


def test_the_base_is_left_out_of_the_paths():
    assert relatives(plan_of("data/train", page("data/train/a", "data/train/sub/b"))) == {"a", "sub/b"}
    assert relatives(plan_of("", page("data/a"))) == {"data/a"}


def test_names_that_fit_are_kept_as_they_are():
    names = ["a b", "a+b", "a%25b", "a\\b", "é", ".hidden", "dot.", "...", "x" * 255, "é" * 127, "tab\there"]
    assert relatives(plan_of("", page(*sorted(names)))) == set(names)


def test_names_that_do_not_fit_are_refused_and_their_neighbours_are_not():
    bad = ["../x", "/abs", "a//b", "a/./b", "a/../b", ".", "..", "nul\0", "y" * 256, "é" * 128, "end/", "\ud800"]
    entries = plan_of("", page(*sorted([*bad, "good", "a/good"])))
    assert relatives(entries) == {"good", "a/good"}
    assert {entry.name for entry in entries if isinstance(entry, Refusal)} == set(bad)
    assert all(entry.reason for entry in entries if isinstance(entry, Refusal))


def test_names_of_unfinished_downloads_are_refused():
    assert refusal_reason("d/.x.mountd-part") is not None
    assert refusal_reason("d/.x.mountd-journal") is not None
    assert refusal_reason(".mountd-download") is not None
    assert refusal_reason("d/.mountd-download") is None
    assert refusal_reason("x.mountd-part") is None
    assert not is_own_name("x.mountd-part")


def test_a_directory_wins_over_an_object_of_its_name_also_across_pages():
    expected = {Refusal("odd", FILE_AND_DIRECTORY), PlannedFile(info("odd-1"), "odd-1")}
    one = plan_of("", page("odd", "odd-1", "odd/child", "other"))
    three = plan_of("", page("odd"), page("odd-1"), page("odd/child", "other"))
    assert expected <= set(one)
    assert set(one) == set(three)
    assert relatives(one) == {"odd-1", "odd/child", "other"}


def test_an_empty_object_beside_its_directory_is_a_marker():
    entries = plan_of("", page(info("dir", 0), "dir/child"))
    assert PassedOver("dir") in entries
    assert relatives(entries) == {"dir/child"}


def test_a_child_that_is_refused_itself_does_not_shadow():
    entries = plan_of("", page("odd", "odd//child"))
    assert relatives(entries) == {"odd"}


def test_markers_become_directories_and_shadow_too():
    entries = plan_of("", page("odd", "z", directories=["empty", "odd", "bad//name", ""]))
    assert {entry for entry in entries if isinstance(entry, PlannedDirectory)} == {
        PlannedDirectory("empty"),
        PlannedDirectory("odd"),
    }
    assert Refusal("odd", FILE_AND_DIRECTORY) in entries
    assert relatives(entries) == {"z"}


def test_the_marker_of_the_base_itself_is_no_entry():
    assert plan_of("d", page(directories=["d"])) == []


def test_a_key_listed_twice_is_planned_once_in_its_later_version():
    first, second = info("a", 1), info("a", 2)
    assert plan_of("", page(first), page(second)) == [PlannedFile(second, "a")]


def test_only_what_may_become_a_directory_is_held_back():
    plan = DownloadPlan("")
    assert relatives(plan.feed(page("a", "b", "c"))) == {"a", "b"}
    assert relatives(plan.feed(page("d"))) == {"c"}
    assert relatives(plan.finish()) == {"d"}


KEYS = st.lists(
    st.text(alphabet="ab/.-", min_size=1, max_size=6).filter(lambda key: not key.endswith("/")),
    unique=True,
    max_size=12,
)


@given(KEYS, st.lists(st.integers(0, 12), max_size=4))
def test_whatever_the_keys_and_the_pages_the_paths_can_all_exist_together(keys, cuts):
    keys = sorted(keys)
    cuts = sorted({0, *cuts, len(keys)})
    pages = [page(*keys[start:stop]) for start, stop in pairwise(cuts)]
    entries = plan_of("", *pages)
    paths = relatives(entries)
    # each object has exactly one fate
    assert len(entries) == len(keys)
    # no path is another's directory, none leaves the target
    assert not any(other.startswith(path + "/") for path in paths for other in paths)
    assert all(segment not in {"", ".", ".."} for path in paths for segment in path.split("/"))
    # and nothing is refused without need
    fits = {key for key in keys if refusal_reason(key) is None}
    assert paths == {key for key in fits if not any(other.startswith(key + "/") for other in fits)}
