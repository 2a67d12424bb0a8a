"""Keys and file names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.errors import NameTooLongError, NotFoundError
from mountd.tree import names


@given(st.binary(max_size=300))
def test_any_bytes_survive_the_way_to_a_key_and_back(name):
    assert names.encode(names.decode(name)) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_key_survives_the_way_to_a_name_and_back(key):
    assert names.decode(names.encode(key)) == key


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"x" * 256])
def test_what_no_path_can_express(name):
    assert not names.expressible(name)
    with pytest.raises(NameTooLongError if len(name) > 255 else NotFoundError):
        names.check(name)


@pytest.mark.parametrize("name", [b"...", b" ", b"\n", b"\xff", b"x" * 255, "é".encode() * 127, b"\\", b"a."])
def test_odd_names_that_a_path_can_express(name):
    assert names.expressible(name)
    names.check(name)


def test_the_key_of_a_child():
    assert names.child_key("", "a") == "a"
    assert names.child_key("a/b", "c") == "a/b/c"
