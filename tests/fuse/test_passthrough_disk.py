"""The disk below files that the kernel reads itself: it changes, loses or hides them. SEMANTICS: "Passthrough"."""

import contextlib
import mmap
import os
import shutil
import subprocess

import pytest

from mountd.units import MIB
from tests.support.disk_cache import files_of, open_cache
from tests.support.passthrough import SIZE, bring, is_read, is_version, needs_passthrough, opened, passing, wait_passing
from tests.support.versioned_content import versioned

pytestmark = [pytest.mark.fuse]


@pytest.fixture
def server(start_passing):
    return start_passing()


@needs_passthrough
def test_a_byte_that_the_disk_changed_is_fetched_again_and_never_passed_through(server):
    path = bring(server)
    with path.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"\xff\xfe")
    server.expect_log("do not match their checksum")
    before = server.counters()["corrupt"]

    def is_mended(counters):
        with opened(server) as descriptor:
            assert is_version(descriptor, 1)
            passes = passing(server)
            assert not passes or path.read_bytes() == versioned(1, SIZE)
            return passes and counters["corrupt"] > before

    server.wait_until(lambda counters: is_read(server) and counters["corrupt"] > before)
    bring(server)
    server.wait_until(is_mended)


@needs_passthrough
def test_what_is_right_in_memory_only_is_not_passed_through(start_passing, tmp_path):
    image, disk = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(100 * MIB)
    disk.mkdir()
    made = [["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(disk)]]
    if shutil.which("mkfs.ext4") is None or any(subprocess.run(step, check=False).returncode for step in made):
        pytest.skip("no ext4 here")
    try:
        server = start_passing(cache_dir=disk / "cache")
        server.expect_log("do not match their checksum")
        path = bring(server)
        os.sync()
        with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
            content[content.find(versioned(1, SIZE)[3 * MIB : 3 * MIB + 4096])] ^= 1  # below the file system
        server.wait_until(lambda counters: is_read(server) and counters["corrupt"] == 1)
        bring(server)
        wait_passing(server)
        with opened(server) as descriptor:
            drop_pages(path)
            assert is_version(descriptor, 1)
        server.unmount()
        server.wait()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def drop_pages(path):
    """Have the kernel forget what it holds of a file in memory."""
    os.sync()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@needs_passthrough
def test_what_is_found_wrong_while_it_is_open_is_read_through_the_mount_by_who_opens_it_next(server, tmp_path):
    path = bring(server)
    wait_passing(server)
    with opened(server) as before:
        with path.open("r+b") as file:
            file.seek(3 * MIB)
            file.write(b"\xff\xfe")
        with contextlib.closing(open_cache(tmp_path / "cache")) as other:
            assert sum(bad for _, bad in other.verify()) == 1
        server.wait_until(lambda _: server.call("cached_file", key="file") is None)
        with opened(server) as descriptor:
            assert is_version(descriptor, 1)
            with (tmp_path / "copy").open("wb") as copy:
                assert os.sendfile(copy.fileno(), descriptor, 0, SIZE) == SIZE
            assert (tmp_path / "copy").read_bytes() == versioned(1, SIZE)
        bring(server)  # what was wrong is written anew, into the same file
        assert is_version(before, 1)


@needs_passthrough
def test_with_the_disk_in_trouble_who_opens_what_is_open_already_reads_through_the_mount(server):
    bring(server)
    wait_passing(server)
    with opened(server) as before:
        server.call("trouble")
        server.expect_log("in trouble and left out")
        with opened(server) as descriptor:
            reads = server.counters()["reads"]
            assert is_version(descriptor, 1)
            assert server.counters()["reads"] > reads
        assert is_version(before, 1)


@needs_passthrough
def test_what_is_taken_away_while_it_is_open_is_read_to_its_end_and_its_room_comes_back(start_passing, small_disk):
    disk = small_disk("size=64m")
    empty = disk.used()
    server = start_passing(cache_dir=disk.path)
    bring(server)
    wait_passing(server)
    with opened(server) as descriptor:
        for path in files_of(disk.path):
            path.unlink()
        assert disk.used() - empty > SIZE // 2
        assert is_version(descriptor, 1)
        with opened(server) as another:
            assert is_version(another, 1)
            assert passing(server) == 2
    server.wait_until(lambda _: disk.used() - empty < SIZE // 2)
    for _ in range(3):  # it is known to be gone, or found out: both are right
        with opened(server) as descriptor:
            assert is_version(descriptor, 1)


@needs_passthrough
def test_what_is_open_is_not_evicted(start_passing, tmp_path):
    server = start_passing(cache_size="16MiB")
    bring(server)
    wait_passing(server)
    with opened(server) as descriptor:
        for number in range(8):
            server.set_version(f"other{number}", 1, 3 * MIB)
            bring(server, f"other{number}")
        assert server.call("cached_file", key="file")
        server.wait_until(lambda _: passing(server))
        other = open_cache(tmp_path / "cache", size="16MiB")
        with contextlib.closing(other):
            server.wait_until(lambda _: server.call("told_open") == 1)
            other.clear()
        assert server.call("cached_file", key="file")
        assert is_version(descriptor, 1)


@needs_passthrough
def test_with_the_disk_in_trouble_files_are_opened_through_the_page_cache(server):
    bring(server)
    wait_passing(server)
    server.call("trouble")
    server.expect_log("in trouble and left out")
    with opened(server) as descriptor:
        assert passing(server) == 0
        assert is_version(descriptor, 1)


@needs_passthrough
def test_a_cache_on_overlayfs_takes_two_file_systems_upon_each_other(start_passing, tmp_path):
    parts = [tmp_path / name for name in ("lower", "upper", "work", "disk")]
    for part in parts:
        part.mkdir()
    lower, upper, work, disk = parts
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    if subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(disk)], check=False).returncode:
        pytest.skip("no overlayfs here")
    try:
        server = start_passing(cache_dir=disk / "cache")
        bring(server)
        wait_passing(server)
        with opened(server) as descriptor:
            assert is_version(descriptor, 1)
        told_one = start_passing(cache_dir=disk / "cache", stack_depth=1)
        told_one.expect_log("passthrough is not used")
        bring(told_one)
        told_one.wait_until(lambda _: is_read(told_one) and "off" in told_one.call("tuning")["passthrough"])
        assert "lie upon each other" in told_one.call("tuning")["passthrough"]
        for one in (server, told_one):
            one.unmount()
            one.wait()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
