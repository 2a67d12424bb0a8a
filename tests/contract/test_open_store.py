"""Opening and probing, as a mount does first: what is there, and what to do if it is not."""

import contextlib
import gzip
import subprocess
import sys

import pytest
from azure.storage.blob import ContentSettings

from mountd.aio.retry import RetryPolicy
from mountd.catalog.model import AccountKey, BlobSpec, LocalSpec
from mountd.errors import ChangedError, DeniedError, ExistsError, NotFoundError, UnavailableError
from mountd.stores.azure_blob import AzureBlobStore
from mountd.stores.azure_direct import AzureDirect
from mountd.stores.azure_listing import holds_entries
from mountd.stores.azure_place import Timeouts
from mountd.stores.guarded import GuardedStore
from mountd.stores.memory import MemoryStore
from mountd.stores.open import open_store, probe
from tests.support.azurite import KEY

QUICK = RetryPolicy(deadline_s=0.5, first_pause_s=0.01)


azurite = pytest.mark.azurite


@pytest.fixture
def opened(closing):
    return lambda spec, policy=None: closing(open_store(spec, policy=policy))


async def test_probe_tells_files_from_directories():
    store = MemoryStore()
    for key in ("a", "b/c", "odd", "odd/child", "marked/"):
        store.set(key, b"x")
    store.set_directory_marker("folder")
    kinds = {path: await probe(store, path) for path in ("", "a", "b", "b/c", "odd", "marked", "folder")}
    assert kinds == {
        "": "directory",
        "a": "file",
        "b": "directory",
        "b/c": "file",
        "odd": "directory",
        "marked": "directory",
        "folder": "directory",
    }
    with pytest.raises(NotFoundError, match="memory: no file or directory 'a/b' in it; check the path"):
        await probe(store, "a/b")


