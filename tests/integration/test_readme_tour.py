"""The README's quick tour, pasted into a shell."""

import os
import re
import subprocess

import pytest

from tests.support.mounts import ROOT

pytestmark = pytest.mark.fuse


def tour(title="Quick tour"):
    """Return the shell blocks of a section."""
    readme = (ROOT / "README.md").read_text()
    section = readme.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_tour_works_when_pasted(mountd):
    blocks = tour()
    assert len(blocks) == 4
    (python,) = tour("From Python")
    blocks.append(f"echo 'FROM PYTHON'\n{python}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=ROOT,
        env={**mountd.environ, "PATH": os.environ["PATH"], "TMPDIR": str(mountd.directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out, _, from_python = done.stdout.partition("FROM PYTHON\n")
    assert "workspaceblobstore" in out
    assert "\nthis is b\n" in out  # read through the mount
    assert re.search(r"^/\S+/data  ready", out, re.MULTILINE)  # status
    assert "read from /" in out
    assert out.endswith("this is a\nthis is b\nthis is c\n")  # what the run uploaded, downloaded
    assert "\nUploaded 3 files\nthis is b\n\nRunId: counting_" in from_python
    assert "\nfound ['a.txt', 'b.txt', 'c.txt']\n" in from_python
    assert "\n{'letters': 3}\n" in from_python
    assert re.search(r"^counting_\S+ +Completed ", from_python.partition("{'letters': 3}")[2], re.MULTILINE)
    assert mountd.mounts() == []


def test_the_readme_opens_with_the_two_commands():
    assert (ROOT / "README.md").read_text().startswith("# mountd\n\n```sh\n./scripts/demo ")
    assert "\n./scripts/test " in (ROOT / "README.md").read_text()[:400]
