import logging

import pytest

from mountd.catalog.model import BlobSpec
from mountd.stores.azure_blob import AzureBlobStore
from tests.support.azure_answers import PATIENT, SAS, SIGNATURE


@pytest.fixture
def opened(raw_server, closing, caplog):
    """Opens Blob stores on a scripted server; at the end no log line may hold the signature, at any level."""
    caplog.set_level(logging.DEBUG)

    def open_it(*script, credential=SAS, timeouts=PATIENT, url=None):
        raw_server.script = list(script)
        spec = BlobSpec(account_name="acct", container="box", account_url=url or raw_server.url, credential=credential)
        return closing(AzureBlobStore(spec, timeouts=timeouts))

    yield open_it
    assert SIGNATURE not in caplog.text
