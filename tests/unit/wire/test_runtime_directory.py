import os
import stat
import tempfile

import pytest

from mountd.errors import DeniedError, SetupError
from mountd.wire import runtime_directory as module
from mountd.wire.runtime_directory import known_directories, runtime_directory


@pytest.fixture
def as_user(monkeypatch, tmp_path):
    """A user with no login session and an own temp dir."""
    monkeypatch.setattr(module, "_usual_parents", lambda environ: [])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_variable_wins_and_its_directory_is_made_for_this_user_only(tmp_path):
    environ = {"MOUNTD_RUNTIME_DIR": str(tmp_path / "a" / "b"), "XDG_RUNTIME_DIR": str(tmp_path)}
    path = runtime_directory(environ)
    assert path == tmp_path / "a" / "b"
    assert mode_of(path) == 0o700
    assert known_directories(environ) == [path]


def test_a_chosen_directory_that_does_not_exist_is_not_known_yet(tmp_path):
    assert known_directories({"MOUNTD_RUNTIME_DIR": str(tmp_path / "none")}) == []


def test_root_registers_below_run(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert module._usual_parents({"XDG_RUNTIME_DIR": "/somewhere"}) == [module.Path("/run")]


def test_a_user_registers_below_the_session_directory(monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "geteuid", lambda: tmp_path.stat().st_uid or 12345)
    if os.getuid() == 0:
        os.chown(tmp_path, 12345, -1)
    assert module._usual_parents({"XDG_RUNTIME_DIR": str(tmp_path)}) == [tmp_path]


def test_a_session_directory_of_somebody_else_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert module._usual_parents({"XDG_RUNTIME_DIR": str(tmp_path)}) == []


def test_without_a_session_the_temp_dir_serves_and_is_closed_to_others(as_user):
    path = runtime_directory({})
    assert path == as_user / f"mountd-{os.geteuid()}"
    assert mode_of(path) == 0o700
    assert known_directories({}) == [path]


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o777, 0o701])
def test_a_fallback_that_others_can_look_into_is_refused(as_user, mode):
    path = as_user / f"mountd-{os.geteuid()}"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(DeniedError, match="open to others"):
        runtime_directory({})
    assert known_directories({}) == []


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_chosen_directory_that_others_can_write_to_is_refused(tmp_path, mode):
    path = tmp_path / "chosen"
    path.mkdir()
    path.chmod(mode)
    environ = {"MOUNTD_RUNTIME_DIR": str(path)}
    with pytest.raises(DeniedError, match="open to others"):
        runtime_directory(environ)
    assert known_directories(environ) == []


def test_a_link_in_the_temp_dir_is_refused(as_user):
    (as_user / "elsewhere").mkdir(mode=0o700)
    (as_user / f"mountd-{os.geteuid()}").symlink_to(as_user / "elsewhere")
    with pytest.raises(DeniedError, match="is not a directory"):
        runtime_directory({})
    assert known_directories({}) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a directory of another user")
def test_a_directory_of_another_user_is_refused(as_user):
    path = as_user / f"mountd-{os.geteuid()}"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, -1)
    with pytest.raises(DeniedError, match="belongs to user 65534"):
        runtime_directory({})
    assert known_directories({}) == []


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DeniedError, match="is not a directory"):
        runtime_directory({"MOUNTD_RUNTIME_DIR": str(tmp_path / "file")})


def test_a_place_where_nothing_can_be_made_says_what_to_do():
    with pytest.raises(SetupError, match="set MOUNTD_RUNTIME_DIR"):
        runtime_directory({"MOUNTD_RUNTIME_DIR": "/proc/mountd"})
