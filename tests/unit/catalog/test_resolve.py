"""From SOURCE to store and path: who gets which credential, and what is not there."""

import contextlib
import json
import math
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.catalog.connection_string import EMULATOR_KEY
from mountd.catalog.dataset import define
from mountd.catalog.dataset_registry import DatasetRegistry
from mountd.catalog.datastore import BlobDatastore, Credentials, LocalDatastore
from mountd.catalog.model import (
    AccountKey,
    Anonymous,
    BlobSpec,
    DatasetSource,
    DatasetSpec,
    LocalSpec,
    Location,
    Sas,
    WebSpec,
    local_directories,
)
from mountd.catalog.packed_listing import COLUMNS, Header, PackedSource, seal
from mountd.catalog.resolve import dataset_location, resolve
from mountd.catalog.workspace import Workspace
from mountd.errors import DeniedError, MountdError, NotFoundError, UsageError
from mountd.wire.codec import pack

URL = "https://acct.blob.core.windows.net/data/a/b"
EMULATOR = "http://127.0.0.1:10000/devstoreaccount1/data"
STORE_KEY = "c3RvcmU="
STRING_KEY = "c3RyaW5n"
KEY = "a2V5"
SAS = "sv=1&sig=secret%3D"
STORE_SAS = "sv=1&sig=store"
ENVIRON = {
    "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acct;AccountKey={STRING_KEY}",
    "AZURE_STORAGE_KEY": KEY,
    "AZURE_STORAGE_SAS_TOKEN": "?" + SAS,
}


@pytest.fixture
def workspace(tmp_path):
    return Workspace.init(tmp_path / "work")


@pytest.fixture
def as_nobody():
    """Gives up root's right to see everything for a while; other users never had it."""

    @contextlib.contextmanager
    def switched():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return switched


def blob(name="store", **rest):
    return BlobDatastore(**({"name": name, "account_name": "acct", "container_name": "data"} | rest))


def credential_for(url, environ, workspace=None, cwd=None):
    location = resolve(url, workspace=workspace, environ=environ, cwd=cwd)
    assert isinstance(location.store, BlobSpec)
    return location.store.credential


class TestDatastores:
    def test_blob(self, workspace, tmp_path):
        workspace.add(blob(credentials=Credentials(account_key=KEY), blob_cache_timeout=5))
        found = resolve("azureml://datastores/STORE/paths/./a%20b/", workspace=workspace, environ={}, cwd=tmp_path)
        assert found == Location(
            store=BlobSpec(
                account_name="acct",
                container="data",
                account_url="https://acct.blob.core.windows.net",
                credential=AccountKey(KEY),
            ),
            path="a b",
            source="azureml://datastores/STORE/paths/./a%20b/",
            attr_ttl_s=5.0,
        )

    def test_local(self, workspace, tmp_path):
        found = resolve(
            "azureml://datastores/workspaceblobstore/paths/a//b", workspace=workspace, environ={}, cwd=tmp_path
        )
        assert found.store == LocalSpec(path=str(workspace.directory / "storage/workspaceblobstore"))
        assert (found.path, found.attr_ttl_s) == ("a/b", None)

    def test_flat_names_keep_their_slashes(self, workspace, tmp_path):
        workspace.add(blob())
        found = resolve("azureml://datastores/store/paths/a//b", workspace=workspace, environ={}, cwd=tmp_path)
        assert found.path == "a//b"

    def test_the_environment_gives_datastores_nothing(self, workspace, tmp_path):
        workspace.add(blob())
        credential = credential_for("azureml://datastores/store", {"AZURE_STORAGE_KEY": KEY}, workspace, tmp_path)
        assert credential == Anonymous()

    def test_unknown(self, workspace, tmp_path):
        with pytest.raises(NotFoundError, match="datastore nope"):
            resolve("azureml://datastores/nope", workspace=workspace, environ={}, cwd=tmp_path)
        with pytest.raises(NotFoundError, match="mountd workspace init"):
            resolve("azureml://datastores/nope", workspace=None, environ={}, cwd=tmp_path)

    def test_a_long_uri_must_not_mean_another_workspace(self, workspace, tmp_path):
        uri = "azureml://subscriptions/S/resourcegroups/R/workspaces/W/datastores/workspaceblobstore"
        assert resolve(uri, workspace=workspace, environ={}, cwd=tmp_path).path == ""
        config = workspace.directory / "config.json"
        config.write_text('{"subscription_id": "s", "resource_group": "r", "workspace_name": "w"}')
        assert resolve(uri, workspace=workspace, environ={}, cwd=tmp_path).path == ""
        config.write_text('{"subscription_id": "s", "resource_group": "r", "workspace_name": "other"}')
        with pytest.raises(UsageError, match=r"workspace_name in .* is other"):
            resolve(uri, workspace=workspace, environ={}, cwd=tmp_path)


