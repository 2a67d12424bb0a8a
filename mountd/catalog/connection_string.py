"""Azure Storage connection strings: `Name=Value;…` pairs.

Pure. Values are secrets: no message and no repr shows them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mountd.catalog.naming import account_url
from mountd.errors import UsageError

EMULATOR_ACCOUNT = "devstoreaccount1"
# Published by Microsoft for every emulator, so it guards nothing.
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

VARIABLE = "AZURE_STORAGE_CONNECTION_STRING"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionString:
    """What mountd uses of a connection string."""

    account_name: str
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    protocol: str = "https"
    endpoint_suffix: str = "core.windows.net"
    blob_endpoint: str | None = None
    """Without a trailing slash."""

    @property
    def account_url(self) -> str:
        """The Blob service's URL, without a trailing slash."""
        return self.blob_endpoint or account_url(self.protocol, self.endpoint_suffix, self.account_name)

    @property
    def datastore_endpoint(self) -> tuple[str, str] | None:
        """`protocol` and `endpoint` of a datastore in this account; None if it cannot say them: a custom domain."""
        if self.blob_endpoint is None:
            return self.protocol, self.endpoint_suffix
        protocol, _, rest = self.blob_endpoint.partition("://")
        host = rest.partition("/")[0]
        for endpoint in (host.partition(".blob.")[2], host):
            if endpoint and account_url(protocol, endpoint, self.account_name) == self.blob_endpoint:
                return protocol, endpoint
        return None


def parse_connection_string(text: str, origin: str) -> ConnectionString:
    """Return the parts of `text`; `origin` names where it came from in errors.

    Raises:
        UsageError: it is not a connection string, or names no account.
    """
    pairs: dict[str, str] = {}
    for part in text.strip().split(";"):
        name, separator, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not separator or not name:
            raise UsageError(f"{origin}: not a connection string; it must be Name=Value pairs with ; between them")
        pairs[name.strip().lower()] = value.strip()
    if pairs.get("usedevelopmentstorage", "").lower() == "true":
        return ConnectionString(
            account_name=EMULATOR_ACCOUNT,
            account_key=EMULATOR_KEY,
            protocol="http",
            blob_endpoint=f"http://127.0.0.1:10000/{EMULATOR_ACCOUNT}",
        )
    endpoint = pairs.get("blobendpoint", "").rstrip("/") or None
    account = pairs.get("accountname") or _account_of_endpoint(endpoint or "")
    if not account:
        raise UsageError(f"{origin}: the connection string has neither AccountName nor a BlobEndpoint that names it")
    return ConnectionString(
        account_name=account,
        account_key=pairs.get("accountkey") or None,
        sas_token=pairs.get("sharedaccesssignature", "").lstrip("?") or None,
        protocol=pairs.get("defaultendpointsprotocol", "https").lower(),
        endpoint_suffix=pairs.get("endpointsuffix", "core.windows.net"),
        blob_endpoint=endpoint,
    )


def account_of(environ: Mapping[str, str]) -> str | None:
    """Return the account of `$AZURE_STORAGE_CONNECTION_STRING`, None if it is unset or names none."""
    parsed = _of_environment(environ)
    return None if parsed is None else parsed.account_name


def endpoint_of(environ: Mapping[str, str], account_name: str) -> tuple[str, str] | None:
    """Return `protocol` and `endpoint` of a datastore in `account_name`, if the variable says where that account is."""
    parsed = _of_environment(environ)
    return None if parsed is None or parsed.account_name != account_name else parsed.datastore_endpoint


def _of_environment(environ: Mapping[str, str]) -> ConnectionString | None:
    text = environ.get(VARIABLE)
    if not text:
        return None
    try:
        return parse_connection_string(text, VARIABLE)
    except UsageError:
        return None


def _account_of_endpoint(endpoint: str) -> str:
    host, _, path = endpoint.partition("://")[2].partition("/")
    if ".blob." in host:
        return host.partition(".")[0]
    return path.partition("/")[0]
