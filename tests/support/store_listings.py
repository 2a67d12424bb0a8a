"""What a store lists, page by page to its end, as tests compare it."""

from collections import Counter


async def pages(ask, limit=1000):
    """Return all pages that `ask(marker)` gives."""
    found, marker = [], None
    for _ in range(limit):
        page = await ask(marker)
        assert len(page.directories) == len(set(page.directories))
        found.append(page)
        marker = page.next
        if marker is None:
            return found
    raise AssertionError(f"more than {limit} pages")


async def children(store, directory="", limit=None):
    """Return keys of objects, which must be listed once, and the set of directories."""
    found = await pages(lambda marker: store.list_page(directory, marker, limit=limit))
    keys = [info.key for page in found for info in page.objects]
    assert max(Counter(keys).values(), default=1) == 1
    return sorted(keys), {key for page in found for key in page.directories}


async def below(store, directory=""):
    """Return keys of all objects and of all markers below a directory."""
    found = await pages(lambda marker: store.walk_page(directory, marker))
    keys = [info.key for page in found for info in page.objects]
    assert max(Counter(keys).values(), default=1) == 1
    return sorted(keys), {key for page in found for key in page.directories}
