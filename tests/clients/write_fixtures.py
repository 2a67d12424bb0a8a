"""Write what Azure's own packages write, for the tests to read.

    PYTHON tests/clients/write_fixtures.py DIRECTORY

PYTHON is one that has azure-ai-ml and azureml-core, such as `.tools/clients/bin/python`. Makes
`<package>-<version>/` in DIRECTORY: YAML as `dump()` and `save()` write it, and JSON as `az ml … show` and the service
have it. Secrets are made up ("hunter2"); nothing is asked of any service. Two runs write the same bytes.
"""

import io
import json
import logging
import os
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

from azure.ai.ml import Input, Output, command
from azure.ai.ml import entities as e
from azure.ai.ml.entities import CommandJob, CommandJobLimits, Data, JobResourceConfiguration
from azureml.core import Workspace
from azureml.core import runconfig as rc
from azureml.core._serialization_utils import _serialize_to_dict
from azureml.data import OutputFileDatasetConfig
from azureml.data.azure_storage_datastore import AzureBlobDatastore, AzureFileDatastore
from azureml.data.data_reference import DataReference

SAS = "sv=2024-11-04&ss=b&sig=hunter2%3D"
KEY = "aHVudGVyMg=="
STORE = "azureml://datastores/workspaceblobstore/paths"
LONG = "azureml://subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/local/workspaces/w/datastores"
TENANT, CLIENT = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"


def write_all(directory: Path) -> None:
    """Write the files of both packages below `directory`."""
    ai_ml = directory / f"azure-ai-ml-{version('azure-ai-ml')}"
    core = directory / f"azureml-core-{version('azureml-core')}"
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)  # a relative path that leads nowhere stays as it is
        dumped(ai_ml / "datastores", datastores())
        dumped(ai_ml / "data", data_assets())
        dumped(ai_ml / "jobs", jobs())
        run_configurations(core / "runconfig")
        describe_core(core)
        os.chdir("/")


