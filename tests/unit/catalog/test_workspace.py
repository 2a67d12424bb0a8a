"""Workspaces on a real file system: made whole or not at all, found where the contract says."""

import contextlib
import json
import os
import resource
import shutil
import stat
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mountd.catalog.datastore import BlobDatastore, Credentials, LocalDatastore
from mountd.catalog.workspace import Workspace
from mountd.errors import DeniedError, ExistsError, MountdError, NotFoundError, UsageError

KEY = "c2VjcmV0IGtleQ=="


def blob(name="store", **rest):
    return BlobDatastore(name=name, account_name="acct", container_name="data", **rest)


def tree(root):
    """Return path, mode, and content or None of everything below `root`."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else None)
        for path in root.rglob("*")
    }


@pytest.fixture
def workspace(tmp_path):
    return Workspace.init(tmp_path / "work")


@pytest.fixture
def no_other(tmp_path, monkeypatch):
    """The node has no workspace of its own."""
    monkeypatch.setattr("mountd.catalog.workspace.OF_THE_NODE", tmp_path / "nowhere")


@contextlib.contextmanager
def no_file_may_grow():
    """Every write to a file fails, as on a full disk; no fixture, since pytest's own output may go to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_init_makes_the_documented_layout(tmp_path):
    made = Workspace.init(tmp_path / "new" / "work")
    directory = tmp_path / "new" / "work" / ".azureml"
    assert made.root == tmp_path / "new" / "work"
    assert json.loads((directory / "config.json").read_text())["default_datastore"] == "workspaceblobstore"
    assert made.names() == ["workspaceblobstore", "workspacefilestore"]
    for name in made.names():
        spec = made.datastore(name).store(made.datastores_directory)
        assert spec.path == str(directory / "storage" / name)
        assert os.path.isdir(spec.path)
    modes = {mode for mode, content in tree(directory).values() if content is not None}
    assert modes == {0o600}
    assert {mode for mode, content in tree(directory).values() if content is None} == {0o700}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_init_keeps_private_modes_under_any_umask(tmp_path):
    before = os.umask(0)
    try:
        Workspace.init(tmp_path)
        Workspace(tmp_path).add(blob())
    finally:
        os.umask(before)
    assert {mode & 0o077 for mode, _ in tree(tmp_path / ".azureml").values()} == {0}


def test_a_second_init_changes_nothing(workspace):
    workspace.remove("workspacefilestore")
    workspace.add(blob())
    workspace.set_default("store")
    before = tree(workspace.root)
    assert Workspace.init(workspace.root) == workspace
    assert tree(workspace.root) == before


def test_init_keeps_the_config_that_azure_ml_wrote(tmp_path):
    config = tmp_path / ".azureml" / "config.json"
    config.parent.mkdir()
    config.write_text('{"subscription_id": "s", "resource_group": "r", "workspace_name": "w"}')
    made = Workspace.init(tmp_path)
    assert config.read_text() == '{"subscription_id": "s", "resource_group": "r", "workspace_name": "w"}'
    assert made.names() == ["workspaceblobstore", "workspacefilestore"]
    assert made.default_name == "workspaceblobstore"
    assert made.names_azure
    made.set_default("workspacefilestore")
    assert made.config() == {
        "subscription_id": "s", "resource_group": "r", "workspace_name": "w", "default_datastore": "workspacefilestore",
    }  # fmt: skip


def test_a_failed_init_leaves_nothing(tmp_path):
    with pytest.raises(MountdError, match="File too large"), no_file_may_grow():
        Workspace.init(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_init_leaves_what_was_there(tmp_path):
    (tmp_path / ".azureml").mkdir()
    (tmp_path / ".azureml" / "storage").write_text("in the way")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match="storage: cannot be made, a file is in the way"):
        Workspace.init(tmp_path)
    assert tree(tmp_path) == before


