"""Credentials as a datastore's YAML holds them: which kinds there are, and what each must look like.

Pure. The secrets are in the fields, and `repr` shows none.
"""

import base64
import binascii
from collections.abc import Collection
from typing import Literal

import msgspec

from mountd.catalog.model import AccountKey, Anonymous, Credential, Sas
from mountd.errors import UsageError

CredentialKind = Literal["account_key", "sas_token", "service_principal", "certificate", "password", "none"]

_PRINCIPAL = ("tenant_id", "client_id")
_NEEDED: dict[CredentialKind, tuple[str, ...]] = {
    "account_key": ("account_key",),
    "sas_token": ("sas_token",),
    "service_principal": (*_PRINCIPAL, "client_secret"),
    "certificate": (*_PRINCIPAL, "thumbprint"),
    "password": ("username", "password"),
}
_ALLOWED: dict[CredentialKind, tuple[str, ...]] = {
    "service_principal": ("resource_url", "authority_url"),
    "certificate": ("certificate", "resource_url", "authority_url"),
}
_WORDS: dict[CredentialKind, str] = {
    "account_key": "account_key",
    "sas_token": "sas_token",
    "service_principal": "tenant_id with client_id and client_secret",
    "certificate": "tenant_id with client_id and thumbprint",
    "password": "username with password",
}


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of one kind; which of them belong together, `check_credentials` says."""

    account_key: str | None = None
    sas_token: str | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    certificate: str | None = None
    thumbprint: str | None = None
    resource_url: str | None = None
    authority_url: str | None = None
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.kind}=***)"

    @property
    def kind(self) -> CredentialKind:
        """What they are, by the first field that tells."""
        if self.account_key is not None:
            return "account_key"
        if self.sas_token is not None:
            return "sas_token"
        if self.thumbprint is not None or self.certificate is not None:
            return "certificate"
        if self.tenant_id is not None or self.client_id is not None or self.client_secret is not None:
            return "service_principal"
        if self.username is not None or self.password is not None:
            return "password"
        return "none"

    @property
    def credential(self) -> Credential:
        """What a Blob store is opened with."""
        if self.account_key:
            return AccountKey(self.account_key)
        return Sas(self.sas_token) if self.sas_token else Anonymous()


def check_credentials(
    credentials: Credentials,
    origin: str,
    allowed: Collection[CredentialKind] = ("account_key", "sas_token"),
) -> Credentials:
    """Return `credentials` without surrounding blanks or a SAS's leading `?`.

    Args:
        credentials: as they were read.
        origin: the field that holds them, for errors.
        allowed: the kinds that the datastore takes; it decides itself what "none" means.

    Raises:
        UsageError: they are not of one allowed kind, or a field is not what it says.
    """
    kind = credentials.kind
    given = {name for name in credentials.__struct_fields__ if getattr(credentials, name) is not None}
    needed = _NEEDED.get(kind, ())
    if kind not in allowed or given - {*needed, *_ALLOWED.get(kind, ())}:
        choices = " or ".join(_WORDS[choice] for choice in allowed)
        raise UsageError(f"{origin}: must hold {choices}{', one of them' if len(allowed) > 1 else ''}")
    missing = [name for name in needed if not (getattr(credentials, name) or "").strip()]
    if missing:
        raise UsageError(f"{origin}.{missing[0]}: is missing; {_WORDS[kind]} belong together")
    if kind == "account_key":
        assert credentials.account_key is not None
        key = credentials.account_key.strip()
        if not is_account_key(key):
            raise UsageError(f"{origin}.account_key: is not an account key (base64 text)")
        return Credentials(account_key=key)
    if kind == "sas_token":
        assert credentials.sas_token is not None
        token = credentials.sas_token.strip().lstrip("?")
        if not is_sas(token):
            raise UsageError(f"{origin}.sas_token: is not a SAS (a query string with sig=)")
        return Credentials(sas_token=token)
    return credentials


def is_account_key(text: str) -> bool:
    """Tell whether `text` can be an account key: base64."""
    try:
        return bool(base64.b64decode(text.encode("ascii"), validate=True))
    except (binascii.Error, UnicodeEncodeError):
        return False


def is_sas(text: str) -> bool:
    """Tell whether `text` can be a SAS: query parameters, `sig` among them."""
    names = {part.partition("=")[0] for part in text.split("&")}
    return "sig" in names and text.isascii() and text.isprintable() and " " not in text and "://" not in text
