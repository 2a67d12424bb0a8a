"""Datastores that sources name."""

from mountd.catalog.datastore import BlobDatastore


def blob(name="store", **rest):
    return BlobDatastore(**({"name": name, "account_name": "acct", "container_name": "data"} | rest))
