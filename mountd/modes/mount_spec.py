"""What a worker needs to know to serve one mount; sent to it as JSON through a pipe, secrets included."""

import msgspec

from mountd.catalog.model import Location
from mountd.config.mount_options import MountOptions


class MountSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One mount."""

    name: str
    """Unique among the mounts of one user; by default the last part of the mount point."""
    mountpoint: str
    """Absolute and real."""
    location: Location
    options: MountOptions
    eager: bool = False
    """In mode `auto`, bring everything to disk at once if it fits: a dataset, or an input of a run."""


SINGLE_FILE = "single file"
"""The line of a mount's description that names its only file, where the source is a single object."""
