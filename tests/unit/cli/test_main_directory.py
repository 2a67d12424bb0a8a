"""What the program says in a directory that is gone."""

import os
import sys

import pytest

from mountd.cli.main import main


def test_a_deleted_current_directory_is_no_internal_error(monkeypatch, capsys, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    before = os.getcwd()
    os.chdir(gone)
    try:
        gone.rmdir()
        monkeypatch.setattr(sys, "argv", ["mountd", "dataset", "list"])
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        os.chdir(before)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "mountd: error: the current directory has been deleted; change to one that exists\n"
    )
