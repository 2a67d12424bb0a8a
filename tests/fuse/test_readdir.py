"""Listing directories. SEMANTICS: "Directories" and "Names"."""

import ctypes
import os
import random
import struct
import threading

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.both_engines]

LIBC = ctypes.CDLL(None, use_errno=True)

ODD_NAMES = [
    b"n" * 255,
    "é".encode() * 127,
    "日本語.txt".encode(),
    "\U0001f40d".encode(),
    "e\u0301".encode(),  # decomposed: another name than the composed one
    "\u00e9".encode(),
    b"\xff\xfe not utf-8",
    b"half \xc3",
    b" ",
    b"  leading and trailing  ",
    b"tab\tnewline\nreturn\r",
    b"\x01\x02\x1f\x7f",
    b"back\\slash",
    b"\\",
    b".hidden",
    b"...",
    b"..data",
    b"-rf",
    b"*?[a-z]",
    b"$HOME `id` ;'\"",
    b"%2F%00",
    b"#hash?query=1&x",
    b"a:b|c<d>",
    b"UPPER",
    b"upper",
    b"~",
]


def as_key(name):
    return name.decode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module({"dir/file": b"x", "dir/sub/deep": b"y", "dir/other": b"z"})


@pytest.fixture(scope="module")
def big(serve_module):
    server = serve_module(page_limit=1000)
    server.set_many([f"big/{index:05}" for index in range(20_000)])
    return server


def raw_entries(fd, size=32 << 10):
    """Yield (inode, offset, type, name) of every entry, as getdents64(2) returns them."""
    buffer = ctypes.create_string_buffer(size)
    while True:
        count = LIBC.getdents64(fd, buffer, size)
        assert count >= 0, os.strerror(ctypes.get_errno())
        if count == 0:
            return
        at = 0
        while at < count:
            inode, offset, length, kind = struct.unpack_from("<QqHB", buffer, at)
            yield inode, offset, kind, buffer[at + 19 : at + length].split(b"\0", 1)[0]
            at += length


@pytest.fixture
def directory(request):
    numbers = []

    def open_(path):
        numbers.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        return numbers[-1]

    yield open_
    for number in numbers:
        os.close(number)


def test_dot_and_dot_dot_come_first_with_their_numbers(server, directory):
    entries = list(raw_entries(directory(server.path / "dir")))
    inodes = {name: inode for inode, _, _, name in entries}
    assert [name for *_, name in entries][:2] == [b".", b".."]
    assert inodes[b"."] == os.stat(server.path / "dir").st_ino
    assert inodes[b".."] == os.stat(server.path).st_ino
    root = {name: inode for inode, _, _, name in raw_entries(directory(server.path))}
    assert root[b"."] == root[b".."] == 1


def test_types_and_numbers_match_what_stat_says(server, directory):
    dt_dir, dt_reg = 4, 8
    found = {name: (inode, kind) for inode, _, kind, name in raw_entries(directory(server.path / "dir"))}
    assert set(found) == {b".", b"..", b"file", b"sub", b"other"}
    assert {name: kind for name, (_, kind) in found.items()} == {
        b".": dt_dir,
        b"..": dt_dir,
        b"sub": dt_dir,
        b"file": dt_reg,
        b"other": dt_reg,
    }
    for name in (b"file", b"sub", b"other"):
        assert os.stat(os.fsencode(server.path) + b"/dir/" + name).st_ino == found[name][0]


def test_scandir_knows_types_without_asking(server):
    os.listdir(server.path / "dir")
    with server.store_calls() as made:
        kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir(server.path / "dir")}
    assert kinds == {"file": False, "sub": True, "other": False}
    assert made == {}


def test_an_empty_container_has_an_empty_root(serve, directory):
    server = serve()
    assert os.listdir(server.path) == []
    assert [name for *_, name in raw_entries(directory(server.path))] == [b".", b".."]


