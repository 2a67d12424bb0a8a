"""Web files from servers of every habit: the right bytes of one version, or an error, whatever changes in between."""

import gzip
import itertools
import random
import time
import zlib

import pytest
import trio

from mountd.aio.retry import RetryPolicy
from mountd.catalog.web_url import parse_web_url, web_spec
from mountd.errors import ChangedError, CorruptError, MountdError, NoRoomError, NotFoundError, ReadOnlyError, UsageError
from mountd.stores import web_reads
from mountd.stores.guarded import GuardedStore
from mountd.stores.web import WebStore
from mountd.stores.web_copies import Copies
from mountd.units import KIB, MIB
from tests.support.web_origin import Habits

OLD = time.time() - 1_000_000
HABITS = {
    "strong": Habits(),
    "strong-unconditional": Habits(conditions=False),
    "dated": Habits(etag=None, modified=OLD),
    "weak-dated": Habits(etag='W/"same"', modified=OLD),
    "weak": Habits(etag='W/"same"'),
    "unquoted": Habits(etag="same"),
    "nothing": Habits(etag=None),
    "strong-whole": Habits(parts=False),
    "strong-chunked": Habits(parts=False, length=False),
    "dated-whole": Habits(etag=None, modified=OLD, parts=False),
    "dated-chunked": Habits(etag=None, modified=OLD, parts=False, length=False),
    "nothing-chunked": Habits(etag=None, parts=False, length=False),
    "strong-gzip": Habits(parts=False, encode=gzip.compress),
    "weak-gzip": Habits(etag='W/"same"', parts=False, encode=gzip.compress),
    "nothing-deflate": Habits(etag=None, parts=False, encode=zlib.compress, encoding="deflate"),
}
WITHOUT_VERSIONS = ["weak", "unquoted", "nothing", "nothing-chunked", "weak-gzip", "nothing-deflate"]
each_habit = pytest.mark.parametrize("habits", list(HABITS))


@pytest.fixture
def opened(web_origin, closing):
    """Opens stores on the origin: `opened("weak", b"content")`."""

    def open_it(habits, content, name="file.csv", **options):
        web_origin.habits = HABITS[habits] if isinstance(habits, str) else habits
        web_origin.content = content
        address = parse_web_url(web_origin.url.replace("file.csv", name))
        return closing(WebStore(web_spec([(name, address)]), **options))

    return open_it


