"""`mountd` with web files of a real nginx: mounted, downloaded, given to a run; and secrets in their URLs."""

import os

import pytest

from mountd.units import MIB

pytestmark = pytest.mark.fuse
TOKEN = "hunter2-token"


@pytest.fixture
def file(nginx):
    path = nginx.root / "table one.csv"
    path.write_bytes(os.urandom(3 * MIB))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    yield path
    path.unlink()


@pytest.mark.parametrize("server", ["plain", "bare"])
def test_a_web_file_is_mounted_as_the_only_file_and_its_token_shows_nowhere(mountd, nginx, file, tmp_path, server):
    url = f"{nginx.urls[server]}/table%20one.csv?sv=x&token={TOKEN}"
    mountd.mount(url, tmp_path / "point")
    assert os.listdir(tmp_path / "point") == ["table one.csv"]
    assert (tmp_path / "point" / "table one.csv").read_bytes() == file.read_bytes()
    status = mountd.status(tmp_path / "point")
    assert status["source"] == f"{nginx.urls[server]}/table%20one.csv?***"
    mountd.run("unmount", tmp_path / "point", check=0)
    assert TOKEN not in repr(status) + mountd.logs()
    assert any(TOKEN in line for line in nginx.requests())


def test_certificates_are_those_of_the_environment(mountd, nginx, file, tmp_path):
    url = f"{nginx.urls['tls']}/table%20one.csv"
    done = mountd.run("mount", url, tmp_path / "point", check=4)
    (line,) = done.stderr.splitlines()
    assert "its TLS certificate is not trusted" in line
    mountd.run("mount", url, tmp_path / "point", check=0, SSL_CERT_FILE=str(nginx.certificate))
    assert (tmp_path / "point" / "table one.csv").read_bytes() == file.read_bytes()


def test_a_download_and_a_run(mountd, nginx, file, tmp_path):
    url = f"{nginx.urls['redirect']}/table%20one.csv?token={TOKEN}"
    mountd.run("download", url, tmp_path / "down", check=0)
    assert (tmp_path / "down" / "table one.csv").read_bytes() == file.read_bytes()
    script = 'cmp "$1" "$AZUREML_DATAREFERENCE_b" && echo "$1"; env >&2'
    done = mountd.run(
        "run", "--mount", f"a={url}", "--download", f"b={url}", "--", "sh", "-c", script, "x", "$a", check=0
    )
    assert "/table one.csv" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
