"""The default memory budget, from files laid out as kernels do."""

import pytest

from mountd.config.memory_limit import default_memory
from mountd.units import GIB, MIB

NO_LIMIT_V1 = "9223372036854771712\n"


def layout(root, ram=None, cgroup="", **limits):
    files = {"proc/self/cgroup": cgroup, **limits}
    if ram is not None:
        files["proc/meminfo"] = f"MemTotal:       {ram // 1024} kB\nMemFree:          12 kB\n"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return default_memory(root)


@pytest.mark.parametrize(
    ("ram", "budget"),
    [
        (512 * MIB, 256 * MIB),
        (1 * GIB, 256 * MIB),
        (2 * GIB, 512 * MIB),
        (4 * GIB, 1 * GIB),
        (8 * GIB, 2 * GIB),
        (512 * GIB, 2 * GIB),
    ],
)
def test_a_quarter_of_ram_within_bounds(tmp_path, ram, budget):
    assert layout(tmp_path, ram) == budget


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("cgroup", "limits"),
    [
        # a container: its own group is the root of what it sees
        ("0::/\n", {f"{V2}/memory.max": f"{2 * GIB}\n"}),
        # a systemd service: the limit may be on it or on a slice above it
        ("0::/a.slice/b.service\n", {f"{V2}/a.slice/b.service/memory.max": f"{2 * GIB}\n"}),
        (
            "0::/a.slice/b.service\n",
            {f"{V2}/a.slice/b.service/memory.max": "max\n", f"{V2}/a.slice/memory.max": f"{2 * GIB}\n"},
        ),
        # the smallest on the way counts
        (
            "0::/a/b\n",
            {f"{V2}/a/b/memory.max": f"{2 * GIB}\n", f"{V2}/a/memory.max": f"{4 * GIB}\n"},
        ),
        # v1, alone and beside v2 (hybrid)
        ("9:cpu,memory:/a\n", {f"{V1}/a/memory.limit_in_bytes": f"{2 * GIB}\n"}),
        ("9:memory:/a\n0::/a\n", {f"{V1}/a/memory.limit_in_bytes": f"{2 * GIB}\n"}),
        # v1 in a container that does not see the host's path
        ("9:memory:/docker/abc\n", {f"{V1}/memory.limit_in_bytes": f"{2 * GIB}\n"}),
    ],
)
def test_the_control_groups_limit_counts(tmp_path, cgroup, limits):
    assert layout(tmp_path, 64 * GIB, cgroup, **limits) == 512 * MIB


@pytest.mark.parametrize(
    ("cgroup", "limits"),
    [
        ("0::/\n", {f"{V2}/memory.max": "max\n"}),
        ("9:memory:/\n", {f"{V1}/memory.limit_in_bytes": NO_LIMIT_V1}),
        ("9:cpu:/a\n", {f"{V1}/a/memory.limit_in_bytes": f"{64 * MIB}\n"}),
        ("0::/a\n", {f"{V2}/b/memory.max": f"{64 * MIB}\n"}),
        ("0::/../..\n", {}),
        ("0::/a\n", {"sys/fs/memory.max": f"{64 * MIB}\n"}),
        ("nonsense\n\n", {}),
    ],
)
def test_no_limit_leaves_ram(tmp_path, cgroup, limits):
    assert layout(tmp_path, 4 * GIB, cgroup, **limits) == 1 * GIB


def test_ram_caps_a_generous_limit(tmp_path):
    assert layout(tmp_path, 2 * GIB, "0::/\n", **{f"{V2}/memory.max": f"{64 * GIB}\n"}) == 512 * MIB


def test_nothing_known_means_the_least(tmp_path):
    assert default_memory(tmp_path) == 256 * MIB


def test_this_node():
    assert 256 * MIB <= default_memory() <= 2 * GIB
