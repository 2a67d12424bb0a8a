"""A node for one test of `mountd run`: a workspace with a local datastore, and the real command line."""

import json
import subprocess

import pytest

from mountd.catalog.workspace import Workspace
from tests.support.mounts import Mountd

PATIENCE_S = 60
STORE = "azureml://datastores/workspaceblobstore"

TRAIN = """
import json, os, sys
data, out = sys.argv[1:3]
print("DATA", sorted(os.listdir(data)))
os.makedirs(out, exist_ok=True)
with open(os.path.join(out, "model.txt"), "w") as file:
    file.write(open(os.path.join(data, "a.txt")).read())
print("done", file=sys.stderr)
"""


class RunNode(Mountd):
    """The command line in a workspace; its temp dir is its own, so that leftovers show."""

    def __init__(self, directory):
        super().__init__(directory)
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.environ["TMPDIR"] = str(self.temporary)
        Workspace.init(directory)
        self.store = directory / ".azureml/storage/workspaceblobstore"

    def put(self, files):
        """Put `files`, contents by path, into the datastore."""
        for name, content in files.items():
            path = self.store / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def runs(self):
        """Return what `mountd runs list --json` says, the newest run first."""
        return json.loads(self.run("runs", "list", "--json", check=0).stdout)

    def start_run(self, *arguments, **options):
        """Start `mountd run` with pipes and return its process."""
        return self.start("run", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def close(self):
        """See that the runs have left nothing but their records: no mount, no process, no data."""
        mounts = self.mounts()
        try:
            assert mounts == []
            self.wait_gone()  # a supervisor may need a moment to end
        finally:
            super().close()
        for run in (self.directory / ".azureml/runs").glob("*"):
            assert not (run / "inputs").exists()
            if not (run / "code").exists():
                assert {entry.name for entry in run.iterdir()} <= {"run.json", ".alive", "user_logs"}
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def run_node(tmp_path):
    """A node; the test fails if it leaves anything behind."""
    directory = tmp_path / "work dir"  # a space, as in life
    directory.mkdir()
    node = RunNode(directory)
    yield node
    node.close()


def put_sources(node):
    """Put what jobs are made of: some data into the datastore, and `src` with a script that trains on it."""
    node.put({"train/a.txt": "first\n", "train/deep/b.txt": "second\n", "one/file.csv": "1,2\n"})
    source = node.directory / "src"
    source.mkdir()
    (source / "train.py").write_text(TRAIN)
    (source / "notes.tmp").write_text("left out")
    (source / ".amlignore").write_text("*.tmp\n")
