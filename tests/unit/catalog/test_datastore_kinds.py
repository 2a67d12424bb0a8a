"""Datastores of every kind: kept, shown without secrets, refused in one line when they are to be opened."""

import stat
from typing import get_args

import msgspec
import pytest
import yaml

from mountd.catalog.credentials import Credentials
from mountd.catalog.datastore import Datastore, decode_datastore
from mountd.catalog.datastore_input import Secret, datastore_from_file
from mountd.catalog.resolve import resolve
from mountd.catalog.workspace import Workspace
from mountd.errors import UsageError

KEY = "aHVudGVyMg=="  # hunter2
PRINCIPAL = {"tenant_id": "t-1", "client_id": "c-1", "client_secret": "hunter2"}
LOGIN = {"username": "reader", "password": "hunter2"}
ACCOUNT = {"account_name": "acct", "credentials": {"account_key": KEY}}
SERVER = {"server_name": "srv", "database_name": "sales"}

KINDS = [
    (
        {"type": "azure_blob", **ACCOUNT, "container_name": "data"},
        "https://acct.blob.core.windows.net/data",
        "account_key",
        None,
    ),
    (
        {"type": "azure_file", **ACCOUNT, "file_share_name": "share"},
        "https://acct.file.core.windows.net/share",
        "account_key",
        "cannot open Azure Files",
    ),
    (
        {"type": "azure_data_lake_gen2", "account_name": "acct", "filesystem": "fs-1", "credentials": PRINCIPAL},
        "https://acct.dfs.core.windows.net/fs-1",
        "service_principal",
        "cannot open Data Lake Storage Gen2; register the account's Blob side instead",
    ),
    (
        {"type": "azure_data_lake_gen1", "store_name": "lake", "credentials": PRINCIPAL},
        "adl://lake.azuredatalakestore.net",
        "service_principal",
        "cannot open Data Lake Storage Gen1",
    ),
    (
        {"type": "azure_sql_database", **SERVER, "credentials": LOGIN},
        "srv.database.windows.net/sales",
        "password",
        "cannot open databases",
    ),
    (
        {"type": "azure_postgresql", **SERVER, "credentials": LOGIN, "enforce_ssl": False},
        "srv.postgres.database.azure.com:5432/sales",
        "password",
        "cannot open databases",
    ),
    (
        {"type": "azure_mysql", **SERVER, "credentials": LOGIN, "port_number": 3307},
        "srv.mysql.database.azure.com:3307/sales",
        "password",
        "cannot open databases",
    ),
]


@pytest.fixture
def workspace(tmp_path):
    return Workspace.init(tmp_path / "w")


def test_every_kind_is_tried_here():
    tags = {kind.__struct_config__.tag for kind in get_args(Datastore)}
    assert tags == {fields["type"] for fields, *_ in KINDS} | {"local"}


@pytest.mark.parametrize(("fields", "place", "credential", "refused"), KINDS, ids=[kind[0]["type"] for kind in KINDS])
def test_a_kind_is_kept_shown_and_opened_or_refused(workspace, tmp_path, fields, place, credential, refused):
    datastore = decode_datastore({"name": "Mine", **fields}, "here")
    stored = workspace.add(datastore)
    file = workspace.datastores_directory / "mine.yml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert msgspec.structs.replace(workspace.datastore("mine"), schema=None) == stored
    assert stored.type == fields["type"]
    assert ("$schema" in yaml.safe_load(file.read_text())) is (stored.schema_url is not None)

    shown = workspace.describe_datastore("mine")
    assert (shown["place"], shown["credentials"]) == (place, credential)
    for text in (repr(shown), repr(stored), repr(datastore)):
        assert "hunter2" not in text
        assert KEY not in text

    def opened():
        return resolve("azureml://datastores/mine/paths/x", workspace=workspace, environ={}, cwd=tmp_path)

    if refused is None:
        assert opened().path == "x"
        return
    with pytest.raises(UsageError) as caught:
        opened()
    assert refused in caught.value.message
    assert caught.value.message.startswith("datastore mine: ")
    assert "hunter2" not in caught.value.message


