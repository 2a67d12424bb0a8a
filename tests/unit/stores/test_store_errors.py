"""Errors of the operating system and of obstore, without either."""

import errno

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, PreconditionError

from mountd.catalog.model import BlobSpec
from mountd.errors import (
    ChangedError,
    CorruptError,
    DeniedError,
    ExistsError,
    IsDirectoryError,
    NameTooLongError,
    NonsenseError,
    NoRoomError,
    NotDirectoryError,
    NotFoundError,
    ReadOnlyError,
    UnavailableError,
    UnreachableError,
)
from mountd.stores import azure_errors, local_errors
from mountd.stores.azure_place import Place

PLACE = Place.of(BlobSpec(account_name="acct", container="box", account_url="https://acct.blob.core.windows.net"))


@pytest.mark.parametrize(
    ("number", "reading", "writing"),
    [
        (errno.ENOENT, NotFoundError, UnavailableError),
        (errno.ENOTDIR, NotFoundError, NotDirectoryError),
        (errno.ELOOP, NotFoundError, UnavailableError),
        (errno.ENAMETOOLONG, NotFoundError, NameTooLongError),
        (errno.EISDIR, IsDirectoryError, IsDirectoryError),
        (errno.EACCES, DeniedError, DeniedError),
        (errno.EPERM, DeniedError, DeniedError),
        (errno.EIO, UnavailableError, UnavailableError),
        (errno.ESTALE, UnavailableError, UnavailableError),
        (errno.EMFILE, UnavailableError, UnavailableError),
        (errno.EEXIST, UnavailableError, ExistsError),
        (errno.ENOSPC, UnavailableError, NoRoomError),
        (errno.EDQUOT, UnavailableError, NoRoomError),
        (errno.EROFS, UnavailableError, ReadOnlyError),
    ],
)
def test_local_errors(number, reading, writing):
    error = OSError(number, "words", "/some/path")
    assert type(local_errors.reading(error, "read d/a")) is reading
    assert type(local_errors.writing(error, "write d/a")) is writing
    assert str(local_errors.writing(error, "write d/a")).startswith("write d/a: ")


def status_text(status, code="", where="https://h/c/k?sv=1&sig=SECRET"):
    return (
        f"Generic MicrosoftAzure error: Error performing GET {where} in 1ms - Server returned non-2xx status code: "
        f"{status} Words: <?xml?><Error><Code>{code}</Code></Error>\n\nDebug source:\n..."
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (GenericError(status_text(503, "ServerBusy")), UnavailableError),
        (GenericError(status_text(400, "InvalidUri")), NotFoundError),
        (FileNotFoundError("Object at location x not found: " + status_text(404, "BlobNotFound")), NotFoundError),
        (FileNotFoundError("no more words"), NotFoundError),
        (PermissionDeniedError(status_text(403)), DeniedError),
        (PreconditionError(status_text(412, "ConditionNotMet")), ChangedError),
        (GenericError("HTTP error: source: hyper::Error(Body, Custom { error: IncompleteBody })"), CorruptError),
        (GenericError("Requested 0..10, got 0..5"), NonsenseError),
        (GenericError("kind: Timeout, source: TimedOut https://h/?sig=SECRET"), UnavailableError),
        (GenericError("something new"), UnavailableError),
        (ValueError("Could not parse path"), UnavailableError),
    ],
)
def test_obstore_errors(error, kind):
    raised = azure_errors.from_obstore("read acct/box/k", PLACE, error)
    assert type(raised) is kind
    assert "SECRET" not in str(raised)
    assert str(raised).startswith("read acct/box/k: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('ConnectError("dns error", "Name or service not known")', "its name is not known; check the account name"),
        ('ConnectError("dns error", "Temporary failure in name resolution")', "its name cannot be looked up"),
        ("kind: Connect, invalid peer certificate: UnknownIssuer", "its TLS certificate is not trusted"),
        ("kind: Connect, Os { code: 111, kind: ConnectionRefused }", "it refuses connections"),
        ("kind: Connect, Os { code: 101, kind: NetworkUnreachable }", "it cannot be reached"),
        ("kind: Timeout", "it does not answer in time"),
    ],
)
def test_why_obstore_reached_nobody(text, says):
    raised = azure_errors.from_obstore("read acct/box/k", PLACE, GenericError(text))
    assert f"read acct/box/k: cannot reach acct.blob.core.windows.net: {says}" in str(raised)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Max retries exceeded with url: /?sig=SECRET (Caused by NameResolutionError(...))", "its name is not known"),
        ("NameResolutionError([Errno -3] Temporary failure in name resolution)", "its name cannot be looked up"),
        ("NewConnectionError: [Errno 111] Connection refused /?sig=SECRET", "it refuses connections"),
        ("SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "certificate is not trusted"),
        ("something new /?sig=SECRET", "the connection failed"),
    ],
)
def test_why_the_sdk_reached_nobody(text, says):
    raised = azure_errors.no_connection("read acct/box/k", PLACE, Exception(text))
    assert f"read acct/box/k: cannot reach acct.blob.core.windows.net: {says}" in str(raised).replace("its TLS ", "")
    assert "SECRET" not in str(raised)
    assert isinstance(raised, UnreachableError) == says.startswith(("its name is", "it refuses"))


def test_the_end_of_a_blob_is_told_from_failures():
    assert azure_errors.is_past_the_end(GenericError(status_text(416, "InvalidRange")))
    assert azure_errors.is_past_the_end(GenericError("source: StartTooLarge {requested: 10, length: 10}"))
    assert not azure_errors.is_past_the_end(GenericError(status_text(503)))
    assert not azure_errors.is_past_the_end(FileNotFoundError("StartTooLarge not found"))


@pytest.mark.parametrize(
    ("value", "value_ms", "seconds"),
    [
        ("3", None, 3),
        (" 120 ", None, 120),
        (None, "1500", 1.5),
        ("5", "250", 0.25),
        (None, None, None),
        ("x", None, None),
        ("", "y", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None, 0),
    ],
)
def test_retry_after(value, value_ms, seconds):
    assert azure_errors.retry_after_s(value, value_ms) == seconds


def test_a_date_to_retry_after():
    assert azure_errors.retry_after_s("Fri, 01 Jan 2100 00:00:00 GMT") > 10**9
