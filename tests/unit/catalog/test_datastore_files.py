"""Datastore YAML: Azure ML's own files are read, what is wrong is named by file and field, secrets never show."""

import contextlib
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.catalog.datastore import (
    BlobDatastore,
    Credentials,
    LocalDatastore,
    check_datastore,
    decode_datastore,
    encode_datastore,
)
from mountd.catalog.datastore_input import DatastoreWords, Secret, datastore_from_file, datastore_from_words
from mountd.catalog.model import AccountKey, Anonymous, BlobSpec, LocalSpec, Sas
from mountd.config.strict_yaml import load_yaml
from mountd.errors import MountdError, NotFoundError, UsageError

KEY = "aHVudGVyMg=="  # hunter2
SAS = "sv=2024-11-04&ss=b&sig=hunter2%3D"

FROM_THE_CLI = f"""
$schema: https://azuremlschemas.azureedge.net/latest/azureBlob.schema.json
name: blob_example
type: azure_blob
description: Datastore pointing to a blob container.
tags: {{team: vision, year: 2026}}
account_name: mytestblobstore
container_name: data-container
credentials:
  account_key: {KEY}
"""


def read(text, tmp_path, **rest):
    file = tmp_path / "store.yml"
    file.write_text(text)
    return datastore_from_file(file, **({"name": None, "secret": None} | rest))


def blob_yaml(**changes):
    fields = {"name": "s", "type": "azure_blob", "account_name": "acct", "container_name": "data"} | changes
    return yaml.safe_dump({key: value for key, value in fields.items() if value is not None})


def test_a_file_for_azure_ml_is_read(tmp_path):
    datastore = read(FROM_THE_CLI, tmp_path)
    assert datastore.name == "blob_example"
    assert datastore.store(tmp_path) == BlobSpec(
        account_name="mytestblobstore",
        container="data-container",
        account_url="https://mytestblobstore.blob.core.windows.net",
        credential=AccountKey(KEY),
    )
    assert datastore.attr_ttl_s is None


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://acct.blob.core.windows.net"),
        ({"protocol": "http"}, "http://acct.blob.core.windows.net"),
        ({"endpoint": "core.chinacloudapi.cn"}, "https://acct.blob.core.chinacloudapi.cn"),
        ({"endpoint": "127.0.0.1:10000", "protocol": "http"}, "http://127.0.0.1:10000/acct"),
        ({"endpoint": "localhost:10000", "protocol": "http"}, "http://localhost:10000/acct"),
        ({"endpoint": "[::1]:10000"}, "https://[::1]:10000/acct"),
        ({"endpoint": "10.1.2.3", "account_name": "My-Account_1"}, "https://10.1.2.3/My-Account_1"),
    ],
)
def test_endpoints(tmp_path, fields, url):
    assert read(blob_yaml(**fields), tmp_path).store(tmp_path).account_url == url


@pytest.mark.parametrize(
    ("credentials", "credential"),
    [
        (None, Anonymous()),
        ({}, Anonymous()),  # as azure-ai-ml writes it
        ({"account_key": f" {KEY}\n"}, AccountKey(KEY)),
        ({"sas_token": SAS}, Sas(SAS)),
        ({"sas_token": "?" + SAS}, Sas(SAS)),
    ],
)
def test_credentials(tmp_path, credentials, credential):
    assert read(blob_yaml(credentials=credentials), tmp_path).store(tmp_path).credential == credential


def test_extensions(tmp_path):
    (tmp_path / "data").mkdir()
    local = read("{name: Here, type: local, path: data}", tmp_path)
    assert (local.name, local.store(tmp_path)) == ("here", LocalSpec(path=str(tmp_path / "data")))
    assert read(blob_yaml(blob_cache_timeout=90), tmp_path).attr_ttl_s == 90.0


