"""Inodes: one for a version of a name, for as long as it is known to anybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.tree.inodes import ROOT, DirectoryNode, FileNode, InodeTable
from mountd.tree.listing import A_DIRECTORY, Entry


def a_file(etag, size=1):
    return Entry(size, 0, etag)


@pytest.fixture
def table():
    return InodeTable("top")


def test_the_root_is_always_there(table):
    assert table.root.ino == ROOT
    assert table.root.key == "top"
    table.forget(ROOT, 5)
    table.hold(table.root)
    table.let_go(table.root)
    assert table.get(ROOT) is table.root
    assert len(table) == 1


def test_keys_follow_the_parents(table):
    directory = table.adopt(table.root, b"d\xff", A_DIRECTORY)
    assert directory.key == "top/d\udcff"
    assert table.adopt(directory, b"f", a_file("1")).key == "top/d\udcff/f"


def test_the_same_version_keeps_its_inode(table):
    node = table.adopt(table.root, b"f", a_file("1"))
    assert table.adopt(table.root, b"f", a_file("1")) is node
    assert table.changed_objects == 0


@pytest.mark.parametrize("entry", [a_file("2"), a_file("1", size=2)])
def test_another_version_gets_another_inode(table, entry):
    old = table.adopt(table.root, b"f", a_file("1"))
    old.lookups = 1
    new = table.adopt(table.root, b"f", entry)
    assert new.ino != old.ino
    assert (old.stale, new.stale) == (True, False)
    assert table.get(old.ino) is old
    assert table.root.children == {b"f": new}
    assert table.changed_objects == 1


def test_a_file_becomes_a_directory_and_a_file_again(table):
    first = table.adopt(table.root, b"x", a_file("1"))
    first.lookups = 1
    second = table.adopt(table.root, b"x", A_DIRECTORY)
    assert isinstance(second, DirectoryNode)
    assert table.adopt(table.root, b"x", A_DIRECTORY) is second
    second.lookups = 1
    third = table.adopt(table.root, b"x", a_file("1"))
    assert isinstance(third, FileNode)
    assert len({first.ino, second.ino, third.ino}) == 3
    assert first.stale
    assert not third.stale
    assert len(table) == 4


def test_a_node_leaves_with_its_last_lookup_and_handle(table):
    node = table.adopt(table.root, b"f", a_file("1"))
    node.lookups = 3
    table.hold(node)
    table.forget(node.ino, 2)
    assert table.get(node.ino) is node
    table.forget(node.ino, 1)
    assert table.get(node.ino) is node, "it is open"
    table.let_go(node)
    assert table.get(node.ino) is None
    assert table.root.children == {}
    table.forget(node.ino, 1)  # the kernel is late: nothing happens


def test_a_replaced_node_does_not_take_its_successor_along(table):
    old = table.adopt(table.root, b"f", a_file("1"))
    old.lookups = 1
    new = table.adopt(table.root, b"f", a_file("2"))
    new.lookups = 1
    table.forget(old.ino, 1)
    assert table.get(old.ino) is None
    assert table.root.children == {b"f": new}


def test_a_node_nobody_was_told_of_leaves_when_it_is_replaced_or_dropped(table):
    first = table.adopt(table.root, b"f", a_file("1"))
    second = table.adopt(table.root, b"f", a_file("2"))
    assert table.get(first.ino) is None
    table.drop_if_unknown(second)
    assert len(table) == 1
    told = table.adopt(table.root, b"f", a_file("3"))
    told.lookups = 1
    table.drop_if_unknown(told)
    assert table.get(told.ino) is told


ops = st.lists(
    st.tuples(
        st.sampled_from(["look", "list", "forget", "open", "close", "remove"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(1, 3),
    ),
    max_size=60,
)


@given(ops)
def test_nothing_leaks_and_no_number_is_used_twice(ops):
    """The reference: a node is known while its lookups and handles are not both 0."""
    table = InodeTable("")
    lookups, handles, born, names = {}, {}, {}, {}

    def look(name, version):
        entry = A_DIRECTORY if version == 3 else a_file(str(version))
        node = table.adopt(table.root, name, entry)
        assert born.setdefault(node.ino, node) is node, "a number was used twice"
        names[name] = node
        return node

    for kind, which, version, count in ops:
        name = b"abcd"[which : which + 1]
        known = sorted(lookups)
        opened = sorted(ino for ino, n in handles.items() if n)
        if kind == "look":
            node = look(name, version)
            node.lookups += 1
            lookups[node.ino] = lookups.get(node.ino, 0) + 1
        elif kind == "list":
            table.drop_if_unknown(look(name, version))
        elif kind == "forget" and known:
            ino = known[which % len(known)]
            fewer = min(count, lookups[ino])
            table.forget(ino, fewer)
            lookups[ino] -= fewer
            if not lookups[ino]:
                del lookups[ino]
        elif kind == "open" and known:
            ino = known[which % len(known)]
            table.hold(born[ino])
            handles[ino] = handles.get(ino, 0) + 1
        elif kind == "close" and opened:
            ino = opened[which % len(opened)]
            table.let_go(born[ino])
            handles[ino] -= 1
        elif kind == "remove" and name in table.root.children:
            table.detach(table.root.children[name])
            names.pop(name, None)
        alive = {ROOT} | set(lookups) | {ino for ino, n in handles.items() if n}
        assert {node.ino for node in table} == alive
        assert len(table) == len(alive)
        for child in table.root.children.values():
            assert child.ino in alive
            assert child is names[child.name]
            assert not (isinstance(child, FileNode) and child.stale)
    for ino in list(lookups):
        table.forget(ino, lookups[ino])
    for ino, n in handles.items():
        for _ in range(n):
            table.let_go(born[ino])
    assert len(table) == 1
    assert table.root.children == {}
