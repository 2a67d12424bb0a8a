"""Which way files are opened, against the kernel's rule: all handles of an inode alike, and one backing for all."""

import errno
import os
import threading
from collections import Counter

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.fuse import passthrough as module
from mountd.fuse import protocol
from mountd.fuse.backings import BackingRefusedError
from mountd.fuse.passthrough import Passthrough

OFFER = protocol.INIT_EXT | protocol.PASSTHROUGH | protocol.ASYNC_READ


class Whole:
    """A file; `gate` holds whoever opens it."""

    def __init__(self):
        self.kept = 0
        self.error = None
        self.failures = []
        self.gate = threading.Event()
        self.gate.set()
        self.in_memory = False

    def open_now(self):
        return os.open("/dev/null", os.O_RDONLY) if self.in_memory else None

    def open(self):
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return os.open("/dev/null", os.O_RDONLY)

    def opened(self):
        self.kept += 1

    def closed(self):
        self.kept -= 1

    def failed(self, error):
        self.failures.append(error)


class Session:
    """The kernel's side, with its rule."""

    def __init__(self, *, stack_depth=1):
        self.whole = {}
        self.asked = Counter()
        self.error = None
        self.registered = set()
        self.ever = 0
        self.counted = {}
        """By inode: the backing that is open, 0 for the page cache, as often as it is open."""
        self.next_handle = 0
        self.given_up = 0
        self.passthrough = Passthrough(self, self.find, stack_depth=stack_depth, give_up=self.give_up)
        assert self.passthrough.wanted(OFFER) == (protocol.INIT_EXT | protocol.PASSTHROUGH, stack_depth)

    def find(self, node):
        self.asked[node] += 1
        return self.whole.get(node)

    def give_up(self):
        self.given_up += 1

    # ---- ioctls, in threads

    def open(self, file):
        os.fstat(file)  # it is open
        if self.error is not None:
            raise BackingRefusedError(self.error, os.strerror(self.error))
        self.ever += 1
        self.registered.add(self.ever)
        return self.ever

    def close(self, backing):
        self.registered.remove(backing)

    def end(self):
        """Nothing."""

    # ---- opens

    async def handle(self, node, flags=0):
        """Open; return the handle and how it is open, which the kernel must allow."""
        self.next_handle += 1
        number = self.next_handle
        answer = self.passthrough.begin(node, number, flags)
        if answer is None:
            answer = await self.passthrough.settle(number)
        handle, open_flags, backing = protocol.OPEN_OUT_BACKED.unpack(answer)
        assert handle == number
        passes = open_flags & protocol.FOPEN_PASSTHROUGH
        if passes:
            assert open_flags & ~(protocol.FOPEN_PASSTHROUGH | protocol.FOPEN_DIRECT_IO) == 0
            assert backing in self.registered
        else:
            assert (open_flags, backing) == (protocol.FOPEN_KEEP_CACHE, 0)
        others = self.counted.setdefault(node, Counter())
        assert set(+others) <= {backing}, "the kernel fails this open with EIO"
        others[backing] += 1
        return number, open_flags, backing

    def forget(self, node, backing):
        """The kernel lets go of a handle; RELEASE is on its way."""
        self.counted[node][backing] -= 1

    async def closed(self):
        """Return once threads have nothing to do."""
        for lane in (self.passthrough._registering, self.passthrough._closing):
            with trio.fail_after(20):
                while lane.unfinished:  # noqa: ASYNC110 - a thread's end is announced to nobody
                    await trio.sleep(0.001)


# ---- the rule


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["open", "direct"]), st.integers(0, 2)),
        st.tuples(st.sampled_from(["let go", "release"]), st.integers(0, 20)),
        st.tuples(
            st.sampled_from(["whole", "gone", "in memory", "slow", "quick", "failing", "refused", "wait"]),
            st.integers(0, 2),
        ),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(ACTIONS)
def test_the_kernel_never_refuses_an_open(actions):
    trio.run(play, actions)


