"""Ranged GETs through obstore, which does the work without the interpreter's lock and without copies.

obstore would also take settings from the environment (`AZURE_STORAGE_USE_EMULATOR`, keys, tokens): what it could find
there is given instead, so that a store depends on its `BlobSpec` alone. It follows redirects, which the Blob service
never sends. Blocking calls, for threads only. Keys must be plain (`azure_place.is_plain`).
"""

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore

from mountd.catalog.model import AccountKey, BlobSpec, Sas
from mountd.errors import CorruptError, DeniedError, MountdError
from mountd.stores.azure_errors import from_obstore, is_past_the_end, status_of
from mountd.stores.azure_place import Place, Timeouts, quoted
from mountd.stores.base import Chunk
from mountd.units import ETag

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import AzureConfig

_FAILURES = (BaseError, OSError, ValueError)
_THROTTLED = {429, 503}
PATIENCE_PART = 3
"""A request may take this part of the time without progress: enough is left to try it where progress is told."""


class AzureReads:
    """Reads of one container.

    Raises:
        DeniedError: the credential is malformed.
    """

    def __init__(self, spec: BlobSpec, timeouts: Timeouts) -> None:
        self._place = Place.of(spec)
        self._store = _open(spec, self._place, timeouts)
        self.throttled_at = -float("inf")
        """When the service last asked to slow down, by the monotonic clock. obstore hides its `Retry-After`."""
        self.too_slow_at = -float("inf")
        """When a read last took so long that somebody has to see how far it comes. obstore tells nothing of that."""
        self._patience_s = timeouts.total_s / PATIENCE_PART

    def get(self, what: str, key: str, start: int, length: int, if_match: ETag | None) -> Chunk | None:
        """Return the bytes [start, start + length) of `key`, or None if not one of them exists.

        Raises:
            MountdError: what the service or the connection answered.
        """
        began = time.monotonic()
        options: GetOptions = {"range": (start, start + length)}
        if if_match is not None:
            options["if_match"] = if_match
        try:
            result = obstore.get(self._store, key, options=options)
            data = memoryview(result.bytes())
            meta = result.meta
            etag = quoted(meta["e_tag"] or "")
            expected = min(length, meta["size"] - start)
            if data.nbytes == expected:
                return Chunk(data, etag, meta["size"])
            failure: MountdError = CorruptError(f"{what}: {data.nbytes} bytes came, not the {expected} at {start}")
        except _FAILURES as error:
            if is_past_the_end(error):
                return None
            if time.monotonic() - began >= self._patience_s:
                self.too_slow_at = time.monotonic()
            failure = self._failure(what, error)
        raise failure

    def _failure(self, what: str, error: Exception) -> MountdError:
        if status_of(error) in _THROTTLED:
            self.throttled_at = time.monotonic()
        return from_obstore(what, self._place, error)


def _open(spec: BlobSpec, place: Place, timeouts: Timeouts) -> AzureStore:
    config: AzureConfig = {
        "account_name": spec.account_name,
        "container_name": spec.container,
        "endpoint": place.account_url,
        "use_emulator": False,
        "use_fabric_endpoint": False,
        "skip_signature": False,
    }
    match spec.credential:
        case AccountKey(key=key):
            config["credential_type"] = "access_key"
            config["account_key"] = key
        case Sas(token=token):
            config["credential_type"] = "sas_token"
            config["sas_key"] = token
        case _:
            config["skip_signature"] = True
    try:
        return AzureStore(
            config=config,
            client_options={
                "allow_http": place.account_url.startswith("http://"),
                "connect_timeout": timedelta(seconds=timeouts.connect_s),
                "read_timeout": timedelta(seconds=timeouts.stall_s),
                "timeout": timedelta(seconds=timeouts.total_s / PATIENCE_PART),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
        )
    except _FAILURES:
        failure = DeniedError(f"open {place.name}: {place.credential} is malformed; check that it was copied whole")
    raise failure
