"""The copy of a job's code."""

import os

import pytest

from mountd.errors import NotFoundError, UsageError
from mountd.run.snapshot import copy_code


@pytest.fixture
def code(tmp_path):
    """Return a function that makes a source directory of files and says what a copy of it holds."""
    source, runs = tmp_path / "source", tmp_path / "source/.azureml/runs"
    runs.mkdir(parents=True)

    def make(*files, **contents):
        for name in files:
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(contents.get(name, name))
        return source

    def copied():
        target = runs / "code"
        count = copy_code(source, target, leave_out=runs)
        found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
        assert count == len(found)
        return found

    make.copied = copied
    return make


def test_all_files_are_copied_but_credentials_and_history(code):
    code("train.py", "lib/a.py", ".hidden", ".azureml/datastores/x.yml", ".git/config", "lib/.git/HEAD")
    assert code.copied() == [".hidden", "lib/a.py", "train.py"]


def test_the_amlignore_wins_over_the_gitignore(code):
    source = code("a.py", "a.tmp", "data/big.bin", "deep/data/x", "keep.tmp")
    (source / ".gitignore").write_text("*.py\n")
    (source / ".amlignore").write_text("# comment\n*.tmp\n!keep.tmp\n/data/\n")
    assert code.copied() == [".amlignore", ".gitignore", "a.py", "deep/data/x", "keep.tmp"]


def test_a_gitignore_alone_is_honoured(code):
    source = code("a.py", "venv/lib/x.py", "b.pyc")
    (source / ".gitignore").write_text("venv\n*.pyc\n")
    assert code.copied() == [".gitignore", "a.py"]


def test_links_are_followed_and_lead_nowhere_twice(code, tmp_path):
    source = code("a.py", "pkg/b.py")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/c.py").write_text("c")
    (source / "out").symlink_to(tmp_path / "outside")
    (source / "pkg/up").symlink_to(source)
    (source / "gone").symlink_to("nowhere")
    os.mkfifo(source / "fifo")
    assert code.copied() == ["a.py", "out/c.py", "pkg/b.py"]


def test_a_single_file_is_a_directory_that_holds_it(code, tmp_path):
    source = code("train.py")
    assert copy_code(source / "train.py", tmp_path / "copy", leave_out=tmp_path) == 1
    assert os.listdir(tmp_path / "copy") == ["train.py"]


def test_scripts_stay_executable(code, tmp_path):
    source = code("run.sh")
    (source / "run.sh").chmod(0o755)
    copy_code(source, tmp_path / "copy", leave_out=source / ".azureml/runs")
    assert os.access(tmp_path / "copy/run.sh", os.X_OK)


def test_what_cannot_be_copied_is_named(code, tmp_path):
    with pytest.raises(NotFoundError, match=r"code .*/nowhere: there is no such file"):
        copy_code(tmp_path / "nowhere", tmp_path / "copy", leave_out=tmp_path)
    source = code("a.py")
    (source / ".amlignore").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="amlignore: is not UTF-8"):
        copy_code(source, tmp_path / "other", leave_out=tmp_path)
