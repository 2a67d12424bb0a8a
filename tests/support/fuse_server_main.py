"""The process behind `fuse_server`: a real mount of a `MemoryStore`, and a tiny control channel beside it.

Started as `python -m tests.support.fuse_server_main LAUNCHER_FD`, it is a launcher, which has imported everything and
forks a server for each `{"do": "start", …}` that it receives along with the server's control channel and standard
error. The mount is put together as `modes/mount.py` does it. Every line on a control channel is a command as JSON,
`{"do": NAME, …}`; the answer is `{"result": …}` or `{"error": TEXT}`. Unasked for come `{"event": "ready"}` and
`{"event": "ended", "reason": …}`.
"""

import base64
import builtins
import contextlib
import json
import os
import signal
import socket
import sys
import time
from functools import partial

import pyfuse3
import trio

from mountd import errors
from mountd.aio.kernel_reads import is_overlay
from mountd.aio.retry import RetryPolicy
from mountd.cache.block_cache import BlockCache
from mountd.cache.disk.disk_cache import DiskCache
from mountd.cache.disk.room import CacheLimits
from mountd.cache.disk.tier import DiskTier
from mountd.cache.disk.verified import VerifiedFiles
from mountd.cache.version import ObjectVersion
from mountd.errors import MountdError
from mountd.fuse import fastpath
from mountd.fuse.backings import BackingRefusedError, Backings
from mountd.fuse.convert import Ownership
from mountd.fuse.passthrough import PassthroughWish
from mountd.fuse.session import Session
from mountd.fuse.tuning import read_sizes
from mountd.modes.mount import begin_from
from mountd.observe import logs
from mountd.stores.guarded import GuardedStore
from mountd.stores.memory import MemoryStore
from mountd.tree.namespace import Namespace
from mountd.units import MIB, ByteRange
from mountd.vfs.filesystem import FileSystem
from mountd.vfs.whole_files import WholeInodes
from tests.support.quick_store import QuickStore
from tests.support.versioned_content import size_of, versioned

DEADLINE_MARGIN_S = 0.5
METHODS_OF = {"open": ["open", "begin_open"]}
"""What a request is answered by, where that is more than one method of its name."""


def error_class(name):
    """Return the exception class `name`, ours or Python's."""
    return getattr(errors, name, None) or getattr(builtins, name)


class Faults:
    """What goes wrong in the store, and when."""

    def __init__(self):
        self._rules = []
        self._gate = trio.Event()
        self.blocked = 0

    def add(self, *, method=None, key=None, skip=0, times=None, **what):
        """Add a rule: calls of `method` for `key` (None: any) after the first `skip`, `times` of them.

        What happens to them, in this order: `run` is called, `block` until the faults are cleared, `delay_s`, `error`
        with `message`.
        """
        self._rules.append({"method": method, "key": key, "skip": skip, "times": times} | what)

    def clear(self):
        """Forget the rules and let go of what is blocked."""
        self._rules.clear()
        self._gate.set()
        self._gate = trio.Event()

    async def on_call(self, method, key):
        """Do what the first rule that applies says."""
        for rule in self._rules:
            if rule["method"] not in (None, method) or rule["key"] not in (None, key):
                continue
            if rule["skip"] > 0:
                rule["skip"] -= 1
                continue
            if rule["times"] is not None:
                if rule["times"] == 0:
                    continue
                rule["times"] -= 1
            if "run" in rule:
                rule["run"]()
            if rule.get("block"):
                self.blocked += 1
                try:
                    await self._gate.wait()
                finally:
                    self.blocked -= 1
            await trio.sleep(rule.get("delay_s", 0))
            if "error" in rule:
                raise error_class(rule["error"])(rule.get("message", "injected"))
            return


