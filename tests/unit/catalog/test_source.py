"""SOURCE: every form parses to what it means, every other text is refused in one line."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mountd.catalog.source import (
    AdlsUrl,
    BlobUrl,
    DatasetReference,
    DatastorePath,
    DataYaml,
    LocalPath,
    WebUrl,
    WorkspaceId,
    parse_source,
    store_path,
)
from mountd.errors import UsageError

CLOUD = "https://acct.blob.core.windows.net"
EMULATOR = "http://127.0.0.1:10000/devstoreaccount1"
SAS = "sv=2024-11-04&ss=b&sig=aB%2Fc%3D"
SCOPE = "azureml://subscriptions/S-1/resourceGroups/my%20group/workspaces/W"
WHERE = WorkspaceId("S-1", "my group", "W")


def blob(path="", *, account="acct", container="data", url=CLOUD, sas=None):
    return BlobUrl(account_name=account, container=container, path=path, account_url=url, sas=sas)


def emulated(path="", *, account="devstoreaccount1", url=EMULATOR, **rest):
    return blob(path, account=account, url=url, **rest)


FORMS = [
    ("azureml://datastores/ds", DatastorePath(datastore="ds")),
    ("azureml://datastores/ds/", DatastorePath(datastore="ds")),
    ("azureml://datastores/DS_1/paths/a/b.csv", DatastorePath(datastore="ds_1", path="a/b.csv")),
    ("azureml://datastores/ds/paths/./a/./b/", DatastorePath(datastore="ds", path="a/b")),
    ("azureml://datastores/ds/paths//a", DatastorePath(datastore="ds", path="a")),
    ("azureml://datastores/ds/paths/a//b", DatastorePath(datastore="ds", path="a//b")),
    ("azureml://datastores/ds/paths/a%20b+c%25d?e#f", DatastorePath(datastore="ds", path="a b+c%d?e#f")),
    (f"{SCOPE}/datastores/ds/paths/x", DatastorePath(datastore="ds", path="x", workspace=WHERE)),
    (
        f"{SCOPE.replace('/workspaces', '/providers/Microsoft.MachineLearningServices/workspaces')}/datastores/ds",
        DatastorePath(datastore="ds", workspace=WHERE),
    ),
    ("azureml:cifar", DatasetReference(name="cifar")),
    ("azureml:cifar:3", DatasetReference(name="cifar", version="3")),
    ("azureml:cifar@latest", DatasetReference(name="cifar")),
    (f"{SCOPE}/data/cifar/versions/2", DatasetReference(name="cifar", version="2", workspace=WHERE)),
    (f"{SCOPE}/data/cifar", DatasetReference(name="cifar", workspace=WHERE)),
    (f"{CLOUD}/data", blob()),
    (f"{CLOUD}/data/", blob()),
    (f"{CLOUD}//data//x/", blob("x")),
    (f"{CLOUD}/data/a/b", blob("a/b")),
    (f"{CLOUD}/data/a%2Fb%25+%20ü%C3%BC", blob("a/b%+ üü")),
    (f"{CLOUD}/data/100%/%zz", blob("100%/%zz")),
    (f"{CLOUD}/$root/x", blob("x", container="$root")),
    (f"{CLOUD}/data/x?{SAS}", blob("x", sas=SAS)),
    (f"{CLOUD}/data?restype=container&comp=list&{SAS}", blob(sas=SAS)),
    (f"{CLOUD}/data?", blob()),
    ("HTTPS://ACCT.Blob.Core.Windows.Net:443/data", blob(url="https://acct.blob.core.windows.net:443")),
    (
        "https://acct-secondary.blob.core.windows.net/data",
        blob(url="https://acct-secondary.blob.core.windows.net"),
    ),
    (
        "https://acct.z12.blob.storage.azure.net/data/x",
        blob("x", url="https://acct.z12.blob.storage.azure.net"),
    ),
    (f"{EMULATOR}/data/x", emulated("x")),
    (
        "http://localhost:10000/devstoreaccount1/data",
        emulated(url="http://localhost:10000/devstoreaccount1"),
    ),
    ("http://[::1]:10000/devstoreaccount1/data", emulated(url="http://[::1]:10000/devstoreaccount1")),
    ("http://10.0.0.7/devstoreaccount1/data", emulated(url="http://10.0.0.7/devstoreaccount1")),
    (
        "http://devstoreaccount1.blob.localhost:10000/data",
        emulated(url="http://devstoreaccount1.blob.localhost:10000"),
    ),
    ("wasbs://data@acct.blob.core.windows.net/a%20b", blob("a b")),
    ("wasbs://data@acct.blob.core.windows.net", blob()),
    ("wasb://data@acct.blob.core.windows.net/x", blob("x", url="http://acct.blob.core.windows.net")),
    (
        "wasb://data@127.0.0.1:9/mine/x",
        emulated("x", account="mine", url="http://127.0.0.1:9/mine"),
    ),
    (
        "abfss://fs1@acct.dfs.core.windows.net/a%20b/",
        AdlsUrl(filesystem="fs1", host="acct.dfs.core.windows.net", path="a b"),
    ),
    ("abfs://fs1@acct.dfs.core.windows.net", AdlsUrl(filesystem="fs1", host="acct.dfs.core.windows.net", secure=False)),
    ("https://example.com/a.csv?x=1#y", WebUrl("https://example.com/a.csv?x=1#y")),
    ("https://acct.file.core.windows.net/share/x", WebUrl("https://acct.file.core.windows.net/share/x")),
    ("http://127.0.0.1:8000/other/data/x", WebUrl("http://127.0.0.1:8000/other/data/x")),
    ("http://localhost/", WebUrl("http://localhost/")),
    ("file:///data/a%20b", LocalPath("/data/a b")),
    ("file://localhost/data", LocalPath("/data")),
    ("file:/data", LocalPath("/data")),
    ("file:///data/list.yml", LocalPath("/data/list.yml")),
    ("/data/a%20b", LocalPath("/data/a%20b")),
    ("./data:1", LocalPath("./data:1")),
    ("../data", LocalPath("../data")),
    ("C:data", LocalPath("C:data")),
    ("a?b#c*d", LocalPath("a?b#c*d")),
    ("assets/cifar.yml", DataYaml("assets/cifar.yml")),
    ("/assets/cifar.YAML", DataYaml("/assets/cifar.YAML")),
]


@pytest.mark.parametrize(("text", "value"), FORMS, ids=[text for text, _ in FORMS])
def test_each_form_means_what_the_contract_says(text, value):
    assert parse_source(text, {}) == value


@pytest.mark.parametrize(("text", "value"), FORMS, ids=[text for text, _ in FORMS])
def test_the_canonical_text_means_the_same(text, value):
    assert parse_source(value.uri, {}) == value


REFUSED = [
    ("", "empty"),
    ("a\0b", "NUL"),
    ("bad\udc80name", "UTF-8"),
    ("s3://bucket/x", "s3://"),
    ("adl://store.azuredatalakestore.net/x", "adl://"),
    ("https:/example.com", "two slashes"),
    ("wasbs:foo", "two slashes"),
    ("azureml:", "azureml:NAME"),
    ("azureml:a:b:c", "azureml:NAME"),
    ("azureml:a@production", "azureml:NAME"),
    ("azureml:a b", "azureml:NAME"),
    ("azureml://", "azureml://datastores/NAME"),
    ("azureml://data/x", "azureml://datastores/NAME"),
    ("azureml://registries/r/data/x", "azureml://datastores/NAME"),
    ("azureml://datastores//paths/x", "name"),
    ("azureml://datastores/-x/paths/x", "name"),
    ("azureml://datastores/a b/paths/x", "name"),
    ("azureml://datastores/ds/path/x", "paths/PATH"),
    ("azureml://datastores/ds//x", "paths/PATH"),
    (f"{SCOPE}/data/cifar/version/2", "azureml://"),
    (f"{SCOPE}/data/cifar/versions", "azureml://"),
    (f"{CLOUD}", "container is missing"),
    (f"{CLOUD}/", "container is missing"),
    (f"{CLOUD}/?{SAS}", "container is missing"),
    (f"{CLOUD}/ab/x", "'ab'"),
    (f"{CLOUD}/My_Data/x", "'My_Data'"),
    (f"{CLOUD}/data--x", "'data--x'"),
    ("https://.blob.core.windows.net/data", "host"),
    ("https://MY_ACCT.blob.core.windows.net/data", "'my_acct'"),
    (f"{CLOUD}/data/x?versionid=1&{SAS}", "versions"),
    (f"{CLOUD}/data/x?snapshot=1", "snapshots"),
    (f"{CLOUD}/data/what?now", "%3F"),
    (f"{CLOUD}/data/x?sig=a b", "SAS"),
    (f"{CLOUD}/data/x#y", "%23"),
    ("https://me:secret@acct.blob.core.windows.net/data", "user name"),
    (f"{CLOUD}/data/%FF", "UTF-8"),
    (f"{CLOUD}/data/a%00b", "NUL"),
    (f"{CLOUD}:99999/data", "host"),
    (f"{CLOUD}/data/../other", "`..`"),
    (f"{CLOUD}/data/%2e%2E/other", "`..`"),
    (f"{CLOUD}/data/a%2F..%2Fb", "`..`"),
    ("azureml://datastores/ds/paths/../x", "`..`"),
    ("http://[::1/devstoreaccount1/data", "host"),
    ("http://[zz]:1/x", "host"),
    ("https://", "host"),
    ("https://exa mple.com/", "host"),
    (f"{EMULATOR}", "container is missing"),
    ("wasbs://acct.blob.core.windows.net/data", "CONTAINER@"),
    ("wasbs://data@example.com/x", "CONTAINER@"),
    ("wasb://data@127.0.0.1:10000", "''"),
    ("abfss://acct.dfs.core.windows.net/data", "FILESYSTEM@"),
    ("abfss://F@acct.dfs.core.windows.net/data", "'F'"),
    ("file://data", "file:///"),
    ("file://host/data", "file:///"),
    ("file:data", "two slashes"),
    ("file:///a%00b", "NUL"),
]


@pytest.mark.parametrize(("text", "part"), REFUSED, ids=[ascii(text) for text, _ in REFUSED])
def test_what_is_no_source_is_refused_in_one_line(text, part):
    with pytest.raises(UsageError) as caught:
        parse_source(text, {})
    assert part in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "environ",
    [
        {"AZURE_STORAGE_ACCOUNT": "mine"},
        {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=mine;AccountKey=AAAA"},
        {"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=http://127.0.0.1:10000/mine;SharedAccessSignature=sig=x"},
    ],
)
def test_the_environment_says_which_account_an_emulator_has(environ):
    url = "http://127.0.0.1:10000/mine/data/x"
    assert parse_source(url, {}) == WebUrl(url)
    assert parse_source(url, environ) == emulated("x", account="mine", url="http://127.0.0.1:10000/mine")
    # the known account of every emulator stays one
    assert parse_source(f"{EMULATOR}/data", environ) == emulated()
    # and by name a host is a web server, whatever the account
    assert isinstance(parse_source("http://example.com/mine/data/x", environ), WebUrl)


def test_a_malformed_connection_string_leaves_urls_alone():
    assert isinstance(parse_source("http://127.0.0.1/x/y", {"AZURE_STORAGE_CONNECTION_STRING": "nonsense"}), WebUrl)


@pytest.mark.parametrize(
    "text",
    [
        "https://exa mple.com/?key=hunter2",
        f"{CLOUD}/data?sv=1&SIG=hunter2#x",
        "wasbs://x?code=hunter2",
        "https:/x?t=hunter2",
    ],
)
def test_no_part_of_a_query_is_shown(text):
    with pytest.raises(UsageError) as caught:
        parse_source(text, {})
    assert "hunter2" not in caught.value.message


def test_secrets_show_in_no_repr():
    assert "aB" not in repr(parse_source(f"{CLOUD}/data?{SAS}", {}))
    assert "hunter2" not in repr(parse_source("https://me:hunter2@example.com/x?token=hunter2", {}))


FRAGMENTS = [
    "azureml:", "azureml://", "datastores/", "ds", "/paths/", "subscriptions/s/", "resourcegroups/r/", "workspaces/w/",
    "https://", "http://", "wasbs://", "abfss://", "file://", "data@", "acct.blob.core.windows.net", "127.0.0.1:10000",
    "localhost", "[::1]", "/devstoreaccount1", "/data", "data/", "/", ".", "..", "%2F", "%2e", "%25", "%", "%FF",
    "%C3%BC", "+", "?", "#", "sig=a&", "@", ":", ":80", "x", ".yml", "$root", "ü", "\n", " ",
]  # fmt: skip
PIECES = st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=6))
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=10).map("".join))


@given(text=TEXTS, account=st.sampled_from(["", "mine", "devstoreaccount1"]))
@settings(max_examples=1000, deadline=None)
@example(text="http://[::1]:/", account="")
@example(text="https://acct.blob.core.windows.net/data/\n", account="")
def test_any_text_parses_to_something_stable_or_is_refused(text, account):
    environ = {"AZURE_STORAGE_ACCOUNT": account}
    try:
        value = parse_source(text, environ)
    except UsageError as error:
        error.message.encode("utf-8")  # or it could not be printed
        return
    assert parse_source(value.uri, environ) == value
    path = getattr(value, "path", "")
    if not isinstance(value, LocalPath | DataYaml):
        assert not path.startswith("/")
        assert not path.endswith("/")
        assert not {".", ".."} & set(path.split("/"))


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1).filter(
    lambda name: name not in {".", ".."}
)


@given(names=st.lists(NAMES, max_size=5))
@settings(deadline=None)
def test_every_path_survives_its_uri(names):
    path = "/".join(names)
    for value in (
        DatastorePath(datastore="ds", path=path),
        blob(path, sas=SAS),
        emulated(path),
        AdlsUrl(filesystem="fs1", host="acct.dfs.core.windows.net", path=path),
        LocalPath("/" + path),
    ):
        assert parse_source(value.uri, {}) == value
    assert store_path(f"./{path}/", "x") == path
