import subprocess
import sys

import pytest

from mountd.client import api
from mountd.errors import DeadlineError, ExistsError, NotFoundError, UsageError
from mountd.fuse import mount_table
from mountd.wire import sockets
from mountd.wire.messages import MountRecord


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("MOUNTD_RUNTIME_DIR", str(directory))
    return directory


def record(name):
    return MountRecord(name=name, mountpoint="/x", source="s", mode="auto", state="ready", since=0, supervisor_pid=1)


def test_where_nobody_is_there_is_nothing():
    assert api.list_mounts() == []
    assert api.status() == []


def test_dead_sockets_are_swept_by_looking(runtime):
    sockets.listen(runtime, "private-x-1.sock").close()
    sockets.listen(runtime, "mountd.sock").close()
    assert api.list_mounts() == []
    assert list(runtime.iterdir()) == []


def test_one_that_does_not_answer_is_named_after_its_socket(runtime, monkeypatch):
    monkeypatch.setattr(api, "_LOOK_S", 0.2)
    with sockets.listen(runtime, sockets.private_socket_name("data")):
        (silent,) = api.list_mounts()
        assert (silent.name, silent.state, silent.mountpoint) == ("data", "not answering", "")
        assert "did not answer within 0.2 s" in silent.last_error
        with pytest.raises(NotFoundError, match="1 supervisors did not answer"):
            api.status("/nonexistent")
        with pytest.raises(DeadlineError, match=r"did not answer.*kill -9"):
            api.unmount("/nonexistent")


def test_many_that_do_not_answer_cost_no_more_than_one(runtime, monkeypatch):
    monkeypatch.setattr(api, "_LOOK_S", 1.0)
    listening = [sockets.listen(runtime, sockets.private_socket_name(str(number))) for number in range(20)]
    try:
        assert len(api.list_mounts()) == 20  # the test's own time limit would not allow 20 s and more a few times over
    finally:
        for one in listening:
            one.close()


@pytest.mark.parametrize(
    ("taken", "mountpoint", "name"),
    [
        ([], "/mnt/data", "data"),
        (["data"], "/mnt/data", "data-2"),
        (["data", "data-2", "data-4"], "/mnt/data", "data-3"),
        ([], "/", "root"),
    ],
)
def test_a_name_is_found(monkeypatch, taken, mountpoint, name):
    monkeypatch.setattr(api, "list_mounts", lambda: [record(one) for one in taken])
    assert api.free_name(None, mountpoint) == name


def test_a_chosen_name_must_be_free(monkeypatch):
    monkeypatch.setattr(api, "list_mounts", lambda: [record("data")])
    assert api.free_name("mine", "/mnt/data") == "mine"
    with pytest.raises(ExistsError, match="--name data"):
        api.free_name("data", "/mnt/data")


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a b", "x" * 65, "a\n"])
def test_a_chosen_name_must_be_one(name):
    with pytest.raises(UsageError, match="--name"):
        api.free_name(name, "/mnt/data")


def test_a_mount_point_is_made_absolute_and_real(tmp_path, monkeypatch):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(tmp_path)
    for written in ("real/new", "./real/new/", "link/new", tmp_path / "link" / "new", "link/../real/new"):
        assert api.real_mountpoint(written) == str(real / "new")
    for written in ("link", "real/.", "link/."):
        assert api.real_mountpoint(written) == str(real)
    assert api.real_mountpoint("real/..") == str(tmp_path)
    assert api.real_mountpoint("/") == "/"


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\udcff"])
def test_a_mount_point_that_cannot_be_shown_is_refused(name):
    with pytest.raises(UsageError, match="cannot be shown"):
        api.real_mountpoint(f"/mnt/{name}")


def test_a_mount_is_not_touched_to_find_its_name(monkeypatch):
    monkeypatch.setattr(mount_table, "mount_at", lambda path: path == "/mnt/hung")
    monkeypatch.setattr(api.os.path, "realpath", lambda path: pytest.fail(f"{path} was looked up"))
    assert api.real_mountpoint("/mnt/hung") == "/mnt/hung"


def test_a_path_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(api, "_PATH_S", 0.1)
    monkeypatch.setattr(api.os.path, "realpath", lambda path: api.threading.Event().wait(1))
    with pytest.raises(DeadlineError, match="does not answer within"):
        api.real_mountpoint("/mnt/hung/inside")


def test_the_client_is_light():
    heavy = "{'trio', 'azure', 'obstore', 'pyfuse3', 'structlog', 'rich', 'lxml'}"
    script = f"import sys, mountd.client.api; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_supervisor_knows_no_storage():
    heavy = "{'azure', 'obstore', 'pyfuse3', 'lxml', 'mountd.stores', 'mountd.cache'}"
    script = f"import sys, mountd.daemon.program; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_absolute_mount_point_needs_no_current_directory(tmp_path, monkeypatch):
    deleted = tmp_path / "deleted"
    deleted.mkdir()
    monkeypatch.chdir(deleted)
    deleted.rmdir()
    assert api.real_mountpoint(tmp_path / "m") == str(tmp_path / "m")
