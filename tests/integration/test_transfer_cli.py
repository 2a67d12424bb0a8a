"""`mountd download` and `mountd upload` as people run them: local, against Azurite, and killed half-way."""

import hashlib
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.origin.process import Dataset, Fault, running_origin
from tests.support.azurite import ACCOUNT, KEY

MOUNTD = Path(sys.executable).with_name("mountd")
MIB = 1 << 20
containers = itertools.count()


class Shell:
    """Runs mountd in a directory with a workspace, with a clean environment."""

    def __init__(self, cwd, home):
        self.cwd = cwd
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
        self.started = []
        self("workspace", "init")

    def __call__(self, *args, status=0, **environ):
        done = subprocess.run(
            [MOUNTD, *map(str, args)],
            cwd=self.cwd,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        self.said = done.stderr
        return done.stdout

    def start(self, *args):
        process = subprocess.Popen(
            [MOUNTD, *map(str, args)],
            cwd=self.cwd,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process


@pytest.fixture
def mountd(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    shell = Shell(tmp_path / "work", tmp_path / "home")
    yield shell
    for process in shell.started:
        process.kill()
        process.communicate()


@pytest.fixture
def work(mountd):
    return mountd.cwd


@pytest.fixture
def source(work):
    """300 small files and one of 40 MiB."""
    source = work / "source"
    for number in range(300):
        path = source / f"dir{number % 7}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%03d" % number * 200)
    block = bytes(range(256)) * 4096
    with (source / "big").open("wb") as big:
        for number in range(40):
            big.write(hashlib.sha256(b"%d" % number).digest() + block[32:])
    (source / ".hidden").write_bytes(b"")
    return source


def tree(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def names(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.fixture(params=["local", "azurite"])
def target(request, mountd, work):
    """A TARGET on each kind of store."""
    if request.param == "local":
        return "azureml://datastores/workspaceblobstore/paths/data/set"
    container = request.getfixturevalue("azurite_container")
    endpoint = container.account_url.partition("//")[2].partition("/")[0]
    mountd(
        *("datastore", "add", "blobs", "--type", "azure_blob", "--account-name", ACCOUNT),
        *("--container-name", container.name, "--protocol", "http", "--endpoint", endpoint),
        *("--credential-env", "SECRET"),
        SECRET=KEY,
    )
    return "azureml://datastores/blobs/paths/data/set"


def test_up_and_down_again(mountd, work, source, target):
    said = mountd("upload", source, target)
    assert said.startswith("Uploaded 302 files (40.2 MiB) to ")
    said = mountd("download", target, "copy")
    assert said.startswith("Downloaded 302 files (40.2 MiB) to copy in ")
    assert said.count("\n") == 1
    assert mountd.said == ""
    assert tree(work / "copy") == tree(source)

    # what exists is skipped, whatever is in it
    (work / "copy" / "big").write_bytes(b"mine")
    (work / "copy" / "dir0" / "file 0").unlink()
    said = mountd("download", target, "copy")
    assert said.startswith("Downloaded 1 file (600 B)")
    assert "301 skipped because they exist" in said
    assert (work / "copy" / "big").read_bytes() == b"mine"
    report = json.loads(mountd("download", target, "copy", "--overwrite", "--json"))
    assert (report["files"], report["skipped"], report["not_transferred"]) == (302, 0, 0)
    assert tree(work / "copy") == tree(source)

    # and so it is the other way round
    (source / "dir0" / "file 0").write_bytes(b"new")
    assert "302 skipped" in mountd("upload", source, target)
    assert mountd("upload", source, target, "--overwrite").startswith("Uploaded 302 files")
    mountd("download", f"{target}/dir0", "part")
    assert (work / "part" / "file 0").read_bytes() == b"new"
    assert len(list((work / "part").iterdir())) == 43


def test_one_file_up_and_down(mountd, work, source, target):
    mountd("upload", source / "big", target)
    assert mountd("download", f"{target}/big", "here", "-q") == ""
    assert names(work / "here") == ["big"]
    assert (work / "here" / "big").read_bytes() == (source / "big").read_bytes()
    report = json.loads(mountd("download", f"{target}/big", "here", "--json"))
    assert (report["skipped"], report["single_file"]) == (1, "here/big")
    mountd("upload", source / "dir1" / "file 1", f"{target}/renamed/file%201")
    mountd("download", f"{target}/renamed", "renamed")
    assert names(work / "renamed") == ["file 1"]


def test_downloaded_files_carry_the_objects_time(mountd, work, source, target):
    before = time.time()
    os.utime(source / "big", (1, 1))
    mountd("upload", source / "big", target)
    mountd("download", target, "copy")
    assert before - 2 <= (work / "copy" / "big").stat().st_mtime <= time.time()


def test_hard_names_on_the_real_protocol(mountd, work, tmp_path, azurite_container):
    good = ["plain", "odd/child", "a/b", "sp ace", "per%25cent", "plus+", "é/ü", "trailing.", ".hidden", "n" * 250]
    bad = ["odd", "a//b", "m" * 256]
    for key in good + bad:
        azurite_container.client.upload_blob(key, key.encode())
    azurite_container.client.upload_blob("marked", b"", metadata={"hdi_isfolder": "true"})
    azurite_container.client.upload_blob("folder/", b"")
    url = f"{azurite_container.account_url}/{azurite_container.name}"
    said = mountd("download", url, tmp_path / "t", status=7)
    assert said.startswith(f"Downloaded {len(good)} files")
    assert said.endswith("; 3 not transferred\n")
    for key in bad:
        assert f"mountd: not transferred: {key}: " in mountd.said
    assert "3 files were not transferred" in mountd.said.splitlines()[-1]
    assert tree(tmp_path / "t") == {key: key.encode() for key in good}
    assert (tmp_path / "t" / "marked").is_dir()
    assert (tmp_path / "t" / "folder").is_dir()
    assert sorted(os.listdir(tmp_path)) == ["home", "t", "work"]
    assert mountd("upload", tmp_path / "t", f"{url}/again").startswith(f"Uploaded {len(good)} files")


def test_a_secret_in_the_source_is_never_shown(mountd, azurite_container):
    azurite_container.client.upload_blob("f", b"x")
    sas = azurite_container.sas("rl")
    url = f"{azurite_container.account_url}/{azurite_container.name}"
    signature = sas.partition("sig=")[2].partition("&")[0]
    for status, *args in (
        (0, "download", f"{url}?{sas}", "x", "--json"),
        (3, "download", f"{url}/missing?{sas}", "x"),
        (4, "upload", mountd.cwd / ".azureml" / "config.json", f"{url}/up?{sas}"),
    ):
        said = mountd(*args, status=status)
        assert signature not in said + mountd.said


def test_wrong_input_is_one_line_and_the_right_status(mountd, work):
    blobs = "azureml://datastores/workspaceblobstore"
    (work / "file").touch()
    (work / "empty").mkdir()
    for status, args, part in (
        (2, ["download", "https://example.com/", "x"], "no file to name"),
        (3, ["download", "azureml://datastores/nope", "x"], "datastore nope"),
        (3, ["download", f"{blobs}/paths/nope", "x"], "no such object or directory"),
        (3, ["download", "./nope", "x"], "no such file or directory"),
        (3, ["download", "empty", "file"], "is not a directory"),
        (2, ["download", ".", "inside"], "lies inside it"),
        (3, ["upload", "nope", blobs], "nope"),
        (2, ["upload", "/dev/null", blobs], "neither a directory nor"),
        (2, ["upload", ".", "."], "the target itself"),
        (2, ["upload", ".", "https://example.com/f"], "web files"),
        (2, ["upload", "", blobs], "is empty"),
        (2, ["download", blobs, ""], "is empty"),
    ):
        assert mountd(*args, status=status) == ""
        assert part in mountd.said
        assert mountd.said.startswith("mountd: error: ")
        assert mountd.said.count("\n") == 1
    mountd("download", status=2)
    assert "Missing argument" in mountd.said


def test_a_missing_container_is_not_found_for_both_directions(mountd, work, azurite_container):
    url = f"{azurite_container.account_url}/nothing-here"
    (work / "d").mkdir()
    (work / "d" / "f").write_bytes(b"x")
    mountd("download", url, "x", status=3)
    mountd("upload", "d", f"{url}/t", status=3)
    mountd("upload", "d/f", f"{url}/t", "--overwrite", status=3)
    assert not (work / "x").exists()


def test_the_workspace_may_lie_in_what_is_uploaded(mountd, work):
    (work / "code.py").write_bytes(b"print()")
    for _ in range(2):
        said = mountd("upload", ".", "azureml://datastores/workspaceblobstore/paths/snapshot", "--overwrite")
        assert "1 left out" in said
    mountd("download", "azureml://datastores/workspaceblobstore/paths/snapshot", work.parent / "copy")
    assert "code.py" in names(work.parent / "copy")
    assert not any("snapshot" in name for name in names(work.parent / "copy"))


@pytest.fixture
def unprivileged(request):
    """Somebody with a workspace who is not root: their directory, and what runs mountd and returns all it says."""
    if os.geteuid() != 0:
        shell = request.getfixturevalue("mountd")
        return shell.cwd, lambda *args, status: shell(*args, status=status) + shell.said
    user = request.getfixturevalue("user")
    user.run("workspace", "init")

    def run(*args, status):
        done = user.run(*args, check=status)
        return done.stdout + done.stderr

    return user.directory, run


def test_an_unreadable_file_is_named_and_the_rest_arrives(unprivileged):
    directory, run = unprivileged
    (directory / "d").mkdir()
    (directory / "d" / "secret").write_bytes(b"x")
    (directory / "d" / "open").write_bytes(b"x")
    (directory / "d" / "secret").chmod(0)
    said = run("upload", "d", "azureml://datastores/workspaceblobstore/paths/d", status=7)
    assert said.startswith("Uploaded 1 file")
    assert "d/secret: permission denied" in said


def test_what_cannot_be_uploaded_is_named_and_the_rest_arrives(mountd, work):
    (work / "d").mkdir()
    (work / "d" / "dangling").symlink_to("nowhere")
    os.mkfifo(work / "d" / "pipe")
    (work / "d" / "open").write_bytes(b"x")
    said = mountd("upload", "d", "azureml://datastores/workspaceblobstore/paths/d", status=7)
    assert said.startswith("Uploaded 1 file (1 B)")
    assert said.endswith("; 2 not transferred\n")
    assert "dangling: it is a symbolic link that leads nowhere" in mountd.said
    assert "pipe: it is not a regular file" in mountd.said


def test_more_problems_than_fit_are_counted(mountd, work):
    (work / "d").mkdir()
    for number in range(30):
        (work / "d" / f"{number}").symlink_to("nowhere")
    report = json.loads(mountd("upload", "d", "azureml://datastores/workspaceblobstore/paths/d", "--json", status=7))
    assert report["not_transferred"] == len(report["problems"]) == 30
    assert mountd.said.count("\n") == 22
    assert "not transferred: 10 more" in mountd.said


class Served:
    """A container of its own on a server whose speed and faults can be set: one large object, 200 small ones."""

    def __init__(self, origin, container, size=64 * MIB):
        self.origin = origin
        self.container = container
        self.size = size
        self.url = origin.container_url(container)
        origin.add(
            Dataset(container=container, size=size, pattern="big.bin"),
            Dataset(container=container, count=200, size=3000, pattern="small/{index:03d}"),
        )

    def replace_big(self):
        self.origin.replace(self.container, "big.bin")

    def big_is(self, path, version):
        expected = self.origin.expected(self.container, "big.bin", 0, self.size, version=version)
        return hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(expected).digest()

    def small_is(self, path):
        return path.read_bytes() == self.origin.expected(self.container, f"small/{path.name}", 0, 3000)


@pytest.fixture(scope="module")
def origin():
    with running_origin() as origin:
        yield origin


@pytest.fixture
def served(origin):
    yield Served(origin, f"served-{next(containers)}")
    origin.control(total_bytes_s=0, latency_ms=0, faults=[])


@pytest.fixture
def slow(served):
    """At 40 MB/s the download takes a second and a half."""
    served.origin.control(total_bytes_s=40e6, latency_ms=1)
    return served


def wait_for_ranges(process, directory, count):
    """Wait until so many ranges of the big file are on disk."""
    journal = directory / ".big.bin.mountd-journal"
    deadline = time.monotonic() + 30
    while not journal.exists() or journal.read_bytes().count(b"\n") <= count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_download_that_is_killed_goes_on_where_it_was(mountd, work, slow, number):
    # one request never ends, and nobody may wait for it
    slow.origin.control(faults=[Fault(kind="stall", every=5, operations=["get"], key_prefix="big")])
    process = mountd.start("download", slow.url, "copy")
    wait_for_ranges(process, work / "copy", 3)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    slow.origin.control(total_bytes_s=0, faults=[])
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert out == ""
    if number != signal.SIGKILL:
        assert "run the same command again to go on" in err
        assert err.count("\n") == 1
    assert not (work / "copy" / "big.bin").exists()
    assert stat.S_IMODE((work / "copy" / ".big.bin.mountd-part").stat().st_mode) == 0o644 & ~_umask()

    report = json.loads(mountd("download", slow.url, "copy", "--json"))
    assert report["bytes_moved"] <= 64 * MIB - 3 * 8 * MIB + 200 * 3000
    assert slow.big_is(work / "copy" / "big.bin", 0)
    small = list((work / "copy" / "small").iterdir())
    assert len(small) == 200
    assert all(map(slow.small_is, small))
    assert [name for name in names(work / "copy") if "mountd" in name] == []


def _umask():
    value = os.umask(0o022)
    os.umask(value)
    return value


def test_a_killed_download_of_what_changed_since_starts_afresh(mountd, work, slow):
    process = mountd.start("download", slow.url, "copy")
    wait_for_ranges(process, work / "copy", 3)
    process.kill()
    process.communicate()
    slow.replace_big()
    slow.origin.control(total_bytes_s=0)
    report = json.loads(mountd("download", slow.url, "copy", "--json"))
    assert report["bytes_moved"] >= 64 * MIB
    assert slow.big_is(work / "copy" / "big.bin", 1)


def test_an_object_that_is_replaced_during_the_download_is_never_mixed(mountd, work, slow):
    # so large that two finished ranges are sure to leave some that have not been asked for
    large = Served(slow.origin, f"{slow.container}-large", size=160 * MIB)
    process = mountd.start("download", large.url, "copy", "--json")
    wait_for_ranges(process, work / "copy", 2)
    large.replace_big()
    large.origin.control(total_bytes_s=0)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["bytes_moved"] > large.size + 2 * 8 * MIB
    assert large.big_is(work / "copy" / "big.bin", 1)


def test_faults_of_the_network_are_ridden_out(mountd, work, served):
    served.origin.control(
        faults=[
            Fault(kind="reset", every=7, operations=["get"]),
            Fault(kind="truncate", every=11, operations=["get"]),
            Fault(kind="status", every=13, status=503),
        ],
    )
    report = json.loads(mountd("download", served.url, "copy", "--json"))
    assert report["files"] == 201
    assert served.big_is(work / "copy" / "big.bin", 0)
    assert all(map(served.small_is, (work / "copy" / "small").iterdir()))


def test_two_downloads_into_one_directory_end_well(mountd, work, slow):
    processes = [mountd.start("download", slow.url, "copy", "--json") for _ in range(2)]
    outcomes = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    for _, err, status in outcomes:
        # The second one may find the large file busy for longer than it waits; it says so.
        assert status == 0 or (status == 7 and "another download writes it" in err)
    assert any(status == 0 for _, _, status in outcomes)
    assert slow.big_is(work / "copy" / "big.bin", 0)
    assert [name for name in names(work / "copy") if "mountd" in name] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_named_and_the_download_goes_on_once_there_is_room(mountd, work, served):
    small = work / "small-disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "mountd-test", small], check=True)
    try:
        mountd("download", served.url, small / "copy", status=5)
        assert "the disk is full" in mountd.said
        assert str(small / "copy") in mountd.said
        subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
        report = json.loads(mountd("download", served.url, small / "copy", "--json"))
        assert report["bytes_moved"] < 64 * MIB
        assert served.big_is(small / "copy" / "big.bin", 0)
        assert [name for name in names(small) if "mountd" in name] == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_an_interrupted_upload_publishes_nothing_half(mountd, work, azurite_container, source):
    url = f"{azurite_container.account_url}/{azurite_container.name}"
    with (source / "big").open("ab") as big:
        big.truncate(400 * MIB)
    process = mountd.start("upload", source, url)
    deadline = time.monotonic() + 30
    while not any(azurite_container.client.list_blobs(name_starts_with="dir")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "big" not in {blob.name for blob in azurite_container.client.list_blobs()}
