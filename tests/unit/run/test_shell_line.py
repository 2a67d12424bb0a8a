"""The templates of a job's command, filled in for a shell."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mountd.run.shell_line import fill_line, slots_of

PATHS = {("inputs", "data"): "/m/data", ("outputs", "model"): "/o/my model"}
LITERALS = {("inputs", "lr"): "0.1", ("inputs", "flags"): "--a 1 --b 2"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python t.py --data ${{inputs.data}}", "python t.py --data /m/data"),
        ("cp x ${{ outputs.model }}/m.bin", "cp x '/o/my model'/m.bin"),
        ('cp x "${{outputs.model}}/m.bin"', 'cp x "/o/my model/m.bin"'),
        ("t --lr ${{inputs.lr}} ${{inputs.flags}}", "t --lr 0.1 --a 1 --b 2"),
        ("t $[[--x ${{inputs.x}}]] -v", "t  -v"),
        ("t $[[--lr ${{inputs.lr}}]]", "t --lr 0.1"),
        ("t $[[--both ${{inputs.lr}} ${{inputs.x}}]].", "t ."),
        ("t ${{inputs.x}} $HOME ${data}", "t ${{inputs.x}} $HOME ${data}"),
    ],
)
def test_templates_are_filled_in(line, expected):
    assert fill_line(line, paths=PATHS, literals=LITERALS) == expected


def test_what_a_line_cannot_do_without():
    assert slots_of("a ${{inputs.data}} $[[--x ${{inputs.x}}]] ${{outputs.o}}") == {
        ("inputs", "data"),
        ("outputs", "o"),
    }


@settings(max_examples=40)
@given(st.text(alphabet="ab /'\"$`\\*;&|!(){}~#\n-", min_size=1, max_size=12))
def test_a_shell_reads_a_path_as_one_word_whatever_it_holds(path):
    for template in ("${{inputs.p}}", '"${{inputs.p}}"', "'${{inputs.p}}'", "\\'${{inputs.p}}"):
        line = fill_line(f"printf '[%s]' {template}", paths={("inputs", "p"): path}, literals={})
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        assert done.stdout == "[" + "'" * template.startswith("\\") + path + "]"
