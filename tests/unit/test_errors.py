"""What errors promise to people and programs."""

import inspect

from mountd import errors
from mountd.errors import MountdError, NotFoundError


def test_a_message_is_one_printable_line():
    message = NotFoundError("read c/caf\udce9:\n  no such\tobject").message
    assert message == "read c/caf\\udce9: no such object"
    assert message.encode()


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = {
        line.strip("│├└─ ").split()[0]: line
        for line in (errors.__doc__ or "").splitlines()
        if "Error " in line and " exit " in line
    }
    declared = {
        name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MountdError)
    }
    assert drawn.keys() == declared.keys()
    for name, kind in declared.items():
        code, errno = drawn[name].split(" exit ")[1].split()[:2]
        assert int(code) == kind.exit_code, name
        assert getattr(__import__("errno"), errno) == kind.errno, name
