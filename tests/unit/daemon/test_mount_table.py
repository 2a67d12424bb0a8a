import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.errors import BusyError, DeniedError, NotFoundError, SetupError
from mountd.fuse import mount_table
from mountd.fuse.mount_table import MountEntry, parse_mountinfo

TABLE = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
43 27 0:40 / /mnt/a\040b rw,nosuid master:1 - fuse.mountd azureml://x ro,user_id=0
44 27 0:41 / /mnt/tab\011line\012back\134 rw - fuse odd\040source rw
nonsense
45 27 0:42 / /mnt/a\040b rw - tmpfs tmpfs rw
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_entries_are_read_with_optional_fields_and_escapes():
    entries = parse_mountinfo(TABLE)
    assert [(entry.mount_id, entry.device, entry.mountpoint, entry.fstype, entry.source) for entry in entries] == [
        (22, "254:0", "/", "ext4", "/dev/vda"),
        (43, "0:40", "/mnt/a b", "fuse.mountd", "azureml://x"),
        (44, "0:41", "/mnt/tab\tline\nback\\", "fuse", "odd source"),
        (45, "0:42", "/mnt/a b", "tmpfs", "tmpfs"),
    ]
    assert [entry.is_fuse for entry in entries] == [False, True, True, False]


def test_the_last_mount_at_a_place_is_on_top(monkeypatch):
    monkeypatch.setattr(mount_table, "_mountinfo", lambda: parse_mountinfo(TABLE))
    assert mount_table.mount_at("/mnt/a b").fstype == "tmpfs"
    assert mount_table.mount_at("/mnt/none") is None
    table = parse_mountinfo(TABLE)
    assert mount_table.is_on_top(table[3])
    assert not mount_table.is_on_top(table[1])
    assert not mount_table.is_on_top(table[3]._replace(device="0:99"))


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_every_name_survives_the_kernels_escapes(name):
    escaped = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in "/" + name)
    (entry,) = parse_mountinfo(f"1 2 0:1 / {escaped} rw - tmpfs t rw\n")
    assert entry.mountpoint == "/" + name


def test_the_real_table_holds_the_root():
    assert mount_table.mount_at("/") is not None


@pytest.fixture
def tmpfs(tmp_path):
    point = tmp_path / "point"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], check=True)
    yield point
    subprocess.run(["umount", "-l", point], check=False, capture_output=True)


@needs_root
@pytest.mark.parametrize("odd", ["a\rb", "a\vb\u2028", "a b\n#\\", "\udcff\udcfe"])
def test_a_mount_point_of_any_name_is_found_in_the_real_table(tmp_path, odd):
    point = tmp_path / odd
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], check=True)
    try:
        assert mount_table.mount_at(str(point)).fstype == "tmpfs"
    finally:
        mount_table.unmount(str(point))


@needs_root
def test_a_mount_in_use_stays_unless_it_is_detached(tmpfs):
    with open(tmpfs / "file", "w"):
        with pytest.raises(BusyError):
            mount_table.unmount(str(tmpfs))
        assert mount_table.mount_at(str(tmpfs)) is not None
        mount_table.unmount(str(tmpfs), lazy=True)
        assert mount_table.mount_at(str(tmpfs)) is None


@needs_root
def test_a_link_to_a_mount_is_not_followed(tmpfs):
    link = tmpfs.parent / "link"
    link.symlink_to(tmpfs)
    with pytest.raises(NotFoundError):
        mount_table.unmount(str(link))
    assert mount_table.mount_at(str(tmpfs)) is not None


@needs_root
def test_a_living_mount_is_not_healed_away(tmpfs):
    assert mount_table.probe(str(tmpfs), 5) == "alive"
    assert not mount_table.heal(str(tmpfs))
    assert mount_table.mount_at(str(tmpfs)) is not None


def test_nothing_mounted_is_nothing_to_unmount(tmp_path):
    with pytest.raises(NotFoundError):
        mount_table.unmount(str(tmp_path))
    assert not mount_table.heal(str(tmp_path))


def fusermount(directory, script):
    program = directory / "fusermount3"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def as_user(monkeypatch, tmp_path):
    """Unmount as a user does, with a `fusermount3` that says what the test needs."""
    monkeypatch.setattr(mount_table.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fusermount3: failed to unmount /x: Device or resource busy", BusyError),
        ("fusermount3: failed to unmount /x: Invalid argument", NotFoundError),
        ("fusermount3: entry for /x not found in /etc/mtab", NotFoundError),
        ("fusermount3: failed to unmount /x: Operation not permitted", DeniedError),
        ("fusermount3: failed to open /etc/mtab: No such file or directory", SetupError),
        ("fusermount3: something new", SetupError),
    ],
)
def test_what_fusermount_says_is_understood(as_user, said, kind):
    fusermount(as_user, f'echo "{said}" >&2; exit 1')
    with pytest.raises(kind) as caught:
        mount_table.unmount("/x")
    assert type(caught.value) is kind


def test_fusermount_is_asked_plainly_or_lazily(as_user):
    fusermount(as_user, f'echo "$@" >> {as_user}/asked')
    mount_table.unmount("/x")
    mount_table.unmount("/x", lazy=True)
    assert (as_user / "asked").read_text() == "-u -- /x\n-u -z -- /x\n"


def test_a_fusermount_that_hangs_is_given_up(as_user, monkeypatch):
    monkeypatch.setattr(mount_table, "_FUSERMOUNT_TIMEOUT_S", 0.2)
    fusermount(as_user, "exec /bin/sleep 60")
    with pytest.raises(SetupError, match="did not end"):
        mount_table.unmount("/x")


@pytest.mark.usefixtures("as_user")
def test_without_fusermount_a_user_cannot_unmount():
    with pytest.raises(SetupError, match="apt-get install fuse3"):
        mount_table.unmount("/x")


def test_an_entry_is_a_plain_value():
    assert MountEntry(1, "0:1", "/", "fuse.sshfs", "x").is_fuse
    assert not MountEntry(1, "0:1", "/", "fuseblk", "x").is_fuse
