"""What the pages' code finds: a workspace in the current directory, an emulator, and web servers on this node."""

import re
import subprocess
import sys
from collections import defaultdict

import pytest

from mountd.catalog.workspace import Workspace
from tests.support.azurite import ACCOUNT, KEY

PATIENCE_S = 100
_OUTCOMES = pytest.StashKey[dict[str, dict[str, bool]]]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Note whether each test passed: whatever is wrong with it before, in and after it counts."""
    report = (yield).get_result()
    outcomes = item.config.stash.setdefault(_OUTCOMES, defaultdict(dict))
    for name in [name for mark in item.iter_markers("page") for name in mark.args]:
        test = f"{item.path.name}::{item.originalname}"
        outcomes[name][test] = outcomes[name].get(test, True) and report.passed


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Compare with the table after everything that it tells of."""
    items.sort(key=lambda item: item.path.name == "test_table.py")


@pytest.fixture
def outcomes(pytestconfig):
    """Which tests of each case passed, so far and in this run."""
    return pytestconfig.stash.get(_OUTCOMES, {})


class Notebook:
    """Runs pieces of a page's code, one program each, in a directory with a workspace."""

    def __init__(self, mountd):
        self.mountd = mountd
        self.directory = mountd.directory
        Workspace.init(self.directory)
        self.storage = self.directory / ".azureml" / "storage" / "workspaceblobstore"

    def write(self, files):
        """Write files, contents by path; code has `azureml.` replaced."""
        for name, content in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else adapted(content).encode())

    def run(self, code, before="", after="", **placeholders):
        """Run `code` of a page, with lines of the reader's own around it; return what it prints.

        Args:
            code: the page's.
            before: what the page takes for granted.
            after: what shows that it worked.
            placeholders: each stands in the code as `<name>` and is replaced.
        """
        for name, value in placeholders.items():
            assert f"<{name}>" in code, name
            code = code.replace(f"<{name}>", str(value))
        program = "\n".join(adapted(part) for part in (before, code, after))
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.directory,
            env=self.mountd.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout


def adapted(code):
    """Return a page's code with the package's name changed, and nothing else."""
    return re.sub(r"\b(from|import) azureml\b", r"\1 mountd.azureml", code)


@pytest.fixture
def notebook(mountd):
    """A directory with a workspace; nothing that was started or mounted is left after the test."""
    made = Notebook(mountd)
    yield made
    mountd.wait_gone()


@pytest.fixture
def emulated(notebook, azurite_url):
    """The placeholders of a Blob datastore; the environment says that their account is an emulator's."""
    notebook.mountd.environ["AZURE_STORAGE_CONNECTION_STRING"] = f"AccountName={ACCOUNT};BlobEndpoint={azurite_url}"
    return {"account": ACCOUNT, "key": KEY}


@pytest.fixture
def web(tmp_path_factory):
    """A web server without ranges or validation, as plain as they come; `root` holds its files, `url` leads there."""
    root = tmp_path_factory.mktemp("web")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = re.search(r"port (\d+)", process.stdout.readline())[1]
        yield type("Web", (), {"root": root, "url": f"http://127.0.0.1:{port}"})
    finally:
        process.kill()
        process.communicate()
