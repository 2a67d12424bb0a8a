"""Which tests run in one process, one after the other, where `scripts/test` uses several.

The tests of a module stay together, for what they share: a mount, a server. So do all of `tests/pages`, since the last
of them looks at what became of the others.
"""

from xdist.scheduler import LoadScopeScheduling

PAGES = "tests/pages/"


class ByModule(LoadScopeScheduling):
    """Gives each process a module at a time, in the order in which they are collected."""

    def _split_scope(self, nodeid):
        module = nodeid.split("::", 1)[0]
        return PAGES if module.startswith(PAGES) else module
