"""Makes the container that a datastore names. Blocking: for the Python API, which registers before it uses."""

from mountd.catalog.model import BlobSpec, LocalSpec, StoreSpec
from mountd.errors import ReadOnlyError
from mountd.stores.azure_place import Place, Timeouts
from mountd.stores.azure_rest import AzureRest

_MADE_OR_THERE = (201, 409)


def create_container(spec: StoreSpec) -> bool:
    """Make the container of `spec` and return true; return false if it is there already.

    Raises:
        DeniedError: the credential does not allow it (a SAS for one container never does).
        UnavailableError: the account cannot be reached.
        ReadOnlyError: a store of this kind cannot be made.
    """
    if isinstance(spec, LocalSpec):
        return False
    if not isinstance(spec, BlobSpec):
        raise ReadOnlyError("create_if_not_exists: this kind of storage cannot be made from here; make it first")
    rest = AzureRest(spec, Timeouts(), connections=1)
    what = f"create the container {Place.of(spec).name}"
    try:
        answer = rest.send(what, "PUT", None, query={"restype": "container"})
        if answer.status == 409 and answer.code != "ContainerAlreadyExists":
            rest.expect(what, answer, ())
        return rest.expect(what, answer, _MADE_OR_THERE).status == 201
    finally:
        rest.close()
