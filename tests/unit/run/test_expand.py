"""References in arguments, replaced by paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.run.environment import Mode, Presented, published_variables
from mountd.run.expand import Expander

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,6}", fullmatch=True)
PATHS = st.text(alphabet="/ab$ {}.-_", min_size=1, max_size=12)


def expander(inherited=None, **paths):
    presented = [
        Presented(name=name.replace("__", "-"), mode=Mode.UPLOAD if name.startswith("out") else Mode.MOUNT, path=path)
        for name, path in paths.items()
    ]
    return Expander(presented, published_variables(presented, inherited or {}))


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("$AZUREML_DATAREFERENCE_data", "/m/data"),
        ("${AZUREML_DATAREFERENCE_data}", "/m/data"),
        ("$AZURE_ML_INPUT_data", "/m/data"),
        ("$data", "/m/data"),
        ("$DATA", "/m/data"),
        ("${data}", "/m/data"),
        ("${{inputs.data}}", "/m/data"),
        ("${{ inputs.data }}", "/m/data"),
        ("${{outputs.out}}", "/w/out"),
        ("$AZURE_ML_OUTPUT_out/m.bin", "/w/out/m.bin"),
        ("--in=$data/train:$out/x", "--in=/m/data/train:/w/out/x"),
        ("$$data", "$/m/data"),
        ("$data.csv", "/m/data.csv"),
        ("$data-2", "/m/data-2"),
    ],
)
def test_known_references_become_paths(argument, expected):
    assert expander(data="/m/data", out="/w/out").expand(argument) == expected


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "data",
        "$",
        "$HOME",
        "${HOME}",
        "$data2",
        "$data_dir",
        "$dat",
        "${data",
        "$(data)",
        "${ data }",
        "$AZUREML_DATAREFERENCE_other",
        "${{inputs.other}}",
        "${{outputs.data}}",
        "${{inputs.out}}",
        "${{inputs.data",
        "$AZUREML_DATAREFERENCE_data_more",
    ],
)
def test_what_is_not_known_stays(argument):
    assert expander(data="/m/data", out="/w/out").expand(argument) == argument


def test_a_dash_belongs_to_the_name_where_the_name_is_known():
    known = expander(my="/my", my__ref="/my-ref")
    assert known.expand("$my-ref") == "/my-ref"
    assert known.expand("$AZUREML_DATAREFERENCE_my-ref/x") == "/my-ref/x"
    assert known.expand("$my_ref") == "/my-ref"
    assert known.expand("$my-refs") == "/my-refs"
    assert known.expand("$my-other") == "/my-other"
    assert expander(my__ref="/r").expand("${my-ref} ${{inputs.my-ref}} $my") == "/r /r $my"


def test_the_longest_name_wins():
    assert expander(a="/1", ab="/2", abc="/3").expand("$abc $ab $a $abcd") == "/3 /2 /1 $abcd"


def test_a_name_stands_for_its_input_even_where_the_variable_is_somebody_elses():
    known = expander({"path": "/elsewhere", "PATH": "/bin"}, path="/m")
    assert known.expand("$path $PATH") == "/m $PATH"


def test_nothing_to_expand_without_inputs():
    assert expander().expand("$data ${data} ${{inputs.data}} $") == "$data ${data} ${{inputs.data}} $"


def test_a_path_with_references_in_it_is_not_expanded_again():
    assert expander(a="/$b", b="/x").expand("$a") == "/$b"


@given(st.dictionaries(NAMES, PATHS, max_size=4), st.text(alphabet="abAB$ {}.-_/", max_size=30))
def test_text_around_references_is_kept(paths, text):
    known = expander(**{name: path for name, path in paths.items() if "__" not in name})
    if "$" not in text:
        assert known.expand(text) == text
    for name, path in paths.items():
        if "__" in name:
            continue
        side = "outputs" if name.startswith("out") else "inputs"
        around = text.replace("$", "")
        assert known.expand(f"{around}${{{{{side}.{name}}}}}{around}") == f"{around}{path}{around}"
        assert known.expand(f"{around}${{AZUREML_DATAREFERENCE_{name}}}{around}") == f"{around}{path}{around}"


@given(st.dictionaries(NAMES, PATHS, min_size=1, max_size=5), st.sampled_from(["", "/x", " ", ".", ":"]))
def test_every_form_of_every_name_becomes_its_path(paths, after):
    presented = [Presented(name=name, mode=Mode.DOWNLOAD, path=path) for name, path in paths.items()]
    known = Expander(presented, published_variables(presented, {}))
    for name, path in paths.items():
        for form in (f"${name}", f"${{{name}}}", f"$AZUREML_DATAREFERENCE_{name}", f"${{{{inputs.{name}}}}}"):
            assert known.expand(form + after) == path + after


def test_a_positional_parameter_is_no_name():
    published = expander(**{"1": "/m/one"})
    assert published.expand("$1 ${1} $AZUREML_DATAREFERENCE_1 ${{inputs.1}}") == "$1 ${1} /m/one /m/one"