def test_twenty_thousand_entries_each_exactly_once(big, directory):
    expected = sorted(f"{index:05}" for index in range(20_000))
    assert sorted(os.listdir(big.path / "big")) == expected
    raw = [name for *_, name in raw_entries(directory(big.path / "big"), size=4096)]
    assert sorted(raw) == sorted([b".", b"..", *(name.encode() for name in expected)])


def test_a_listing_costs_one_request_a_page_and_stat_of_each_none(serve):
    server = serve(page_limit=1000)
    server.set_many([f"many/{index:05}" for index in range(3500)])
    with server.store_calls() as made:
        names = os.listdir(server.path / "many")
    assert made.pop("list_page") == 4
    assert set(made) <= {"stat", "is_directory"}, "for the directory's own name"
    with server.store_calls() as made:
        assert sum(os.stat(server.path / "many" / name).st_size for name in names) == 3500
    assert made == {}


def test_every_offset_leads_back_to_the_entry_after_it(big, directory):
    fd = directory(big.path / "big")
    entries = list(raw_entries(fd))
    offsets = [offset for _, offset, _, _ in entries]
    assert len(set(offsets)) == len(offsets), "offsets are unique"
    draw = random.Random(7)
    for index in [0, 1, 2, len(entries) - 2, *draw.sample(range(len(entries) - 1), 40)]:
        os.lseek(fd, offsets[index], os.SEEK_SET)
        assert next(raw_entries(fd, size=4096))[3] == entries[index + 1][3]
    os.lseek(fd, offsets[-1], os.SEEK_SET)
    assert list(raw_entries(fd)) == []


def test_offsets_hold_on_another_descriptor_while_the_listing_is_good(big, directory):
    entries = list(raw_entries(directory(big.path / "big")))
    fd = directory(big.path / "big")
    os.lseek(fd, entries[10_000][1], os.SEEK_SET)
    assert [name for *_, name in raw_entries(fd)] == [name for *_, name in entries[10_001:]]


def test_telldir_and_seekdir(big):
    for function in (LIBC.opendir, LIBC.readdir):
        function.restype = ctypes.c_void_p
    LIBC.telldir.restype = ctypes.c_long
    LIBC.readdir.argtypes = LIBC.telldir.argtypes = LIBC.closedir.argtypes = [ctypes.c_void_p]
    LIBC.rewinddir.argtypes = [ctypes.c_void_p]
    LIBC.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    stream = LIBC.opendir(os.fsencode(big.path / "big"))

    def next_name():
        return ctypes.string_at(LIBC.readdir(stream) + 19)

    names, places = [], []
    for _ in range(5000):
        places.append(LIBC.telldir(stream))
        names.append(next_name())
    for index in (4999, 0, 1, 2, 2500, 17):
        LIBC.seekdir(stream, places[index])
        assert next_name() == names[index]
    LIBC.rewinddir(stream)
    assert next_name() == names[0]
    LIBC.closedir(stream)


def test_rewind_shows_what_is_new(serve, directory):
    server = serve({"a": b"", "b": b""}, ttl_s=0)
    fd = directory(server.path)
    assert sorted(name for *_, name in raw_entries(fd)) == [b".", b"..", b"a", b"b"]
    server.set("c", b"")
    server.delete("a")
    os.lseek(fd, 0, os.SEEK_SET)
    assert sorted(name for *_, name in raw_entries(fd)) == [b".", b"..", b"b", b"c"]


def test_a_listing_under_way_does_not_mix_with_changes(serve, directory):
    server = serve(ttl_s=0, page_limit=100)
    before = [f"{index:04}" for index in range(1000)]
    server.set_many(before)
    fd = directory(server.path)
    entries = raw_entries(fd, size=4096)
    seen = [next(entries)[3] for _ in range(10)]
    server.set_many([f"{index:04}-new" for index in range(1000)])
    seen += [name for *_, name in entries]
    assert len(seen) == len(set(seen)), "no entry twice"
    assert {name.encode() for name in before} <= set(seen), "what was there all the time is listed"


