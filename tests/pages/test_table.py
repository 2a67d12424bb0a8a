"""docs/PAGES.md is what a run of these tests found."""

import os
import re
from collections import defaultdict
from pathlib import Path

from tests.pages.cases import CASES, PAGE, render


def proofs():
    """Return the tests of each case, from the source; True: what is not run now is as the page says."""
    found = defaultdict(dict)
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for names, test in re.findall(r"^@case\(([^)]*)\)\ndef (\w+)", file.read_text(), re.MULTILINE):
            for name in re.findall(r"C\d\d", names):
                found[name][f"{file.name}::{test}"] = True
    return found


def test_every_case_has_a_proof():
    assert set(proofs()) == set(CASES)


def test_the_page_says_what_this_run_found(outcomes):
    known = proofs()
    for name, found in outcomes.items():
        assert found.keys() <= known[name].keys()
        known[name] |= found
    if os.environ.get("MOUNTD_WRITE_PAGES"):
        PAGE.write_text(render(known))
    assert PAGE.read_text() == render(known)
