"""Whatever part of mountd refuses, the API raises its own exceptions."""

import pytest

import mountd.azureml.exceptions
from mountd import errors
from mountd.azureml import blocking
from mountd.azureml.core import Dataset, Datastore, Workspace
from mountd.azureml.errors import AzureMLException, UserErrorException, as_api_errors
from mountd.errors import MountdError

ALL = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MountdError)),
    key=lambda kind: kind.__name__,
)
NOT_THE_CALLERS = {
    "MountdError",
    "UnavailableError",
    "UnreachableError",
    "DeadlineError",
    "CorruptError",
    "NonsenseError",
    "SetupError",
}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_of_mountd_is_one_of_the_api(kind):
    async def fail():
        raise kind("read x: why; what to do")

    with pytest.raises(AzureMLException) as told, as_api_errors():
        raise kind("read x: why; what to do")
    assert told.value.message == "read x: why; what to do"
    assert isinstance(told.value, UserErrorException) == (kind.__name__ not in NOT_THE_CALLERS)
    with pytest.raises(AzureMLException) as told:
        blocking.run(fail)
    assert told.value.message == "read x: why; what to do"


def test_an_error_of_the_api_stays_itself():
    wanted = UserErrorException("twice")
    with pytest.raises(UserErrorException) as told, as_api_errors(), as_api_errors():
        raise wanted
    assert told.value is wanted


def test_the_exceptions_are_where_scripts_look_for_them():
    assert mountd.azureml.exceptions.UserErrorException is UserErrorException
    assert mountd.azureml.exceptions.AzureMLException is AzureMLException


def test_an_incomplete_download_names_the_file_once(workspace, nowhere):
    directory = nowhere / ".azureml" / "storage" / "workspaceblobstore" / "a"
    directory.mkdir(parents=True)
    (directory / "f.txt").write_text("before")
    datastore = workspace.get_default_datastore()
    kept = Dataset.File.from_files((datastore, "a")).register(workspace, "dd")
    assert kept.to_path() == ["/f.txt"]
    (directory / "f.txt").write_text("another length")
    with pytest.raises(UserErrorException) as told:
        kept.download("out")
    assert told.value.message.count("f.txt") == 1
    assert "f.txt: was replaced" in told.value.message


def test_errors_of_every_kind_of_call(workspace, nowhere):
    datastore = workspace.get_default_datastore()
    missing = Dataset.File.from_files((datastore, "nowhere"))
    table = Dataset.Tabular.from_delimited_files((datastore, "nowhere.csv"))
    (nowhere / "file").write_text("x")
    for call in (
        missing.to_path,
        missing.download,
        lambda: missing.mount("/proc/nothing/there").start(),
        table.to_pandas_dataframe,
        lambda: datastore.upload("missing"),
        lambda: datastore.upload_files(["missing"]),
        lambda: Datastore.get(workspace, "nobody"),
        lambda: Dataset.get_by_id(workspace, "nobody"),
        lambda: Workspace.from_config("file"),
    ):
        with pytest.raises(AzureMLException):
            call()
