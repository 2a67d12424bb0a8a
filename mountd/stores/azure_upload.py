"""Writing blobs: whole small ones at once, larger ones in blocks that appear together.

Bodies carry their MD5, so that what is stored is what was sent. Blocks belong to one upload by a random part of their
names: two writers of one key never mix. Blocks that are never committed are invisible; the service forgets them after
a week. Blocking calls, for threads only.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence

from mountd.errors import ChangedError, CorruptError, ExistsError, UnavailableError
from mountd.stores.azure_listing import block_names
from mountd.stores.azure_rest import Answer, AzureRest
from mountd.stores.base import ObjectInfo
from mountd.units import MIB

BLOCK_BYTES = 8 * MIB
MOST_BLOCKS = 50_000
_CREATED = (201,)
_CONTENT_TYPE = "application/octet-stream"


def block_bytes(size: int) -> int:
    """Return the block length for an object of `size` bytes: 8 MiB, more if that would take too many blocks."""
    needed = -(-size // MOST_BLOCKS)
    return max(BLOCK_BYTES, -(-needed // MIB) * MIB)


def put_blob(rest: AzureRest, what: str, key: str, data: memoryview, *, overwrite: bool) -> ObjectInfo:
    """Write a whole blob in one request."""
    headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": _CONTENT_TYPE, **_md5(data), **_unless_taken(overwrite)}
    answer = rest.send(what, "PUT", key, headers=headers, body=data)
    return _checked(rest, what, answer, overwrite=overwrite).info(what, key, data.nbytes)


class BlockUpload:
    """One blob in blocks of `block_bytes`."""

    def __init__(self, rest: AzureRest, what: str, key: str, *, overwrite: bool) -> None:
        self._rest = rest
        self._what = what
        self._key = key
        self._overwrite = overwrite
        self._nonce = secrets.token_hex(8)
        self._unsure = False

    def put_block(self, index: int, data: memoryview) -> None:
        """Send block `index`; sending it again replaces it."""
        query = {"comp": "block", "blockid": self._block_id(index)}
        answer = self._rest.send(self._what, "PUT", self._key, query=query, headers=_md5(data), body=data)
        self._rest.expect(self._what, answer, _CREATED)

    def commit(self, count: int, size: int) -> ObjectInfo:
        """Make the blob of the first `count` blocks, `size` bytes in all."""
        ids = [self._block_id(index) for index in range(count)]
        body = _block_list(ids)
        headers = {
            "Content-Type": "application/xml",
            "x-ms-blob-content-type": _CONTENT_TYPE,
            **_md5(body),
            **_unless_taken(self._overwrite),
        }
        try:
            answer = self._rest.send(
                self._what, "PUT", self._key, query={"comp": "blocklist"}, headers=headers, body=body
            )
            _checked(self._rest, self._what, answer, overwrite=self._overwrite)
            return answer.info(self._what, self._key, size)
        except (UnavailableError, CorruptError):
            self._unsure = True  # the answer may be all that was lost
            raise
        except ExistsError:
            if not self._unsure or self._committed() != ids:
                raise
            answer = self._rest.send(self._what, "HEAD", self._key)
            self._rest.expect(self._what, answer, (200,))
        return answer.info(self._what, self._key, size)

    def _committed(self) -> list[str]:
        query = {"comp": "blocklist", "blocklisttype": "committed"}
        answer = self._rest.expect(self._what, self._rest.send(self._what, "GET", self._key, query=query), (200,))
        return block_names(answer.body, self._what)

    def _block_id(self, index: int) -> str:
        return base64.b64encode(f"{self._nonce}{index:08d}".encode()).decode()


def _block_list(ids: Sequence[str]) -> bytes:
    latest = "".join(f"<Latest>{name}</Latest>" for name in ids)  # base64 needs no escaping
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{latest}</BlockList>'.encode()


def _md5(data: bytes | memoryview) -> dict[str, str]:
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return {"Content-MD5": base64.b64encode(digest).decode()}


def _unless_taken(overwrite: bool) -> Mapping[str, str]:
    return {} if overwrite else {"If-None-Match": "*"}


def _checked(rest: AzureRest, what: str, answer: Answer, *, overwrite: bool) -> Answer:
    if not overwrite and answer.status in {304, 412} and "Lease" not in (answer.code or ""):
        raise ExistsError(f"{what}: it exists already; allow overwriting or choose another name")
    if answer.code == "InvalidBlockList":
        raise ChangedError(f"{what}: another writer finished this blob meanwhile; start the upload again")
    return rest.expect(what, answer, _CREATED)