class TestCredentialsOfRawUrls:
    """The order of the contract: each test takes away the one before."""

    @pytest.fixture
    def stored(self, workspace):
        workspace.add(LocalDatastore(name="aaa", path="/"))
        workspace.add(blob("bbb", container_name="other", credentials=Credentials(account_key=KEY)))
        workspace.add(blob("ccc", account_name="other", credentials=Credentials(account_key=KEY)))
        workspace.add(blob("ddd"))
        workspace.add(blob("eee", credentials=Credentials(account_key=STORE_KEY)))
        return workspace

    def test_1_the_sas_in_the_url(self, stored, tmp_path):
        assert credential_for(f"{URL}?{SAS}", ENVIRON, stored, tmp_path) == Sas(SAS)

    def test_2_a_datastore_of_the_same_account_and_container(self, stored, tmp_path):
        assert credential_for(URL, ENVIRON, stored, tmp_path) == AccountKey(STORE_KEY)

    def test_3_the_connection_string(self, stored, tmp_path):
        assert credential_for(URL.replace("data", "elsewhere"), ENVIRON, stored, tmp_path) == AccountKey(STRING_KEY)
        assert credential_for(URL, ENVIRON, None, tmp_path) == AccountKey(STRING_KEY)

    def test_3_only_if_its_account_matches(self, tmp_path):
        environ = ENVIRON | {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=other;AccountKey={STRING_KEY}"}
        assert credential_for(URL, environ, None, tmp_path) == AccountKey(KEY)

    def test_3_may_hold_a_sas(self, tmp_path):
        text = "BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D"
        environ = {"AZURE_STORAGE_CONNECTION_STRING": text}
        assert credential_for(URL, environ, None, tmp_path) == Sas("sv=1&sig=x%3D")
        assert credential_for("https://acct.blob.evil.example/data", environ, None, tmp_path) == Anonymous()

    def test_3_may_say_that_it_is_the_emulators(self, tmp_path):
        environ = {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true", "AZURE_STORAGE_KEY": KEY}
        assert credential_for(EMULATOR, environ, None, tmp_path) == AccountKey(EMULATOR_KEY)

    @pytest.mark.parametrize("account", [None, "", "acct"])
    def test_4_the_key_then_the_sas(self, tmp_path, account):
        environ = {"AZURE_STORAGE_KEY": KEY, "AZURE_STORAGE_SAS_TOKEN": "?" + SAS}
        if account is not None:
            environ["AZURE_STORAGE_ACCOUNT"] = account
        assert credential_for(URL, environ, None, tmp_path) == AccountKey(KEY)
        del environ["AZURE_STORAGE_KEY"]
        assert credential_for(URL, environ, None, tmp_path) == Sas(SAS)

    def test_4_not_for_another_account(self, tmp_path):
        environ = {"AZURE_STORAGE_KEY": KEY, "AZURE_STORAGE_SAS_TOKEN": SAS, "AZURE_STORAGE_ACCOUNT": "other"}
        assert credential_for(URL, environ, None, tmp_path) == Anonymous()

    @pytest.mark.parametrize("host", ["127.0.0.1:10000", "localhost:10000", "[::1]:10000"])
    def test_5_the_emulators_own_key_on_loopback(self, tmp_path, host):
        url = EMULATOR.replace("127.0.0.1:10000", host)
        assert credential_for(url, {}, None, tmp_path) == AccountKey(EMULATOR_KEY)
        environ = {"AZURE_STORAGE_KEY": KEY}
        assert credential_for(url, environ, None, tmp_path) == AccountKey(KEY)

    def test_5_by_its_name_on_loopback(self, tmp_path):
        url = "http://devstoreaccount1.blob.localhost:10000/data"
        assert credential_for(url, {}, None, tmp_path) == AccountKey(EMULATOR_KEY)

    @pytest.mark.parametrize("url", [URL, "http://10.0.0.7:10000/devstoreaccount1/data"])
    def test_6_anonymous(self, tmp_path, url):
        assert credential_for(url, {}, None, tmp_path) == Anonymous()

    def test_a_stored_sas_goes_to_its_own_endpoint_only(self, workspace, tmp_path):
        workspace.add(blob(credentials=Credentials(sas_token=STORE_SAS)))
        assert credential_for(URL, {}, workspace, tmp_path) == Sas(STORE_SAS)
        for elsewhere in (
            "https://acct.blob.evil.example/data",
            "http://acct.blob.core.windows.net/data",
            "https://acct.blob.core.windows.net.evil.example/data",
        ):
            assert credential_for(elsewhere, {}, workspace, tmp_path) == Anonymous()
        second = "https://acct-secondary.blob.core.windows.net/data"
        assert credential_for(second, {}, workspace, tmp_path) == Sas(STORE_SAS)

    def test_loopback_is_one_endpoint_under_all_its_names(self, workspace, tmp_path):
        workspace.add(
            blob(
                account_name="mine",
                endpoint="127.0.0.1:10000",
                protocol="http",
                credentials=Credentials(sas_token=STORE_SAS),
            )
        )
        environ = {"AZURE_STORAGE_ACCOUNT": "mine"}
        assert credential_for("http://localhost:10000/mine/data", environ, workspace, tmp_path) == Sas(STORE_SAS)
        assert credential_for("http://localhost:10001/mine/data", environ, workspace, tmp_path) == Anonymous()

    @pytest.mark.parametrize(
        ("environ", "part"),
        [
            ({"AZURE_STORAGE_CONNECTION_STRING": "secret"}, "AZURE_STORAGE_CONNECTION_STRING: not a connection string"),
            ({"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;AccountKey=se!"}, "AZURE_STORAGE_CONNECTION_STRING"),
            ({"AZURE_STORAGE_KEY": "secret!"}, "AZURE_STORAGE_KEY"),
            ({"AZURE_STORAGE_SAS_TOKEN": "secret"}, "AZURE_STORAGE_SAS_TOKEN"),
        ],
    )
    def test_a_malformed_credential_is_named_not_shown(self, tmp_path, environ, part):
        with pytest.raises(UsageError) as caught:
            credential_for(URL, environ, None, tmp_path)
        assert part in caught.value.message
        assert "secret" not in caught.value.message
        assert "se!" not in caught.value.message

    def test_secrets_show_nowhere(self, tmp_path):
        found = resolve(f"{URL}?{SAS}", workspace=None, environ={}, cwd=tmp_path)
        assert "secret" not in found.source
        assert "secret" not in repr(found)
        assert found.source.startswith(URL)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("abfss://fs1@acct.dfs.core.windows.net/x", "Data Lake Gen2 is not in this version"),
    ],
)
def test_kinds_without_a_store_are_refused(tmp_path, source, part):
    environ = {"AZURE_STORAGE_KEY": KEY, "AZURE_STORAGE_SAS_TOKEN": SAS}
    with pytest.raises(UsageError) as caught:
        resolve(source, workspace=None, environ=environ, cwd=tmp_path)
    assert part in caught.value.message
    assert "secret" not in caught.value.message


