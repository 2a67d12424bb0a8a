"""docs/CONFIGURATION.md says what the declarations say."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from mountd.catalog.datastore import Datastore
from mountd.config.option_table import option_table
from mountd.config.options import OPTIONS

PAGE = (Path(__file__).parents[3] / "docs" / "CONFIGURATION.md").read_text()


def test_the_table_of_options_is_the_declaration():
    _, _, rest = PAGE.partition("<!-- options -->\n")
    table, _, _ = rest.partition("<!-- end of options -->")
    assert table == option_table(), f"put this between the marks:\n{option_table()}"


def test_the_table_has_a_line_for_each_option():
    lines = option_table().splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == [f"`{option.key}`" for option in OPTIONS]
    assert {line.count("|") for line in lines} == {7}


@pytest.mark.parametrize("kind", get_args(Datastore))
def test_every_field_of_a_datastore_is_documented(kind):
    title = f"`type: {kind.__struct_config__.tag}`"
    section = PAGE.partition(f"| field of {title}")[2].partition("\n\n")[0]
    for field in msgspec.structs.fields(kind):
        assert f"`{field.encode_name}`" in section
