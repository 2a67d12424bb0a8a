"""The allocator's settings, each in a process of its own: they are for good."""

import resource
import subprocess
import sys

import pytest

from mountd.units import MIB

USES_ITS_HEAP = """
import ctypes, resource, sys
from mountd.aio.buffers import unfilled
from mountd.cache.allocator import free_memory, reuse_buffers, touch
assert reuse_buffers()
count = 16 << 20
touched = touch(free_memory(count)) if sys.argv[1] == "touched" else 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for part in [unfilled(4 << 20) for _ in range(3)]:
    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(part)), 1, len(part))
print(touched, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def numbers(how: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", USES_ITS_HEAP, how], env={}, capture_output=True, text=True, check=True, timeout=60
    )
    touched, faults = done.stdout.split()
    return int(touched), int(faults)


@pytest.mark.timeout(120)
def test_what_was_touched_is_used_without_a_fault() -> None:
    touched, faults = numbers("touched")
    _, otherwise = numbers("as it is")
    pages = 12 * MIB // resource.getpagesize()
    assert touched == 16 * MIB
    assert (faults < pages // 10, otherwise > pages // 2) == (True, True)