class TestWebFiles:
    @pytest.mark.parametrize(
        ("source", "shown", "name", "store"),
        [
            ("https://example.com/d/a.csv", "https://example.com/d/a.csv", "a.csv", "https://example.com/d"),
            (
                "https://example.com/a.csv?token=secret1",
                "https://example.com/a.csv?***",
                "a.csv",
                "https://example.com",
            ),
            (
                "http://me:secret@127.0.0.1:8000/other/x",
                "http://127.0.0.1:8000/other/x",
                "x",
                "http://127.0.0.1:8000/other",
            ),
            ("HTTPS://EXAMPLE.com/a%20b%2Fc", "HTTPS://EXAMPLE.com/a%20b%2Fc", "a b%2Fc", None),
            ("https://acct.file.core.windows.net/share/x", None, "x", None),
        ],
    )
    def test_a_url_is_a_store_with_one_file(self, tmp_path, source, shown, name, store):
        environ = {"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": KEY, "AZURE_STORAGE_SAS_TOKEN": SAS}
        found = resolve(source, workspace=None, environ=environ, cwd=tmp_path)
        assert isinstance(found.store, WebSpec)
        assert found.path == name
        assert [file.key for file in found.store.files] == [name]
        assert found.source == shown or shown is None or shown.startswith("HTTPS")
        assert found.store.name == store or store is None
        assert "secret" not in repr(found)
        assert KEY not in str(found.store.files[0].url)

    @pytest.mark.parametrize("path", ["d/a", "d/", ""])
    def test_a_target_is_refused(self, tmp_path, path):
        target = f"https://me:secret@example.com/{path}?t=secret"
        with pytest.raises(UsageError, match=r"https://example.com/.*\?\*\*\*: web files are for reading only"):
            resolve(target, workspace=None, environ={}, cwd=tmp_path, must_exist=False)


