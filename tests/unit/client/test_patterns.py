"""The PATTERNs of `mountd prefetch` in every spelling that means the same."""

import pytest

from mountd.client.patterns import below_mount

LINKS = {"/home/u/data": "/mnt/data", "/home/u/up": "/mnt"}


def real(path):
    """What links resolve to; a path below the mount point would touch what is mounted."""
    assert not path.startswith("/mnt/data/")
    for link, target in LINKS.items():
        if path == link or path.startswith(f"{link}/"):
            return target + path.removeprefix(link)
    return path


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("d/x", "d/x"),
        ("./d/x", "d/x"),
        ("d//x", "d/x"),
        ("d/", "d"),
        ("d/./*.bin", "d/*.bin"),
        ("d/../x", "x"),
        ("/mnt/data/d/x", "d/x"),
        ("//mnt//data/d/", "d"),
        ("/mnt/other/../data/d/*", "d/*"),
        ("/home/u/data/d", "d"),
        ("/home/u/up/data/d", "d"),
        ("/mnt/data", "*"),
        ("/mnt/data/", "*"),
        (".", "*"),
        ("./", "*"),
        # Elsewhere: it stays, and matches nothing.
        ("/mnt/data2/d", "/mnt/data2/d"),
        ("/d/x", "/d/x"),
        ("../d", "../d"),
        ("", ""),
    ],
)
def test_every_spelling(written, meant):
    assert below_mount([written], "/mnt/data", real) == [meant]
