"""A download into a directory, with small limits."""

from mountd.transfer.download import download_tree
from mountd.transfer.limits import TransferLimits
from mountd.transfer.progress import Progress

SMALL = TransferLimits(range_bytes=1000, memory_bytes=8000, files=16, ranges_per_file=4)
BIG = bytes(range(256)) * 40  # 10,240 bytes: 11 ranges of 1,000


async def get(store, target, path="", *, overwrite=False, limits=SMALL, progress=None):
    return await download_tree(store, path, target, overwrite=overwrite, progress=progress or Progress(), limits=limits)


def tree(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
