"""Which variables a command sees."""

from hypothesis import given
from hypothesis import strategies as st

from mountd.run.environment import Mode, Presented, published_variables

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,6}", fullmatch=True)


def mounted(name, path):
    return Presented(name=name, mode=Mode.MOUNT, path=path)


def test_a_mounted_input_is_published_under_every_name():
    assert published_variables([mounted("data", "/m/data")], {}) == {
        "AZUREML_DATAREFERENCE_data": "/m/data",
        "AZURE_ML_INPUT_data": "/m/data",
        "data": "/m/data",
        "DATA": "/m/data",
        "AZUREML_DATASET_ENVIRONMENT_VARS": "data:mount",
    }


def test_outputs_have_their_own_prefix_and_list():
    presented = [
        Presented(name="model", mode=Mode.UPLOAD, path="/w/out"),
        Presented(name="log", mode=Mode.UPLOAD, path="/w/log.txt"),
    ]
    assert published_variables(presented, {}) == {
        "AZUREML_DATAREFERENCE_model": "/w/out",
        "AZURE_ML_OUTPUT_model": "/w/out",
        "model": "/w/out",
        "MODEL": "/w/out",
        "AZUREML_DATAREFERENCE_log": "/w/log.txt",
        "AZURE_ML_OUTPUT_log": "/w/log.txt",
        "log": "/w/log.txt",
        "LOG": "/w/log.txt",
        "AZUREML_DATASET_FILE_OUTPUTS": "model;log",
    }


def test_the_input_list_names_the_mode_of_each():
    presented = [mounted("a", "/a"), Presented(name="b", mode=Mode.DOWNLOAD, path="/b")]
    assert published_variables(presented, {})["AZUREML_DATASET_ENVIRONMENT_VARS"] == "a:mount,b:download"


def test_bare_names_never_replace_a_variable_that_is_set():
    variables = published_variables([mounted("path", "/m"), mounted("HOME", "/h")], {"PATH": "/bin", "HOME": ""})
    assert "PATH" not in variables
    assert "HOME" not in variables
    assert variables["path"] == "/m"
    assert variables["AZUREML_DATAREFERENCE_HOME"] == "/h"


def test_prefixed_names_replace_what_an_outer_run_set():
    outer = {
        "AZUREML_DATAREFERENCE_d": "/old",
        "AZURE_ML_INPUT_d": "/old",
        "AZUREML_DATASET_ENVIRONMENT_VARS": "x:mount",
    }
    variables = published_variables([mounted("d", "/new")], outer)
    assert {name: variables[name] for name in outer} == {
        "AZUREML_DATAREFERENCE_d": "/new",
        "AZURE_ML_INPUT_d": "/new",
        "AZUREML_DATASET_ENVIRONMENT_VARS": "d:mount",
    }


def test_a_dash_gets_an_underscore_twin():
    variables = published_variables([mounted("my-ref", "/m")], {})
    assert set(variables) == {
        "AZUREML_DATAREFERENCE_my-ref",
        "AZUREML_DATAREFERENCE_my_ref",
        "AZURE_ML_INPUT_my-ref",
        "AZURE_ML_INPUT_my_ref",
        "my-ref",
        "my_ref",
        "MY-REF",
        "MY_REF",
        "AZUREML_DATASET_ENVIRONMENT_VARS",
    }


def test_a_name_as_written_beats_twins_and_capitals():
    variables = published_variables([mounted("a-b", "/dash"), mounted("a_b", "/line"), mounted("A_B", "/upper")], {})
    assert variables["a_b"] == variables["AZUREML_DATAREFERENCE_a_b"] == variables["AZURE_ML_INPUT_a_b"] == "/line"
    assert variables["A_B"] == "/upper"
    assert variables["a-b"] == variables["AZUREML_DATAREFERENCE_a-b"] == "/dash"


def test_nothing_is_published_for_nothing():
    assert published_variables([], {"PATH": "/bin"}) == {}


@given(st.lists(NAMES, unique=True, max_size=6), st.dictionaries(NAMES, st.just("inherited"), max_size=6))
def test_each_name_keeps_its_own_path_whatever_the_others_are(names, inherited):
    presented = [mounted(name, f"/{index}") for index, name in enumerate(names)]
    variables = published_variables(presented, inherited)
    for item in presented:
        assert variables[f"AZUREML_DATAREFERENCE_{item.name}"] == item.path
        assert variables[f"AZURE_ML_INPUT_{item.name}"] == item.path
        assert item.name in inherited or variables[item.name] == item.path
        assert item.name.upper() in inherited or item.name.upper() in variables
    assert not set(variables) & set(inherited)