def test_an_id_of_azures_is_read_and_an_old_name_too():
    fields = {
        "name": "s",
        "id": "/subscriptions/1/datastores/s",
        "type": "azure_data_lake_gen1",
        "store_name": "lake",
        "credentials": {**PRINCIPAL, "authority_uri": "https://login.microsoftonline.com"},
    }
    datastore = decode_datastore(fields, "here")
    assert datastore.id is None
    assert datastore.credentials.authority_url == "https://login.microsoftonline.com"


WRONG = [
    ({"type": "azure_file", **ACCOUNT, "file_share_name": "Share"}, "file_share_name: must be a share's"),
    ({"type": "azure_file", **ACCOUNT}, "file_share_name: is missing"),
    ({"type": "azure_data_lake_gen2", "account_name": "acct", "filesystem": "a"}, "filesystem: must be"),
    ({"type": "azure_data_lake_gen1", "store_name": "My_Lake"}, "store_name: must be"),
    (
        {"type": "azure_data_lake_gen1", "store_name": "lake", "credentials": {"account_key": KEY}},
        "credentials: must hold tenant_id with client_id and client_secret or tenant_id with client_id and thumbprint",
    ),
    (
        {"type": "azure_data_lake_gen1", "store_name": "lake", "credentials": {"client_secret": "hunter2"}},
        "credentials.tenant_id: is missing",
    ),
    (
        {"type": "azure_data_lake_gen1", "store_name": "lake", "credentials": PRINCIPAL | {"password": "hunter2"}},
        "credentials: must hold",
    ),
    ({"type": "azure_sql_database", "server_name": "s/x", "database_name": "d"}, "server_name: must be"),
    ({"type": "azure_sql_database", "server_name": "s", "database_name": " "}, "database_name: must be"),
    ({"type": "azure_sql_database", **SERVER, "endpoint": "a:1"}, "endpoint: must be a host"),
    ({"type": "azure_postgresql", **SERVER}, "credentials: is missing"),
    ({"type": "azure_postgresql", **SERVER, "credentials": {}}, "credentials: must hold username with password"),
    ({"type": "azure_mysql", **SERVER, "credentials": {"username": "u"}}, "credentials.password: is missing"),
    ({"type": "azure_mysql", **SERVER, "credentials": LOGIN, "port_number": 0}, "port_number: must be 1 to 65535"),
    ({"type": "azure_mysql", **SERVER, "credentials": LOGIN, "enforce_ssl": True}, "enforce_ssl: is not a known field"),
]


@pytest.mark.parametrize(("fields", "part"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named(fields, part):
    with pytest.raises(UsageError) as caught:
        decode_datastore({"name": "s", **fields}, "F.yml")
    assert caught.value.message.startswith("F.yml: ")
    assert part in caught.value.message
    assert "hunter2" not in caught.value.message


class TestSecretsBesideAFile:
    def read(self, tmp_path, fields, text):
        file = tmp_path / "f.yml"
        file.write_text(yaml.safe_dump({"name": "s", **fields}))
        return datastore_from_file(file, name=None, secret=Secret(text=text, origin="$VAR"))

    def test_a_key_for_a_share(self, tmp_path):
        fields = {"type": "azure_file", "account_name": "acct", "file_share_name": "share"}
        assert self.read(tmp_path, fields, KEY).credentials == Credentials(account_key=KEY)

    @pytest.mark.parametrize("credentials", [PRINCIPAL, {"tenant_id": "t-1", "client_id": "c-1"}])
    def test_the_secret_of_a_principal(self, tmp_path, credentials):
        fields = {"type": "azure_data_lake_gen1", "store_name": "lake", "credentials": credentials}
        found = self.read(tmp_path, fields, "s3cret\n").credentials
        assert found == Credentials(tenant_id="t-1", client_id="c-1", client_secret="s3cret")

    def test_the_password_of_a_user(self, tmp_path):
        fields = {"type": "azure_mysql", **SERVER, "credentials": {"username": "u"}}
        assert self.read(tmp_path, fields, "s3cret").credentials == Credentials(username="u", password="s3cret")

    def test_a_secret_without_an_owner(self, tmp_path):
        fields = {"type": "azure_data_lake_gen1", "store_name": "lake"}
        with pytest.raises(UsageError, match="whose it is must be said in the file"):
            self.read(tmp_path, fields, "s3cret")
