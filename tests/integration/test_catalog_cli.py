"""`mountd workspace` and `mountd datastore` as people run them: output, exit codes, and secrets that never show."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mountd.catalog.workspace import Workspace

MOUNTD = Path(sys.executable).with_name("mountd")
KEY = "aHVudGVyMmh1bnRlcjI="
SAS = "sv=2024-11-04&ss=b&srt=co&sp=rl&sig=hunter2%3D"
BLOB = ["--type", "azure_blob", "--account-name", "acct", "--container-name", "data"]


class Shell:
    """Runs mountd in a directory, with a clean environment, and checks what is true of every run."""

    def __init__(self, cwd, home):
        self.cwd = cwd
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def __call__(self, *args, status=0, stdin="", cwd=None, **environ):
        done = subprocess.run(
            [MOUNTD, *args],
            cwd=cwd or self.cwd,
            env=self.environ | environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        for secret in ("hunter2", KEY, "aHVudGVy"):
            assert secret not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        if status:
            assert done.stdout == ""
            self.error = done.stderr
        return done.stdout

    def fails(self, status, *args, **rest):
        """Return the one line that a failing command prints."""
        self(*args, status=status, **rest)
        assert self.error.startswith("mountd: error: ")
        assert self.error.count("\n") == 1
        return self.error


@pytest.fixture
def mountd(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    return Shell(tmp_path / "work", tmp_path / "home")


@pytest.fixture
def work(mountd):
    mountd("workspace", "init")
    return mountd.cwd


def stored(work, name):
    return yaml.safe_load((work / ".azureml/datastores" / f"{name}.yml").read_text())


def files(work):
    return {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}


class TestWorkspace:
    def test_init_here_and_there(self, mountd):
        assert str(mountd.cwd) in mountd("workspace", "init")
        mountd("workspace", "init", "other")
        mountd("workspace", "init", "--workspace", "third")
        for root in (mountd.cwd, mountd.cwd / "other", mountd.cwd / "third"):
            config = json.loads((root / ".azureml/config.json").read_text())
            assert config["default_datastore"] == "workspaceblobstore"
            assert {"subscription_id", "resource_group", "workspace_name"} < config.keys()
            assert (root / ".azureml/datastores/workspaceblobstore.yml").stat().st_mode & 0o777 == 0o600

    def test_a_second_init_is_a_no_op(self, mountd, work):
        before = files(work)
        mountd("workspace", "init", ".")
        assert files(work) == before

    def test_show(self, mountd, work):
        (work / "below").mkdir()
        shown = json.loads(mountd("workspace", "show", "--json", cwd=work / "below"))
        assert shown["directory"] == str(work)
        assert shown["default_datastore"] == "workspaceblobstore"
        assert shown["datastores"] == ["workspaceblobstore", "workspacefilestore"]
        assert str(work) in mountd("workspace", "show")

    def test_show_says_that_the_default_is_not_there(self, mountd, work):
        config = work / ".azureml/config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "default_datastore": "gone"}))
        assert json.loads(mountd("workspace", "show", "--json"))["default_datastore"] == "gone"
        assert "gone, which does not exist; `mountd datastore set-default NAME`" in mountd("workspace", "show")

    def test_init_does_not_call_a_broken_one_good(self, mountd, work):
        (work / ".azureml/config.json").write_text("{")
        assert "config.json" in mountd.fails(2, "workspace", "init")

    def test_an_empty_directory_is_not_the_current_one(self, mountd):
        for args in (["init", ""], ["init", "--workspace", ""], ["show", "--workspace", ""]):
            assert "is empty; write . for the current one" in mountd.fails(2, "workspace", *args)
        assert list(mountd.cwd.iterdir()) == []

    def test_errors(self, mountd):
        assert "mountd workspace init" in mountd.fails(3, "workspace", "show")
        assert "/nope holds no workspace" in mountd.fails(3, "workspace", "show", "--workspace", "/nope")
        assert "MOUNTD_WORKSPACE: " in mountd.fails(3, "workspace", "show", MOUNTD_WORKSPACE="/nope")
        assert "give one" in mountd.fails(2, "workspace", "init", "a", "--workspace", "b")
        (mountd.cwd / "file").write_text("")
        assert "a file is in the way" in mountd.fails(2, "workspace", "init", "file/below")
        assert list(mountd.cwd.iterdir()) == [mountd.cwd / "file"]

    def test_where_the_workspace_is_named(self, mountd, work):
        for args in (
            ["--workspace", work, "datastore", "list"],
            ["datastore", "--workspace", work, "list"],
            ["datastore", "list", "--workspace", work],
            ["--workspace", "/nope", "datastore", "list", "--workspace", work],
        ):
            assert "workspaceblobstore" in mountd(*args, cwd="/")
        assert "workspaceblobstore" in mountd("datastore", "list", cwd="/", MOUNTD_WORKSPACE=str(work))


class TestDatastore:
    def test_add_blob_with_a_secret_from_a_variable(self, mountd, work):
        mountd("datastore", "add", "Store", *BLOB, "--credential-env", "MY_KEY", MY_KEY=KEY)
        assert stored(work, "store") == {
            "$schema": "https://azuremlschemas.azureedge.net/latest/azureBlob.schema.json",
            "name": "store",
            "type": "azure_blob",
            "account_name": "acct",
            "container_name": "data",
            "endpoint": "core.windows.net",
            "protocol": "https",
            "credentials": {"account_key": KEY},
        }
        assert (work / ".azureml/datastores/store.yml").stat().st_mode & 0o777 == 0o600
        shown = json.loads(mountd("datastore", "show", "STORE", "--json"))
        assert shown["credentials"] == "account_key"
        assert shown["account_url"] == "https://acct.blob.core.windows.net"
        assert "account_key" in mountd("datastore", "show", "store")

    def test_add_blob_with_a_secret_from_standard_input(self, mountd, work):
        args = ["--endpoint", "127.0.0.1:10000", "--protocol", "http", "--credential-stdin"]
        mountd("datastore", "add", "emu", *BLOB, *args, stdin=f"?{SAS}\n")
        assert stored(work, "emu")["credentials"] == {"sas_token": SAS}
        assert "http://127.0.0.1:10000/acct/data" in mountd("datastore", "list")

    def test_add_with_a_connection_string(self, mountd, work):
        string = (
            f"DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={KEY};BlobEndpoint=http://localhost:9/acct;"
        )
        args = ["--type", "azure_blob", "--container-name", "data", "--credential-stdin"]
        mountd("datastore", "add", "conn", *args, stdin=string)
        shown = json.loads(mountd("datastore", "show", "conn", "--json"))
        assert shown["account_url"] == "http://localhost:9/acct"
        assert stored(work, "conn")["credentials"] == {"account_key": KEY}

    def test_add_local(self, mountd, work):
        (work / "d").mkdir()
        mountd("datastore", "add", "here", "--type", "local", "--path", "d")
        assert stored(work, "here") == {"name": "here", "type": "local", "path": str(work / "d")}

    def test_add_a_file_for_azure_ml(self, mountd, work):
        (work / "F.yml").write_text(
            "$schema: https://azuremlschemas.azureedge.net/latest/azureBlob.schema.json\n"
            "name: my_blob\ntype: azure_blob\n"
            f"description: d\naccount_name: acct\ncontainer_name: data\ncredentials:\n  sas_token: '?{SAS}'\n"
        )
        mountd("datastore", "add", "--file", "F.yml")
        assert stored(work, "my_blob")["credentials"] == {"sas_token": SAS}

    def test_list_default_and_remove(self, mountd, work):
        mountd("datastore", "add", "store", *BLOB)
        mountd("datastore", "set-default", "STORE")
        rows = json.loads(mountd("datastore", "list", "--json"))
        assert [(row["name"], row["default"]) for row in rows] == [
            ("store", True),
            ("workspaceblobstore", False),
            ("workspacefilestore", False),
        ]
        assert "store (default)" in mountd("datastore", "list")
        assert json.loads(mountd("datastore", "show", "--json"))["name"] == "store"
        assert "default" in mountd.fails(2, "datastore", "remove", "store")
        mountd("datastore", "set-default", "workspaceblobstore")
        mountd("datastore", "remove", "store")
        assert "there is none of that name" in mountd.fails(3, "datastore", "show", "store")
        assert "none of that name" in mountd.fails(3, "datastore", "remove", "store")
        assert "none of that name" in mountd.fails(3, "datastore", "set-default", "store")

    def test_a_taken_name(self, mountd, work):
        mountd("datastore", "add", "store", *BLOB)
        assert "exists" in mountd.fails(6, "datastore", "add", "STORE", *BLOB)
        mountd("datastore", "add", "store", *BLOB, "--credential-env", "K", "--overwrite", K=KEY)
        assert stored(work, "store")["credentials"] == {"account_key": KEY}

    def test_wrong_input_is_one_line_and_changes_nothing(self, mountd, work):
        (work / "bad.yml").write_text(
            f"name: s\ntype: azure_blob\naccount_name: acct\ncredentials: {{account_key: {KEY}}}"
        )
        (work / "unknown.yml").write_text("name: s\ntype: local\npath: /\ncolour: red\n")
        (work / "broken.yml").write_text(f"name: [\ncredentials: {{account_key: {KEY}\n")
        (work / "kind.yml").write_text(
            "name: s\ntype: azure_blob\naccount_name: acct\ncontainer_name: data\ncredentials: {account_key: hunter2!}"
        )
        before = files(work)
        for status, part, args in (
            (2, "bad.yml: container_name: is missing", ["--file", "bad.yml"]),
            (2, "unknown.yml: colour: is not a known field", ["--file", "unknown.yml"]),
            (2, "broken.yml, line 3", ["--file", "broken.yml"]),
            (3, "nope.yml: there is no such file", ["--file", "nope.yml"]),
            (2, "cannot be read", ["--file", "."]),
            (2, "--file: the file says everything", ["--file", "bad.yml", *BLOB]),
            (2, "NAME: is missing", [*BLOB]),
            (2, "--type: is missing", ["s"]),
            (2, "--container-name: is missing", ["s", *BLOB[:4]]),
            (2, "container_name: must be", ["s", *BLOB[:5], "Data"]),
            (2, "name: 'a b'", ["a b", *BLOB]),
            (2, "endpoint: must be a host", ["s", *BLOB, "--endpoint", "https://core.windows.net"]),
            (2, "protocol: 'ftp' is none of http, https\n", ["s", *BLOB, "--protocol", "ftp"]),
            (2, "--path: does not belong", ["s", *BLOB, "--path", "/"]),
            (2, "--type: nfs: must be azure_blob or local", ["s", "--type", "nfs"]),
            (2, "any other kind is described by --file", ["s", "--type", "azure_file"]),
            (3, "/nope is no directory", ["s", "--type", "local", "--path", "/nope"]),
            (2, "$NOPE is not set", ["s", *BLOB, "--credential-env", "NOPE"]),
            (2, "takes the name of an environment variable", ["s", *BLOB, "--credential-env", SAS]),
            (2, "standard input is empty", ["s", *BLOB, "--credential-stdin"]),
            (2, "give one", ["s", *BLOB, "--credential-stdin", "--credential-env", "NOPE"]),
            (2, "$BAD: is neither an account key", ["s", *BLOB, "--credential-env", "BAD"]),
            (2, "kind.yml: credentials.account_key: is not an account key", ["--file", "kind.yml"]),
        ):
            assert part in mountd.fails(status, "datastore", "add", *args, BAD="hunter2!")
            assert files(work) == before
        assert "--path: is empty" in mountd.fails(2, "datastore", "add", "s", "--type", "local", "--path", "")

    def test_a_file_that_someone_broke_is_named(self, mountd, work):
        (work / ".azureml/datastores/workspacefilestore.yml").write_text("type: local")
        line = mountd.fails(2, "datastore", "list")
        assert "workspacefilestore.yml: name: is missing" in line
        assert "workspaceblobstore" in mountd("datastore", "show", "workspaceblobstore")

    def test_without_a_workspace(self, mountd):
        for args in (["list"], ["show"], ["add", "s", *BLOB], ["remove", "s"], ["set-default", "s"]):
            assert "mountd workspace init" in mountd.fails(3, "datastore", *args)

    def test_a_secret_typed_at_a_terminal_is_not_echoed(self, mountd, work):
        terminal, other_end = pty.openpty()
        try:
            with subprocess.Popen(
                [MOUNTD, "datastore", "add", "typed", *BLOB, "--credential-stdin"],
                cwd=work,
                env=mountd.environ,
                stdin=other_end,
                stdout=other_end,
                stderr=other_end,
                start_new_session=True,
            ) as process:
                shown = b""
                while b"Key, SAS or connection string: " not in shown:
                    shown += os.read(terminal, 1000)
                os.write(terminal, f"{KEY}\n".encode())
                assert process.wait(timeout=60) == 0
                shown += os.read(terminal, 1000)
        finally:
            os.close(other_end)
            os.close(terminal)
        assert KEY.encode() not in shown
        assert stored(work, "typed")["credentials"] == {"account_key": KEY}


def test_a_malformed_command_line_is_a_usage_error(mountd):
    for args, what, where in (
        (["datastore", "nope"], "nope", "datastore"),
        (["datastore", "show", "a", "b"], "(b)", "datastore show"),
        (["workspace", "show", "--nope"], "--nope", "workspace show"),
        (["mount", "a"], "MOUNTPOINT", "mount"),
    ):
        line = mountd.fails(2, *args)
        assert what in line
        assert line.endswith(f"; see `mountd {where} -h`\n")
    assert mountd.fails(2, "workspace", "ini").endswith("Did you mean 'init'? See `mountd workspace -h`\n")
    mountd("datastore", status=2)
    assert "Usage: mountd datastore" in mountd.error


@pytest.mark.fuse
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
class TestClosedWorkspace:
    @pytest.fixture
    def closed(self, user):
        """Root's workspace, within the user's own."""
        user.run("workspace", "init")
        root = user.directory / "closed"
        Workspace.init(root)
        root.chmod(0o755)
        (root / "open").mkdir(mode=0o777)
        (root / "open").chmod(0o777)
        return root

    def says(self, closed, said):
        assert said.stderr == (
            f"mountd: error: {closed}/.azureml: permission to read it is missing; "
            "change its permissions, or run mountd as its owner\n"
        )
        assert said.stdout == ""

    def test_every_way_to_it_says_so(self, user, closed):
        for args, rest in (
            (["workspace", "init", closed], {}),
            (["workspace", "init"], {"cwd": closed}),
            (["workspace", "show"], {"cwd": closed}),
            (["datastore", "list", "--workspace", closed], {}),
            (["datastore", "list", "--workspace", closed / ".azureml"], {}),
            (["datastore", "list"], {"MOUNTD_WORKSPACE": str(closed)}),
            (["datastore", "list"], {"cwd": closed}),
            (["datastore", "list"], {"cwd": closed / "open"}),
            (["dataset", "list"], {"cwd": closed}),
            (["runs", "list"], {"cwd": closed}),
            (["download", "azureml://datastores/workspaceblobstore", "there"], {"cwd": closed / "open"}),
            (["download", "--workspace", closed, user.directory / "source", "there"], {}),
        ):
            self.says(closed, user.run(*args, check=4, **rest))

    def test_a_directory_in_which_nobody_may_look(self, user, closed):
        closed.chmod(0o700)
        for args in (
            ["workspace", "init", closed],
            ["datastore", "list", "--workspace", closed],
            ["datastore", "list", "--workspace", closed / "open"],
        ):
            said = user.run(*args, check=4).stderr
            assert said.startswith(f"mountd: error: {closed}: permission to read it is missing; ")
            assert said.count("\n") == 1

    def test_a_run_that_is_told_to_use_it_is_not_set_up(self, user, closed):
        self.says(closed, user.run("run", "--workspace", closed, "--", "true", check=125))
        source = "azureml://datastores/workspaceblobstore"
        self.says(closed, user.run("run", "--download", f"d={source}", "--", "true", check=125, cwd=closed))

    def test_what_needs_no_workspace_goes_on(self, user, closed):
        source = user.directory / "source"
        user.run("download", source, "there", cwd=closed / "open")
        assert (closed / "open/there/a.txt").read_text() == "hello\n"
        script = 'cat "$d/a.txt"'
        said = user.run("run", "--download", f"d={source}", "--", "sh", "-c", script, cwd=closed / "open")
        assert said.stdout == "hello\n"