async def play(actions):
    session = Session()
    files = [Whole() for _ in range(3)]
    handles = []
    let_go = []
    async with trio.open_nursery() as nursery:

        async def open_one(node, flags):
            number, _, backing = await session.handle(node, flags)
            handles.append((number, node, backing))

        for action, which in actions:
            match action:
                case "open" | "direct":
                    nursery.start_soon(open_one, which, os.O_DIRECT if action == "direct" else 0)
                    await trio.lowlevel.checkpoint()
                case "let go" if handles:
                    number, node, backing = handles.pop(which % len(handles))
                    session.forget(node, backing)
                    let_go.append((number, backing))
                case "release" if let_go:
                    session.passthrough.end(let_go.pop(which % len(let_go))[0])
                case "whole":
                    session.whole[which] = files[which]
                case "gone":
                    session.whole.pop(which, None)
                case "in memory":
                    files[which].in_memory = not files[which].in_memory
                case "slow":
                    files[which].gate.clear()
                case "quick":
                    files[which].gate.set()
                case "failing":
                    files[which].error = OSError(errno.EIO, "injected") if files[which].error is None else None
                case "refused":
                    session.error = errno.ENOMEM if session.error is None else None
                case "wait":
                    await trio.sleep(0.001)
        for file in files:
            file.gate.set()
    assert session.passthrough.count() == sum(bool(backing) for *_, backing in handles + let_go)
    for number, node, backing in handles:
        session.forget(node, backing)
        let_go.append((number, backing))
    for number, _ in let_go:
        session.passthrough.end(number)
    await session.closed()
    assert session.registered == set()
    assert [file.kept for file in files] == [0, 0, 0]
    assert session.passthrough.count() == 0


async def test_handles_of_one_inode_share_one_backing_until_the_last_release():
    session = Session()
    session.whole[7] = Whole()
    found = [await session.handle(7) for _ in range(3)]
    assert {(flags, backing) for _, flags, backing in found} == {(protocol.FOPEN_PASSTHROUGH, 1)}
    assert session.ever == 1
    assert session.passthrough.count() == 3
    for number, _, _ in found[:2]:
        session.passthrough.end(number)
    await session.closed()
    assert session.registered == {1}
    assert session.whole[7].kept == 1
    session.passthrough.end(found[2][0])
    await session.closed()
    assert session.registered == set()
    assert session.whole[7].kept == 0


async def test_who_opens_what_is_not_known_to_be_right_any_more_reads_through_the_mount():
    session = Session()
    session.whole[7] = before = Whole()
    await session.handle(7)
    both = protocol.FOPEN_PASSTHROUGH | protocol.FOPEN_DIRECT_IO
    del session.whole[7]
    assert (await session.handle(7))[1:] == (both, 1)
    session.whole[7] = Whole()  # another one, or the same after it changed
    assert (await session.handle(7))[1:] == (both, 1)
    session.whole[7] = before
    assert (await session.handle(7))[1:] == (protocol.FOPEN_PASSTHROUGH, 1)
    assert session.ever == 1


async def test_two_opens_at_once_register_once():
    session = Session()
    session.whole[7] = Whole()
    session.whole[7].gate.clear()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(session.handle, 7)
        await trio.testing.wait_all_tasks_blocked()
        session.whole[7].gate.set()
    assert session.ever == 1
    assert session.passthrough.count() == 5


async def test_what_takes_no_disk_takes_no_thread():
    session = Session()
    session.whole[7] = Whole()
    session.whole[7].in_memory = True
    answer = session.passthrough.begin(7, 1, 0)
    assert answer == protocol.OPEN_OUT_BACKED.pack(1, protocol.FOPEN_PASSTHROUGH, 1)
    assert session.whole[7].kept == 1
    session.passthrough.end(1)
    assert session.whole[7].kept == 0


async def test_an_inode_that_is_open_through_the_page_cache_stays_so():
    session = Session()
    first, _, _ = await session.handle(7)
    session.whole[7] = Whole()
    assert (await session.handle(7))[2] == 0
    session.passthrough.end(first)
    assert (await session.handle(7))[2] == 0
    session.passthrough.end(2)
    session.passthrough.end(3)
    session.counted.clear()
    assert (await session.handle(7))[2] == 1


async def test_direct_io_is_answered_by_the_mount_either_way():
    session = Session()
    session.whole[7] = Whole()
    number, _, backing = await session.handle(7, os.O_DIRECT)
    assert backing == 0
    session.passthrough.end(number)
    session.counted.clear()
    await session.handle(7)
    assert (await session.handle(7, os.O_DIRECT))[1:] == (protocol.FOPEN_PASSTHROUGH | protocol.FOPEN_DIRECT_IO, 1)


