"""The guard around the tests: `scripts/test.d/leaving_nothing.py`."""

import signal
import subprocess
import sys

import pytest

from tests.support.mounts import PROGRAM, ROOT
from tests.support.processes import process_is_over

GUARD = ROOT / "scripts/test.d/leaving_nothing.py"


def guard(directory, script, *, limit="60"):
    return subprocess.Popen(
        [sys.executable, GUARD, "--limit", limit, "--below", directory, "--", "sh", "-c", script],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("status", [0, 1, 5])
def test_the_status_is_the_commands(tmp_path, status):
    process = guard(tmp_path, f"exit {status}")
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == status


def test_a_daemon_that_is_left_is_named_and_ended(tmp_path):
    # Not even a session of its own and a dead parent hide it.
    process = guard(tmp_path, "setsid sh -c 'sleep 61 > /dev/null 2>&1 & echo $!'")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"test: left running: {out.strip()} sleep 61" in err
    assert process_is_over(int(out))


@pytest.mark.fuse
def test_a_mount_that_is_left_is_named_and_taken_away(mountd, local_source):
    mount_point = mountd.directory / "left behind"
    script = f"MOUNTD_RUNTIME_DIR='{mountd.runtime}' {PROGRAM} mount '{local_source}' '{mount_point}'"
    process = guard(mountd.directory, script)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"test: left mounted: {mount_point}" in err
    assert "mountd.daemon" in err
    assert mountd.mounts() == []
    mountd.wait_gone()


def test_a_command_without_end_is_ended(tmp_path):
    process = guard(tmp_path, "sleep 62 & echo $!; wait", limit="0.5")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 124
    assert "test: ended after" in err
    assert process_is_over(int(out))


def test_before_that_what_it_started_shows_where_it_is(tmp_path):
    """Where pytest shares the tests among processes, the one that hangs is a child of the one that was started."""
    (tmp_path / "hangs.py").write_text("import time\nprint(flush=True)\ntime.sleep(64)\n")
    process = guard(tmp_path, f"'{sys.executable}' -X faulthandler hangs.py & wait", limit="5")
    process.stdout.readline()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 124
    assert 'hangs.py", line 3' in err


def test_nothing_survives_the_end_of_the_guard(tmp_path):
    process = guard(tmp_path, "setsid sleep 63 & echo $!; wait")
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert process_is_over(pid)