def test_a_failed_add_leaves_nothing(workspace):
    before = tree(workspace.root)
    with pytest.raises(MountdError, match="File too large"), no_file_may_grow():
        workspace.add(blob(credentials=Credentials(account_key=KEY)))
    with pytest.raises(MountdError, match="File too large"), no_file_may_grow():
        workspace.set_default("workspacefilestore")
    assert tree(workspace.root) == before


def test_many_may_init_at_once(tmp_path):
    count = 8
    barrier = threading.Barrier(count)

    def init(_):
        barrier.wait()
        return Workspace.init(tmp_path / "a" / "b")

    for turn in range(10):
        with ThreadPoolExecutor(count) as pool:
            made = set(pool.map(init, range(count)))
        (workspace,) = made
        assert sorted(str(path.relative_to(workspace.directory)) for path in workspace.directory.rglob("*")) == [
            "config.json",
            "datastores",
            "datastores/workspaceblobstore.yml",
            "datastores/workspacefilestore.yml",
            "storage",
            "storage/workspaceblobstore",
            "storage/workspacefilestore",
        ]
        (tmp_path / "a").rename(tmp_path / f"done{turn}")


def test_many_may_add_one_name_and_one_wins(workspace):
    count = 8
    barrier = threading.Barrier(count)

    def add(number):
        barrier.wait()
        try:
            return workspace.add(blob(description=str(number)))
        except ExistsError:
            return None

    with ThreadPoolExecutor(count) as pool:
        (winner,) = filter(None, pool.map(add, range(count)))
    assert workspace.datastore("store").description == winner.description


def test_a_workspace_can_be_moved(workspace, tmp_path):
    workspace.root.rename(tmp_path / "elsewhere")
    moved = Workspace(tmp_path / "elsewhere")
    spec = moved.datastore("workspaceblobstore").store(moved.datastores_directory)
    assert spec.path == str(tmp_path / "elsewhere/.azureml/storage/workspaceblobstore")


class TestDiscover:
    def test_order(self, tmp_path):
        roots = {name: tmp_path / name for name in ("explicit", "variable", "above", "config/mountd")}
        for root in roots.values():
            Workspace.init(root)
        below = roots["above"] / "x" / "y"
        below.mkdir(parents=True)
        environ = {"MOUNTD_WORKSPACE": str(roots["variable"]), "XDG_CONFIG_HOME": str(tmp_path / "config")}
        assert Workspace.discover(roots["explicit"], environ, below).root == roots["explicit"]
        assert Workspace.discover(None, environ, below).root == roots["variable"]
        del environ["MOUNTD_WORKSPACE"]
        assert Workspace.discover(None, environ, below).root == roots["above"]
        assert Workspace.discover(None, environ, tmp_path).root == roots["config/mountd"]

    def test_the_home_directory_stands_in_for_xdg(self, tmp_path):
        Workspace.init(tmp_path / "home/.config/mountd")
        (tmp_path / "cwd").mkdir()
        found = Workspace.discover(None, {"HOME": str(tmp_path / "home")}, tmp_path / "cwd")
        assert found.root == tmp_path / "home/.config/mountd"

    def test_none(self, tmp_path, no_other):
        assert Workspace.discover(None, {}, tmp_path) is None

    def test_relative_names_start_at_cwd(self, workspace, tmp_path):
        assert Workspace.discover(workspace.root.relative_to(tmp_path), {}, tmp_path) == workspace
        assert Workspace.discover(None, {"MOUNTD_WORKSPACE": "work"}, tmp_path) == workspace

    def test_the_inner_directory_names_its_workspace(self, workspace):
        assert Workspace.discover(workspace.directory, {}, workspace.root) == workspace

    @pytest.mark.parametrize("make", [False, True])
    def test_a_named_one_must_exist(self, workspace, tmp_path, make):
        if make:
            (tmp_path / "empty").mkdir()
        with pytest.raises(NotFoundError, match="--workspace"):
            Workspace.discover(tmp_path / "empty", {}, workspace.root)
        with pytest.raises(NotFoundError, match="MOUNTD_WORKSPACE"):
            Workspace.discover(None, {"MOUNTD_WORKSPACE": str(tmp_path / "empty")}, workspace.root)

    def test_the_login_that_azureml_core_keeps_is_no_workspace(self, workspace):
        inner = workspace.root / "home" / "project"
        inner.mkdir(parents=True)
        (workspace.root / "home" / ".azureml").mkdir()
        (workspace.root / "home" / ".azureml" / "auth").write_text("")
        assert Workspace.discover(None, {}, inner) == workspace


