"""The shape of the source: what `scripts/check` cannot express as a lint rule. The layering itself is lint-imports'."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "mountd").rglob("*.py"))
LONGEST = 400
GRAB_BAGS = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
TOP_LEVEL = {
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "mountd",
    "tests",
    "systemd",
    "docker",
    "benchmarks",
    "scripts",
    "docs",
}


def named(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(params=SOURCES, ids=named)
def source(request):
    return request.param


def test_there_is_a_source_to_look_at():
    assert len(SOURCES) > 50


def test_a_module_says_what_it_is_for(source):
    docstring = ast.get_docstring(ast.parse(source.read_text()))
    assert docstring
    first = docstring.split("\n")[0]
    assert first.endswith((".", ":")), "the first line of a module's docstring is a sentence"


def test_a_file_is_one_idea(source):
    assert len(source.read_text().splitlines()) <= LONGEST


def test_nothing_is_raised_out_of_a_group(source):
    # Debian 12's Python 3.11.2 puts what `except*` raises into a group again, of which no caller knows.
    for tried in ast.walk(ast.parse(source.read_text())):
        if isinstance(tried, ast.TryStar):
            assert not [node for handler in tried.handlers for node in ast.walk(handler) if isinstance(node, ast.Raise)]


def test_a_package_is_bare(source):
    # mountd.azureml's packages are the API itself: names that scripts import, and no code of their own.
    public = ROOT / "mountd" / "azureml"
    if source.name == "__init__.py" and source.is_relative_to(public) and source.parent != public:
        body = ast.parse(source.read_text()).body[1:]
        assert all(isinstance(node, ast.ImportFrom | ast.Assign | ast.AnnAssign) for node in body)
    elif source.name == "__init__.py" and source.parent != ROOT / "mountd":
        body = ast.parse(source.read_text()).body
        assert len(body) == 1, "a sub-package's __init__ holds its docstring and nothing else"


def test_a_name_says_what_is_inside(source):
    assert not GRAB_BAGS & {source.stem, source.parent.name}


def test_the_top_level_is_the_one_of_the_contract():
    seen = {entry.name for entry in ROOT.iterdir() if not entry.name.startswith(".")}
    assert seen <= TOP_LEVEL | {"dist"}


def test_every_script_can_be_started():
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    assert all(path.stat().st_mode & 0o111 for path in [*scripts, ROOT / ".ci" / "run"])