@each_habit
@pytest.mark.parametrize("size", [0, 1, 100, 3 * MIB + 17])
async def test_every_byte_comes_from_every_server(opened, web_origin, habits, size):
    data = random.Random(size).randbytes(size)
    store = opened(habits, data)
    info = await store.stat("file.csv")
    assert info.size == size
    assert (await store.list_page("")).objects == [info]
    for start, length in [
        (0, 10),
        (0, size),
        (size // 2, 1000),
        (max(0, size - 5), 50),
        (size, 5),
        (size + 9, 1),
        (0, 0),
    ]:
        chunk = await store.read("file.csv", start, length, if_match=info.etag)
        assert chunk.data == data[start : start + length]
        assert (chunk.etag, chunk.size) == (info.etag, size)
    assert all(asked["accept-encoding"] == "identity" for asked in web_origin.requests)


@each_habit
async def test_a_version_is_the_same_for_another_store_at_another_time(opened, closing, web_origin, habits):
    data = random.Random(1).randbytes(5000)
    first = await opened(habits, data).stat("file.csv")
    other = opened(habits, data)
    chunk = await other.read("file.csv", 10, 20, if_match=first.etag)
    assert chunk.data == data[10:30]
    assert await other.stat("file.csv") == first or web_origin.habits.modified is None


@each_habit
@pytest.mark.parametrize("seed", range(2))
async def test_a_file_that_changes_at_any_moment_is_never_a_mixture(opened, web_origin, habits, seed):
    """Each content is one character repeated, all of one size: any mixture shows."""
    draw = random.Random(seed)
    contents = itertools.cycle(bytes([letter]) * 70_000 for letter in b"abcdefgh")

    def change(origin):
        if draw.random() < 0.4:
            origin.content = next(contents)
            if origin.habits.modified is not None:
                origin.habits.modified += 1

    blind = habits in ("weak", "weak-gzip", "unquoted")  # such a server says that nothing ever changes
    store = opened(Habits(**vars(HABITS[habits]) | {"after": change}), next(contents))
    seen = {}
    for _ in range(40):
        try:
            info = await store.stat("file.csv")
            for _ in range(draw.randrange(6)):
                start = draw.randrange(70_000)
                chunk = await store.read("file.csv", start, 5000, if_match=info.etag)
                found = set(bytes(chunk.data))
                assert len(found) == 1
                assert seen.setdefault(info.etag, found) == found
                assert chunk.data.nbytes == min(5000, 70_000 - start)
        except ChangedError:
            continue
    assert len(seen) > 1 or blind


@pytest.mark.parametrize("habits", WITHOUT_VERSIONS)
async def test_a_dropped_copy_that_comes_back_different_is_another_version(opened, web_origin, habits):
    store = opened(habits, b"old content")
    info = await store.stat("file.csv")
    assert info.etag.startswith('"sha256-')
    store._web._copies.close()
    web_origin.content = b"new content"
    with pytest.raises(ChangedError):
        await store.read("file.csv", 0, 5, if_match=info.etag)
    new = await store.stat("file.csv")
    assert new.etag != info.etag
    web_origin.content = b"old content"
    store._web._copies.close()
    assert (await store.read("file.csv", 0, 3, if_match=info.etag)).data == b"old"


async def test_a_file_without_versions_is_fetched_again_only_if_it_may_have_changed(opened, web_origin):
    store = opened("weak", b"x" * 100_000)
    for _ in range(3):
        await store.stat("file.csv")
    whole = [asked for asked in web_origin.requests if "range" not in asked]
    assert len(whole) == 1
    assert len(web_origin.requests) == 4
    web_origin.habits = HABITS["nothing"]
    web_origin.requests.clear()
    first = await store.stat("file.csv")
    web_origin.content = b"y" * 100_000
    assert (await store.stat("file.csv")).etag != first.etag


async def test_a_file_modified_this_very_second_is_not_believed(opened, web_origin):
    """Two versions of one second, with the ETag that nginx would give both."""
    web_origin.content = b"first"
    store = opened(Habits(etag='"1234-5"', modified=time.time() + 1), b"first")
    first = await store.stat("file.csv")
    web_origin.content = b"other"
    assert (await store.read("file.csv", 0, 5, if_match=first.etag)).data == b"first"
    assert (await store.stat("file.csv")).etag != first.etag


async def test_parts_are_asked_of_one_version_and_whole_files_once(opened, web_origin):
    store = opened("strong", bytes(1000))
    info = await store.stat("file.csv")
    await store.read("file.csv", 0, 10, if_match=info.etag)
    assert web_origin.requests[-1]["if-match"] == info.etag
    assert web_origin.requests[-1]["range"] == "bytes=0-9"
    store = opened("dated", bytes(1000))
    info = await store.stat("file.csv")
    await store.read("file.csv", 0, 10, if_match=info.etag)
    assert "if-unmodified-since" in web_origin.requests[-1]
    web_origin.requests.clear()
    store = opened("strong-whole", bytes(3 * MIB))
    info = await store.stat("file.csv")
    for start in range(0, info.size, MIB):
        await store.read("file.csv", start, MIB, if_match=info.etag)
    assert len(web_origin.requests) == 1


@pytest.mark.parametrize("name", ["file.csv.gz", "archive.tgz"])
async def test_what_is_stored_compressed_comes_as_it_is(opened, name):
    data = gzip.compress(b"text" * 1000)
    store = opened(Habits(encode=lambda body: body, parts=False), data, name)
    info = await store.stat(name)
    assert (await store.read(name, 0, info.size, if_match=info.etag)).data == data


async def test_many_members_and_a_raw_deflate_are_decoded(opened):
    store = opened(
        Habits(parts=False, encode=lambda body: gzip.compress(body[:7]) + gzip.compress(body[7:])), b"0123456789"
    )
    info = await store.stat("file.csv")
    assert (await store.read("file.csv", 0, 99, if_match=info.etag)).data == b"0123456789"

    def raw(body):
        deflate = zlib.compressobj(wbits=-15)
        return deflate.compress(body) + deflate.flush()

    store = opened(Habits(parts=False, encode=raw, encoding="deflate"), b"0123456789")
    info = await store.stat("file.csv")
    assert (await store.read("file.csv", 3, 4, if_match=info.etag)).data == b"3456"


@pytest.mark.parametrize(
    ("encode", "encoding", "kind", "says"),
    [
        (lambda body: body, "br", UsageError, "encodes it as 'br', unasked"),
        (lambda body: body, "gzip, gzip", UsageError, "encodes it as 'gzip, gzip'"),
        (lambda body: gzip.compress(body)[:-9], "gzip", CorruptError, "the compressed answer broke off"),
        (lambda body: gzip.compress(body)[:5], "gzip", CorruptError, "the compressed answer broke off"),
        (lambda body: b"no gzip at all", "gzip", CorruptError, "not compressed as it says"),
        (lambda body: gzip.compress(body) + b"rest", "gzip", CorruptError, "not compressed as it says"),
    ],
)
async def test_encodings_that_cannot_be_undone_are_errors(opened, encode, encoding, kind, says):
    store = opened(Habits(etag=None, parts=False, encode=encode, encoding=encoding), bytes(10_000))
    with pytest.raises(kind, match=says):
        await store.stat("file.csv")


async def test_a_file_too_long_to_tell_its_version_is_refused_before_it_comes(opened, monkeypatch):
    monkeypatch.setattr(web_reads, "MOST_TO_IDENTIFY", 1 * MIB)
    store = opened("weak", bytes(MIB + 1))
    with pytest.raises(UsageError, match="does not say which version it is"):
        await store.stat("file.csv")
    store = opened("nothing-chunked", bytes(MIB + 1))
    with pytest.raises(NoRoomError, match="longer than the 1 MiB"):
        await store.stat("file.csv")
    assert store._web._copies._bytes == 0
    bomb = Habits(etag=None, parts=False, encode=gzip.compress)
    store = opened(bomb, bytes(20 * MIB))
    with pytest.raises(NoRoomError, match="longer than the 1 MiB"):
        await store.stat("file.csv")
    assert store._web._copies._bytes == 0


async def test_copies_are_bounded_together(opened, web_origin, closing):
    address = parse_web_url(web_origin.url)
    copies = Copies(most_bytes=300 * KIB, most_copies=8, call_s=5)
    web_origin.habits, web_origin.content = HABITS["strong-whole"], random.Random(1).randbytes(100 * KIB)
    spec = web_spec([(f"f{index}", parse_web_url(f"{address.url}?{index}")) for index in range(12)])
    store = closing(WebStore(spec, copies=copies))
    infos = [await store.stat(f"f{index}") for index in range(12)]
    for _ in range(2):
        for info in infos:
            assert (await store.read(info.key, 0, info.size, if_match=info.etag)).data == web_origin.content
            assert copies._bytes <= 300 * KIB
            assert len(copies._kept) <= 8
    web_origin.content = random.Random(1).randbytes(301 * KIB)
    with pytest.raises(NoRoomError, match="longer than the 0 MiB"):
        await store.stat("f0")
    copies.close()
    assert copies._bytes == 0


async def test_what_somebody_reads_is_not_dropped(opened, web_origin, closing):
    copies = Copies(most_bytes=150 * KIB, call_s=5)
    store = opened("strong-whole", bytes(100 * KIB), copies=copies)
    info = await store.stat("file.csv")
    url = parse_web_url(web_origin.url).url
    with copies.using(url, info.etag) as copy:
        copy.read(0, 100 * KIB)
        with pytest.raises(NoRoomError, match="are in use"):
            copies._charge(100 * KIB)
        assert copy.read(0, 5) == bytes(5)
    copies._charge(100 * KIB)
    assert copies._bytes == 100 * KIB


async def test_a_long_copy_is_in_a_file_without_a_name(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = random.Random(2).randbytes(3 * MIB)
    store = opened("strong-whole", data)
    info = await store.stat("file.csv")
    assert (await store.read("file.csv", 2 * MIB, MIB, if_match=info.etag)).data == data[2 * MIB :]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    store = opened("nothing", data)
    with pytest.raises(NoRoomError, match="the temp directory takes no file"):
        await store.stat("file.csv")


@pytest.mark.parametrize("habits", ["strong-whole", "nothing-chunked", "strong-gzip", "strong"])
async def test_many_read_one_file_at_once_while_copies_come_and_go(opened, web_origin, habits):
    data = random.Random(3).randbytes(3 * MIB)
    store = opened(habits, data)
    guarded = GuardedStore(store, RetryPolicy(first_pause_s=0.01))  # a copy may go between being made and being read
    info = await guarded.stat("file.csv")

    async def reader(seed):
        draw = random.Random(seed)
        for _ in range(10):
            start, length = draw.randrange(info.size), draw.randrange(200_000)
            chunk = await guarded.read("file.csv", start, length, if_match=info.etag)
            assert chunk.data == data[start : start + length]

    async def dropper():
        for _ in range(10):
            await trio.lowlevel.checkpoint()
            copies = store._web._copies
            with copies._lock:
                idle = copies._take_idle(1)
            for copy in idle:
                copy.close()

    async with trio.open_nursery() as nursery:
        for seed in range(16):
            nursery.start_soon(reader, seed)
        nursery.start_soon(dropper)
    store._web._copies.close()
    assert store._web._copies._bytes == 0


async def test_nothing_is_written(opened):
    store = opened("strong", b"x")
    assert not store.capabilities.writable
    with pytest.raises(ReadOnlyError, match="for reading only"):
        await store.put("file.csv", memoryview(b"y"))
    with pytest.raises(ReadOnlyError):
        await store.begin_upload("other", 1)
    with pytest.raises(NotFoundError):
        await store.stat("other")


async def test_what_a_file_is_called_in_a_cache_holds_no_secret_and_depends_on_the_query(closing):
    def place(url):
        return closing(WebStore(web_spec([("d/f", parse_web_url(url))]))).cache_place("d/f")

    with_login = place("https://me:hunter2@h/x/f?v=1")
    assert with_login == place("https://h/x/f?v=1")
    assert with_login != place("https://h/x/f?v=2")
    assert with_login[0].startswith("web:")
    assert with_login[1] == "f"
    assert "hunter2" not in repr(with_login)


async def test_a_listing_fails_as_a_whole_or_not_at_all(opened, web_origin, closing):
    address = parse_web_url(web_origin.url)
    dead = parse_web_url("http://127.0.0.1:1/f")
    web_origin.content = b"x"
    store = closing(WebStore(web_spec([("a", address), ("b", dead), ("c/d", address)])))
    with pytest.raises(MountdError, match="refuses connections"):
        await store.list_page("")
    assert [info.key for info in (await store.list_page("c")).objects] == ["c/d"]
