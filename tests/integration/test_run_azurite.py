"""`mountd run` on the real Blob protocol."""

import pytest

from tests.support.azurite import ACCOUNT, KEY

pytestmark = [pytest.mark.fuse, pytest.mark.azurite]

BLOB = "azureml://datastores/blob"


@pytest.fixture
def node(run_node, azurite_container):
    endpoint = azurite_container.account_url.removeprefix("http://").partition("/")[0]
    run_node.run(
        *("datastore", "add", "blob", "--type", "azure_blob", "--account-name", ACCOUNT),
        *("--container-name", azurite_container.name, "--protocol", "http", "--endpoint", endpoint),
        *("--credential-env", "BLOB_KEY"),
        check=0,
        BLOB_KEY=KEY,
    )
    with azurite_container.client as client:
        for name, content in {"in/a.txt": "alpha\n", "in/deep/b.txt": "beta\n", "in/one.bin": "1" * 5000}.items():
            client.upload_blob(name, content)
    return run_node


def blobs(container):
    with container.client as client:
        return {blob.name: client.download_blob(blob.name).readall().decode() for blob in client.list_blobs("out")}


def test_mount_download_and_upload(node, azurite_container):
    done = node.run(
        "run",
        *("--mount", f"data={BLOB}/paths/in", "--download", f"one={BLOB}/paths/in/one.bin"),
        *("--upload", f"result=./result={BLOB}/paths/out/result"),
        *(
            "--",
            "sh",
            "-c",
            'mkdir result; cat "$1"/a.txt "$data"/deep/b.txt > result/r; wc -c < "$one"',
            "sh",
            "$data",
        ),
        check=0,
    )
    assert done.stdout == "5000\n"
    assert blobs(azurite_container) == {"out/result/r": "alpha\nbeta\n"}


@pytest.mark.parametrize("mode", ["--mount", "--download"])
def test_a_url_with_a_signature_that_is_never_shown(node, azurite_container, mode):
    signature = azurite_container.sas("rl")
    url = f"{azurite_container.account_url}/{azurite_container.name}/in/one.bin?{signature}"
    secret = signature.partition("sig=")[2].partition("&")[0]
    (node.directory / "needle").write_text(secret)
    script = 'wc -c < "$one"; cd /proc; grep -laFf "$1" [0-9]*/cmdline [0-9]*/environ 2> /dev/null || true'
    done = node.run("run", mode, f"one={url}", "--", "sh", "-c", script, "sh", str(node.directory / "needle"), check=0)
    size, *places = done.stdout.splitlines()
    assert size == "5000"
    assert len(places) == 1  # what the user typed, and nothing that came of it
    assert places[0].endswith("/cmdline")
    assert secret not in done.stderr
    assert secret not in node.logs()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("https://unused", "unused"),
        ("{url}/no-such-container/x", "no-such-container"),
        ("{url}/{name}/no/such", "no/such"),
    ],
)
def test_what_is_not_there_is_named(node, azurite_container, source, reason):
    text = source.format(url=azurite_container.account_url, name=azurite_container.name)
    done = node.run("run", "--mount", f"data={text}", "--", "true", check=125)
    assert "mountd: error: input 'data': " in done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_denied_upload_is_7_and_says_so(node, azurite_container):
    url = f"{azurite_container.account_url}/{azurite_container.name}/out?{azurite_container.sas('rl')}"
    done = node.run("run", "--upload", f"o=./o={url}", "--", "sh", "-c", "echo x > o", check=7)
    assert "mountd: error: output 'o': " in done.stderr
    assert blobs(azurite_container) == {}
