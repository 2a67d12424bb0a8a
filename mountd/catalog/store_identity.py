"""What tells one store from another, whatever the credential: equal identities show the same objects. Pure."""

from mountd.catalog.model import BlobSpec, LocalSpec, StoreSpec


def store_identity(spec: StoreSpec) -> str | None:
    """Return the identity of a store, the same on every node and after every restart; None: it has none."""
    match spec:
        case BlobSpec():
            return f"{spec.account_url}/{spec.container}"
        case LocalSpec():
            return f"file://{spec.path}"
        case _:
            return None