async def test_a_local_store_is_opened_and_probed(opened, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(b"x")
    store = opened(LocalSpec(path=str(tmp_path)))
    assert isinstance(store, GuardedStore)
    assert [await probe(store, path) for path in ("", "d", "d/a")] == ["directory", "directory", "file"]
    with pytest.raises(NotFoundError, match="no file or directory 'x'"):
        await probe(store, "x")
    for path in ("", "x"):
        with pytest.raises(NotFoundError, match="no such directory; create it"):
            await probe(opened(LocalSpec(path=str(tmp_path / "missing"))), path)


@azurite
async def test_a_container_is_opened_and_probed(opened, azurite_container):
    with azurite_container.client as client:
        client.upload_blob("d/a", b"x")
    for spec in (azurite_container.spec(), azurite_container.sas_spec("rl")):
        store = opened(spec)
        assert [await probe(store, path) for path in ("", "d", "d/a")] == ["directory", "directory", "file"]
        with pytest.raises(NotFoundError, match="no file or directory 'x'"):
            await probe(store, "x")
        assert store.name == f"devstoreaccount1/{azurite_container.name}"


@azurite
@pytest.mark.parametrize("name", ["d", "d d", "ü&=%+?#", "e\u0301/~"])
async def test_the_loop_itself_asks_whether_a_name_is_a_directory(azurite_container, name):
    with azurite_container.client as client:
        client.upload_blob(f"{name}/a", b"x")
    for spec in (azurite_container.spec(), azurite_container.sas_spec("rl")):
        query = {"restype": "container", "comp": "list", "prefix": f"{name}/", "maxresults": "1"}
        with contextlib.closing(AzureDirect(spec, Timeouts())) as direct:
            found, marker = holds_entries(await direct.short_page("list it", query), "list it")
        assert (found, marker) == (True, None)


@azurite
async def test_a_missing_container_is_named(opened, azurite_url):
    spec = BlobSpec(
        account_name="devstoreaccount1", container="nowhere", account_url=azurite_url, credential=AccountKey(KEY)
    )
    for path in ("", "d/a"):
        with pytest.raises(NotFoundError, match="container 'nowhere' does not exist in account 'devstoreaccount1'"):
            await probe(opened(spec), path)


@azurite
async def test_wrong_expired_and_missing_credentials_are_denied(opened, azurite_container):
    wrong = azurite_container.spec(AccountKey("d3Jvbmc="))
    expired = azurite_container.sas_spec(hours=-1)
    for spec, advice in [
        (wrong, "check the key or SAS"),
        (expired, "check the key or SAS"),
        (azurite_container.anonymous_spec(), "give an account key or a SAS"),
    ]:
        for path in ("", "a"):
            with pytest.raises(DeniedError, match=advice):
                await probe(opened(spec), path)


@azurite
async def test_a_sas_that_may_read_and_not_list_is_enough_for_a_file(opened, azurite_container):
    with azurite_container.client as client:
        client.upload_blob("d/a", b"x")
    store = opened(azurite_container.sas_spec("r"))
    assert await probe(store, "d/a") == "file"
    for path in ("", "d", "x"):
        with pytest.raises(DeniedError):
            await probe(store, path)


@azurite
async def test_a_public_container_needs_no_credential(opened, azurite_container):
    with azurite_container.client as client:
        client.upload_blob("d/a b", b"public")
        client.upload_blob("d//odd", b"odd")
        client.set_container_access_policy(signed_identifiers={}, public_access="container")
    store = opened(azurite_container.anonymous_spec())
    assert await probe(store, "d") == "directory"
    page = await store.list_page("d")
    assert [info.key for info in page.objects] == ["d/a b"]
    assert bytes((await store.read("d/a b", 0, 9, if_match=page.objects[0].etag)).data) == b"public"
    assert bytes((await store.read("d//odd", 0, 9, if_match=None)).data) == b"odd"
    with pytest.raises(DeniedError):
        await store.put("d/new", memoryview(b"x"))


async def test_a_store_that_cannot_be_reached_says_how_to_find_out_why(opened):
    spec = BlobSpec(account_name="a", container="c", account_url="http://127.0.0.1:1/a")
    with pytest.raises(UnavailableError, match=r"cannot reach 127.0.0.1:1: it refuses connections; check the endpoint"):
        await probe(opened(spec, QUICK), "")


@azurite
async def test_an_archived_blob_says_what_to_do(opened, azurite_container):
    with azurite_container.client as client:
        blob = client.upload_blob("cold", b"x")
        blob.set_standard_blob_tier("Archive")
    store = opened(azurite_container.spec())
    info = await store.stat("cold")
    with pytest.raises(DeniedError, match="archive tier; set its tier to Hot or Cool"):
        await store.read("cold", 0, 1, if_match=info.etag)


@azurite
async def test_compressed_blobs_come_as_they_are_stored(opened, azurite_container):
    data = gzip.compress(b"text" * 1000)
    with azurite_container.client as client:
        for key in ("a.gz", "odd//a.gz"):
            client.upload_blob(key, data, content_settings=ContentSettings(content_encoding="gzip"))
    store = opened(azurite_container.spec())
    for key in ("a.gz", "odd//a.gz"):
        info = await store.stat(key)
        assert info.size == len(data)
        assert bytes((await store.read(key, 0, info.size, if_match=info.etag)).data) == data


@azurite
async def test_a_commit_that_lost_its_answer_is_recognised(azurite_container, closing):
    """The retry of a commit that may not overwrite finds its own blocks under the name."""
    store = closing(AzureBlobStore(azurite_container.spec()))
    upload = await store.begin_upload("u", 3, overwrite=False)
    await upload.part(0, memoryview(b"abc"))
    first = await upload.commit(3)
    again = upload._blocks
    with pytest.raises(ExistsError):
        again.commit(1, 3)
    again._unsure = True
    assert again.commit(1, 3) == first
    with azurite_container.client as client:
        client.upload_blob("u", b"xyz", overwrite=True)
    with pytest.raises(ExistsError):
        again.commit(1, 3)


@azurite
async def test_another_writer_that_commits_first_is_reported(azurite_container, closing):
    store = closing(AzureBlobStore(azurite_container.spec()))
    mine = await store.begin_upload("u", 3)
    theirs = await store.begin_upload("u", 3)
    await mine.part(0, memoryview(b"abc"))
    await theirs.part(0, memoryview(b"xyz"))
    info = await theirs.commit(3)
    with pytest.raises(ChangedError, match="start the upload again"):
        await mine.commit(3)
    assert await store.stat("u") == info


def test_opening_imports_no_sdk():
    """The SDK costs 0.2 to 0.5 s of start-up; reads by name do without it."""
    program = "import sys, mountd.stores.open; sys.exit(any(name.split('.')[0] == 'azure' for name in sys.modules))"
    subprocess.run([sys.executable, "-c", program], check=True)
