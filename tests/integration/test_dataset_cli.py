"""`mountd dataset` and datasets as SOURCE: registered once, the same for ever, from stores of every kind."""

import errno
import json
import os
from pathlib import Path

import pytest


@pytest.fixture
def data(mountd):
    """A directory of files in the working directory of a fresh workspace."""
    mountd.run("workspace", "init", check=0)
    for path in ("train/a/1.txt", "train/a/2.txt", "test/1.csv", "test/2.csv"):
        file = mountd.directory / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"bytes of {path}\n")
    return mountd.directory / "data"


def tree(directory):
    """Return the bytes of all files below `directory` by their paths."""
    found = {}
    for above, _, names in os.walk(directory):
        for name in names:
            path = Path(above, name)
            found[str(path.relative_to(directory))] = path.read_text()
    return found


def test_a_dataset_from_its_registration_to_its_removal(mountd, data):
    created = mountd.run("dataset", "create", "cifar", "--path", "data", "--description", "d", "--tag", "k=v", check=0)
    assert created.stdout == "Registered cifar:1 with 4 files, 86 B\n"
    again = mountd.run("dataset", "create", "cifar", "--path", "./data/", check=0)
    assert again.stdout == "Already registered, identical: cifar:1 with 4 files, 86 B\n"
    told = mountd.run("dataset", "create", "cifar", "-p", "data", "--tag", "n=2", "--description", "e", check=0)
    assert told.stdout == "Already registered, identical: cifar:1 with 4 files, 86 B; description and tags are set\n"
    taken = mountd.run("dataset", "create", "cifar", "--path", "data/train", check=6)
    assert 'registered under name "cifar"' in taken.stderr
    mountd.run("dataset", "create", "cifar", "-p", "data/*/*.csv", "-p", "data/train", "--new-version", check=0)

    shown = json.loads(mountd.run("dataset", "show", "cifar:1", "--json", check=0).stdout)
    assert (shown["name"], shown["version"], shown["versions"]) == ("cifar", "1", ["1", "2"])
    assert (shown["description"], shown["tags"], shown["paths"]) == ("e", {"k": "v", "n": "2"}, [f"file://{data}"])
    assert "\nsteps:        []\n" in mountd.run("dataset", "show", "cifar:1", check=0).stdout
    assert (shown["pinned"], shown["files"], shown["bytes"], shown["hidden_files"]) == (True, 4, 86, 0)
    files = mountd.run("dataset", "show", "cifar", "--files", check=0).stdout.splitlines()
    assert files == ["test/1.csv", "test/2.csv", "train/a/1.txt", "train/a/2.txt"]
    (listed,) = json.loads(mountd.run("dataset", "list", "--json", check=0).stdout)
    assert (listed["name"], listed["version"]) == ("cifar", "2")
    assert "file://" in mountd.run("dataset", "show", "cifar@latest", check=0).stdout

    assert mountd.run("dataset", "remove", "cifar", check=0).stdout == "Removed cifar:2; the data is untouched\n"
    mountd.run("dataset", "remove", "cifar", "--all-versions", check=0)
    assert mountd.run("dataset", "list", check=0).stdout == "no datasets\n"
    assert len(tree(data)) == 4


def test_the_same_paths_become_a_new_version_once_the_files_were_changed(mountd, data):
    create = ("dataset", "create", "cifar", "--path", "data", "--new-version")
    mountd.run(*create, check=0)
    assert "identical: cifar:1 " in mountd.run(*create, check=0).stdout
    (data / "new").write_text("new")
    assert mountd.run(*create[:-1], check=0).stdout.startswith("Already registered, identical: cifar:1 with 4 files")
    assert mountd.run(*create, check=0).stdout.startswith("Registered cifar:2 with 5 files")
    assert "identical: cifar:2 " in mountd.run(*create, check=0).stdout