class Server:
    """The mount, its store, and the commands."""

    def __init__(self, mountpoint, options, nursery):
        uid, gid = options.get("uid", os.getuid()), options.get("gid", os.getgid())
        self._nursery = nursery
        self.faults = Faults()
        self.store = MemoryStore(page_limit=options.get("page_limit", 5000), on_call=self.faults.on_call)
        deadline_s = options.get("deadline_s", 20.0)
        asked = QuickStore(self.store) if options.get("quick") else self.store
        guarded = GuardedStore(asked, RetryPolicy(deadline_s=deadline_s, first_pause_s=0.01))
        ttl_s = options.get("ttl_s", 60.0)
        self.namespace = Namespace(guarded, options.get("root", ""), nursery, ttl_s=ttl_s)

        async def fetch(version, wanted):
            chunk = await guarded.read(version.key, wanted.start, wanted.length, if_match=version.etag)
            return chunk.data

        self.disk = self.whole_files = None
        if "cache_dir" in options:
            limits = CacheLimits(size=options.get("cache_size", "1GB"), reserve=0)
            self.disk_cache = DiskCache(options["cache_dir"], lambda key: ("memory", key), limits)
            self.disk = DiskTier(self.disk_cache, fetch, queue_bytes=64 * MIB)
            self.whole_files = VerifiedFiles(self.disk_cache, self.disk)
            nursery.start_soon(self.disk.run)
            nursery.start_soon(self.whole_files.run)
        fetch, begin = (fetch, begin_from(guarded)) if self.disk is None else (self.disk.fetch, self.disk.begin)
        nursery.start_soon(guarded.serve)
        memory_bytes = options.get("memory_bytes", 64 * MIB)
        self.cache = BlockCache(fetch, nursery, limit_bytes=memory_bytes, begin=begin)
        whole = WholeInodes(self.namespace.inodes, self.whole_files)
        self.filesystem = FileSystem(
            self.namespace,
            self.cache,
            started_ns=time.time_ns(),
            deadline_s=deadline_s + DEADLINE_MARGIN_S,
            ttl_s=ttl_s,
            is_whole=whole.holds,
        )
        wish = None
        if options.get("passthrough"):
            depth = options.get("stack_depth", 2 if is_overlay(options["cache_dir"]) else 1)
            wish = PassthroughWish(whole.find, depth, give_up=whole.give_up)
        self.session = Session(
            self.filesystem,
            Ownership(uid, gid, options.get("file_mode", 0o644), options.get("dir_mode", 0o755)),
            mountpoint,
            source=options.get("source", "memory"),
            allow_other=options.get("allow_other", False),
            reads=read_sizes(memory_bytes),
            direct=options["engine"] == "direct",
            passthrough=wish,
        )
        self._replacing = {}

    # ---- commands

    def do_set(self, key, data, is_directory=False):
        self.store.set(key, base64.b64decode(data), is_directory=is_directory)

    def do_set_zeros(self, key, size):
        self.store.set(key, bytes(size))

    def do_set_many(self, keys, data):
        content = base64.b64decode(data)
        for key in keys:
            self.store.set(key, content)

    def do_set_version(self, key, version, size):
        self.store.set(key, versioned(version, size))

    def do_delete(self, key):
        self.store.delete(key)

    def do_info(self, key):
        """Return size, modification time and ETag as the store has them."""
        info = self.store._blobs[key].info
        return {"size": info.size, "mtime_ns": info.mtime_ns, "etag": info.etag}

    def do_page_limit(self, entries):
        self.store.page_limit = entries

    def do_fault(self, **rule):
        self.faults.add(**rule)

    def do_replace_at(self, method, key, version, size, skip=0):
        """Replace an object at the moment of a call, before it is answered."""
        self.faults.add(
            method=method, key=key, skip=skip, times=1, run=partial(self.do_set_version, key, version, size)
        )

    def do_replace_pattern(self, key, pattern, requests, size):
        """Replace an object at those of the next requests whose bit in `pattern` is set, the first one's the lowest.

        Questions whether a directory has the name are not counted.
        """
        self.faults.add(method="is_directory")
        for request in range(requests):
            rule = {"key": key, "times": 1}
            if pattern >> request & 1:
                version = 3 + request
                rule["run"] = partial(self.do_set_version, key, version, size + version)
            self.faults.add(**rule)

    def do_clear_faults(self):
        self.faults.clear()

    def do_break_filesystem(self, method, error="ValueError", times=None):
        """Make a method of the file system raise, `times` or until repaired: what a bug of ours would do."""
        for name in METHODS_OF.get(method, [method]):
            self._break(name, error, times)

    def _break(self, method, error, times):
        original = getattr(self.filesystem, method)
        left = times

        def broken(*args, **kwargs):
            nonlocal left
            if left == 0:
                return original(*args, **kwargs)
            left = None if left is None else left - 1
            raise error_class(error)("injected")

        setattr(self.filesystem, method, broken)

    def do_repair_filesystem(self, method):
        for name in METHODS_OF.get(method, [method]):
            delattr(self.filesystem, name)

    def do_counters(self):
        budget = self.cache.budget
        return {
            "calls": dict(self.store.calls),
            "blocked": self.faults.blocked,
            "reads": self.filesystem.reads,
            "bytes_read": self.filesystem.bytes_read,
            "bytes_fetched": self.cache.counters.bytes_fetched,
            "inodes": len(self.namespace.inodes),
            "handles": self.filesystem.open_handles,
            "passing": self.session.passthrough_handles,
            "corrupt": 0 if self.disk is None else self.disk.corrupt,
            "handler_errors": self.session.failures.unexpected,
            "hidden_names": self.namespace.hidden_names,
            "changed_objects": self.namespace.inodes.changed_objects,
            "memory_used": budget.used,
            "memory_peak": budget.peak,
            "memory_limit": budget.limit,
        }

    def do_bring(self, key):
        """Bring all of an object to disk."""
        version = self._version(key)

        async def bring():
            await self.disk.wait_ready()
            for start in range(0, version.size, 4 * MIB):
                await self.disk.bring(version, ByteRange(start, min(version.size, start + 4 * MIB)))

        self._nursery.start_soon(bring)

    def do_cached_file(self, key):
        """Return the file of the disk cache that holds an object as it is now; None: not all of it is there."""
        digest = self.disk_cache.digest(self._version(key))
        return self.disk_cache.layout.file(digest) if self.disk_cache.is_whole(digest) else None

    def do_forget_looks(self):
        """No file has been looked at."""
        self.whole_files._verified.clear()

    def do_looked_at(self):
        """Return how many files were looked at and found right."""
        return len(self.whole_files._verified)

    def do_waiting_for_looks(self):
        """Return how many files are to be looked at, were or are."""
        return len(self.whole_files._looking) + len(self.whole_files._verified)

    def do_told_open(self):
        """Return how many files the other processes know to be open here."""
        return self.disk_cache.open_files.count_known()

    def do_trouble(self):
        """The disk is in trouble."""
        self.disk.report(OSError("injected"))

    def do_refuse_backings(self, error):
        """Have the kernel refuse every file with an errno from now on."""

        def refuse(_backings, _file):
            raise BackingRefusedError(error, os.strerror(error))

        Backings.open = refuse

    def _version(self, key):
        info = self.store._blobs[key].info
        return ObjectVersion(key, info.etag, info.size)

    def do_tuning(self):
        return self.session.tuning

    def do_wake_falsely(self, times=1):
        """Claim that a request is there when none is: what happens when its sender is killed in the last moment."""
        original = pyfuse3._wait_fuse_readable
        left = times

        async def wait():
            nonlocal left
            if left > 0:
                left -= 1
                return True
            return await original()

        pyfuse3._wait_fuse_readable = wait

    def do_replace(self, key, base, spread, pause_s):
        """Replace `key` by the next version again and again, until `stop_replacing`."""
        scope = trio.CancelScope()
        state = self._replacing[key] = {"scope": scope, "version": 0}

        async def loop():
            with scope:
                while True:
                    state["version"] += 1
                    version = state["version"]
                    self.store.set(key, versioned(version, size_of(version, base, spread)))
                    await trio.sleep(pause_s)

        self._nursery.start_soon(loop)

    def do_replaced(self, key):
        """Return how often `key` was replaced so far."""
        return self._replacing[key]["version"]

    def do_stop_replacing(self, key):
        state = self._replacing.pop(key)
        state["scope"].cancel()
        return state["version"]

    def do_stop(self):
        self.session.request_stop()

    # ---- the control channel

    async def obey(self, stream):
        """Answer commands until the other side is gone, which ends the mount."""
        await tell(stream, {"event": "ready"})
        buffered = b""
        while data := await stream.receive_some(1 << 20):
            *lines, buffered = (buffered + bytes(data)).split(b"\n")
            for line in lines:
                command = json.loads(line)
                try:
                    answer = {"result": getattr(self, "do_" + command.pop("do"))(**command)}
                except Exception as error:  # noqa: BLE001 - told to the test
                    answer = {"error": repr(error)}
                await tell(stream, answer)
        self.session.request_stop()

    async def heed_signals(self, *, task_status):
        """SIGTERM and SIGINT end the mount, as in a worker."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            task_status.started()
            async for _ in received:
                self.session.request_stop()


async def tell(stream, message):
    """Send one line."""
    await stream.send_all(json.dumps(message).encode() + b"\n")


async def run(control, mountpoint, options):
    """Mount, serve and obey."""
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(control))
    try:
        async with trio.open_nursery() as nursery:
            server = Server(mountpoint, options, nursery)
            await nursery.start(server.heed_signals)

            def started():
                nursery.start_soon(server.obey, stream)

            reason = await server.session.serve(started=started)
            nursery.cancel_scope.cancel()
    except* MountdError as group:
        reason = f"failed: {group.exceptions[0]}"
    with trio.move_on_after(1), contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await tell(stream, {"event": "ended", "reason": reason})
    return 0 if not reason.startswith("failed") else 5


def serve(control, mountpoint, options):
    """Run one server until it is unmounted or told to stop, and return its exit status."""
    if options.get("without_hook"):
        fastpath.WAIT = "_a_name_that_this_pyfuse3_does_not_have"
    logs.configure(level="info")
    control.setblocking(False)
    with control:
        return trio.run(run, control, mountpoint, options)


def launch(orders):
    """Fork servers until the other side of `orders` is gone; return in each of them with its exit status."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(orders, 1 << 20, 2)
        if not data:
            return 0
        order = json.loads(data)
        if order["do"] == "status":
            answer = os.waitstatus_to_exitcode(os.waitpid(order["pid"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                orders.close()
                control, stderr = descriptors
                os.dup2(stderr, 2)
                os.close(stderr)
                return serve(socket.socket(fileno=control), order["mountpoint"], order["options"])
            for descriptor in descriptors:
                os.close(descriptor)
        orders.send(json.dumps(answer).encode())


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as the_orders:
        exit_status = launch(the_orders)
    sys.exit(exit_status)
