"""What every store that can be written to must do, tried on each."""

import random

import pytest
import trio

from mountd.errors import ChangedError, ExistsError, NotFoundError, UsageError
from mountd.units import MIB
from tests.support.store_listings import children
from tests.support.stores import writable


@writable
async def test_put_makes_an_object_that_everybody_sees(backend, store):
    info = await store.put("new/deep/object", memoryview(b"hello"))
    assert (info.key, info.size) == ("new/deep/object", 5)
    reader = backend.open()
    try:
        assert bytes((await reader.read("new/deep/object", 0, 9, if_match=info.etag)).data) == b"hello"
    finally:
        await reader.aclose()
    assert await children(store) == ([], {"new"})


@writable
async def test_put_replaces_and_the_old_version_is_gone(store):
    old = await store.put("a", memoryview(b"old"))
    new = await store.put("a", memoryview(b"new"))
    assert old.etag != new.etag
    assert bytes((await store.read("a", 0, 9, if_match=None)).data) == b"new"


@pytest.mark.parametrize("existing", [b"old", b""])
@writable
async def test_put_without_overwrite_leaves_what_is_there(backend, store, existing):
    backend.set("a", existing)
    before = await store.stat("a")
    with pytest.raises(ExistsError):
        await store.put("a", memoryview(b"new"), overwrite=False)
    assert await store.stat("a") == before
    await store.put("b", memoryview(b"new"), overwrite=False)
    assert await children(store) == (["a", "b"], set())


@writable
async def test_of_many_that_may_not_overwrite_one_wins(store):
    outcomes = []

    async def attempt(index):
        try:
            await store.put("race", memoryview(b"%02d" % index), overwrite=False)
            outcomes.append(index)
        except ExistsError:
            pass

    async with trio.open_nursery() as nursery:
        for index in range(12):
            nursery.start_soon(attempt, index)
    assert len(outcomes) == 1
    assert bytes((await store.read("race", 0, 9, if_match=None)).data) == b"%02d" % outcomes[0]


@pytest.mark.parametrize("data", [b"", b"x", bytes(3 * MIB)])
@writable
async def test_put_of_every_size(store, data):
    info = await store.put("a", memoryview(data))
    assert info.size == len(data)
    assert bytes((await store.read("a", 0, len(data) + 1, if_match=info.etag)).data) == data


@pytest.mark.parametrize("key", ["", "a/", "a/b/"])
@writable
async def test_keys_of_directories_cannot_be_written(store, key):
    with pytest.raises(UsageError):
        await store.put(key, memoryview(b"x"))
    with pytest.raises(UsageError):
        await store.begin_upload(key, 1)


async def upload_in_parallel(upload, data):
    starts = list(range(0, len(data), upload.part_bytes))
    random.Random(2).shuffle(starts)
    async with trio.open_nursery() as nursery:
        for start in starts:
            nursery.start_soon(upload.part, start, memoryview(data)[start : start + upload.part_bytes])


@pytest.mark.parametrize("rest", [-1, 0, 1])
@writable
async def test_parts_in_parallel_and_any_order_make_the_object(store, rest):
    upload = await store.begin_upload("u/large", 17 * MIB)
    data = random.Random(3).randbytes(2 * upload.part_bytes + rest)
    await upload_in_parallel(upload, data)
    assert await children(store) in (([], set()), ([], {"u"}))  # a directory may be there already, the object not
    with pytest.raises(NotFoundError):
        await store.stat("u/large")
    info = await upload.commit(len(data))
    assert info == await store.stat("u/large")
    assert info.size == len(data)
    for start in range(0, len(data), 4 * MIB):
        chunk = await store.read("u/large", start, 4 * MIB, if_match=info.etag)
        assert chunk.data == memoryview(data)[start : start + 4 * MIB]
    await upload.abort()  # an upload that is over: nothing happens
    assert await store.stat("u/large") == info


@writable
async def test_a_part_sent_again_replaces_the_first(store):
    upload = await store.begin_upload("u", 3)
    await upload.part(0, memoryview(b"old"))
    await upload.part(0, memoryview(b"new"))
    await upload.commit(3)
    assert bytes((await store.read("u", 0, 9, if_match=None)).data) == b"new"


@writable
async def test_an_upload_of_nothing_is_an_empty_object(store):
    upload = await store.begin_upload("u", 0)
    info = await upload.commit(0)
    assert info.size == 0
    assert await store.stat("u") == info


@writable
async def test_an_aborted_upload_leaves_nothing(backend, store):
    backend.set("old", b"old")
    before = await store.stat("old")
    for key in ("old", "new"):
        upload = await store.begin_upload(key, 3)
        await upload.part(0, memoryview(b"new"))
        await upload.abort()
        await upload.abort()
        with pytest.raises(UsageError):
            await upload.commit(3)
        with pytest.raises(UsageError):
            await upload.part(0, memoryview(b"new"))
    assert await children(store) == (["old"], set())
    assert await store.stat("old") == before


@writable
async def test_an_unfinished_upload_changes_nothing(backend, store):
    backend.set("a", b"old")
    before = await store.stat("a")
    upload = await store.begin_upload("a", 3)
    await upload.part(0, memoryview(b"new"))
    assert await store.stat("a") == before
    assert await children(store) == (["a"], set())
    assert bytes((await store.read("a", 0, 9, if_match=before.etag)).data) == b"old"
    info = await upload.commit(3)
    with pytest.raises(ChangedError):
        await store.read("a", 0, 9, if_match=before.etag)
    assert bytes((await store.read("a", 0, 9, if_match=info.etag)).data) == b"new"


@writable
async def test_of_two_uploads_that_may_not_overwrite_the_second_fails(backend, store):
    first = await store.begin_upload("u", 1, overwrite=False)
    await first.part(0, memoryview(b"1"))
    await first.commit(1)
    second = await store.begin_upload("u", 1, overwrite=False)
    await second.part(0, memoryview(b"2"))
    with pytest.raises(ExistsError):
        await second.commit(1)
    await second.abort()
    assert bytes((await store.read("u", 0, 9, if_match=None)).data) == b"1"
    assert await children(store) == (["u"], set())


@writable
async def test_parts_that_do_not_fit_are_refused(store):
    upload = await store.begin_upload("u", 100)
    with pytest.raises(UsageError):
        await upload.part(1, memoryview(b"x"))
    with pytest.raises(UsageError):
        await upload.part(0, memoryview(b""))
    with pytest.raises(UsageError):
        await upload.commit(100)
    await upload.abort()
    assert await children(store) == ([], set())
