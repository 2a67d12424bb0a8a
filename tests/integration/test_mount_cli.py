"""`mountd mount`, `unmount`, `list` and `status` as a user runs them, on a directory of this node."""

import json
import mmap
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.support.mounts import PROGRAM, in_use

pytestmark = pytest.mark.fuse


# ---- the plain life of a mount


def test_a_mount_can_be_read_when_the_command_returns_and_is_gone_after_unmount(mountd, local_source, point):
    done = mountd.run("mount", local_source, point, check=0)
    assert done.stdout == f"mounted {local_source} at {point}\n"
    assert done.stderr == ""
    assert (point / "a.txt").read_text() == "hello\n"
    assert sorted(os.listdir(point)) == ["a.txt", "sub"]
    done = mountd.run("unmount", point, check=0)
    assert done.stdout == f"unmounted {point}\n"
    assert mountd.mounts() == []
    assert mountd.processes() == [], "the processes are gone when the command returns"
    assert point.is_dir(), "the mount point stays"
    assert os.listdir(point) == []


def test_a_mount_without_incidents_leaves_no_file_of_its_own(mountd, local_source, point):
    record = mountd.mount(local_source, point)
    assert os.path.exists(record.log)
    assert oct(os.stat(record.log).st_mode)[-3:] == "600"
    mountd.run("unmount", point, check=0)
    assert [path for path in mountd.runtime.rglob("*") if path.is_file() or path.is_socket()] == []


def test_the_list_says_what_is_mounted_where(mountd, local_source, tmp_path):
    assert mountd.run("list", check=0).stdout == "nothing is mounted\n"
    assert json.loads(mountd.run("list", "--json", check=0).stdout) == []
    mountd.mount(local_source, tmp_path / "one")
    mountd.mount(local_source / "sub", tmp_path / "two", "--name", "second")
    text = mountd.run("list", check=0).stdout
    assert text.splitlines()[0].split() == ["MOUNTPOINT", "STATE", "MODE", "SINCE", "NAME", "SOURCE"]
    assert re.search(rf"^{tmp_path}/one  ready  +auto  .* one     {local_source}$", text, re.MULTILINE)
    first, second = json.loads(mountd.run("list", "--json", check=0).stdout)
    assert set(first) == {
        "name", "mountpoint", "source", "mode", "state", "since", "supervisor_pid", "worker_pid", "private", "restarts",
        "last_error", "log", "details", "statistics",
    }  # fmt: skip
    assert (first["name"], second["name"]) == ("one", "second")
    assert first["private"] is True
    assert first["supervisor_pid"] != second["supervisor_pid"]
    assert first["statistics"] is None


def test_the_status_counts_what_was_read(mountd, local_source, point):
    mountd.mount(local_source, point)
    assert (point / "a.txt").read_text() == "hello\n"
    record = mountd.status(point)
    assert record["statistics"]["bytes_read"] >= 6
    assert record["statistics"]["bytes_fetched"] >= 6
    assert record["statistics"]["memory_limit"] > record["statistics"]["memory_used"]
    text = mountd.run("status", point, check=0).stdout
    for line in (
        rf"^{point}  ready, ",
        rf"^  source +{local_source}$",
        "^  slow now +nothing$",
        r"^  read +6 B in 1 req",
    ):
        assert re.search(line, text, re.MULTILINE), line
    assert mountd.run("status", check=0).stdout.startswith(f"{point}  ready, ")


def test_one_of_many_can_be_asked_for(mountd, local_source, tmp_path):
    mountd.mount(local_source, tmp_path / "one")
    mountd.mount(local_source, tmp_path / "two")
    assert mountd.status(tmp_path / "two")["name"] == "two"
    done = mountd.run("status", tmp_path / "three", check=3)
    assert done.stderr.startswith(f"mountd: error: no mount of yours is at {tmp_path}/three")


def test_everything_can_be_unmounted_at_once(mountd, local_source, tmp_path):
    for name in ("one", "two", "three"):
        mountd.mount(local_source, tmp_path / name)
    done = mountd.run("unmount", "--all", check=0)
    assert len(done.stdout.splitlines()) == 3
    assert mountd.mounts() == []
    assert mountd.run("unmount", "--all", check=0).stdout == ""


def test_one_failure_does_not_keep_the_others_mounted(mountd, local_source, tmp_path):
    mountd.mount(local_source, tmp_path / "one")
    done = mountd.run("unmount", tmp_path / "none", tmp_path / "one", check=3)
    assert done.stderr == f"mountd: error: nothing is mounted at {tmp_path}/none; `mountd list` shows what there is\n"
    assert mountd.mounts() == []


@pytest.mark.parametrize("name", ["with space, ünïcode and a back\\slash", "a" * 200, "-dash"])
def test_a_mount_point_may_have_any_name_that_can_be_printed(mountd, local_source, tmp_path, name):
    point = tmp_path / name
    mountd.run("mount", local_source, point, check=0)
    assert (point / "a.txt").read_text() == "hello\n"
    assert mountd.record(point).state == "ready"
    mountd.run("unmount", point, check=0)


