"""The code about workspaces and datastores: registered, found, filled and read."""

import pytest

from tests.pages.cases import case

pytestmark = pytest.mark.azurite

WORKSPACE = """
import azureml.core
from azureml.core import Workspace, Datastore

ws = Workspace.from_config()
"""
REGISTER_BLOB = """
datastore = Datastore.register_azure_blob_container(workspace=ws,
                                                    datastore_name='<name>',
                                                    container_name='<container>',
                                                    account_name='<account>',
                                                    account_key='<key>',
                                                    create_if_not_exists=True)
"""


@case("C01", "C02", "C04", "C05", "C06", "C07")
def test_registering_and_finding(notebook, emulated):
    notebook.run(REGISTER_BLOB, before=WORKSPACE, name="training", container="pages-training", **emulated)
    out = notebook.run(
        """
#get named datastore from current workspace
datastore = Datastore.get(ws, datastore_name='<name>')

#list all datastores registered in current workspace
datastores = ws.datastores
for name, datastore in datastores.items():
    print(name, datastore.datastore_type)

datastore = ws.get_default_datastore()

#define default datastore for current workspace
ws.set_default_datastore('training')
""",
        before=WORKSPACE,
        after="print(datastore.name, ws.get_default_datastore().name)",
        name="training",
    )
    assert out == (
        "training AzureBlob\nworkspaceblobstore Local\nworkspacefilestore Local\nworkspaceblobstore training\n"
    )


@case("C03")
def test_registering_a_file_share(notebook, emulated):
    out = notebook.run(
        """
datastore = Datastore.register_azure_file_share(workspace=ws,
                                                datastore_name='<name>',
                                                file_share_name='<share>',
                                                account_name='<account>',
                                                account_key='<key>',
                                                create_if_not_exists=True)
""",
        before=WORKSPACE,
        after="print(datastore.datastore_type, Datastore.get(ws, 'share'))",
        name="share",
        share="pages-share",
        account="account",
        key=emulated["key"],
    )
    assert out.startswith('AzureFile {\n  "name": "share",\n  "container_name": "pages-share"')
    assert emulated["key"] not in out
    shown = notebook.mountd.run("datastore", "show", "share", check=0)
    assert "azure_file" in shown.stdout


@case("C08", "C09", "C10")
def test_upload_and_download(notebook, emulated):
    notebook.write({"data/a.txt": b"a", "data/sub/b.txt": b"bb", "data/.hidden": b""})
    out = notebook.run(
        """
import azureml.data
from azureml.data.azure_storage_datastore import AzureFileDatastore, AzureBlobDatastore

datastore.upload(src_dir='<source>',
                 target_path='<target>',
                 overwrite=True,
                 show_progress=True)

datastore.upload_files(['data/a.txt'])

datastore.download(target_path='<local>',
                   prefix='<target>',
                   show_progress=True)
""",
        before=WORKSPACE
        + REGISTER_BLOB.replace("<name>", "store")
        .replace("<container>", "pages-store")
        .replace("<account>", emulated["account"])
        .replace("<key>", emulated["key"]),
        after="assert isinstance(datastore, AzureBlobDatastore)",
        source="data",
        target="your/path",
        local="fetched",
    )
    lines = out.splitlines()
    assert lines[0] == "Uploading an estimated of 3 files"
    assert "Uploaded 3 files" in lines
    assert sum(line.startswith("Downloaded your/path/") for line in lines) == 3
    fetched = notebook.directory / "fetched" / "your" / "path"
    assert (fetched / "a.txt").read_text() == "a"
    assert (fetched / "sub" / "b.txt").read_text() == "bb"
    assert (fetched / ".hidden").read_text() == ""
