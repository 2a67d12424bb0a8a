"""How files are opened: what OPEN is answered, beyond the handle."""

from typing import Protocol

from mountd.fuse import protocol


class OpenAnswers(Protocol):
    """Says how each file of a session is opened."""

    def wanted(self, offered: int) -> tuple[int, int]:
        """Return the flags that INIT is answered for it beside all others, of those `offered`, and max_stack_depth."""

    def begin(self, node: int, number: int, flags: int) -> bytes | None:
        """Return what an OPEN of inode `node` is answered; None: that takes a while, wait for it with `settle`.

        Args:
            node: the inode.
            number: its new handle's; `end` follows in every case.
            flags: of OPEN.
        """

    async def settle(self, number: int) -> bytes:
        """Return what OPEN is answered for a handle for which `begin` has returned None."""

    def end(self, number: int) -> None:
        """A handle is released; any handle, of directories too."""


class CachedAnswers:
    """All through the kernel's page cache, whose pages stay when a file is closed."""

    def wanted(self, offered: int) -> tuple[int, int]:  # noqa: ARG002 - of the protocol
        """Nothing."""
        return 0, 0

    def begin(self, node: int, number: int, flags: int) -> bytes | None:  # noqa: ARG002 - of the protocol
        """Return the answer."""
        return cached(number)

    async def settle(self, number: int) -> bytes:
        """Return the answer."""
        return cached(number)

    def end(self, number: int) -> None:
        """Nothing was begun."""


def cached(number: int) -> bytes:
    """Return the answer to an OPEN through the kernel's page cache."""
    return protocol.OPEN_OUT.pack(number, protocol.FOPEN_KEEP_CACHE)
