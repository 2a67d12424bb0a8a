"""The kernel's FUSE protocol, version 7.31: the layouts of what a read-only file system is asked and answers.

What passthrough needs is of 7.40, and is asked for only where the kernel offers it.

Source: include/uapi/linux/fuse.h. Numbers are in the machine's byte order, without padding but where it is written.
A kernel that speaks a newer version keeps to the one that INIT's answer names.
"""

import os
import struct

MAJOR = 7
MINOR = 31
OLDEST_MINOR = 23
"""Before it, INIT's answer was shorter."""

LOOKUP = 1
FORGET = 2
GETATTR = 3
SETATTR = 4
SYMLINK = 6
MKNOD = 8
MKDIR = 9
UNLINK = 10
RMDIR = 11
RENAME = 12
LINK = 13
OPEN = 14
READ = 15
WRITE = 16
STATFS = 17
RELEASE = 18
FSYNC = 20
SETXATTR = 21
REMOVEXATTR = 24
FLUSH = 25
INIT = 26
OPENDIR = 27
RELEASEDIR = 29
FSYNCDIR = 30
CREATE = 35
INTERRUPT = 36
DESTROY = 38
NOTIFY_REPLY = 41
BATCH_FORGET = 42
READDIRPLUS = 44
RENAME2 = 45
TMPFILE = 51

ASYNC_READ = 1 << 0
ATOMIC_O_TRUNC = 1 << 3
EXPORT_SUPPORT = 1 << 4
BIG_WRITES = 1 << 5
AUTO_INVAL_DATA = 1 << 12
DO_READDIRPLUS = 1 << 13
ASYNC_DIO = 1 << 15
PARALLEL_DIROPS = 1 << 18
MAX_PAGES = 1 << 22
INIT_EXT = 1 << 30
"""INIT has the flags from bit 32 on as well."""
PASSTHROUGH = 1 << 37

FOPEN_DIRECT_IO = 1 << 0
FOPEN_KEEP_CACHE = 1 << 1
FOPEN_PASSTHROUGH = 1 << 7
"""With it go FOPEN_DIRECT_IO, by which `read` comes here all the same, and no other of these."""

BACKING_OPEN = 0x4010E501
"""The ioctl that takes a BACKING_MAP and returns the number that the file has from now on."""
BACKING_CLOSE = 0x4004E502
"""The ioctl that takes such a number, as BACKING_ID."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
"""The flags of an OPEN that is to change something; O_APPEND alone is none of them."""

LARGEST_REQUEST = 1 << 20
"""Bytes of data in one request: what 256 pages hold, the most that kernels grant unless their administrator says so."""
REQUEST_ROOM = LARGEST_REQUEST + (1 << 12)
"""What the kernel wants to have room for before it hands over a request: a write of the largest size and its head."""

IN_HEADER = struct.Struct("=IIQQIIIHH")
"""len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding."""
OUT_HEADER = struct.Struct("=IiQ")
"""len, error, unique."""
INIT_IN = struct.Struct("=IIII")
"""major, minor, max_readahead, flags; newer kernels send INIT_IN_MORE."""
INIT_IN_MORE = struct.Struct("=I")
"""The flags from bit 32 on; unused fields follow."""
INIT_OUT = struct.Struct("=IIIIHHIIHHII24x")
"""major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, max_pages,
map_alignment, the flags from bit 32 on, max_stack_depth."""
OPEN_IN = struct.Struct("=I4x")
"""flags."""
OPEN_OUT = struct.Struct("=QI4x")
"""fh, open_flags."""
OPEN_OUT_BACKED = struct.Struct("=QIi")
"""fh, open_flags, backing_id."""
BACKING_MAP = struct.Struct("=iI8x")
"""fd, flags."""
BACKING_ID = struct.Struct("=I")
READ_IN = struct.Struct("=QQI")
"""fh, offset, size; more follows. Also of READDIRPLUS."""
RELEASE_IN = struct.Struct("=Q")
"""fh; more follows. Also of RELEASEDIR."""
FORGET_IN = struct.Struct("=Q")
"""nlookup."""
BATCH_FORGET_IN = struct.Struct("=I4x")
"""count; as many FORGET_ONE follow."""
FORGET_ONE = struct.Struct("=QQ")
"""nodeid, nlookup."""
ENTRY_OUT = struct.Struct("=QQQQII")
"""nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec; ATTR follows."""
ATTR_OUT = struct.Struct("=QI4x")
"""attr_valid, attr_valid_nsec; ATTR follows."""
ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
"""ino, size, blocks, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize,
flags."""
DIRENT = struct.Struct("=QQII")
"""ino, off, namelen, type; the name follows, filled up with zeros to a multiple of 8. In READDIRPLUS an ENTRY_OUT and
its ATTR stand before it."""
STATFS_OUT = struct.Struct("=QQQQQIII28x")
"""blocks, bfree, bavail, files, ffree, bsize, namelen, frsize."""

BODY = IN_HEADER.size
"""Where a request's own fields begin."""
