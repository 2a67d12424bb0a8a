"""YAML and JSON files read strictly: unknown fields, repeated fields and wrong types are errors that name the field.

Errors hold the file and the place, never a value: files here hold secrets.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from mountd.errors import DeniedError, NotFoundError, UsageError

T = TypeVar("T")

_LONGEST_FILE = 1 << 20
_DATE = re.compile(r"Expected `.*`, got `(date|datetime|time)`")
_ABOUT_FIELD = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)
_ABOUT_KEY = "key` in `"
_NO_SUCH_WORD = "Invalid enum value "
_STEP = re.compile(r"\[[^\]]*\]|\.([^.\[]+)")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# What parsers quote is the file's own text: short pieces help, long ones may be secrets.
_LONG_QUOTE = re.compile(r"'[^']{25,}'|\"[^\"]{25,}\"|`[^`]{41,}`")


class _RepeatedKeyError(yaml.YAMLError):
    def __init__(self, key: str, line: int) -> None:
        super().__init__(key)
        self.key = key
        self.line = line


class _StrictLoader(yaml.SafeLoader):
    """Refuses a mapping that holds one key twice, where PyYAML would take the last, and text that no file can hold."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if _LONE_SURROGATE.search(value):
            raise yaml.constructor.ConstructorError(
                None, None, "half a character (\\uD800 to \\uDFFF)", node.start_mark
            )
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    raise _RepeatedKeyError(key_node.value, key_node.start_mark.line + 1)
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def read_text(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        NotFoundError: there is no such file.
        DeniedError: it may not be read.
        UsageError: it is no file, too long or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_FILE + 1)
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"{path}: there is no such file") from None
    except PermissionError:
        raise DeniedError(f"{path}: permission to read it is missing") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None
    if len(data) > _LONGEST_FILE:
        raise UsageError(f"{path}: is too long for a configuration file")
    return text


def load_yaml(text: str, origin: str) -> object:
    """Return the plain values of the YAML document `text`; `origin` names it in errors.

    Raises:
        UsageError: it is not well-formed, or a mapping repeats a key.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - derived from SafeLoader
    except _RepeatedKeyError as error:
        raise UsageError(f"{origin}: field {error.key!r} is given twice, again in line {error.line}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{origin}{place}: not well-formed YAML: {_short(error.problem or 'syntax error')}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        # values like 2020-99-99, unprintable characters, or endless nesting
        raise UsageError(f"{origin}: not well-formed YAML") from None


def load_json(text: str, origin: str) -> dict[str, Any]:
    """Return the JSON object `text`; `origin` names it in errors.

    Raises:
        UsageError: it is not well-formed, or not an object.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{origin}, line {error.lineno}: not well-formed JSON: {error.msg}") from None
    except RecursionError:
        raise UsageError(f"{origin}: not well-formed JSON") from None
    if not isinstance(value, dict):
        raise UsageError(f"{origin}: must be a JSON object")
    return value


def convert(value: object, kind: type[T], origin: str) -> T:
    """Return `value` as `kind`, checked field by field.

    Raises:
        UsageError: a field is unknown, missing or of the wrong type.
    """
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise _field_error(_short(str(error)), kind, origin) from None


def _field_error(problem: str, kind: type, origin: str) -> UsageError:
    """Return msgspec's `problem` with a `kind` as every file's error reads: `FILE: FIELD: what is wrong`."""
    what, _, where = problem.partition(" - at `")
    if what.startswith(_NO_SUCH_WORD) and (words := _words(kind, where)):
        what = f"{what.removeprefix(_NO_SUCH_WORD)} is none of {', '.join(words)}"
    if where.startswith(_ABOUT_KEY):
        where = where.removeprefix(_ABOUT_KEY)
        what = "holds a key that is no text; write it in quotes"
    elif not where and re.fullmatch("Expected `object`, got `(null|array|str|int|float|bool)`", what):
        what = "must hold fields, `name: value`"
    path = [where.rstrip("`").removeprefix("$").removeprefix(".")]
    about_field = _ABOUT_FIELD.fullmatch(what)
    if about_field is not None:
        path.append(about_field[2])
        what = "is missing" if about_field[1].endswith("required") else "is not a known field"
    if _DATE.fullmatch(what) is not None:
        what = "is a date or time as YAML reads it; put it in quotes"
    field = ".".join(part for part in path if part)
    return UsageError(f"{origin}: {field + ': ' if field else ''}{what}")


def _words(kind: type, where: str) -> list[str]:
    """Return the words that a field of `kind` may hold; `where` is its place, such as `$.outputs[...].mode`."""
    types = [inspect.type_info(kind)]
    for name in _STEP.findall(where.rstrip("`")):
        types = [inner for one in _alternatives(types) for inner in _inside(one, name)]
    words = [str(word) for one in _alternatives(types) if isinstance(one, inspect.LiteralType) for word in one.values]
    return list(dict.fromkeys(words))  # kinds of one file share fields


def _alternatives(types: Iterable[inspect.Type]) -> Iterator[inspect.Type]:
    for one in types:
        yield from one.types if isinstance(one, inspect.UnionType) else [one]


def _inside(one: inspect.Type, name: str) -> list[inspect.Type]:
    if isinstance(one, inspect.StructType):
        return [field.type for field in one.fields if field.encode_name == name]
    if isinstance(one, inspect.DictType):
        return [one.value_type]
    return [one.item_type] if isinstance(one, inspect.ListType) else []


def _short(problem: str) -> str:
    return _LONG_QUOTE.sub("'…'", problem)
