"""What a file that does not hold what it should is told; every kind of file has tests of its own elsewhere."""

from typing import Literal

import msgspec
import pytest

from mountd.config.strict_yaml import convert
from mountd.errors import UsageError


class Part(msgspec.Struct):
    mode: Literal["ro", "rw"] | None = None


class OtherPart(msgspec.Struct, tag="other"):
    mode: Literal["ro", "rw"] = "ro"


class ThirdPart(msgspec.Struct, tag="third"):
    mode: Literal["ro", "none"] = "ro"


class Whole(msgspec.Struct):
    kind: Literal["file", "folder"] = "file"
    named: dict[str, Part | str] = {}
    listed: list[Part] = []
    either: OtherPart | ThirdPart | None = None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"kind": "disk"}, "kind: 'disk' is none of file, folder"),
        ({"named": {"a": "b", "c": {"mode": "w"}}}, "named[...].mode: 'w' is none of ro, rw"),
        ({"listed": [{}, {"mode": "w"}]}, "listed[1].mode: 'w' is none of ro, rw"),
        ({"either": {"type": "third", "mode": "w"}}, "either.mode: 'w' is none of ro, rw, none"),
        ({"kind": "k" * 30}, "kind: '…' is none of file, folder"),
    ],
)
def test_a_word_that_is_none_of_those_it_takes_is_answered_with_them(value, said):
    with pytest.raises(UsageError) as raised:
        convert(value, Whole, "FILE")
    assert raised.value.message == f"FILE: {said}"
