"""What a Blob service answers, scripted for a `RawServer`."""

from mountd.catalog.model import Sas
from mountd.stores.azure_place import Timeouts
from tests.support.raw_http import answer

SIGNATURE = "c2lnbmF0dXJlLXRoYXQtbXVzdC1zdGF5LXNlY3JldA"
SAS = Sas(f"sv=2023-11-03&sr=c&sp=rl&sig={SIGNATURE}%3D")
PATIENT = Timeouts(connect_s=10, stall_s=10, total_s=20)
QUICK = Timeouts(connect_s=0.3, stall_s=0.3, total_s=0.6)
DATE = "Wed, 12 Nov 2025 10:00:00 GMT"
HEADERS = {"ETag": '"0x1"', "Last_Modified": DATE}
PAGE = b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"


def part(body, first=0, size=100, **more):
    return answer(206, body, Content_Range=f"bytes {first}-{first + len(body) - 1}/{size}", **{**HEADERS, **more})


def error(status, code=None, **headers):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>words</Message></Error>".encode() if code else b""
    return answer(status, body, **{**headers, **({"x_ms_error_code": code} if code else {})})
