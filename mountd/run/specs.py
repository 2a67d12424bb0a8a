"""The values of `--mount`, `--download` and `--upload`, taken apart by the rules of the contract.

Pure. A SOURCE or TARGET may carry a shared access signature: neither the `repr` of a value here nor an error made here
shows one.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mountd.errors import UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SIGNATURE = re.compile(r"[?&]sig$", re.IGNORECASE)
"""What comes before a signature's `=`; one of 64 signatures starts with `/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountInput:
    """`NAME=SOURCE`: SOURCE is mounted while the command runs."""

    name: str
    source: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadInput:
    """`NAME=SOURCE[=PATH]`: SOURCE is on disk before the command starts."""

    name: str
    source: str = field(repr=False)
    path: str | None
    """Where the user wants it, to stay there; None: in the run's own directory, gone afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOutput:
    """`NAME=PATH=TARGET`: what the command leaves at PATH goes to TARGET."""

    name: str
    path: str
    target: str = field(repr=False)


def parse_mount(text: str) -> MountInput:
    """Return what the value of one `--mount` says.

    Raises:
        UsageError: it is not `NAME=SOURCE`.
    """
    name, source = _split_name(text, "--mount", "NAME=SOURCE")
    return MountInput(name=name, source=_present(source, "SOURCE", "--mount", name))


def parse_download(text: str) -> DownloadInput:
    """Return what the value of one `--download` says.

    What follows the last `=` is a PATH if it starts with `/` or `./`; anything else belongs to SOURCE, whose query
    string may well hold a `=`, and so does a signature.

    Raises:
        UsageError: it is not `NAME=SOURCE[=PATH]`.
    """
    name, rest = _split_name(text, "--download", "NAME=SOURCE[=PATH]")
    source, equals, path = rest.rpartition("=")
    if not equals or not path.startswith(("/", "./")) or _SIGNATURE.search(source):
        source, path = rest, ""
    return DownloadInput(name=name, source=_present(source, "SOURCE", "--download", name), path=path or None)


def parse_upload(text: str) -> UploadOutput:
    """Return what the value of one `--upload` says; PATH ends at the first `=` after NAME.

    Raises:
        UsageError: it is not `NAME=PATH=TARGET`.
    """
    name, rest = _split_name(text, "--upload", "NAME=PATH=TARGET")
    path, _, target = rest.partition("=")
    return UploadOutput(
        name=name,
        path=_present(path, "PATH", "--upload", name),
        target=_present(target, "TARGET", "--upload", name),
    )


def check_names(names: Iterable[str]) -> None:
    """See that no name is used twice among all inputs and outputs: one would hide the other's variables.

    Raises:
        UsageError: a name is used twice.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"the name {twice[0]!r} is used for more than one input or output; give each its own name")


def _split_name(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals:
        raise UsageError(f"{option} takes {form}, but {text!r} has no '='")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{option} takes {form}: the name {name!r} may hold letters, digits, '_' and '-' and must start with a "
            "letter or '_'"
        )
    return name, rest


def _present(value: str, what: str, option: str, name: str) -> str:
    if not value:
        raise UsageError(f"{option} {name}: {what} is empty")
    return value