class TestLocalPaths:
    @pytest.fixture
    def cwd(self, tmp_path):
        (tmp_path / "dir" / "inner").mkdir(parents=True)
        (tmp_path / "dir" / "a%20b").write_text("x")
        (tmp_path / "link").symlink_to("dir")
        (tmp_path / "link.csv").symlink_to("dir/a%20b")
        (tmp_path / "broken").symlink_to("nowhere")
        os.mkfifo(tmp_path / "fifo")
        return tmp_path

    @pytest.mark.parametrize(
        ("source", "store", "path"),
        [
            ("dir", "dir", ""),
            ("./dir/", "dir", ""),
            ("dir/inner/..", "dir", ""),
            (".", ".", ""),
            ("link", "dir", ""),
            ("link/inner/..", "dir", ""),
            ("dir/a%20b", "dir", "a%20b"),
            ("link/a%20b", "dir", "a%20b"),
            ("link.csv", ".", "link.csv"),
        ],
    )
    def test_relative(self, cwd, source, store, path):
        found = resolve(source, workspace=None, environ={}, cwd=cwd)
        real = os.path.realpath(cwd / store)
        assert (found.store, found.path) == (LocalSpec(path=real), path)
        assert os.path.isabs(found.source)  # whoever lists the mounts is elsewhere
        assert os.path.samefile(found.source, cwd / source)
        absolute = resolve(str(cwd / source), workspace=None, environ={}, cwd=cwd.parent)
        assert (absolute.store, absolute.path) == (found.store, found.path)

    def test_file_uris_are_decoded(self, cwd):
        found = resolve(f"file://{cwd}/dir/a%2520b", workspace=None, environ={}, cwd=cwd)
        assert found.path == "a%20b"

    @pytest.mark.parametrize("source", ["nope", "dir/nope", "dir/a%20b/nope", "broken", "nope/", "file:///nope-nope"])
    def test_what_is_missing_is_not_found(self, cwd, source):
        with pytest.raises(NotFoundError, match="no such file or directory"):
            resolve(source, workspace=None, environ={}, cwd=cwd)

    def test_what_is_neither_file_nor_directory_is_refused(self, cwd):
        with pytest.raises(UsageError, match="neither a file nor a directory"):
            resolve("fifo", workspace=None, environ={}, cwd=cwd)
        with pytest.raises(UsageError, match="name too long"):
            resolve("x" * 300, workspace=None, environ={}, cwd=cwd)

    def test_what_is_not_utf8_is_refused(self, cwd):
        odd = cwd / os.fsdecode(b"odd\xff")
        odd.mkdir()
        (cwd / "to-odd").symlink_to(odd)
        with pytest.raises(UsageError, match="not UTF-8"):
            resolve(".", workspace=None, environ={}, cwd=odd)
        with pytest.raises(UsageError, match="not UTF-8"):
            resolve("to-odd", workspace=None, environ={}, cwd=cwd)

    def test_a_target_need_not_exist(self, cwd):
        found = resolve("dir/new/deep", workspace=None, environ={}, cwd=cwd, must_exist=False)
        assert (found.store, found.path) == (LocalSpec(path=str(cwd / "dir")), "new/deep")
        found = resolve("dir", workspace=None, environ={}, cwd=cwd, must_exist=False)
        assert (found.store, found.path) == (LocalSpec(path=str(cwd / "dir")), "")

    def test_a_target_below_a_file_is_refused(self, cwd):
        with pytest.raises(UsageError, match="a%20b is a file"):
            resolve("dir/a%20b/new", workspace=None, environ={}, cwd=cwd, must_exist=False)

    def test_what_may_not_be_seen_is_denied(self, cwd, as_nobody):
        (cwd / "dir").chmod(0)
        with as_nobody(), pytest.raises(DeniedError, match="permission to look at it is missing"):
            resolve(f"{cwd}/dir/inner", workspace=None, environ={}, cwd=cwd)
        (cwd / "dir").chmod(0o700)


