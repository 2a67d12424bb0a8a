"""What Azure ML's packages have and mountd does not: a clear error, instead of a pretence or a riddle.

`hasattr` of an object answers as it should; `from module import Name` says what is missing and where to look.
"""

import importlib.util
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from mountd.errors import UsageError

_WHERE = "docs/PYTHON.md lists what is"


class NotPartOfMountdError(UsageError, ImportError):
    """A module has no such name in mountd."""


class NoSuchMemberError(UsageError, AttributeError):
    """An object has no such attribute or method in mountd."""


def absent(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of `module`."""

    def refuse(name: str) -> NoReturn:
        # Underscores: what the import system, pickle, doctest and notebooks probe for.
        if name.startswith("_") or _is_submodule(module, name):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        raise NotPartOfMountdError(f"{module}.{name} is not part of mountd; {_WHERE}")

    return refuse


def _is_submodule(package: str, name: str) -> bool:
    """Whether `name` is a module of `package`: `from package import module` asks for the name before it imports it."""
    return hasattr(sys.modules[package], "__path__") and importlib.util.find_spec(f"{package}.{name}") is not None


class PartlyAbsent:
    """Base of the API's objects: what they do not have is told as such."""

    if not TYPE_CHECKING:  # a checker shall still know every attribute

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise NoSuchMemberError(f"{type(self).__name__}.{name} is not part of mountd; {_WHERE}")
