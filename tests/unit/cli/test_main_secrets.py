"""What the program says of arguments in the wrong place: all that helps, but no secret."""

import sys

import pytest

from mountd.cli.main import main

URL = "https://account.blob.core.windows.net/container/path?sv=2024-11-04&sig=TheSecretSignature"


@pytest.mark.parametrize(
    "arguments",
    [
        ("mount", ".", URL),
        ("unmount", URL),
        ("upload", URL, "target"),
        ("status", URL),
        ("mount", "one", "two", URL),
        ("mount", ".", "point", "--memory", URL),
    ],
    ids=lambda arguments: " ".join(arguments[:-1]).replace(URL, "URL"),
)
def test_a_signature_in_the_wrong_place_is_not_repeated(monkeypatch, capsys, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOUNTD_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setattr(sys, "argv", ["mountd", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in {2, 3}
    said = capsys.readouterr()
    assert "account.blob" in said.err
    assert "TheSecretSignature" not in said.err + said.out