def test_a_mount_point_may_be_relative_and_behind_a_link(mountd, local_source, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    mountd.run("mount", "source", "link/point/", check=0)
    assert mountd.record(tmp_path / "real" / "point").source == str(local_source)
    mountd.run("unmount", "./link/point", check=0)


def test_a_mount_point_that_cannot_be_printed_is_refused(mountd, local_source, tmp_path):
    for name in (b"a\nb", b"\xff\xfe"):
        mountd.run("mount", local_source, os.fsdecode(os.fsencode(tmp_path) + b"/" + name), check=2)


def test_names_are_made_unique(mountd, local_source, tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        mountd.mount(local_source, tmp_path / parent / "data")
    assert sorted(record.name for record in mountd.records()) == ["data", "data-2"]
    done = mountd.run("mount", local_source, tmp_path / "c", "--name", "data", check=6)
    assert "another mount has this name" in done.stderr
    mountd.run("mount", local_source, tmp_path / "c", "--name", "a/b", check=2)
    done = mountd.run("mount", local_source, tmp_path / "c", "--name", "d", "-o", "name=e", check=2)
    assert "--name and -o name=e: say different things" in done.stderr


def test_a_workspace_can_be_named_among_the_options(mountd, point, tmp_path):
    (tmp_path / "w").mkdir()
    mountd.run("workspace", "init", tmp_path / "w", check=0)
    source = "azureml://datastores/workspaceblobstore/paths/"
    mountd.run("mount", source, point, "-o", f"workspace={tmp_path / 'w'}", check=0)
    mountd.run("unmount", point, check=0)
    said = mountd.run("mount", source, point, "-o", "workspace=/a", "--workspace", "/b", check=2).stderr
    assert "--workspace and -o workspace=/a: say different things; give one" in said


def test_options_reach_the_mount(mountd, local_source, point):
    mountd.run(
        "mount", local_source, point, "--memory", "32MiB", "-o", "file_mode=0600,uid=123", "--mode", "stream", check=0
    )
    status = (point / "a.txt").stat()
    assert (oct(status.st_mode), status.st_uid) == ("0o100600", 123)
    record = mountd.status(point)
    assert record["mode"] == "stream"
    assert record["statistics"]["memory_limit"] == 32 << 20


def test_a_single_file_is_mounted_as_a_directory_that_holds_it(mountd, local_source, point):
    mountd.mount(local_source / "a.txt", point)
    assert os.listdir(point) == ["a.txt"]
    assert (point / "a.txt").read_text() == "hello\n"


def test_a_long_runtime_directory_is_no_problem(mountd, local_source, point):
    mountd.runtime = mountd.directory / ("r" * 120)
    mountd.environ["MOUNTD_RUNTIME_DIR"] = str(mountd.runtime)
    mountd.mount(local_source, point)
    mountd.run("unmount", point, check=0)


def test_the_version_is_printed(mountd):
    assert re.fullmatch(r"mountd \d+\.\d+\.\d+\S*\n", mountd.run("version", check=0).stdout)


# ---- who uses it


@pytest.fixture
def holder(mountd, local_source, point):
    """Return a function that starts a process that uses the mount."""
    mountd.mount(local_source, point)
    started = []

    def start(code):
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}\nprint(flush=True)\nimport time; time.sleep(60)", point],
            stdout=subprocess.PIPE,
        )
        started.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


# Python keeps a descriptor of its own for a map: only the map may be left.
HOLD_A_MAP = """
import mmap, os, sys
with open(sys.argv[1] + '/a.txt', 'rb') as file:
    mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
os.closerange(3, 100)
"""


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import sys; file = open(sys.argv[1] + '/a.txt')", "open file"),
        ("import os, sys; os.chdir(sys.argv[1])", "working directory"),
        (HOLD_A_MAP, "mapped file"),
    ],
)
def test_a_busy_mount_says_who_uses_it(mountd, local_source, point, holder, code, what):
    process = holder(code)
    done = mountd.run("unmount", point, check=6)
    (line,) = done.stderr.splitlines()
    assert re.search(rf"cannot unmount {point}: used by pid {process.pid} \({sys.executable} .*, {what}\)", line)
    assert (point / "a.txt").read_text() == "hello\n", "and goes on"
    process.kill()
    process.wait()
    mountd.run("unmount", point, check=0)


def test_a_busy_mount_can_be_detached_and_is_served_to_its_end(mountd, local_source, point):
    (local_source / "big").write_bytes(bytes(range(256)) * 40000)
    record = mountd.mount(local_source, point)
    with open(point / "big", "rb", buffering=0) as file:
        first = file.read(100)
        mountd.run("unmount", point, "--lazy", check=0)
        assert mountd.mounts() == []
        assert os.listdir(point) == []
        assert mountd.record(point).state == "detached"
        mountd.mount(local_source / "sub", point)
        assert os.listdir(point) == ["b.txt"]
        assert first + file.read() == (local_source / "big").read_bytes()
        mountd.run("unmount", "--all", check=0)
        assert mountd.record(point).state == "detached", "--all ends mounts, not readers"
    mountd.wait_gone()
    assert record.supervisor_pid not in mountd.processes()