class TestClosed:
    """What this user may not read is said to be so: it is neither passed over nor taken for nothing."""

    @pytest.fixture
    def place(self):
        """A directory that every user may enter: pytest's own are closed."""
        directory = Path(tempfile.mkdtemp(dir="/tmp"))
        directory.chmod(0o755)
        yield directory
        for closed in (directory, directory / "outer/inner", *directory.glob("**/.azureml"), *directory.glob("*")):
            if closed.is_dir():
                closed.chmod(0o700)
        shutil.rmtree(directory)

    @pytest.fixture
    def inner(self, place):
        """A workspace inside of another that everybody may read."""
        outer = Workspace.init(place / "outer")
        inner = Workspace.init(outer.root / "inner")
        (inner.root / "below").mkdir()
        for path in [outer.root, *outer.root.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return inner

    def ways(self, inner):
        """Return the arguments of `discover` that lead to the inner workspace."""
        return [
            (inner.root, {}, Path("/")),
            (inner.directory, {}, Path("/")),
            (None, {"MOUNTD_WORKSPACE": str(inner.root)}, Path("/")),
            (None, {}, inner.root),
            (None, {}, inner.root / "below"),
        ]

    def test_everybody_may_read_it_to_begin_with(self, inner, as_nobody):
        with as_nobody():
            assert {Workspace.discover(*way) for way in self.ways(inner)} == {inner}

    @pytest.mark.parametrize("mode", [0, 0o444])
    def test_a_closed_workspace(self, inner, as_nobody, mode):
        inner.directory.chmod(mode)
        for way in self.ways(inner):
            with as_nobody(), pytest.raises(DeniedError) as caught:
                Workspace.discover(*way)
            assert caught.value.message == (
                f"{inner.directory}: permission to read it is missing; "
                "change its permissions, or run mountd as its owner"
            )

    def test_a_directory_in_which_nobody_may_look(self, inner, as_nobody):
        inner.root.chmod(0o644)
        for way in self.ways(inner):
            with as_nobody(), pytest.raises(DeniedError, match=f"^{inner.root}: permission to read it is missing"):
                Workspace.discover(*way)

    def test_init(self, inner, as_nobody):
        inner.directory.chmod(0)
        with as_nobody(), pytest.raises(DeniedError, match=f"^{inner.directory}: permission to read it is missing"):
            Workspace.init(inner.root)

    def test_the_users_own_place(self, place, as_nobody):
        home = Workspace.init(place / "config/mountd")
        (place / "cwd").mkdir()
        home.directory.chmod(0)
        with as_nobody(), pytest.raises(DeniedError, match=f"^{home.directory}: permission to read it is missing"):
            Workspace.discover(None, {"XDG_CONFIG_HOME": str(place / "config")}, place / "cwd")

    def test_the_home_of_somebody_else_says_nothing(self, place, as_nobody, no_other):
        (place / "cwd").mkdir()
        (place / "home").mkdir(mode=0)
        with as_nobody():
            assert Workspace.discover(None, {"HOME": str(place / "home")}, place / "cwd") is None

    @pytest.mark.parametrize("mode", [0, 0o111])
    def test_closed_datastores_are_not_taken_for_none(self, inner, as_nobody, mode):
        inner.datastores_directory.chmod(mode)
        calls = [inner.names, inner.datastores, inner.describe, lambda: inner.datastore("nope")]
        with as_nobody():
            for call in calls:
                with pytest.raises(DeniedError, match=f"^{inner.datastores_directory}: permission to read it"):
                    call()
        inner.datastores_directory.chmod(0o755)


class TestDatastores:
    def test_add_get_list_remove(self, workspace):
        stored = workspace.add(
            blob("My-Store_1", credentials=Credentials(sas_token="?sv=1&sig=x"), description="ü: 1", tags={"a": 1})
        )
        assert stored.name == "my-store_1"
        assert stored.credentials == Credentials(sas_token="sv=1&sig=x")
        assert workspace.datastore("MY-STORE_1") == workspace.datastore("my-store_1")
        got = workspace.datastore("my-store_1")
        assert (got.description, got.tags, got.credentials) == ("ü: 1", {"a": 1}, stored.credentials)
        assert workspace.names() == ["my-store_1", "workspaceblobstore", "workspacefilestore"]
        assert [datastore.name for datastore in workspace.datastores()] == workspace.names()
        workspace.remove("My-Store_1")
        assert workspace.names() == ["workspaceblobstore", "workspacefilestore"]

    def test_a_taken_name_is_kept_unless_overwritten(self, workspace):
        workspace.add(blob())
        before = tree(workspace.root)
        with pytest.raises(ExistsError, match="datastore store: exists"):
            workspace.add(blob("STORE", description="other"))
        assert tree(workspace.root) == before
        workspace.add(blob("STORE", description="other"), overwrite=True)
        assert workspace.datastore("store").description == "other"

    def test_removing_leaves_the_data(self, workspace):
        data = workspace.directory / "storage/workspacefilestore/file"
        data.write_text("kept")
        workspace.remove("workspacefilestore")
        assert data.read_text() == "kept"

    def test_the_default_one_stays(self, workspace):
        with pytest.raises(UsageError, match="is the default"):
            workspace.remove("WorkspaceBlobStore")
        workspace.set_default("WorkspaceFileStore")
        assert workspace.default_name == "workspacefilestore"
        workspace.remove("workspaceblobstore")

    @pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "..", "ü", "a" * 251, "x.yml", "a\n"])
    def test_bad_names_reach_no_file(self, workspace, name):
        before = tree(workspace.root)
        for call in (workspace.datastore, workspace.remove, workspace.set_default):
            with pytest.raises(UsageError, match="no datastore name"):
                call(name)
        with pytest.raises(UsageError, match="no datastore name"):
            workspace.add(LocalDatastore(name=name, path="/"))
        assert tree(workspace.root) == before

    def test_an_unknown_one_is_not_found_and_the_known_are_named(self, workspace):
        for call in (workspace.datastore, workspace.remove, workspace.set_default):
            with pytest.raises(NotFoundError, match=r"nope: .*there are: workspaceblobstore, workspacefilestore"):
                call("nope")

    def test_a_file_under_another_name_is_refused(self, workspace):
        path = workspace.datastores_directory / "other.yml"
        path.write_bytes((workspace.datastores_directory / "workspaceblobstore.yml").read_bytes())
        with pytest.raises(UsageError, match=r"other\.yml: name: is 'workspaceblobstore'"):
            workspace.datastore("other")

    def test_leftovers_of_a_crash_are_no_datastores(self, workspace):
        (workspace.datastores_directory / ".store.yml.x.part").write_text("half")
        (workspace.datastores_directory / ".store.yml").write_text("half")
        assert workspace.names() == ["workspaceblobstore", "workspacefilestore"]

    def test_what_may_be_shown_holds_no_secret(self, workspace):
        workspace.add(blob(credentials=Credentials(account_key=KEY)))
        shown = workspace.describe_datastore("store")
        assert shown["credentials"] == "account_key"
        assert shown["account_url"] == "https://acct.blob.core.windows.net"
        assert KEY not in repr((shown, workspace.datastores(), workspace.describe()))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "config.json, line 1: not well-formed JSON"),
        ("[]", "config.json: must be a JSON object"),
        ('{"default_datastore": 3}', "config.json: default_datastore"),
        ('{"default_datastore": "../x"}', "config.json: default_datastore"),
    ],
)
def test_a_malformed_config_is_named(workspace, text, part):
    (workspace.directory / "config.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        _ = workspace.default_name
    assert part in caught.value.message