def dumped(directory, entities):
    """Write each of `entities`, by stem, as YAML and JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    for stem, entity in entities.items():
        text = io.StringIO()
        entity.dump(text)
        (directory / f"{stem}.yml").write_text(text.getvalue())
        (directory / f"{stem}.json").write_text(json.dumps(entity._to_dict(), indent=2, sort_keys=True) + "\n")


def datastores():
    """Return every kind of datastore with every kind of credential."""
    key, sas = e.AccountKeyConfiguration(account_key=KEY), e.SasTokenConfiguration(sas_token=SAS)
    principal = e.ServicePrincipalConfiguration(tenant_id=TENANT, client_id=CLIENT, client_secret="hunter2")
    certificate = e.CertificateConfiguration(
        tenant_id=TENANT,
        client_id=CLIENT,
        thumbprint="0123456789abcdef0123456789abcdef01234567",
        certificate="-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n",
    )
    lake = e.ServicePrincipalConfiguration(
        tenant_id=TENANT, client_id=CLIENT, client_secret="hunter2", resource_url="https://storage.azure.com/"
    )
    blob = {"account_name": "mytestblobstore", "container_name": "data-container"}
    share = {"account_name": "mytestfilestore", "file_share_name": "my-share"}
    gen2 = {"account_name": "mytestdatalakegen2", "filesystem": "my-gen2-container"}
    one_lake = {
        "one_lake_workspace_name": "fabric",
        "artifact": e.OneLakeArtifact(name="lake.Lakehouse", type="lake_house"),
        "endpoint": "onelake.dfs.fabric.microsoft.com",
    }
    return {
        "blob_key": e.AzureBlobDatastore(
            name="blob_key", **blob, credentials=key, description="A container", tags={"team": "vision"}
        ),
        "blob_none": e.AzureBlobDatastore(name="blob_none", **blob),
        "blob_sas": e.AzureBlobDatastore(
            name="blob_sas", **blob, credentials=sas, protocol="http", endpoint="core.chinacloudapi.cn"
        ),
        "file_key": e.AzureFileDatastore(name="file_key", **share, credentials=key),
        "file_sas": e.AzureFileDatastore(name="file_sas", **share, credentials=sas),
        "gen1_cert": e.AzureDataLakeGen1Datastore(name="gen1_cert", store_name="mystore", credentials=certificate),
        "gen1_none": e.AzureDataLakeGen1Datastore(name="gen1_none", store_name="mystore"),
        "gen1_sp": e.AzureDataLakeGen1Datastore(name="gen1_sp", store_name="mystore", credentials=principal),
        "gen2_cert": e.AzureDataLakeGen2Datastore(name="gen2_cert", **gen2, credentials=certificate),
        "gen2_none": e.AzureDataLakeGen2Datastore(name="gen2_none", **gen2),
        "gen2_sp": e.AzureDataLakeGen2Datastore(name="gen2_sp", **gen2, credentials=lake),
        "one_lake": e.OneLakeDatastore(name="one_lake", **one_lake),
    }


def data_assets():
    """Return data assets of every type, and paths of every form."""
    return {
        "file": Data(name="titanic", version="2", type="uri_file", path=f"{STORE}/demo/Titanic.csv"),
        "folder": Data(
            name="cifar",
            version="1",
            type="uri_folder",
            path=f"{STORE}/datasets/cifar10/",
            description="CIFAR-10",
            tags={"split": "train"},
        ),
        "local": Data(name="local", version="1", type="uri_folder", path="/data/digits"),
        "long": Data(name="long", version="1", type="uri_folder", path=f"{LONG}/workspaceblobstore/paths/d/"),
        "mltable": Data(name="table", version="1", type="mltable", path=f"{STORE}/t/"),
        "web": Data(
            name="mnist",
            version="1",
            type="uri_file",
            path="http://127.0.0.1:8080/exdb/mnist/train-images-idx3-ubyte.gz",
        ),
    }


def jobs():
    """Return command jobs in both forms that there are, and what mountd refuses of them."""

    def every_input():
        made = {}
        for kind in ("uri_folder", "uri_file", "mltable"):
            for mode in ("ro_mount", "download", "direct"):
                made[f"{kind}_{mode}"] = Input(type=kind, path=f"{STORE}/{kind}", mode=mode)
        for mode in ("eval_mount", "eval_download"):
            made[mode] = Input(type="mltable", path="azureml:table:3", mode=mode)
        for kind in ("custom_model", "mlflow_model", "triton_model"):
            made[kind] = Input(type=kind, path="azureml:model:1")
        made |= {
            "label": Input(type="uri_folder", path="azureml:cifar@latest"),
            "local": Input(type="uri_file", path="./digits.csv"),
            "long": Input(type="uri_folder", path=f"{LONG}/workspaceblobstore/paths/d/"),
            "plain": Input(type="uri_folder", path=f"{STORE}/d/"),
            "web": Input(type="uri_file", path="https://example.org/titanic.csv", mode="download"),
        }
        return made | {"count": 2, "rate": 0.003, "flag": True, "word": "a text"}

    def every_output():
        return {
            "made": Output(type="uri_folder", path=f"{STORE}/o/${{{{name}}}}", mode="upload", name="made", version="2"),
            "report": Output(type="uri_file", path=f"{STORE}/report.html", mode="upload"),
            "rest": Output(type="mltable", mode="upload"),
        }

    def small(**changes):
        return command(command="true", environment="azureml:e@latest", name="small", **changes)

    line = "python train.py --data ${{inputs.plain}} --rate ${{inputs.rate}} --out ${{outputs.made}}"
    said = {
        "command": line,
        "code": "./src",
        "inputs": every_input(),
        "outputs": every_output(),
        "environment": "azureml:e@latest",
        "compute": "cpu-cluster",
        "display_name": "Shown",
        "experiment_name": "letters",
        "description": "as the package writes it",
        "tags": {"stage": "test"},
        "environment_variables": {"A": "1"},
    }
    return {
        "built": command(
            name="built",
            timeout=600,
            instance_count=2,
            shm_size="2g",
            **said,
        ),
        "anonymous": command(command="echo hello", environment="azureml:e@latest"),
        "command": CommandJob(
            name="plain",
            limits=CommandJobLimits(timeout=600),
            resources=JobResourceConfiguration(instance_count=1, shm_size="2g"),
            **said,
        ),
        "refused_direct_output": small(outputs={"o": Output(type="uri_folder", mode="direct")}),
        "refused_rw_mount_input": small(inputs={"d": Input(type="uri_folder", path=f"{STORE}/d", mode="rw_mount")}),
        "refused_rw_mount_output": small(outputs={"o": Output(type="uri_folder", mode="rw_mount")}),
    }


def run_configurations(directory):
    """Write run configurations of the first SDK: a script's, with all that brings data, and a command's."""
    store = AzureBlobDatastore(None, "workspaceblobstore", "container", "account", account_key=KEY)
    config = rc.RunConfiguration(
        script="train.py", arguments=["--data_dir", "$AZUREML_DATAREFERENCE_bar_in", "--lr", 0.1]
    )
    config.arguments += ["--data_path", "DatasetConsumptionConfig:input"]
    references = [
        DataReference(store, "bar_in", path_on_datastore="./bar", mode="download", path_on_compute="data/bar"),
        store.as_mount(),
        DataReference(
            store, "up", path_on_datastore="sent", mode="upload", path_on_compute="./bar.pkl", overwrite=True
        ),
    ]
    config.data_references = {reference.data_reference_name: reference.to_config() for reference in references}
    config.data = core_data()
    out = OutputFileDatasetConfig("out1", destination=(store, "/o/{run-id}/{output-name}"))
    sent = out.as_upload(overwrite=True, source_globs=["*.pkl"]).register_on_complete("made", description="what was")
    bare = OutputFileDatasetConfig("out2").as_upload()
    config.output_data = {"out1": sent._to_output_data(), "out2": bare._to_output_data()}
    config.source_directory_data_store = "workspaceblobstore"
    config.environment_variables = {"A": "1"}
    config.max_run_duration_seconds = 600
    saved(config, directory, "script")

    config = rc.RunConfiguration()
    config.command = ["echo", "hello"]
    config.target = "cpu-cluster"
    config.node_count = 2
    saved(config, directory, "command")

    config = rc.RunConfiguration(script="train.py")
    config.output_data = {"out": OutputFileDatasetConfig("out", destination=(store, "o")).as_mount()._to_output_data()}
    saved(config, directory, "refused_mount_output")


def core_data():
    """Return the data of a run configuration, every place and mechanism that there is."""
    identifier = "11111111-2222-3333-4444-555555555555"
    named = rc.DataLocation(dataset=rc.Dataset(dataset_id=identifier, dataset_name="cifar", dataset_version="1"))
    return {
        "input": rc.Data(
            data_location=named,
            mechanism="mount",
            environment_variable_name="cifar_in",
            path_on_compute="/tmp/dataset",
        ),
        "by_id": rc.Data(data_location=rc.DataLocation(dataset=rc.Dataset(dataset_id=identifier)), mechanism="direct"),
        "by_path": rc.Data(
            data_location=rc.DataLocation(data_path=rc.DataPath(datastore_name="ds", relative_path="a b/c")),
            mechanism="download",
        ),
        "by_uri": rc.Data(
            data_location=rc.DataLocation(uri=rc.Uri(path="/data/digits", is_file=False)), mechanism="mount"
        ),
    }


def saved(config, directory, stem):
    """Write `config` as `save` does, with a fixed image for the one that follows the package's day, and as JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    config.environment.docker.base_image = IMAGE
    text = json.dumps(_serialize_to_dict(config), indent=2, sort_keys=True)  # first: saving changes what is saved
    (directory / f"{stem}.json").write_text(text + "\n")
    with tempfile.TemporaryDirectory() as project:
        os.mkdir(f"{project}/.azureml")
        config.save(project, stem)
        (written,) = (file for file in Path(project, ".azureml").iterdir() if file.stem == stem)
        (directory / f"{stem}.runconfig").write_text(written.read_text())


def describe_core(directory):
    """Write what the first SDK shows of datastores and references, and the file that names a workspace."""
    blob = AzureBlobDatastore(
        None, "blobby", "container", "account", account_key=KEY, protocol="https", endpoint="core.windows.net"
    )
    share = AzureFileDatastore(
        None, "filey", "share", "account", account_key=KEY, protocol="https", endpoint="core.windows.net"
    )
    (directory / "shown_blob.json").write_text(f"{blob}\n")
    (directory / "shown_file.json").write_text(f"{share}\n")
    references = [blob.as_mount(), DataReference(blob, "bar", path_on_datastore="./bar", mode="download")]
    (directory / "shown_references.json").write_text(json.dumps([str(reference) for reference in references]) + "\n")

    workspace = object.__new__(Workspace)  # its constructor asks the service
    workspace._subscription_id, workspace._resource_group, workspace._workspace_name = TENANT, "group", "mine"
    with tempfile.TemporaryDirectory() as project:
        workspace.write_config(project)
        (directory / "config.json").write_text(Path(project, ".azureml/config.json").read_text())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable()
    write_all(Path(sys.argv[1]).absolute())
