"""A supervisor in this process, with workers that do as they are told."""

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from mountd.catalog.model import LocalSpec, Location
from mountd.config.mount_options import MountOptions
from mountd.daemon.mount_keeper import Patience
from mountd.daemon.supervisor import Supervisor
from mountd.modes.mount_spec import MountSpec
from mountd.wire.codec import pack
from mountd.wire.messages import ListMounts
from tests.support.mounts import mounted_below

ODD_WORKER = (sys.executable, "-P", str(Path(__file__).with_name("odd_worker.py")))
QUICK = Patience(ready_s=20, answer_s=0.5, check_every_s=0.1, hung_s=60)


def spec(mountpoint, how="ok"):
    return pack(
        MountSpec(
            name=Path(mountpoint).name,
            mountpoint=str(mountpoint),
            location=Location(store=LocalSpec(path="/"), path=str(how), source="odd storage"),
            options=MountOptions(memory_bytes=1 << 24, cache_dir="/nowhere", uid=os.getuid(), gid=os.getgid()),
        )
    )


@asynccontextmanager
async def running(tmp_path, *, alone=True, **options):
    """Yield a supervisor; afterwards nothing may be left, but another's if it is not `alone`."""
    options = {"private": False, "worker_command": ODD_WORKER, "patience": QUICK} | options
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(nursery, **options)
        yield supervisor
        with trio.fail_after(30):
            await supervisor.end_all()
            await supervisor.wait_idle()
        nursery.cancel_scope.cancel()
    assert not alone or mounted_below(tmp_path) == []


async def wait_for(condition):
    """Return when `condition()` holds, for what the supervisor announces to nobody."""
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - see above
            await trio.sleep(0.01)


async def record_of(supervisor, mountpoint):
    reply = await supervisor.answer(ListMounts())
    (record,) = [record for record in reply.records if record.mountpoint == str(mountpoint)]
    return record


def listed(supervisor):
    return [keeper.record() for keeper in supervisor._keepers]
