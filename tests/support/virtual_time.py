"""What tests under virtual time share: a way to run them from Hypothesis, and contents that give away any mix-up."""

import random
from functools import lru_cache, partial

import trio
import trio.testing

BLOCK = 4096


def run_virtual(main, *args, **kwargs):
    """Run the async `main` under a clock that jumps over every wait."""
    return trio.run(partial(main, *args, **kwargs), clock=trio.testing.MockClock(autojump_threshold=0))


@lru_cache(maxsize=32)
def telling_bytes(identity, size):
    """Return `size` bytes in which no block of one identity looks like another block of it, or of another identity."""
    template = random.Random(repr(identity)).randbytes(BLOCK - 8)
    blocks = -(-size // BLOCK)
    return b"".join(template + number.to_bytes(8, "little") for number in range(blocks))[:size]
