"""`-o k=v` is the same as `--k v`: the command line has a flag for every declared option."""

import inspect

from mountd.cli import mounts
from mountd.config.options import OPTIONS


def test_every_option_is_a_flag_of_mountd_mount():
    parameters = inspect.signature(mounts.mount).parameters
    assert [option.key for option in OPTIONS if option.key not in parameters] == []