WRONG = [
    ("", "must hold fields"),
    ("- a", "must hold fields"),
    ("name: [", "line 1, column 8: not well-formed YAML"),
    ("a: b: c", "line 1, column 5: not well-formed YAML"),
    ("name: a\nname: b\n", "'name' is given twice, again in line 2"),
    ("name: 2020-99-99", "not well-formed YAML"),
    ("name: !!python/object:os.system x", "not well-formed YAML"),
    ("[" * 5000, "not well-formed YAML"),
    ("{? [a] : b}", "not well-formed YAML"),
    (blob_yaml(type=None), "type: is missing"),
    (blob_yaml(type="azure_blobs"), "type: must be one of azure_blob, "),
    (blob_yaml(type="azure_file"), "container_name: is not a known field"),
    (blob_yaml(type="one_lake"), "type: OneLake is not in this version"),
    (blob_yaml(type=["local"]), "type: must be one of azure_blob, "),
    (blob_yaml(name=None), "name: is missing"),
    (blob_yaml(name="a b"), "name: 'a b'"),
    (blob_yaml(name=7), "name: Expected `str`"),
    (blob_yaml(container_name=None), "container_name: is missing"),
    (blob_yaml(container_name="Data"), "container_name: must be"),
    (blob_yaml(account_name=None), "account_name: is missing"),
    (blob_yaml(account_name="My_Account"), "account_name: must be"),
    (blob_yaml(account_name=123456), "account_name: Expected `str`"),
    (blob_yaml(container="data"), "container: is not a known field"),
    (blob_yaml(path="/x"), "path: is not a known field"),
    (blob_yaml(protocol="ftp"), "protocol: 'ftp' is none of http, https"),
    (blob_yaml(endpoint="https://core.windows.net"), "endpoint: must be a host"),
    (blob_yaml(endpoint="core.windows.net/x"), "endpoint: must be a host"),
    (blob_yaml(endpoint=""), "endpoint: must be a host"),
    (blob_yaml(tags=["a"]), "tags: Expected `object`"),
    (blob_yaml(blob_cache_timeout=-1), "blob_cache_timeout: must be seconds"),
    (blob_yaml(blob_cache_timeout="90"), "blob_cache_timeout: Expected"),
    (blob_yaml(blob_cache_timeout=float("inf")), "blob_cache_timeout: must be seconds"),
    (blob_yaml(credentials="hunter2"), "credentials: Expected"),
    (blob_yaml(credentials={"account_key": KEY, "sas_token": SAS}), "credentials: must hold account_key or sas_token"),
    (
        blob_yaml(credentials={"client_secret": "hunter2"}),
        "credentials: must hold account_key or sas_token, one of them",
    ),
    (blob_yaml(credentials={"secret": "hunter2"}), "credentials.secret: is not a known field"),
    (blob_yaml(credentials={"account_key": "hunter2!"}), "credentials.account_key: is not an account key"),
    (blob_yaml(credentials={"account_key": SAS}), "credentials.account_key: is not an account key"),
    (blob_yaml(credentials={"sas_token": KEY}), "credentials.sas_token: is not a SAS"),
    (blob_yaml(credentials={"sas_token": f"https://x/?{SAS}"}), "credentials.sas_token: is not a SAS"),
    (blob_yaml(credentials={"sas_token": SAS + "\r\nX: hunter2"}), "credentials.sas_token: is not a SAS"),
    (f"name: s\ntype: azure_blob\ncredentials:\n  account_key: *{'hunter2' * 5}", "line 4"),
    ("{name: s, type: local}", "path: is missing"),
    ("{name: s, type: local, path: ''}", "path: must name a directory"),
    ("{name: s, type: local, path: /, credentials: {account_key: x}}", "credentials: is not a known field"),
]


@pytest.mark.parametrize(("text", "part"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named_by_file_and_field(tmp_path, text, part):
    with pytest.raises(UsageError) as caught:
        read(text, tmp_path)
    message = caught.value.message
    assert message.startswith(str(tmp_path / "store.yml"))
    assert part in message
    assert "hunter2" not in message
    assert KEY not in message


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(NotFoundError, match=r"nope\.yml: there is no such file"):
        datastore_from_file(tmp_path / "nope.yml", name=None, secret=None)
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        datastore_from_file(tmp_path, name=None, secret=None)
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        datastore_from_file(tmp_path / "binary.yml", name=None, secret=None)
    (tmp_path / "long.yml").write_bytes(b"# " + bytes(2 << 20))
    with pytest.raises(UsageError, match="too long"):
        datastore_from_file(tmp_path / "long.yml", name=None, secret=None)


def test_a_local_directory_must_exist(tmp_path):
    with pytest.raises(NotFoundError, match=r"path: .*/nope is no directory"):
        read("{name: s, type: local, path: nope}", tmp_path)


def test_a_name_and_a_secret_beside_the_file(tmp_path):
    datastore = read(blob_yaml(), tmp_path, name="Other", secret=Secret(text=KEY, origin="$VAR"))
    assert datastore.name == "other"
    assert datastore.credentials == Credentials(account_key=KEY)


STRINGS = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    description=st.none() | STRINGS,
    tags=st.dictionaries(STRINGS, st.one_of(STRINGS, st.integers(), st.booleans(), st.none())),
    timeout=st.none() | st.integers(0, 10**9),
    endpoint=st.sampled_from(["core.windows.net", "127.0.0.1:10000", "[::1]:1"]),
    credentials=st.sampled_from([None, Credentials(account_key=KEY), Credentials(sas_token=SAS)]),
)
@settings(deadline=None)
def test_what_is_written_is_read_back(description, tags, timeout, endpoint, credentials):
    written = BlobDatastore(
        schema="https://azuremlschemas.azureedge.net/latest/azureBlob.schema.json",
        name="null",
        description=description,
        tags=tags,
        account_name="00123",
        container_name="1e3",
        endpoint=endpoint,
        blob_cache_timeout=timeout,
        credentials=credentials,
    )
    text = encode_datastore(written).decode()
    assert decode_datastore(yaml.safe_load(text), "x") == written


YAML_PIECES = [
    "{", "}", "[", "]", "-", "|", ">", "?", ":", "&", "*", "!", "!!set", "!!binary", "%YAML", "---", "...", "<<:", "*a",
    "&a", "name:", "type:", "local", "azure_blob", "path:", "credentials:", "account_key:", "tags:", "container_name:",
    "account_name:", "blob_cache_timeout:", "1", "1e3", ".inf", ".nan", "~", "true", "2020-01-01", '"x"', "'x", "\n",
    "\n  ",
]  # fmt: skip


@given(text=st.lists(st.one_of(st.sampled_from(YAML_PIECES), st.text(max_size=4))).map(" ".join))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_datastore_or_refused(text):
    with contextlib.suppress(UsageError):
        decode_datastore(load_yaml(text, "x"), "x")


@given(
    fields=st.dictionaries(
        st.sampled_from(
            ["name", "type", "path", "account_name", "container_name", "endpoint", "protocol", "credentials", "tags"]
        ),
        st.recursive(
            st.sampled_from(["local", "azure_blob", "acct", "", None, 1, 0.5, True, b"x", "https"]),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["account_key", 1]), inner),
            max_leaves=3,
        ),
    )
)
@settings(deadline=None)
def test_any_fields_are_a_datastore_or_refused(fields):
    with contextlib.suppress(UsageError):
        decode_datastore(fields, "x")


