"""What Azure ML's packages have and mountd does not: a clear error, instead of a pretence or a riddle.

One exception for all of it, `NotPartOfMountdError`: a module, a name in one, a member of a class or object, a value.
It is an `ImportError` and an `AttributeError` as well where Python asks for one: `from module import Name` says what is
missing, and `hasattr` of an object answers. mountd has no list of Azure ML's names: a mistyped one is refused alike.
"""

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mountd.azureml.errors import UserErrorException


class NotPartOfMountdError(UserErrorException):
    """A name, an argument or a value that mountd does not have."""

    def __init__(self, what: str) -> None:
        """`what` is its name, as the script wrote it."""
        super().__init__(f"{what} is not part of mountd; docs/PYTHON.md lists what is.")

    def __str__(self) -> str:
        return self.message  # no text of Azure ML's: one line is enough


class AbsentNameError(NotPartOfMountdError, ImportError):
    """A module has no such name. Were it no `ImportError`, the import statement would replace its text."""


class AbsentModuleError(NotPartOfMountdError, ModuleNotFoundError):
    """A package has no such module: `from azureml.core.compute import …`."""


class AbsentMemberError(NotPartOfMountdError, AttributeError):
    """A class or an object has no such attribute or method."""


def absent(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of `module`."""

    def refuse(name: str) -> NoReturn:
        # Underscores: what the import system, pickle, doctest and notebooks probe for.
        if name.startswith("_") or _is_submodule(module, name):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        raise AbsentNameError(f"{module}.{name}")

    return refuse


def _is_submodule(package: str, name: str) -> bool:
    """Whether `name` is a module of `package`: `from package import module` asks for the name before it imports it."""
    path = getattr(sys.modules[package], "__path__", None)
    return path is not None and importlib.machinery.PathFinder.find_spec(f"{package}.{name}", path) is not None


class AbsentModules:
    """The last finder of the import system: tells of modules of a package that no other finder knows."""

    def __init__(self, package: str) -> None:
        self._below = f"{package}."

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        """Leave every other name alone.

        Raises:
            AbsentModuleError: `name` is below the package.
        """
        del path, target
        if name.startswith(self._below) and not name.rpartition(".")[2].startswith("_"):
            raise AbsentModuleError(name)


if not any(isinstance(finder, AbsentModules) for finder in sys.meta_path):
    sys.meta_path.append(AbsentModules(__name__.rpartition(".")[0]))


class _PartlyAbsentType(type):
    """Class of `PartlyAbsent` and all below: much of Azure ML is called on the class, `Workspace.create(…)`."""

    if not TYPE_CHECKING:  # a checker shall still know every attribute

        def __getattr__(cls, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
            raise AbsentMemberError(f"{cls.__name__}.{name}")


class PartlyAbsent(metaclass=_PartlyAbsentType):
    """Base of the API's classes: what they do not have is told as such."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AbsentMemberError(f"{type(self).__name__}.{name}")
