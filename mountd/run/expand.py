"""References to data in a command's arguments, replaced by paths.

Pure. Understood anywhere in an argument: `$AZUREML_DATAREFERENCE_<name>`, `$<name>` and every other published
variable, the same in braces, `${{inputs.<name>}}` and `${{outputs.<name>}}`. Rules:

- A bare `$name` ends where a shell would end it, except that a known name with `-` is taken whole: the longest known
  name wins that is not followed by a letter, digit or `_`.
- `$1` is never a name: a name that begins with a digit is known by its prefixed variables and templates only.
- What is not known stays as it is, `$HOME` included: expanding that is the business of the caller's shell.
- A path that was put in is not looked at again, whatever it contains.

A line for a shell is another matter: see `run.shell_line`.
"""

import re
from collections.abc import Mapping, Sequence

from mountd.run.environment import Mode, Presented
from mountd.run.shell_line import Slot, fill_line

_TEMPLATE = r"\$\{\{\s*(?P<side>inputs|outputs)\.(?P<slot>[A-Za-z0-9_][A-Za-z0-9_-]*)\s*\}\}"


class Expander:
    """Replaces the references to one run's inputs and outputs."""

    def __init__(
        self, presented: Sequence[Presented], published: Mapping[str, str], literals: Mapping[str, str] | None = None
    ) -> None:
        """`literals` are inputs that are plain values, known to `${{inputs.<name>}}` only."""
        self._literals: dict[Slot, str] = {("inputs", name): value for name, value in (literals or {}).items()}
        self._paths: dict[Slot, str] = {
            ("outputs" if item.mode is Mode.UPLOAD else "inputs", item.name): item.path for item in presented
        }
        self._slots = {**self._literals, **self._paths}
        # A name stands for its input also where the variable of that name was left to the environment.
        bare = {item.name: item.path for item in presented if not item.name[0].isdigit()}
        self._values = {**published, **bare}
        known = "|".join(re.escape(name) for name in sorted(self._values, key=len, reverse=True))
        self._pattern = re.compile(
            rf"{_TEMPLATE}|\$\{{(?P<braced>{known})\}}|\$(?P<bare>{known})(?![A-Za-z0-9_])" if known else _TEMPLATE
        )

    def expand(self, argument: str) -> str:
        """Return `argument` with every known reference replaced."""
        return self._pattern.sub(self._value, argument)

    def expand_line(self, line: str) -> str:
        """Return `line`, which a shell will read, with its templates filled in."""
        return fill_line(line, paths=self._paths, literals=self._literals)

    def _value(self, match: re.Match[str]) -> str:
        found = match.groupdict()
        if found["side"] is not None:
            return self._slots.get((found["side"], found["slot"]), match.group())
        return self._values[found["braced"] or found["bare"]]