@given(path=STRINGS.filter(lambda text: text and "\0" not in text))
@settings(deadline=None)
def test_local_paths_are_written_and_read_back(path):
    written = LocalDatastore(name="s", path=path)
    assert decode_datastore(yaml.safe_load(encode_datastore(written)), "x") == written


class TestWords:
    BLOB = DatastoreWords(name="s", type="azure_blob", account_name="acct", container_name="data")
    BLOB_WITH_PATH = replace(BLOB, path="/")

    def test_blob(self, tmp_path):
        datastore = datastore_from_words(self.BLOB, secret=None, environ={}, cwd=tmp_path)
        assert datastore == BlobDatastore(name="s", account_name="acct", container_name="data")

    def test_local(self, tmp_path):
        (tmp_path / "d").mkdir()
        words = DatastoreWords(name="S", type="local", path="d")
        assert datastore_from_words(words, secret=None, environ={}, cwd=tmp_path) == LocalDatastore(
            name="s", path=str(tmp_path / "d")
        )

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (DatastoreWords(), "NAME: is missing"),
            (DatastoreWords(name="s"), "--type: is missing"),
            (DatastoreWords(name="s", type="azure_blob", account_name="acct"), "--container-name: is missing"),
            (DatastoreWords(name="s", type="azure_blob", container_name="data"), "--account-name: is missing"),
            (DatastoreWords(name="s", type="local"), "--path: is missing"),
            (DatastoreWords(name="s", type="local", path="/", endpoint="x"), "--endpoint: does not belong"),
            (BLOB_WITH_PATH, "--path: does not belong"),
            (DatastoreWords(name="s", type="azure_file"), "any other kind is described by --file"),
            (DatastoreWords(name="s", type="nfs"), "--type: nfs: must be azure_blob or local"),
            (DatastoreWords(name="s!", type="local", path="/"), "name: 's!'"),
        ],
    )
    def test_wrong_words(self, tmp_path, words, part):
        with pytest.raises(UsageError) as caught:
            datastore_from_words(words, secret=None, environ={}, cwd=tmp_path)
        assert part in caught.value.message

    @pytest.mark.parametrize(
        ("text", "credentials"),
        [
            (KEY, Credentials(account_key=KEY)),
            (f" {KEY}\n", Credentials(account_key=KEY)),
            (SAS, Credentials(sas_token=SAS)),
            ("?" + SAS, Credentials(sas_token=SAS)),
            (f"https://acct.blob.core.windows.net/data?{SAS}", Credentials(sas_token=SAS)),
            (f"AccountName=acct;AccountKey={KEY}", Credentials(account_key=KEY)),
            (f"BlobEndpoint=https://acct.blob.x/;SharedAccessSignature={SAS}", Credentials(sas_token=SAS)),
            (f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.windows.net;",
             Credentials(account_key=KEY)),
        ],
    )  # fmt: skip
    def test_secrets_are_told_apart(self, tmp_path, text, credentials):
        secret = Secret(text=text, origin="$VAR")
        datastore = datastore_from_words(self.BLOB, secret=secret, environ={}, cwd=tmp_path)
        assert datastore.credentials == credentials
        assert "hunter2" not in repr(secret)
        assert KEY not in repr((secret, datastore))

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("hunter2!", "$VAR: is neither an account key"),
            ("https://acct.blob.core.windows.net/data", "$VAR: is neither an account key"),
            ("AccountName=acct", "neither AccountKey nor SharedAccessSignature"),
            ("AccountKey=" + KEY, "neither AccountName nor a BlobEndpoint"),
            (f"AccountName=other;AccountKey={KEY}", "is for the account other, the datastore's is acct"),
            ("AccountName=acct;AccountKey=hunter2!", "$VAR.account_key: is not an account key"),
            ("AccountName=acct;hunter2", "$VAR: not a connection string"),
        ],
    )
    def test_wrong_secrets(self, tmp_path, text, part):
        with pytest.raises(MountdError) as caught:
            datastore_from_words(self.BLOB, secret=Secret(text=text, origin="$VAR"), environ={}, cwd=tmp_path)
        assert part in caught.value.message.replace("$VAR: credentials.", "$VAR.")
        assert "hunter2" not in caught.value.message
        assert KEY not in caught.value.message

    @pytest.mark.parametrize(
        ("text", "url", "credential"),
        [
            ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1", None),
            (f"AccountName=mine;AccountKey={KEY};BlobEndpoint=http://[::1]:99/mine;", "http://[::1]:99/mine", KEY),
            (f"AccountName=acct;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn",
             "https://acct.blob.core.chinacloudapi.cn", KEY),
            (f"AccountName=acct;AccountKey={KEY};BlobEndpoint=https://acct.blob.core.windows.net/",
             "https://acct.blob.core.windows.net", KEY),
        ],
    )  # fmt: skip
    def test_a_connection_string_says_where(self, tmp_path, text, url, credential):
        words = DatastoreWords(name="s", type="azure_blob", container_name="data")
        datastore = datastore_from_words(words, secret=Secret(text=text, origin="$VAR"), environ={}, cwd=tmp_path)
        assert datastore.account_url == url
        if credential:
            assert datastore.credentials == Credentials(account_key=credential)

    @pytest.mark.parametrize(
        ("text", "words", "url"),
        [
            ("UseDevelopmentStorage=true", {"account_name": "devstoreaccount1"}, "http://127.0.0.1:10000/devstoreaccount1"),
            ("UseDevelopmentStorage=true", {}, "https://acct.blob.core.windows.net"),
            ("AccountName=acct;BlobEndpoint=http://[::1]:99/acct/", {}, "http://[::1]:99/acct"),
            ("AccountName=acct;BlobEndpoint=http://[::1]:99/acct/", {"endpoint": "x.net"}, "https://acct.blob.x.net"),
            ("AccountName=acct;BlobEndpoint=http://[::1]:99/acct/", {"protocol": "http"},
             "http://acct.blob.core.windows.net"),
            ("AccountName=acct;BlobEndpoint=https://data.example.com", {}, "https://acct.blob.core.windows.net"),
            ("hunter2", {}, "https://acct.blob.core.windows.net"),
        ],
    )  # fmt: skip
    def test_the_environments_connection_string_says_where_an_account_is(self, tmp_path, text, words, url):
        environ = {"AZURE_STORAGE_CONNECTION_STRING": text}
        datastore = datastore_from_words(replace(self.BLOB, **words), secret=None, environ=environ, cwd=tmp_path)
        assert datastore.account_url == url
        assert datastore.credentials is None

    def test_a_domain_of_ones_own_is_no_datastores(self, tmp_path):
        secret = Secret(text=f"AccountName=acct;AccountKey={KEY};BlobEndpoint=https://data.example.com", origin="$VAR")
        with pytest.raises(UsageError, match=r"\$VAR: its BlobEndpoint does not begin with .* give --endpoint"):
            datastore_from_words(self.BLOB, secret=secret, environ={}, cwd=tmp_path)
        words = replace(self.BLOB, endpoint="core.windows.net", protocol="https")
        datastore = datastore_from_words(words, secret=secret, environ={}, cwd=tmp_path)
        assert datastore.account_url == "https://acct.blob.core.windows.net"

    def test_a_local_one_takes_no_secret(self, tmp_path):
        words = DatastoreWords(name="s", type="local", path="/")
        with pytest.raises(UsageError, match="takes no credential"):
            datastore_from_words(words, secret=Secret(text=KEY, origin="$VAR"), environ={}, cwd=tmp_path)


def test_checks_hold_for_values_made_in_code():
    with pytest.raises(UsageError, match="container_name"):
        check_datastore(BlobDatastore(name="s", account_name="acct", container_name="X"), "here")
