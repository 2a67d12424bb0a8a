"""Registering datastores: the documented defaults, checks and messages."""

import json
import logging
import traceback

import pytest

from mountd.azureml.core import Datastore
from mountd.azureml.data.azure_storage_datastore import AzureBlobDatastore
from mountd.azureml.exceptions import UserErrorException

KEY = "c2VjcmV0" * 8
BLOB = {"datastore_name": "training", "container_name": "data", "account_name": "account"}


def test_a_blob_container_with_its_defaults(workspace):
    made = Datastore.register_azure_blob_container(workspace, **BLOB, account_key=KEY)
    assert isinstance(made, AzureBlobDatastore)
    assert made.datastore_type == "AzureBlob"
    assert json.loads(str(made)) == {
        "name": "training",
        "container_name": "data",
        "account_name": "account",
        "protocol": "https",
        "endpoint": "core.windows.net",
    }
    assert KEY not in repr(workspace.datastores)
    assert workspace.catalog.datastore("training").account_url == "https://account.blob.core.windows.net"


def test_capital_letters(workspace, caplog):
    with caplog.at_level(logging.WARNING):
        made = Datastore.register_azure_blob_container(workspace, **BLOB | {"datastore_name": "Training"})
    assert made.name == "training"
    assert (
        "Datastore name Training contains capital letters. They will be converted to lowercase letters." in caplog.text
    )


def test_a_name_that_is_taken(workspace):
    Datastore.register_azure_blob_container(workspace, **BLOB)
    with pytest.raises(UserErrorException, match="Another datastore with the same name already exists"):
        Datastore.register_azure_blob_container(workspace, **BLOB)
    Datastore.register_azure_blob_container(workspace, **BLOB | {"container_name": "other"}, overwrite=True)
    assert workspace.datastores["training"].container_name == "other"


def test_a_key_is_the_one_that_counts(workspace):
    Datastore.register_azure_blob_container(workspace, **BLOB, account_key=KEY, sas_token="sv=1&sig=x")
    assert workspace.catalog.datastore("training").credentials.kind == "account_key"


def test_a_wrong_value_is_named(workspace):
    with pytest.raises(UserErrorException, match="container_name: must be a container's"):
        Datastore.register_azure_blob_container(workspace, **BLOB | {"container_name": "No"})


def test_a_secret_is_in_no_message(workspace):
    secret = "not base64: hunter2"
    with pytest.raises(UserErrorException, match="account_key: is not an account key") as caught:
        Datastore.register_azure_blob_container(workspace, **BLOB, account_key=secret)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert list(workspace.datastores) == ["workspaceblobstore", "workspacefilestore"]


def test_upload_without_a_credential(workspace, nowhere):
    made = Datastore.register_azure_blob_container(workspace, **BLOB)
    with pytest.raises(UserErrorException, match="Upload cannot be performed since the Azure Storage Blob datastore"):
        made.upload(str(nowhere))


def test_a_service_principal_is_whole_or_absent(workspace):
    with pytest.raises(UserErrorException, match="have to be defined together"):
        Datastore.register_azure_data_lake_gen2(workspace, "lake", "fs", "account", tenant_id="t")


def test_a_database_needs_its_user(workspace):
    with pytest.raises(
        UserErrorException, match=r"^UserErrorException:\n\tMessage: User id is required for PostreSQL\."
    ):
        Datastore.register_azure_postgre_sql(workspace, "pg", "server", "database", None, "password")


@pytest.mark.azurite
def test_what_is_half_or_no_number_is_named(workspace):
    where = {"server_name": "s", "database_name": "d"}
    with pytest.raises(UserErrorException, match=r"credentials\.username: is missing"):
        Datastore.register_azure_sql_database(workspace, "sql", **where, password="hunter2")
    login = {"user_id": "u", "user_password": "hunter2"}
    with pytest.raises(UserErrorException, match="port_number: Expected `int`"):
        Datastore.register_azure_my_sql(workspace, "my", **where, **login, port_number="none")
    assert Datastore.register_azure_my_sql(workspace, "my", **where, **login, port_number="3307").name == "my"
    with pytest.raises(UserErrorException, match="name: Expected `str`"):
        Datastore.register_azure_blob_container(workspace, **BLOB | {"datastore_name": None})


def test_the_container_is_made(workspace, azurite_container):
    host = azurite_container.account_url.removeprefix("http://").partition("/")[0]
    place = {"account_name": "devstoreaccount1", "protocol": "http", "endpoint": host}
    credential = azurite_container.spec().credential
    for _ in range(2):  # the second time it is there
        made = Datastore.register_azure_blob_container(
            workspace,
            "emulated",
            "made-by-register",
            account_key=credential.key,
            create_if_not_exists=True,
            overwrite=True,
            **place,
        )
    assert made.download("out") == 0
    with pytest.raises(Exception, match="container 'not-made' does not exist"):
        Datastore.register_azure_blob_container(
            workspace, "other", "not-made", account_key=credential.key, **place
        ).download("out")
