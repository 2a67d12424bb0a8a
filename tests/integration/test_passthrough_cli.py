"""`mountd mount -o passthrough=on` as a user sees it: status, deaths, `mountd cache clear`."""

import json
import os
import signal

import pytest

from benchmarks.origin.process import Dataset, running_origin
from tests.fuse.test_passthrough import needs_passthrough
from tests.support.disk_cache import files_of
from tests.support.mounts import caches_beside

pytestmark = [pytest.mark.fuse, needs_passthrough]
SIZE = 3_000_000


@pytest.fixture(scope="module")
def origin():
    with running_origin(Dataset(container="data", count=2, size=SIZE, pattern="{index}.bin")) as origin:
        yield origin


@pytest.fixture
def node(mountd, origin, tmp_path):
    """A node with a cache directory of its own and credentials for the origin."""
    caches_beside(mountd, origin, tmp_path)
    return mountd


@pytest.fixture
def mounted(node, origin, point):
    """A mount with passthrough whose files are all on disk."""
    node.mount(origin.container_url("data"), point, "-o", "passthrough=on")
    node.run("prefetch", point, check=0)
    return point


def passing(node, point):
    return node.status(point)["statistics"]["passthrough_handles"]


def wait_passing(node, path):
    """Return when an open of a file is one by passthrough."""

    def passes():
        with path.open("rb") as file:
            file.read()
            return passing(node, path.parent)

    node.wait_until(passes, "an open by passthrough", timeout_s=40)


def test_status_says_what_passes_through(node, mounted, origin):
    want = origin.expected("data", "0.bin", 0, SIZE)
    wait_passing(node, mounted / "0.bin")
    before = node.status(mounted)
    assert before["details"]["passthrough"] == "on"
    with (mounted / "0.bin").open("rb") as file:
        assert file.read() == want
        shown = node.run("status", mounted, check=0).stdout
        assert "1 open, 1 by passthrough" in shown
        assert "passthrough" in shown
    assert node.status(mounted)["statistics"]["reads"] == before["statistics"]["reads"]


def test_a_worker_that_is_killed_is_replaced_and_passes_through_again(node, mounted, origin):
    want = origin.expected("data", "0.bin", 0, SIZE)
    wait_passing(node, mounted / "0.bin")
    with (mounted / "0.bin").open("rb") as file:
        os.kill(node.record(mounted).worker_pid, signal.SIGKILL)
        node.wait_until(lambda: (now := node.record(mounted)).state == "ready" and now.restarts == 1, "replaced")
        assert file.read() == want, "what was open goes on"
    assert (mounted / "0.bin").read_bytes() == want
    wait_passing(node, mounted / "0.bin")
    assert (mounted / "0.bin").read_bytes() == want


def test_clearing_the_cache_changes_nothing_for_who_has_a_file_open(node, mounted, origin, tmp_path):
    want = origin.expected("data", "0.bin", 0, SIZE)
    wait_passing(node, mounted / "0.bin")
    with (mounted / "0.bin").open("rb") as file:
        assert passing(node, mounted) == 1
        node.run("cache", "clear", check=0)  # leaves it, if the mount has said so by now
        assert file.read() == want
        with (mounted / "0.bin").open("rb") as again:
            assert again.read() == want
    assert (mounted / "0.bin").read_bytes() == want

    def is_empty():
        node.run("cache", "clear", check=0)
        return not files_of(tmp_path / "cache")

    node.wait_until(is_empty, "nothing is kept once it is closed")
    assert (mounted / "0.bin").read_bytes() == want


def test_without_a_disk_cache_status_says_why_not(node, origin, point):
    node.mount(origin.container_url("data"), point, "--mode", "stream", "-o", "passthrough=on")
    assert node.status(point)["details"]["passthrough"] == "off: there is no disk cache"
    assert (point / "0.bin").read_bytes() == origin.expected("data", "0.bin", 0, SIZE)


def test_a_user_without_the_capability_reads_through_the_page_cache(node, user, origin):
    point = f"{user.directory}/point"
    secrets = {"AZURE_STORAGE_ACCOUNT": origin.account, "AZURE_STORAGE_KEY": origin.key}
    user.run("mount", origin.container_url("data"), point, "-o", "passthrough=on,cache_reserve=1MiB", **secrets)
    (record,) = json.loads(user.run("status", "--json").stdout)
    assert record["details"]["passthrough"].startswith("off: Operation not permitted; "), "known from the start"
    user.run("prefetch", point)
    user.shell(f"cmp {point}/0.bin {point}/0.bin && cat {point}/0.bin > read")
    assert (user.directory / "read").read_bytes() == origin.expected("data", "0.bin", 0, SIZE)
