"""Which inodes the kernel may be asked to read itself."""

from mountd.tree.inodes import InodeTable
from mountd.tree.listing import Entry
from mountd.units import MIB
from mountd.vfs.whole_files import WholeInodes


class Files:
    def __init__(self):
        self.asked = []

    def find(self, version):
        self.asked.append((version.key, version.size))
        return "the file"


def table():
    inodes = InodeTable("")
    for name, size in ((b"small", MIB), (b"large", MIB + 1)):
        inodes.adopt(inodes.root, name, Entry(size, 0, "v1"))
    return inodes, inodes.root.children[b"small"].ino, inodes.root.children[b"large"].ino


def test_only_files_that_open_does_not_fetch_whole_are_asked_for():
    inodes, small, large = table()
    files = Files()
    whole = WholeInodes(inodes, files)
    assert whole.find(small) is None
    assert whole.find(inodes.root.ino) is None
    assert whole.find(99) is None
    assert whole.find(large) == "the file"
    assert whole.holds(large)
    assert files.asked == [("large", MIB + 1)] * 2


def test_without_such_files_there_is_none():
    inodes, _, large = table()
    assert WholeInodes(inodes, None).find(large) is None


def test_once_the_kernel_will_read_none_of_them_none_is_asked_for():
    inodes, _, large = table()
    files = Files()
    whole = WholeInodes(inodes, files)
    whole.give_up()
    assert whole.find(large) is None
    assert not whole.holds(large)
    assert files.asked == []
