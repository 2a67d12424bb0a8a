"""The templates of a job's command, filled in for a shell: `${{inputs.x}}`, `${{outputs.y}}` and `$[[ … ]]`.

Pure. Rules:

- A path is put in so that the shell reads it as one word whatever it contains, inside quotes or out of them.
- A plain value is put in as it is, as Azure ML does: `${{inputs.flags}}` may be several words.
- `$[[ … ]]` stays, without its brackets, if every input it names was given, and goes if one was not.
- `$name` and everything else is the shell's business: it has the variables.
"""

import re
import shlex
from collections.abc import Iterator, Mapping

Slot = tuple[str, str]
"""`inputs` or `outputs`, and a name."""

_TEMPLATE = re.compile(r"\$\{\{\s*(inputs|outputs)\.([A-Za-z0-9_][A-Za-z0-9_-]*)\s*\}\}")
_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_SPECIAL_IN_DOUBLE_QUOTES = re.compile(r'([\\"$`])')


def slots_of(line: str) -> set[Slot]:
    """Return the slots that `line` cannot do without: those outside of optional parts."""
    return set(_slots(_OPTIONAL.sub("", line)))


def fill_line(line: str, *, paths: Mapping[Slot, str], literals: Mapping[Slot, str]) -> str:
    """Return `line` with every slot that has a value filled in."""
    known = paths.keys() | literals.keys()
    line = _OPTIONAL.sub(lambda match: match[1] if known.issuperset(_slots(match[1])) else "", line)
    filled: list[str] = []
    quote = ""
    position = 0
    while position < len(line):
        template = _TEMPLATE.match(line, position)
        if template is not None:
            slot = (template[1], template[2])
            filled.append(_quoted(paths[slot], quote) if slot in paths else literals.get(slot, template[0]))
            position = template.end()
            continue
        character = line[position]
        if character == "\\" and quote != "'":
            filled.append(line[position : position + 2])
            position += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        filled.append(character)
        position += 1
    return "".join(filled)


def _slots(text: str) -> Iterator[Slot]:
    return ((match[1], match[2]) for match in _TEMPLATE.finditer(text))


def _quoted(path: str, quote: str) -> str:
    if quote == "'":
        return path.replace("'", "'\\''")
    if quote == '"':
        return _SPECIAL_IN_DOUBLE_QUOTES.sub(r"\\\1", path)
    return shlex.quote(path)
