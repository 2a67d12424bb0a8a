"""What a dataset costs in the worker: bytes for each file, and for each inode that the kernel holds."""

import gc
import tracemalloc

from mountd.catalog.listing_builder import ListingBuilder
from mountd.catalog.packed_listing import PackedListing, PackedSource, read_listing
from mountd.tree.pinned import PinnedNamespace

DIRECTORIES, EACH = 50, 1000
FILES = DIRECTORIES * EACH


def name(number):
    """Return a path as long as ImageNet's."""
    return f"train/n{number // EACH:08}/n{number // EACH:08}_{number % EACH:05}.JPEG"


def test_a_file_costs_150_bytes_and_an_inode_nothing(tmp_path):
    builder = ListingBuilder([PackedSource(0, "data/", "")], ["data"], ["label"])
    for number in range(FILES):
        builder.add(name(number), 0, 110_000, 1_700_000_000_000_000_000 + number, f'"0x8DC{number:012X}"')
    (tmp_path / "listing").write_bytes(builder.build(single_file=False))
    del builder
    gc.collect()
    tracemalloc.start()
    try:
        listing = read_listing(tmp_path / "listing")
        assert isinstance(listing, PackedListing)
        tree = PinnedNamespace(listing)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        assert held / FILES <= 100, "bytes a file; 150 are allowed"

        known = 0
        root = tree.inodes.root
        train = tree.settled(root, b"train").node
        for row in tree.rows(train, tree.listing(train), 0):
            for below in tree.rows(row.node, tree.listing(row.node), 0):
                node = below.node
                node.lookups += 1  # as the file system does for each entry that the kernel took
                tree.inodes.mark_delivered(node)
                assert tree.inodes.get(node.ino).key == node.key
                known += 1
        assert known == FILES
        del row, below, node
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        assert (after - held) / FILES <= 10, "bytes an inode; 100 are allowed"
    finally:
        tracemalloc.stop()
