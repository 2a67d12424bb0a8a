"""The documents agree with each other and with the source."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SOURCES = [*ROOT.glob("mountd/**/*.py"), ROOT / "scripts/setup"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
KERNEL_SAYS = {
    "Input/output error",
    "Stale file handle",
    "Read-only file system",
    "Transport endpoint is not connected",
}
KERNEL_SAYS |= {"Permission denied"}


def anchors(page):
    """Return the anchors of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{page.name} links to {target}"


def messages():
    """Return all source text, with string literals that follow each other put together."""
    text = "\n".join(path.read_text() for path in SOURCES)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def quoted_errors():
    """Return the fixed parts of every message that TROUBLESHOOTING has as a heading."""
    page = (ROOT / "docs/TROUBLESHOOTING.md").read_text()
    for heading in re.findall(r"^### (.*)$", page, re.MULTILINE):
        for message in re.findall(r"`([^`]+)`", heading):
            if message in KERNEL_SAYS:
                continue
            own = re.sub(r"^(mountd: (error|warning): |setup: )", "", message)
            pieces = re.split(r"\b[A-Z][A-Z]+\b'?|…|\$\S+|\bpid N\b|/dev/fuse|'apt-get", own)
            yield from (piece.strip(" ':()") for piece in pieces if len(piece) >= 10)


def test_troubleshooting_quotes_errors_that_exist():
    parts = list(quoted_errors())
    assert len(parts) > 15
    source = messages()
    assert [part for part in parts if part not in source] == []