async def test_the_end_of_a_directory_s_handle_is_nothing():
    Session().passthrough.end(99)


# ---- what fails


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ELOOP, errno.EINVAL])
async def test_a_refusal_that_every_file_would_meet_ends_it(refusal, in_memory):
    session = Session()
    session.whole[7] = session.whole[8] = Whole()
    session.whole[7].in_memory = in_memory
    session.error = refusal
    assert (await session.handle(7))[2] == 0
    assert session.passthrough.describe().startswith(f"off: {os.strerror(refusal)}")
    session.error = None
    assert (await session.handle(8))[2] == 0
    assert session.asked == {7: 1}
    assert session.whole[7].kept == 0
    assert session.whole[7].failures == []
    assert session.given_up == 1


@pytest.mark.parametrize("in_memory", [False, True])
async def test_another_refusal_is_of_one_file(in_memory):
    session = Session()
    session.whole[7] = session.whole[8] = Whole()
    session.whole[7].in_memory = in_memory
    session.error = errno.ENOMEM
    assert (await session.handle(7))[2] == 0
    session.error = None
    assert (await session.handle(8))[2] == 1
    assert session.passthrough.describe() == "on"
    assert session.given_up == 0


async def test_a_file_that_cannot_be_opened_is_read_through_the_page_cache():
    session = Session()
    session.whole[7] = Whole()
    session.whole[7].error = FileNotFoundError()
    assert (await session.handle(7))[2] == 0
    assert session.whole[7].failures == [session.whole[7].error]


async def test_a_bug_in_it_is_no_error_of_the_open():
    session = Session()
    session.whole[7] = Whole()
    session.whole[7].error = ValueError("a bug")
    assert (await session.handle(7))[2] == 0


async def test_a_registration_that_comes_too_late_is_taken_back(monkeypatch):
    monkeypatch.setattr(module, "REGISTER_S", 0.01)
    session = Session()
    whole = session.whole[7] = Whole()
    whole.gate.clear()
    assert (await session.handle(7))[2] == 0
    assert [type(error) for error in whole.failures] == [TimeoutError]
    assert whole.kept == 0
    whole.gate.set()
    await session.closed()
    assert session.ever == 1
    assert session.registered == set()


async def test_an_open_that_is_cancelled_leaves_nothing_behind():
    session = Session()
    whole = session.whole[7] = Whole()
    whole.gate.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.handle, 7)
        nursery.start_soon(session.handle, 7)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    whole.gate.set()
    await session.closed()
    assert whole.kept == 0
    assert session.registered == set()


# ---- INIT


@pytest.mark.parametrize("offered", [0, protocol.INIT_EXT, protocol.PASSTHROUGH, protocol.ASYNC_READ])
async def test_it_is_not_asked_for_where_it_is_not_offered(offered):
    given_up = []
    passthrough = Passthrough(None, lambda _: Whole(), stack_depth=1, give_up=lambda: given_up.append(True))
    assert passthrough.wanted(offered) == (0, 0)
    assert "6.9" in passthrough.describe()
    assert passthrough.begin(7, 1, 0) == protocol.OPEN_OUT.pack(1, protocol.FOPEN_KEEP_CACHE)
    passthrough.try_out()  # asks nothing
    assert given_up == [True]


async def test_once_init_is_answered_it_is_tried_out_and_nothing_stays_registered():
    session = Session()
    session.passthrough.try_out()
    assert session.ever == 1
    assert session.registered == set()
    assert session.passthrough.describe() == "on"


async def test_who_lacks_the_capability_is_told_before_a_file_is_looked_at():
    session = Session()
    session.error = errno.EPERM
    session.passthrough.try_out()
    assert session.passthrough.describe() == "off: Operation not permitted; it takes the capability SYS_ADMIN"
    assert session.given_up == 1
    assert (await session.handle(7))[2] == 0
    assert session.asked == {}


async def test_without_a_descriptor_for_it_nothing_is_tried_out(monkeypatch):
    def refuse(_):
        raise OSError(errno.EMFILE, "injected")

    monkeypatch.setattr(os, "memfd_create", refuse)
    session = Session()
    session.passthrough.try_out()
    assert session.ever == 0
    assert session.passthrough.describe() == "on"


async def test_before_init_it_is_off():
    assert Passthrough(None, lambda _: None, stack_depth=1).describe().startswith("off: ")