def test_names_of_every_kind_are_listed_found_and_read(serve):
    server = serve({f"d/{as_key(name)}": name for name in ODD_NAMES})
    directory = os.fsencode(server.path / "d")
    assert sorted(os.listdir(directory)) == sorted(ODD_NAMES)
    for name in ODD_NAMES:
        with open(directory + b"/" + name, "rb") as opened:
            assert opened.read() == name


def test_names_of_every_kind_are_found_without_a_listing(serve):
    server = serve({as_key(name): name for name in ODD_NAMES}, ttl_s=0)
    for name in ODD_NAMES:
        with open(os.fsencode(server.path) + b"/" + name, "rb") as opened:
            assert opened.read() == name


def test_directories_with_names_of_every_kind(serve):
    server = serve({f"{as_key(name)}/inner": name for name in ODD_NAMES})
    root = os.fsencode(server.path)
    assert sorted(os.listdir(root)) == sorted(ODD_NAMES)
    for name in ODD_NAMES:
        with open(root + b"/" + name + b"/inner", "rb") as opened:
            assert opened.read() == name


def test_what_no_path_can_express_is_hidden_and_counted(serve):
    hidden = ["n" * 256, "é" * 128, ".", "..", "nul\0byte"]
    server = serve({f"d/{name}": b"x" for name in [*hidden, "seen", "a//b"]} | {"d//x": b"x", "d/../y": b"y"})
    assert sorted(os.listdir(server.path / "d")) == ["a", "seen"]
    assert os.listdir(server.path / "d" / "a") == []
    empty_or_dots = 3  # the directories `d//`, `d/..` and `d/a//`, however much lies below
    assert server.counters()["hidden_names"] == len(hidden) + empty_or_dots


def test_a_directory_wins_over_an_object_of_the_same_name(serve):
    server = serve({"both": b"an object", "both/inner": b"inner"})
    assert os.listdir(server.path) == ["both"]
    assert server.counters()["hidden_names"] == 1
    assert (server.path / "both").is_dir()
    assert (server.path / "both" / "inner").read_bytes() == b"inner"


def test_markers_are_directories_not_files(serve):
    server = serve({"empty/": b"", "marked/file": b"x"})
    server.set("folder", b"", is_directory=True)
    server.set("marked", b"", is_directory=True)
    assert sorted(os.listdir(server.path)) == ["empty", "folder", "marked"]
    for name in ("empty", "folder"):
        assert os.listdir(server.path / name) == []
    assert os.listdir(server.path / "marked") == ["file"]


def test_a_prefix_as_root(serve):
    server = serve({"outside": b"", "in/side": b"1", "in/deep/er": b"2", "inner": b""}, root="in")
    assert sorted(os.listdir(server.path)) == ["deep", "side"]
    assert (server.path / "deep" / "er").read_bytes() == b"2"
    assert os.stat(server.path / "..").st_ino == os.stat(server.path.parent).st_ino


def test_entries_that_vanished_do_not_end_a_listing_early(serve, directory):
    server = serve({f"{index}": b"" for index in range(6)}, page_limit=1, ttl_s=0)
    server.fault(method="list_page", skip=2, block=True)
    fd = directory(server.path)
    entries = raw_entries(fd, size=24)  # one at a time
    assert [next(entries)[3] for _ in range(3)] == [b".", b"..", b"0"]
    server.delete("1")
    assert not (server.path / "1").exists()
    # All that is here of the listing is gone by now, and more is on its way: that is not the end.
    rest = []
    reader = threading.Thread(target=lambda: rest.extend(name for *_, name in entries))
    reader.start()
    reader.join(0.3)
    assert reader.is_alive()
    server.clear_faults()
    reader.join(20)
    assert rest == [b"2", b"3", b"4", b"5"]


def test_a_failed_listing_is_an_error_and_the_next_one_works(serve):
    server = serve({"a": b""})
    server.expect_log("request failed")
    server.fault(method="list_page", times=1, error="DeniedError")
    with pytest.raises(PermissionError):
        os.listdir(server.path)
    assert os.listdir(server.path) == ["a"]
