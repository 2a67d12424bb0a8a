"""How idle processors are, from files laid out as kernels do."""

import time

import pytest

from mountd.cache.disk.processors import Load, Used, load_reader

STAT = """cpu  999 0 999 999 999 0 0 0 0 0
cpu0 10 1 10 70 5 2 1 1 7 7
cpu1 20 0 20 50 10 0 0 0 0 0
cpu2 1 1 1 1 1 1 1 1 0 0
intr 5 6 7
cpu3 this is not a processor any more
"""
V2 = "sys/fs/cgroup"
V1_CPU, V1_USED = "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpuacct"


def read(root, cgroup="", usable=(0, 1), stat=STAT, **files):
    for name, text in {"proc/stat": stat, "proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load_reader(root, usable)()


@pytest.mark.parametrize(
    ("usable", "load"), [((0, 1), Load(135, 200, 2)), ((0,), Load(75, 100, 1)), ((0, 1, 2), Load(137, 208, 3))]
)
def test_the_processors_that_may_be_used_count(tmp_path, usable, load):
    assert read(tmp_path, usable=usable) == load


@pytest.mark.parametrize(("usable", "load"), [((4, 5), Load(137, 208, 3)), ((1, 2, 3), Load(137, 208, 3))])
def test_where_those_are_not_shown_all_that_are_count(tmp_path, usable, load):
    """Some are offline, or a container numbers those that it shows by itself."""
    assert read(tmp_path, usable=usable) == load


@pytest.mark.parametrize(
    "stat", ["", "cpu 1 2\n", "cpu 1\ncpu0 1 2\n", "cpu 1\ncpu0 a b c d e\n", "cpu 1\nintr 1 2 3 4 5\n"]
)
def test_what_is_not_told_is_not_known(tmp_path, stat):
    assert read(tmp_path, stat=stat) is None


def test_without_proc_nothing_is_known(tmp_path):
    assert load_reader(tmp_path / "missing")() is None


def quota(group, limit, used_us=1_500_000):
    return {f"{group}/cpu.max": limit, f"{group}/cpu.stat": f"usage_usec {used_us}\nuser_usec 7\n"}


def quota_v1(limit, period="100000", used_ns=1_500_000_000, group="", used_in=None):
    files = {f"{V1_CPU}{group}/cpu.cfs_quota_us": f"{limit}\n", f"{V1_CPU}{group}/cpu.cfs_period_us": f"{period}\n"}
    return {**files, f"{V1_USED}{group if used_in is None else used_in}/cpuacct.usage": f"{used_ns}\n"}


@pytest.mark.parametrize(
    ("cgroup", "files", "groups"),
    [
        # a container: its own group is the root of what it sees
        ("0::/\n", quota(V2, "200000 100000\n"), [Used(2.0, 1.5)]),
        # a service: the quota may be on it, on a slice above it, or on both
        ("0::/a.slice/b\n", quota(f"{V2}/a.slice/b", "50000 100000\n"), [Used(0.5, 1.5)]),
        (
            "0::/a/b\n",
            quota(f"{V2}/a/b", "max 100000\n") | quota(f"{V2}/a", "300000 100000\n", 9_000_000),
            [Used(3.0, 9.0)],
        ),
        (
            "0::/a/b\n",
            quota(f"{V2}/a/b", "100000 100000\n") | quota(f"{V2}/a", "300000 100000\n", 9_000_000),
            [Used(1.0, 1.5), Used(3.0, 9.0)],
        ),
        # version 1, alone and in a container that does not see the host's path
        ("3:cpu,cpuacct:/a\n", quota_v1(150000, group="/a"), [Used(1.5, 1.5)]),
        ("2:cpuacct:/docker/x\n1:cpu:/docker/x\n", quota_v1(150000), [Used(1.5, 1.5)]),
        # none
        ("0::/\n", quota(V2, "max 100000\n"), []),
        ("0::/\n", {}, []),
        ("0::/\n", {f"{V2}/cpu.max": "100000 100000\n"}, []),
        ("0::/\n", quota(V2, "nonsense\n"), []),
        ("1:cpu:/\n", quota_v1(-1), []),
        ("1:cpu:/\n", quota_v1(100000, period="0"), []),
        ("1:cpu:/\n", quota_v1(100000, used_in="/elsewhere"), []),
        ("1:memory:/\n", quota_v1(100000), []),
    ],
)
def test_quotas_of_control_groups(tmp_path, cgroup, files, groups):
    assert read(tmp_path, cgroup, **files).groups == tuple(groups)


@pytest.mark.parametrize(
    ("groups", "idle"),
    [
        ((), 1.5),
        ([(2.0, 0.25)], 1.5),
        ([(2.0, 0.5)], 1.0),
        ([(2.0, 0.25), (1.0, 0.375)], 0.25),
        ([(1.0, 0.6)], -0.2),
    ],
)
def test_what_is_left_of_the_least_of_them_is_idle(groups, idle):
    before = Load(100, 1000, 2, tuple(Used(allowed, 7.0) for allowed, _ in groups))
    after = Load(175, 1100, 2, tuple(Used(allowed, 7.0 + used) for allowed, used in groups))
    assert after.idle_since(before, 0.5) == pytest.approx(idle)


@pytest.mark.parametrize(("groups", "allowed"), [((), 2.0), ([0.5], 0.5), ([3.0, 1.5], 1.5)])
def test_what_may_be_used_is_the_least_of_all(groups, allowed):
    assert Load(1, 2, 2, tuple(Used(one, 0.0) for one in groups)).allowed == allowed


def test_a_quota_that_has_just_come_or_gone_leaves_nothing_known():
    free, bound = Load(0, 0, 2), Load(100, 100, 2, (Used(2.0, 0.0),))
    assert bound.idle_since(free, 1.0) == 0
    assert Load(200, 200, 2).idle_since(bound, 1.0) == 0


def test_the_real_numbers_are_read():
    load_of = load_reader()
    before = load_of()
    began = time.monotonic()
    while time.monotonic() - began < 0.05:
        pass
    after = load_of()
    assert before.processors >= 1
    assert after.total > before.total
    assert after.idle_since(before, time.monotonic() - began) <= before.processors
