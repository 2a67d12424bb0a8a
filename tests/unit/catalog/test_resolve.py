"""From SOURCE to store and path: who gets which credential, and what is not there."""

import os

import pytest

from mountd.catalog.connection_string import EMULATOR_KEY
from mountd.catalog.datastore import Credentials, LocalDatastore
from mountd.catalog.model import (
    AccountKey,
    Anonymous,
    BlobSpec,
    LocalSpec,
    Location,
    Sas,
    WebSpec,
)
from mountd.catalog.resolve import resolve
from mountd.errors import DeniedError, NotFoundError, UsageError
from tests.support.sources import blob

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