@pytest.mark.fuse
def test_of_several_sources_one_that_vanished_costs_its_own_files_only(mountd, data, tmp_path):
    mountd.run(
        "dataset", "create", "cifar", "-p", "data/test/1.csv", "-p", "data/train", "-p", "data/test/*2*", check=0
    )
    (data / "test/1.csv").unlink()
    (data / "train").rename(data / "elsewhere")
    mountd.mount("azureml:cifar", tmp_path / "point")
    assert sorted(os.listdir(tmp_path / "point")) == ["test", "train"]
    assert (tmp_path / "point/test/2.csv").read_text() == "bytes of test/2.csv\n"
    for name in ("test/1.csv", "train/a/1.txt"):
        with pytest.raises(OSError) as stale:
            (tmp_path / "point" / name).read_text()
        assert stale.value.errno == errno.ESTALE
    done = mountd.run("download", "azureml:cifar", tmp_path / "copy", check=7)
    assert tree(tmp_path / "copy") == {"test/2.csv": "bytes of test/2.csv\n"}
    assert "test/1.csv: was deleted in" in done.stderr
    assert "3 files were not transferred, as named above" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["create", "--file", "data/folder.yml"], 2, "1.csv: is a file; type: uri_folder takes a directory, uri_file"),
        (["create", "x", "--path", "data/*.none"], 3, "no file matches"),
        (["create", "x", "--path", "none"], 3, "no such file"),
        (["create", "x"], 2, "--path SOURCE or --file"),
        (["create", "--path", "data"], 2, "NAME is missing"),
        (["create", "x", "--path", "data", "--tag", "k"], 2, "K=V"),
        (["show", "x"], 3, 'Cannot find dataset registered with name "x" in the workspace. ('),
        (["show", "x/y"], 2, "azureml:NAME"),
        (["remove", "x"], 3, "Cannot find dataset"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(mountd, data, arguments, status, why):
    (data / "folder.yml").write_text("{name: x, type: uri_folder, path: test/1.csv}")
    done = mountd.run("dataset", *arguments, check=status)
    (line,) = done.stderr.splitlines()
    assert line.startswith("mountd: error: ")
    assert why in line
    assert mountd.run("dataset", "list", check=0).stdout == "no datasets\n"


@pytest.mark.fuse
def test_mount_download_and_run_show_the_same(mountd, data, tmp_path):
    mountd.run("dataset", "create", "cifar", "-p", "data/test", "-p", "data/train", check=0)
    mountd.run("dataset", "create", "one", "-p", "data/test/1.csv", check=0)
    expected = tree(data)
    mountd.mount("azureml:cifar:1", tmp_path / "point")
    assert tree(tmp_path / "point") == expected
    mountd.run("download", "azureml:cifar", tmp_path / "copy", check=0)
    assert tree(tmp_path / "copy") == expected
    for how in ("--mount", "--download"):
        done = mountd.run("run", how, "x=azureml:one", "--", "cat", "$AZUREML_DATAREFERENCE_x", check=0)
        assert done.stdout == "bytes of test/1.csv\n"
        assert "as single file" in done.stderr

    (data / "test" / "2.csv").write_text("other of test/2.csv\n")
    (data / "test" / "3.csv").write_text("new\n")
    assert tree(tmp_path / "point") == expected  # the kernel holds what was read
    mountd.run("unmount", tmp_path / "point", check=0)
    mountd.mount("azureml:cifar:1", tmp_path / "point")
    with pytest.raises(OSError) as refused:
        (tmp_path / "point" / "test" / "2.csv").read_text()
    assert refused.value.errno == errno.ESTALE
    assert (tmp_path / "point" / "test" / "1.csv").read_text() == expected["test/1.csv"]
    assert sorted(os.listdir(tmp_path / "point" / "test")) == ["1.csv", "2.csv"]
    done = mountd.run("download", "azureml:cifar", tmp_path / "another", check=7)
    assert "not transferred: cifar:1: test/2.csv: was replaced" in done.stderr
    mountd.run("dataset", "create", "cifar", "-p", "data/test", "-p", "data/train", "--new-version", check=0)
    assert "test/2.csv" not in tree(tmp_path / "another")


@pytest.mark.fuse
@pytest.mark.azurite
def test_one_dataset_of_blobs_web_files_and_local_ones(mountd, data, azurite_container, nginx, tmp_path):
    with azurite_container.client as client:
        for key in ("set/1.jpg", "set/b/2.jpg", "set/b/3.png"):
            client.upload_blob(key, f"blob {key}\n".encode())
    (nginx.root / "web").mkdir(exist_ok=True)
    (nginx.root / "web" / "train.gz").write_text("web\n")
    blobs = f"{azurite_container.account_url}/{azurite_container.name}"
    paths = [f"{blobs}/set/**/*.jpg", f"{nginx.urls['plain']}/web/train.gz", "data/train"]
    (mountd.directory / "d.yml").write_text(json.dumps({"name": "mixed", "type": "file_dataset", "paths": paths}))
    mountd.run("dataset", "create", "--file", "d.yml", check=0)
    files = mountd.run("dataset", "show", "mixed", "--files", check=0).stdout.splitlines()
    assert sorted(path.rpartition("/")[2] for path in files) == ["1.jpg", "1.txt", "2.jpg", "2.txt", "train.gz"]

    before = len(nginx.requests())
    for source, point in (("azureml:mixed", "registered"), ("d.yml", "ad-hoc")):
        mountd.mount(source, tmp_path / point)
        assert sorted(tree(tmp_path / point)) == sorted(files)
    assert {path.rpartition("/")[2]: text for path, text in tree(tmp_path / "registered").items()} == {
        "1.jpg": "blob set/1.jpg\n",
        "2.jpg": "blob set/b/2.jpg\n",
        "train.gz": "web\n",
        "1.txt": "bytes of train/a/1.txt\n",
        "2.txt": "bytes of train/a/2.txt\n",
    }
    assert len(nginx.requests()) > before
    with azurite_container.client as client:
        client.upload_blob("set/1.jpg", b"blob set/1.jpG\n", overwrite=True)
    (changed,) = (path for path in files if path.endswith("set/1.jpg"))
    assert (tmp_path / "registered" / changed).read_text() == "blob set/1.jpg\n"  # held: no reason to refuse it
    mountd.run("unmount", tmp_path / "registered", check=0)
    mountd.mount("azureml:mixed", tmp_path / "registered", "--mode", "stream")
    with pytest.raises(OSError) as refused:
        (tmp_path / "registered" / changed).read_text()
    assert refused.value.errno == errno.ESTALE


@pytest.mark.fuse
def test_a_dataset_that_was_never_used_is_pinned_by_its_first_mount(mountd, data, tmp_path):
    mountd.run("dataset", "create", "cifar", "-p", "data", check=0)
    (listing,) = (mountd.directory / ".azureml" / "data" / "cifar").glob("*.listing")
    listing.unlink()
    (data / "new").write_text("new\n")
    mountd.mount("azureml:cifar", tmp_path / "point")
    assert listing.exists()
    assert "new" in tree(tmp_path / "point")
    listing.write_bytes(b"x" + listing.read_bytes()[1:])
    done = mountd.run("mount", "azureml:cifar", tmp_path / "other", check=5)
    assert "is not a dataset's listing" in done.stderr


@pytest.mark.fuse
def test_a_pattern_is_a_source_of_its_own(mountd, data, tmp_path):
    expected = {"test/1.csv": "bytes of test/1.csv\n", "test/2.csv": "bytes of test/2.csv\n"}
    mountd.run("download", "data/*/*.csv", "data/out", check=0)
    assert tree(data / "out") == expected
    mountd.mount(f"file://{data}/*/*.csv", data / "point")
    assert tree(data / "point") == expected
    done = mountd.run("download", "data/*.none", tmp_path / "none", check=3)
    assert "no file matches" in done.stderr


def test_secrets_of_web_servers_are_not_shown(mountd, data, nginx):
    (nginx.root / "secret.csv").write_text("s\n")
    url = f"{nginx.urls['plain']}/secret.csv?token=hunter2"
    said = [mountd.run("dataset", "create", "s", "-p", url, check=0)]
    said += [mountd.run("dataset", *command, check=0) for command in (["list"], ["show", "s"], ["show", "s", "--json"])]
    missing = f"{nginx.urls['plain']}/missing.csv?token=hunter2"
    said.append(mountd.run("dataset", "create", "m", "-p", missing, check=3))
    assert "missing.csv" in said[-1].stderr
    assert not any("hunter2" in done.stdout + done.stderr for done in said)
    (listing,) = (mountd.directory / ".azureml" / "data" / "s").glob("*.listing")
    assert b"hunter2" not in listing.read_bytes()


@pytest.mark.fuse
@pytest.mark.azurite
def test_cached_bytes_are_shared_with_a_mount_of_the_container(mountd, azurite_container, data, tmp_path):
    with azurite_container.client as client:
        for number in range(5):
            client.upload_blob(f"set/{number}", f"bytes of {number}\n".encode() * 1000)
    url = f"{azurite_container.account_url}/{azurite_container.name}"
    mountd.mount(url, tmp_path / "container")
    expected = {f"{number}": (tmp_path / "container" / "set" / f"{number}").read_text() for number in range(5)}
    mountd.run("unmount", tmp_path / "container", check=0)
    mountd.run("dataset", "create", "d", "-p", f"{url}/set/*", check=0)
    mountd.mount("azureml:d", tmp_path / "dataset")
    assert tree(tmp_path / "dataset") == expected
    assert mountd.status(tmp_path / "dataset")["statistics"]["bytes_fetched"] == 0


def test_a_dataset_is_not_written_to(mountd, data):
    mountd.run("dataset", "create", "cifar", "-p", "data", check=0)
    done = mountd.run("upload", "data/test", "azureml:cifar", check=4)
    assert "never changes" in done.stderr
