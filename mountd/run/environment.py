"""The variables that tell a command where its data is.

Pure. For an input `data` at /mnt/d the command sees `AZUREML_DATAREFERENCE_data`, `AZURE_ML_INPUT_data`, `data` and
`DATA`, all of them `/mnt/d`; for a single file they name the file. Outputs have `AZURE_ML_OUTPUT_` instead. An input
that is passed on as it is, in mode `direct`, is no path and has no `AZUREML_DATAREFERENCE_`. Rules:

- Prefixed variables are always set. Bare ones never replace a variable that the command would have had anyway: an
  input called `path` must not cost the command its PATH. None begins with a digit: no shell knows such a variable.
- A name with `-` also appears with `_`, since no shell can say `$my-ref`.
- Where two inputs want one variable, a name as written beats a twin with `_`, and both beat capitals.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

REFERENCE_PREFIX = "AZUREML_DATAREFERENCE_"
INPUT_PREFIX = "AZURE_ML_INPUT_"
OUTPUT_PREFIX = "AZURE_ML_OUTPUT_"
INPUT_LIST = "AZUREML_DATASET_ENVIRONMENT_VARS"
OUTPUT_LIST = "AZUREML_DATASET_FILE_OUTPUTS"


class Mode(enum.StrEnum):
    """How the command gets at a path."""

    MOUNT = "mount"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """One input or output as the command sees it."""

    name: str
    mode: Mode
    path: str
    """Absolute; of the file itself where the source is a single file. In mode `direct` the text itself."""


def published_variables(presented: Sequence[Presented], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to `inherited`, the environment the command would have without mountd."""
    variables: dict[str, str] = {}

    def offer(name: str, value: str) -> None:
        variables.setdefault(name, value)

    def offer_bare(name: str, value: str) -> None:
        if name not in inherited and not name[0].isdigit():
            offer(name, value)

    # In order of precedence: what is offered first stays.
    for spell in _SPELLINGS[:2]:
        for item in presented:
            for prefix in _prefixes(item):
                offer(prefix + spell(item.name), item.path)
    _offer_lists(presented, variables)
    for spell in _SPELLINGS:
        for item in presented:
            offer_bare(spell(item.name), item.path)
    return variables


def _prefixes(item: Presented) -> tuple[str, ...]:
    if item.mode is Mode.DIRECT:
        return (INPUT_PREFIX,)
    return REFERENCE_PREFIX, OUTPUT_PREFIX if item.mode is Mode.UPLOAD else INPUT_PREFIX


def _offer_lists(presented: Sequence[Presented], variables: dict[str, str]) -> None:
    """Set the two lists by which the Azure ML client finds a run's inputs and outputs."""
    inputs = [f"{item.name}:{item.mode}" for item in presented if item.mode is not Mode.UPLOAD]
    outputs = [item.name for item in presented if item.mode is Mode.UPLOAD]
    if inputs:
        variables[INPUT_LIST] = ",".join(inputs)
    if outputs:
        variables[OUTPUT_LIST] = ";".join(outputs)


_SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: name.replace("-", "_"),
    lambda name: name.upper(),
    lambda name: name.replace("-", "_").upper(),
)
"""How a name is spelt as a variable, in order of precedence; the prefixed ones keep their case."""
