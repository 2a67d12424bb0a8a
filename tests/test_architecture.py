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


FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
SCOPES = FUNCTIONS | COMPREHENSIONS


def own(scope):
    """Yield what is in a scope; of those inside it, themselves alone."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, SCOPES):
            yield from own(child)


def names(scope, context):
    return {node.id for node in own(scope) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def bound(scope):
    found = names(scope, ast.Store) | {node.name for node in own(scope) if hasattr(node, "name")}
    return found | {node.arg for node in own(scope) if isinstance(node, ast.arg)}


def needed(scope):
    """Return the names of outer scopes that one uses."""
    inside = (needed(node) for node in own(scope) if isinstance(node, SCOPES))
    return names(scope, ast.Load).union(*inside) - bound(scope)


def hidden_by_comprehensions(function):
    """Return the names of outer scopes that a comprehension in `function` reuses and a function inside it needs."""
    reused = (bound(node) for node in own(function) if isinstance(node, COMPREHENSIONS))
    inside = (needed(node) for node in own(function) if isinstance(node, FUNCTIONS))
    return set().union(*reused) & set().union(*inside) - bound(function)


def hidden_in(code):
    return [hidden_by_comprehensions(node) for node in ast.walk(ast.parse(code)) if isinstance(node, FUNCTIONS)]


def test_no_comprehension_hides_what_a_function_inside_needs(source):
    # Python 3.12 and 3.13 then lose the outer one's value: NameError, "cannot access free variable".
    assert not [hidden for hidden in hidden_in(source.read_text()) if hidden]


@pytest.mark.parametrize(
    ("comprehension", "inside", "hidden"),
    [
        ("[x for x in xs]", "lambda: x", {"x"}),
        ("{y for x in xs for y in x}", "lambda: (lambda: [x])", {"x"}),
        ("{x: x for x in xs}", "lambda x: x", set()),
        ("{x: x for x in xs}", "lambda y: [x for x in y]", set()),
        ("[y for y in xs]", "lambda: x", set()),
        ("[x for x in xs]; x = y", "lambda: x", set()),
    ],
)
def test_what_a_comprehension_hides_is_found(comprehension, inside, hidden):
    code = f"def a(x):\n def b(xs):\n  y = {comprehension}\n  return {inside}\n return b"
    assert set().union(*hidden_in(code)) == hidden


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
