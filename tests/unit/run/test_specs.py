"""The values of --mount, --download and --upload."""

import pytest

from mountd.errors import UsageError
from mountd.run.specs import (
    DownloadInput,
    MountInput,
    UploadOutput,
    check_names,
    parse_download,
    parse_mount,
    parse_upload,
)

SAS_URL = "https://acct.blob.core.windows.net/c/p?sv=2021&sp=r&sig=a%2Fb%3D"


def test_a_name_ends_at_the_first_equals_sign():
    assert parse_mount(f"train={SAS_URL}") == MountInput(name="train", source=SAS_URL)


@pytest.mark.parametrize(
    ("text", "source", "path"),
    [
        ("d=azureml://datastores/w/paths/x", "azureml://datastores/w/paths/x", None),
        ("d=azureml://datastores/w/paths/x=/data/in", "azureml://datastores/w/paths/x", "/data/in"),
        ("d=azureml://datastores/w/paths/x=./in put", "azureml://datastores/w/paths/x", "./in put"),
        (f"d={SAS_URL}", SAS_URL, None),
        (f"d={SAS_URL}=./in", SAS_URL, "./in"),
        ("d=/a=b/c", "/a=b/c", None),
        ("d=https://a/c/b?se=1&sig=/Kv%3D", "https://a/c/b?se=1&sig=/Kv%3D", None),
        ("d=https://a/c/b?sig=/Kv%3D=/data", "https://a/c/b?sig=/Kv%3D", "/data"),
        ("d=https://a/c/b?SIG=/Kv==./data", "https://a/c/b?SIG=/Kv=", "./data"),
        ("d=/a=b=/c=d=./e", "/a=b=/c=d", "./e"),
        ("d=/a=../up", "/a=../up", None),
        ("d=/plain/dir", "/plain/dir", None),
    ],
)
def test_a_download_path_follows_the_last_equals_sign_only_if_it_looks_like_a_path(text, source, path):
    assert parse_download(text) == DownloadInput(name="d", source=source, path=path)


@pytest.mark.parametrize(
    ("text", "path", "target"),
    [
        ("model=./out=azureml://datastores/w/paths/m", "./out", "azureml://datastores/w/paths/m"),
        (f"model=out/bar.pkl={SAS_URL}", "out/bar.pkl", SAS_URL),
        ("model=/abs dir/out=/t=1", "/abs dir/out", "/t=1"),
    ],
)
def test_an_upload_path_ends_at_the_next_equals_sign(text, path, target):
    assert parse_upload(text) == UploadOutput(name="model", path=path, target=target)


@pytest.mark.parametrize("name", ["a", "_", "A9", "my-ref", "my_ref-2", "workspaceblobstore"])
def test_names_may_hold_letters_digits_underscores_and_dashes(name):
    assert parse_mount(f"{name}=/x").name == name


@pytest.mark.parametrize("name", ["", "1a", "-a", "a b", "a.b", "a/b", "é", "a\n"])
@pytest.mark.parametrize("parse", [parse_mount, parse_download, parse_upload])
def test_other_names_are_refused(parse, name):
    with pytest.raises(UsageError, match="must start with a letter or '_'"):
        parse(f"{name}=/x=/y")


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_mount, "train", "--mount takes NAME=SOURCE, but 'train' has no '='"),
        (parse_mount, "train=", "--mount train: SOURCE is empty"),
        (parse_download, "train", "--download takes NAME=SOURCE[=PATH], but 'train' has no '='"),
        (parse_download, "train==/p", "--download train: SOURCE is empty"),
        (parse_upload, "model", "--upload takes NAME=PATH=TARGET, but 'model' has no '='"),
        (parse_upload, "model=", "--upload model: PATH is empty"),
        (parse_upload, "model=./out", "--upload model: TARGET is empty"),
    ],
)
def test_what_is_missing_is_named(parse, text, message):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.message == message


def test_neither_values_nor_errors_show_a_signature():
    source = "https://acct.blob.core.windows.net/c?sig=SECRET"
    assert "SECRET" not in repr(
        [parse_mount(f"a={source}"), parse_download(f"b={source}=./x"), parse_upload(f"c=./x={source}")]
    )
    with pytest.raises(UsageError) as caught:
        parse_mount(source)  # the NAME= was forgotten
    assert "SECRET" not in caught.value.message


def test_a_name_used_twice_is_refused():
    check_names(["a", "A", "a-b", "a_b"])
    with pytest.raises(UsageError, match="the name 'a' is used for more than one"):
        check_names(["a", "b", "a"])
