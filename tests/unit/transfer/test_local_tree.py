"""Which local files an upload takes, and which it names instead."""

import os
import subprocess

import pytest

from mountd.transfer.local_tree import LeftOut, LocalFile, walk
from mountd.transfer.report import Problem


def found(source, leave_out=None):
    items = list(walk(source, leave_out=leave_out))
    files = {item.relative: item.size for item in items if isinstance(item, LocalFile)}
    problems = {os.path.relpath(item.name, source) for item in items if isinstance(item, Problem)}
    left_out = {os.path.relpath(item.path, source) for item in items if isinstance(item, LeftOut)}
    return files, problems, left_out


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"1")
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_everything_is_found_but_empty_directories(tree):
    assert found(tree) == ({"a/one": 1, ".hidden": 0}, set(), set())


def test_links_are_followed_once_and_loops_end(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "far").write_bytes(b"22")
    (tree / "file-link").symlink_to(tree / "a" / "one")
    (tree / "dir-link").symlink_to(other)
    (tree / "a" / "up").symlink_to("..")
    (other / "itself").symlink_to(".")
    (other / "back").symlink_to(tree)
    files, problems, _ = found(tree)
    assert files == {"a/one": 1, ".hidden": 0, "file-link": 1, "dir-link/far": 2}
    assert problems == set()


def test_what_cannot_be_taken_is_named(tree):
    (tree / "dangling").symlink_to("nowhere")
    (tree / "loop").symlink_to("loop")
    os.mkfifo(tree / "pipe")
    os.close(os.open(os.fsencode(tree) + b"/bad\xff", os.O_CREAT))
    files, problems, _ = found(tree)
    assert files == {"a/one": 1, ".hidden": 0}
    assert problems == {"dangling", "loop", "pipe", "bad\udcff"}


def test_unfinished_downloads_and_the_target_are_left_out(tree):
    (tree / ".x.mountd-part").write_bytes(b"x")
    (tree / ".x.mountd-journal").write_bytes(b"x")
    (tree / ".mountd-download").write_bytes(b"x")
    (tree / "a" / "target").mkdir()
    (tree / "a" / "target" / "already").write_bytes(b"x")
    (tree / "way-in").symlink_to("a/target")
    files, problems, left_out = found(tree, leave_out=tree / "a" / "target")
    assert files == {"a/one": 1, ".hidden": 0}
    assert problems == set()
    assert left_out == {".x.mountd-part", ".x.mountd-journal", ".mountd-download", "a/target", "way-in"}


def test_a_tree_deeper_than_the_interpreters_stack(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1500):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("leaf", os.O_CREAT, dir_fd=here))
        assert found(tmp_path) == ({"d/" * 1500 + "leaf": 0}, set(), set())
    finally:
        os.close(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # too deep for shutil


def test_a_directory_that_went_away_is_a_problem(tmp_path):
    assert found(tmp_path / "missing")[1] == {"."}
