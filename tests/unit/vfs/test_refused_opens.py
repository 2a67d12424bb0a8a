"""Who was refused a version is promised another, also where callers have no numbers here."""

import pytest
import trio

from mountd.tree.inodes import DirectoryNode, FileNode
from mountd.tree.listing import Entry
from mountd.vfs import refused_opens
from mountd.vfs.refused_opens import NOBODY, RefusedOpens

ROOT = DirectoryNode(1, None, b"", "")


def file(ino, name=b"file"):
    return FileNode(ino, ROOT, name, Entry(10, 0, f"v{ino}"))


def look_up_again(opens, caller, node):
    refused = opens.of(caller, 1, node.name)
    with refused.looking():
        refused.promise(node)


@pytest.fixture
def opens():
    return RefusedOpens()


@pytest.mark.parametrize("caller", [7, NOBODY])
async def test_a_promise_is_kept_once(opens, caller):
    old, new = file(2), file(3)
    opens.note(caller, old)
    assert (caller, new) in opens
    look_up_again(opens, caller, new)
    assert opens.take(caller, new)
    assert (caller, new) not in opens
    assert not opens.take(caller, new)


@pytest.mark.parametrize("caller", [7, NOBODY])
async def test_another_name_was_not_refused(opens, caller):
    opens.note(caller, file(2))
    assert opens.of(caller, 1, b"other") is None
    assert opens.of(caller, 5, b"file") is None


async def test_a_thread_that_opens_something_else_has_given_up(opens):
    opens.note(7, file(2))
    assert not opens.take(7, file(9, b"other"))
    assert (7, file(2)) not in opens


async def test_threads_without_a_number_do_not_take_each_other_s_promises(opens):
    ours, theirs = [file(2), file(3)], [file(12, b"other"), file(13, b"other")]
    opens.note(NOBODY, ours[0])
    opens.note(NOBODY, theirs[0])
    look_up_again(opens, NOBODY, ours[1])
    assert not opens.take(NOBODY, file(20, b"third"))
    look_up_again(opens, NOBODY, theirs[1])
    assert opens.take(NOBODY, theirs[1])
    assert opens.take(NOBODY, ours[1])


async def test_several_who_look_up_one_name_are_each_promised_a_version(opens):
    opens.note(NOBODY, file(2))
    refused = opens.of(NOBODY, 1, b"file")
    first, second = file(3), file(4)
    with refused.looking():  # whoever was refused
        look_up_again(opens, NOBODY, second)  # and somebody who only comes by
        assert opens.take(NOBODY, second)
        assert opens.of(NOBODY, 1, b"file") is refused, "the first one is still at it"
        refused.promise(first)
    assert opens.take(NOBODY, first)
    assert opens.of(NOBODY, 1, b"file") is None


async def test_one_version_promised_to_two_is_opened_by_both(opens):
    node = file(3)
    for _ in range(2):
        opens.note(NOBODY, file(2))
        look_up_again(opens, NOBODY, node)
    assert [opens.take(NOBODY, node) for _ in range(3)] == [True, True, False]


async def test_a_promise_that_nobody_comes_for_is_not_kept_for_long(opens, autojump_clock):
    node = file(3)
    opens.note(NOBODY, file(2))
    look_up_again(opens, NOBODY, node)
    await trio.sleep(refused_opens.PROMISE_S + 1)
    assert not opens.take(NOBODY, node)
    assert opens.of(NOBODY, 1, b"file") is None


async def test_who_was_refused_and_never_looks_up_is_forgotten(opens, autojump_clock):
    opens.note(NOBODY, file(2))
    await trio.sleep(refused_opens.FORGOTTEN_S - 1)
    assert opens.of(NOBODY, 1, b"file") is not None
    await trio.sleep(2)
    assert opens.of(NOBODY, 1, b"file") is None


async def test_they_are_not_kept_without_end(opens, monkeypatch):
    monkeypatch.setattr(refused_opens, "MOST", 3)
    for caller in range(1, 9):
        opens.note(caller, file(2))
    assert sum((caller, file(2)) in opens for caller in range(1, 9)) <= 3
