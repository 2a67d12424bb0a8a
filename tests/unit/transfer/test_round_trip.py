"""Whatever the tree: up and down again is the same; however often a download is killed: it ends up the same."""

import itertools
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountd.errors import UnavailableError
from mountd.stores.memory import MemoryStore
from mountd.transfer.download import download_tree
from mountd.transfer.limits import TransferLimits
from mountd.transfer.plan import is_own_name
from mountd.transfer.progress import Progress
from mountd.transfer.upload import upload_tree

LIMITS = TransferLimits(range_bytes=64, memory_bytes=256, files=4, large_files=2, ranges_per_file=3)

names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) <= 255
)
contents = st.binary(max_size=400) | st.integers(65, 600).map(bytes)
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), contents, max_size=8).map(
    lambda tree: {path: data for path, data in tree.items() if not any(other.startswith(path + "/") for other in tree)}
)
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def write(directory, tree):
    directory.mkdir(parents=True)
    for path, data in tree.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)


def read(directory):
    """Return the finished files: unfinished ones may vanish at any time, by the hand of a thread left behind."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not is_own_name(path.name)
    }


def in_a_new_directory(test):
    async def run(directory, *arguments):
        with trio.fail_after(60):
            await test(directory, *arguments)

    def runner(*arguments):
        directory = Path(tempfile.mkdtemp(prefix="mountd-test-"))
        try:
            trio.run(run, directory, *arguments)
        finally:
            while directory.exists():
                with suppress(FileNotFoundError):  # a thread that was left behind removed it a moment before
                    shutil.rmtree(directory)

    return runner


@relaxed
@given(trees, st.integers(1, 5))
def test_up_and_down_is_the_same(tree, page_limit):
    @in_a_new_directory
    async def check(directory):
        store = MemoryStore(part_bytes=50, page_limit=page_limit)
        write(directory / "up", tree)
        sent = await upload_tree(directory / "up", store, "x", overwrite=False, progress=Progress(), limits=LIMITS)
        assert (sent.files, sent.problem_count) == (len(tree), 0)
        got = await download_tree(
            store, "x" if tree else "", directory / "down", overwrite=False, progress=Progress(), limits=LIMITS
        )
        assert (got.files, got.problem_count) == (len(tree), 0)
        assert read(directory / "down") == tree

    check()


def changed(tree, which, content):
    """Return a path and its new content: other bytes, or as many bytes with every one of them flipped."""
    path = sorted(tree)[which % len(tree)]
    return path, content if isinstance(content, bytes) else bytes(byte ^ content for byte in tree[path])


@relaxed
@given(
    trees.filter(bool),
    st.lists(st.integers(1, 30), max_size=4),
    st.booleans(),
    st.sampled_from(["cancel", "fail"]),
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 7), st.binary(max_size=400) | st.integers(1, 255)), max_size=4
    ),
)
def test_killed_anywhere_and_changed_anywhen_it_ends_up_the_same(tree, kills, overwrite, how, changes):
    """Each run ends after so many reads, while objects change; two go through, and at the last nothing changes."""

    @in_a_new_directory
    async def check(directory):
        store = MemoryStore(page_limit=3)
        for path, data in tree.items():
            store.set(path, data)
        pending = {at: changed(tree, which, content) for at, which, content in changes}
        total = itertools.count()
        versions = {path: {data} for path, data in tree.items()}

        for allowed in [*kills, None, None]:
            with trio.CancelScope() as scope:
                reads = itertools.count()

                async def hook(method, _key, allowed=allowed, reads=reads, scope=scope):
                    if method != "read":
                        return
                    change = pending.pop(next(total), None)
                    if change is not None:
                        store.set(*change)
                        versions[change[0]].add(change[1])
                    if allowed is not None and next(reads) >= allowed:
                        if how == "cancel":
                            scope.cancel()
                            await trio.sleep_forever()
                        raise UnavailableError("killed")

                store.on_call = hook
                await download_tree(
                    store, "", directory / "down", overwrite=overwrite, progress=Progress(), limits=LIMITS
                )
            left = read(directory / "down") if (directory / "down").exists() else {}
            if allowed is None:
                pending.clear()
            for path in tree.keys() & left.keys():
                assert left[path] in versions[path]  # at any moment: one whole version, never a mixture

        left = read(directory / "down")
        assert left.keys() == tree.keys()
        if overwrite:
            assert left == {key: blob.data for key, blob in store._blobs.items()}

    check()


@relaxed
@given(st.integers(1, 40), st.integers(65, 2000), st.sampled_from(["cancel", "fail"]))
def test_a_killed_download_fetches_only_what_is_missing(kill_after, size, how):
    @in_a_new_directory
    async def check(directory):
        store = MemoryStore()
        data = bytes(number % 251 for number in range(size))
        store.set("big", data)
        began = finished = 0

        with trio.CancelScope() as scope:

            async def hook(method, _key):
                nonlocal began
                if method == "read":
                    began += 1
                    if began > kill_after:
                        if how == "cancel":
                            scope.cancel()
                            await trio.sleep_forever()
                        raise UnavailableError("killed")

            store.on_call = hook
            first = Progress()
            await download_tree(store, "", directory / "down", overwrite=False, progress=first, limits=LIMITS)
        store.on_call = None
        finished = first.moved
        second = Progress()
        report = await download_tree(store, "", directory / "down", overwrite=False, progress=second, limits=LIMITS)
        assert read(directory / "down") == {"big": data}
        if not report.files:
            assert report.skipped == 1  # the first run was through
        elif finished > LIMITS.memory_bytes:
            # all but what was in flight when it ended came from the first run
            assert second.moved <= size - finished + LIMITS.memory_bytes
            assert second.moved < size

    check()