def test_mapped_memory_stays_readable_after_a_lazy_unmount(mountd, local_source, point):
    mountd.mount(local_source, point)
    with open(point / "a.txt", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        mountd.run("unmount", point, "--lazy", check=0)
        assert mapped[:] == b"hello\n"
    mountd.wait_gone()


# ---- ends from outside


@pytest.mark.parametrize("program", [["umount"], ["fusermount3", "-u"]], ids=lambda program: program[0])
def test_unmounting_with_the_systems_own_programs_ends_everything(mountd, local_source, point, program):
    if program == ["umount"] and os.geteuid() != 0:
        pytest.skip("needs root")
    mountd.mount(local_source, point)
    subprocess.run([*program, point], check=True)
    mountd.wait_gone()
    assert list(mountd.runtime.rglob("*.sock")) == []
    assert mountd.logs() == "", "an end like any other"


def test_a_mount_point_is_free_at_once_for_the_next_mount(mountd, local_source, point):
    mountd.mount(local_source, point)
    for _ in range(3):
        subprocess.run(["fusermount3", "-u", point], check=True)
        mountd.run("mount", local_source, point, check=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_supervisor_unmounts_also_what_is_in_use(mountd, local_source, point, number):
    record = mountd.mount(local_source, point)
    with in_use(point / "a.txt"):
        os.kill(record.supervisor_pid, number)
        mountd.wait_gone()
    assert list(mountd.runtime.rglob("*.sock")) == []


# ---- in the foreground


@pytest.fixture
def foreground(mountd, local_source, point, request):
    """A mount in the foreground that is ready, in a process group of its own."""
    asked = getattr(request, "param", ["--foreground"])
    command = mountd.start(
        "mount", *asked, local_source, point, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )
    assert command.stdout.readline() == f"mounted {local_source} at {point}\n"
    yield command
    if command.poll() is None:
        command.kill()
    command.communicate()


@pytest.mark.parametrize(
    "foreground", [["--foreground"], ["-o", "foreground"], ["-o", "foreground=on", "--foreground"]], indirect=True
)
def test_a_mount_in_the_foreground_is_like_any_other(mountd, local_source, point, foreground):
    assert (point / "a.txt").read_text() == "hello\n"
    record = mountd.record(point)
    assert (record.supervisor_pid, record.log) == (foreground.pid, None)
    mountd.run("unmount", point, check=0)
    assert foreground.wait(10) == 0


def test_not_in_the_foreground_can_be_said_too(mountd, local_source, point):
    mountd.mount(local_source, point, "-o", "foreground=off")
    said = mountd.run("mount", local_source, point, "-o", "foreground=off", "--foreground", check=2).stderr
    assert "--foreground and -o foreground=off: say different things; give one" in said
    assert "-o foreground=perhaps: " in mountd.run("mount", "s", point, "-o", "foreground=perhaps", check=2).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_unmounts_and_ends_well(mountd, point, foreground, number):
    os.killpg(foreground.pid, number)
    _, log = foreground.communicate(timeout=20)
    assert foreground.returncode == 0
    assert mountd.mounts() == []
    assert mountd.processes() == []
    assert [json.loads(line)["level"] for line in log.splitlines()] == ["info"] * len(log.splitlines())
    assert "signalled" in log


def test_a_mount_under_nohup_outlives_its_terminal(mountd, local_source, point):
    command = subprocess.Popen(
        ["nohup", PROGRAM, "mount", "--foreground", local_source, point],
        env=mountd.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert command.stdout.readline() == f"mounted {local_source} at {point}\n"
        command.send_signal(signal.SIGHUP)
        assert (point / "a.txt").read_text() == "hello\n"
        assert mountd.record(point).state == "ready"
        command.send_signal(signal.SIGTERM)
        _, log = command.communicate(timeout=20)
        assert command.returncode == 0
        assert "SIGHUP" not in log
    finally:
        if command.poll() is None:
            command.kill()
            command.communicate()


def test_unmounting_a_foreground_mount_from_outside_ends_it_well(mountd, point, foreground):
    subprocess.run(["fusermount3", "-u", point], check=True)
    assert foreground.wait(10) == 0


def test_a_killed_foreground_mount_leaves_nothing(mountd, point, foreground):
    foreground.kill()
    foreground.wait()
    mountd.wait_gone()


def test_a_foreground_mount_that_fails_has_the_same_exit_status(mountd, local_source, point):
    point.touch()
    done = mountd.run("mount", "--foreground", local_source, point, check=2)
    assert "is not a directory" in done.stderr.splitlines()[-1]
    assert mountd.processes() == []
