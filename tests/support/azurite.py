"""The Azurite emulator for the session, and a container of its own for each test.

Quirks of the version that `scripts/setup` installs: `Put Block` above 8 MiB fails with an account key; a name with a
`.` or `..` segment cannot be signed; `\\` in a name becomes `/`; a listing with a control character below 0x20 (but tab
and line feed) in a name answers 500; it never throttles.
"""

import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from mountd.catalog.model import AccountKey, Anonymous, BlobSpec, Credential, Sas

PROGRAM = Path(__file__).parents[2] / ".tools/azurite/node_modules/.bin/azurite-blob"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # public, well-known
_LISTENING = re.compile(r"successfully listens on (http://127\.0\.0\.1:\d+)")
_containers = itertools.count(1)


@dataclass(frozen=True)
class AzuriteContainer:
    """A container that exists for one test."""

    account_url: str
    name: str

    @property
    def client(self) -> ContainerClient:
        """The official client: how tests change things behind the store's back."""
        return ContainerClient(self.account_url, self.name, credential=KEY)

    def sas(self, permission: str = "rwdlc", *, hours: float = 1) -> str:
        """Return a SAS for the container."""
        now = datetime.now(UTC)
        return generate_container_sas(
            ACCOUNT,
            self.name,
            account_key=KEY,
            permission=ContainerSasPermissions.from_string(permission),
            start=now - timedelta(days=1),
            expiry=now + timedelta(hours=hours),
        )

    def spec(self, credential: Credential | None = None) -> BlobSpec:
        """Return how mountd names the container; with the account key unless told otherwise."""
        return BlobSpec(
            account_name=ACCOUNT,
            container=self.name,
            account_url=self.account_url,
            credential=credential or AccountKey(KEY),
        )

    def sas_spec(self, permission: str = "rwdlc", *, hours: float = 1) -> BlobSpec:
        """Return the container with a SAS."""
        return self.spec(Sas(self.sas(permission, hours=hours)))

    def anonymous_spec(self) -> BlobSpec:
        """Return the container without a credential."""
        return self.spec(Anonymous())


@pytest.fixture(scope="session")
def azurite_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The account URL of an emulator that runs for the session and keeps everything in memory."""
    if not PROGRAM.exists():
        pytest.fail(f"{PROGRAM} is missing: run scripts/setup")
    directory = tmp_path_factory.mktemp("azurite")
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    command = [str(PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", "0", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURITE_")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=directory, env=environment, text=True
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            found = _LISTENING.search(line)
            if found:
                break
        else:
            pytest.fail(f"Azurite ended before it listened: {''.join(said)}")
        yield f"{found[1]}/{ACCOUNT}"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def azurite_container(azurite_url: str) -> Iterator[AzuriteContainer]:
    """An empty container."""
    container = AzuriteContainer(azurite_url, f"test-{next(_containers)}")
    with container.client as client:
        client.create_container()
        yield container
        client.delete_container()