class TestDataYaml:
    def resolve(self, tmp_path, text, workspace=None):
        (tmp_path / "assets").mkdir()
        (tmp_path / "assets" / "data.yml").write_text(text)
        return resolve("assets/data.yml", workspace=workspace, environ={}, cwd=tmp_path)

    def test_a_uri(self, tmp_path, workspace):
        text = (
            "$schema: https://azuremlschemas.azureedge.net/latest/data.schema.json\n"
            "type: uri_folder\nname: cifar\nversion: 1\ndescription: x\n"
            "path: azureml://datastores/workspaceblobstore/paths/cifar/\n"
        )
        found = self.resolve(tmp_path, text, workspace)
        assert (found.path, found.source) == ("cifar", "assets/data.yml")

    def test_a_path_beside_it(self, tmp_path):
        (tmp_path / "x").mkdir()
        assert self.resolve(tmp_path, "path: ../x").store == LocalSpec(path=str(tmp_path / "x"))

    def test_a_directory_of_that_name(self, tmp_path):
        (tmp_path / "dir.yml").mkdir()
        found = resolve("dir.yml", workspace=None, environ={}, cwd=tmp_path)
        assert found.store == LocalSpec(path=str(tmp_path / "dir.yml"))

    def test_the_file_itself(self, tmp_path):
        (tmp_path / "data.yml").write_text("a: 1")
        found = resolve(f"file://{tmp_path}/data.yml", workspace=None, environ={}, cwd=tmp_path)
        assert found.path == "data.yml"

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("a: 1", "path: is missing"),
            ("- x", "path: is missing"),
            ("path: 3", "path: Expected `str"),
            ("{path: x, typ: uri_file}", "typ: is not a known field"),
            ("{path: x, paths: [y], type: file_dataset}", "path: and paths: are both given"),
            ("paths: []", "paths: is empty"),
            ("paths: [x]", "paths: goes with type: file_dataset"),
            ("{path: x, steps: [{type: take, count: 1}]}", "steps: goes with type: file_dataset"),
            ("{type: file_dataset, path: x, steps: [{type: take, count: -1}]}", "-1 files"),
            ("{type: file_dataset, path: x, steps: [{type: jump}]}", "steps"),
            ("{type: file_dataset, paths: [azureml:x]}", "cannot be a part of another"),
            ("{path: x, type: table}", "type: Invalid"),
            ("path: other.yml", "names another YAML file"),
            ("path: s3://bucket", "s3://"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, part):
        with pytest.raises(UsageError) as caught:
            self.resolve(tmp_path, text)
        assert part in caught.value.message

    def test_unreadable(self, tmp_path, as_nobody):
        (tmp_path / "data.yml").write_text("path: x")
        (tmp_path / "data.yml").chmod(0)
        with as_nobody(), pytest.raises(DeniedError):
            resolve(f"{tmp_path}/data.yml", workspace=None, environ={}, cwd=tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(NotFoundError, match=r"nope\.yml"):
            resolve("nope.yml", workspace=None, environ={}, cwd=tmp_path)


@given(text=st.text(min_size=1), must_exist=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_text_resolves_or_fails_as_documented(text, must_exist, tmp_path_factory):
    cwd = tmp_path_factory.getbasetemp()
    try:
        found = resolve(text, workspace=None, environ={}, cwd=cwd, must_exist=must_exist)
    except MountdError as error:
        assert isinstance(error, UsageError | NotFoundError | DeniedError)
    else:
        assert found.source

    def test_a_table_shows_its_directory(self, tmp_path):
        (tmp_path / "x").mkdir()
        assert self.resolve(tmp_path, "{path: ../x, type: mltable}").store == LocalSpec(path=str(tmp_path / "x"))

    def test_a_pattern_and_a_list_are_datasets(self, tmp_path, workspace):
        (tmp_path / "x").mkdir()
        found = self.resolve(tmp_path, "path: ../x/*.csv")
        assert (found.source, found.path, found.attr_ttl_s) == ("assets/data.yml", "", math.inf)
        here = LocalSpec(path=str(tmp_path / "x"))
        assert found.store == DatasetSpec(
            name="assets/data.yml",
            stores=(here,),
            sources=(DatasetSource(store=0, path="", pattern="*.csv", text="../x/*.csv"),),
        )
        assert local_directories(found) == [tmp_path / "x"]


class TestDatasets:
    def test_one_is_small_and_says_where_its_listing_is(self, tmp_path, workspace):
        paths = ["azureml://datastores/workspaceblobstore/paths/a", "azureml://datastores/workspaceblobstore/paths/b*"]
        made = DatasetRegistry(workspace).register(define(paths, environ={}, cwd=tmp_path), "cifar").dataset
        storage = LocalSpec(path=str(workspace.directory / "storage" / "workspaceblobstore"))
        for text in ("azureml:cifar:1", "azureml:cifar", "azureml:cifar@latest"):
            found = resolve(text, workspace=workspace, environ={}, cwd=tmp_path)
            assert (found.source, found.path, found.attr_ttl_s) == ("azureml:cifar:1", "", math.inf)
            assert found.store == DatasetSpec(
                name="cifar:1",
                stores=(storage,),
                sources=(
                    DatasetSource(store=0, path="a", text=paths[0]),
                    DatasetSource(store=0, path="", pattern="b*", text=paths[1]),
                ),
                listing=str(made.listing),
            )
        assert dataset_location(made, workspace=workspace, environ={}, cwd=tmp_path).store == found.store

    def test_a_pinned_one_travels_without_its_sources(self, tmp_path, workspace):
        paths = [f"{tmp_path}/{number}*" for number in range(1000)]
        made = DatasetRegistry(workspace).register(define(paths, environ={}, cwd=tmp_path), "many").dataset
        assert len(resolve("azureml:many", workspace=workspace, environ={}, cwd=tmp_path).store.sources) == 1000
        made.listing.touch()
        found = resolve("azureml:many", workspace=workspace, environ={}, cwd=tmp_path)
        assert found.store.sources == ()
        assert len(pack(found)) < 1000

    def test_the_listing_says_which_store_is_which(self, tmp_path, workspace):
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
        (tmp_path / "one/file").touch()
        (tmp_path / "link").symlink_to("two")
        paths = [str(tmp_path / name) for name in ("one/file", "link", "three")]
        made = DatasetRegistry(workspace).register(define(paths, environ={}, cwd=tmp_path), "d").dataset
        sources = (PackedSource(0, "file", "one/file"), PackedSource(1, "", "two/"), PackedSource(2, "", "three/"))
        counts = dict.fromkeys(COLUMNS, 0)
        header = Header(
            single_file=False, labels=("", "", ""), sources=sources, hidden=(), hidden_count=0, counts=counts
        )
        made.listing.write_bytes(seal(header, dict.fromkeys(COLUMNS, b"")))
        (tmp_path / "one/file").unlink()
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("one")
        (tmp_path / "three").rmdir()
        found = resolve("azureml:d", workspace=workspace, environ={}, cwd=tmp_path)
        one, three = (LocalSpec(path=str(tmp_path / name)) for name in ("one", "three"))
        assert found.store.stores == (one, one, three)

    def test_it_needs_a_workspace_that_has_it(self, tmp_path, workspace):
        with pytest.raises(NotFoundError, match="no workspace"):
            resolve("azureml:cifar:1", workspace=None, environ={}, cwd=tmp_path)
        with pytest.raises(NotFoundError, match='name "cifar"'):
            resolve("azureml:cifar:1", workspace=workspace, environ={}, cwd=tmp_path)

    def test_one_of_another_workspace_is_refused(self, tmp_path, workspace):
        config = json.loads((workspace.directory / "config.json").read_text()) | {"subscription_id": "mine"}
        (workspace.directory / "config.json").write_text(json.dumps(config))
        text = "azureml://subscriptions/other/resourcegroups/r/workspaces/w/data/cifar/versions/1"
        with pytest.raises(UsageError, match="is of another workspace"):
            resolve(text, workspace=workspace, environ={}, cwd=tmp_path)

    def test_one_that_nobody_keeps(self, tmp_path, workspace):
        definition = define([str(tmp_path / "x*"), str(tmp_path)], environ={}, cwd=tmp_path)
        found = dataset_location(definition, workspace=None, environ={}, cwd=tmp_path)
        assert (found.source, found.store.listing) == ("2 paths", None)

    def test_all_web_files_are_one_store(self, tmp_path):
        paths = [
            "http://one.example/d/a?token=hunter2",
            "https://two.example/b",
            "http://one.example/d/a?token=hunter2",
        ]
        found = dataset_location(define(paths, environ={}, cwd=tmp_path), workspace=None, environ={}, cwd=tmp_path)
        (web,) = found.store.stores
        assert [file.key for file in web.files] == ["http/one.example/d/a", "https/two.example/b"]
        assert [(source.path, source.is_file) for source in found.store.sources] == [
            ("http/one.example/d/a", True),
            ("https/two.example/b", True),
            ("http/one.example/d/a", True),
        ]
        assert "hunter2" not in repr(found)
        twice = define(["http://one.example/d/a?token=hunter2", "http://one.example/d/a"], environ={}, cwd=tmp_path)
        with pytest.raises(UsageError, match=r"one\.example/d/a.* both show something at") as caught:
            dataset_location(twice, workspace=None, environ={}, cwd=tmp_path)
        assert "hunter2" not in caught.value.message

    @pytest.mark.parametrize(
        ("text", "path", "pattern"),
        [
            ("azureml://datastores/workspaceblobstore/paths/a/**/*.jpg", "a", "**/*.jpg"),
            ("https://acct.blob.core.windows.net/data/d*/x?sv=1&sig=hunter2", "", "d*/x"),
            ("{here}/*.csv", "", "*.csv"),
            ("*.csv", "", "*.csv"),
        ],
    )
    def test_a_pattern_is_a_dataset_of_its_own(self, tmp_path, workspace, text, path, pattern):
        found = resolve(text.format(here=tmp_path), workspace=workspace, environ={}, cwd=tmp_path)
        (source,) = found.store.sources
        assert (source.path, source.pattern, found.store.listing) == (path, pattern, None)
        assert "hunter2" not in repr(found)

    def test_a_star_may_belong_to_a_name(self, tmp_path, workspace):
        (tmp_path / "a*").touch()
        assert resolve("a*", workspace=None, environ={}, cwd=tmp_path).path == "a*"
        uri = "azureml://datastores/workspaceblobstore/paths/"
        assert resolve(f"{uri}a%2Ab", workspace=workspace, environ={}, cwd=tmp_path).path == "a*b"
        target = resolve(f"{uri}a*b", workspace=workspace, environ={}, cwd=tmp_path, must_exist=False)
        assert target.path == "a*b"
        assert isinstance(resolve("http://h.example/a*b", workspace=None, environ={}, cwd=tmp_path).store, WebSpec)
