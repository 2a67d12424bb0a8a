"""Which code of Azure ML's pages is a test, and the table in docs/PAGES.md that says so.

A test carries `@case("C01", …)`; the code in it is the page's, but for `azureml.`, which becomes `mountd.azureml.`, and
for the pages' placeholders. The last test of a run of `tests/pages` compares the table with the outcome of all others;
`MOUNTD_WRITE_PAGES=1` has it written instead.
"""

from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "PAGES.md"
STORAGE = "Access data in Azure storage services, 2019-08"
DATASETS = "Train with datasets, 2020-07"
TUTORIAL = "Tutorial: use your own data, 2020-09"
DATASTORES = "Access data from your datastores, 2019-05"

CASES = {
    "C01": (STORAGE, "`Workspace.from_config()`"),
    "C02": (STORAGE, "`Datastore.register_azure_blob_container(…, create_if_not_exists=True)`"),
    "C03": (STORAGE, "`Datastore.register_azure_file_share(…, create_if_not_exists=True)`"),
    "C04": (STORAGE, "`Datastore.get(ws, datastore_name=…)`"),
    "C05": (STORAGE, "`for name, datastore in ws.datastores.items()`"),
    "C06": (STORAGE, "`ws.get_default_datastore()`"),
    "C07": (STORAGE, "`ws.set_default_datastore(…)`"),
    "C08": (STORAGE, "`datastore.upload(…)`"),
    "C09": (STORAGE, "`datastore.upload_files(…)`"),
    "C10": (STORAGE, "`datastore.download(…, prefix=…)`"),
    "C11": (STORAGE, "`datastore.as_mount()`, `datastore.path('./bar').as_download()`"),
    "C12": (STORAGE, "`Estimator(…, script_params=…)` with a mounted path or datastore"),
    "C13": (STORAGE, "`Estimator(…, inputs=[…])` with two downloads and an upload"),
    "C14": (DATASTORES, "`DataReference`, `as_download(path_on_compute=…)`, `as_upload(path_on_compute=…)`"),
    "C15": (DATASETS, "`Dataset.Tabular.from_delimited_files(path=web_path)`"),
    "C16": (DATASETS, "the script: `Dataset.get_by_id(ws, id=args.input_data).to_pandas_dataframe()`"),
    "C17": (DATASETS, "`ScriptRunConfig(…, arguments=['--input-data', ….as_named_input('titanic')])`, submitted"),
    "C18": (DATASETS, "`Dataset.File.from_files(path=web_paths)`"),
    "C19": (DATASETS, "`arguments=['--data-folder', mnist_ds.as_mount(), '--regularization', 0.5]`"),
    "C20": (DATASETS, "the MNIST script, which globs for its files in the mount"),
    "C21": (DATASETS, "`dataset.mount(tempfile.mkdtemp())`, `start()`, `os.listdir`"),
    "C22": (DATASETS, "`Dataset.get_by_name(workspace=…, name='titanic_ds')`"),
    "C23": (DATASETS, "`src.run_config.source_directory_data_store = 'workspaceblobstore'`"),
    "C24": (DATASETS, "`dset.as_named_input('dogscats_train').as_mount('/tmp/dataset')`"),
    "C25": (TUTORIAL, "uploading CIFAR-10, and what that prints"),
    "C26": (TUTORIAL, "the control script"),
    "C27": (TUTORIAL, "the training script in PyTorch, its data mounted and downloaded"),
    "C28": (TUTORIAL, "the log of the job"),
}


def case(*names: str) -> pytest.MarkDecorator:
    """Mark a test as the proof of these cases."""
    assert set(names) <= set(CASES)
    return pytest.mark.page(*names)


def render(outcomes: dict[str, dict[str, bool]]) -> str:
    """Return docs/PAGES.md.

    Args:
        outcomes: by case, by test, whether it passed.
    """
    lines = [
        "# The code of the pages",
        "",
        "Four of Azure ML's pages, whose code runs here with `mountd.azureml.` for `azureml.` and placeholders",
        "filled in: against the Azurite emulator, local datastores and web servers on this node, with real mounts. The",
        "tests are in `tests/pages`; one of them compares this page with the outcome of all others, and",
        "`MOUNTD_WRITE_PAGES=1 scripts/test --torch tests/pages` writes it.",
        "",
        "| case | page | code | runs | test |",
        "|---|---|---|---|---|",
    ]
    for name, (page, code) in CASES.items():
        tests = outcomes.get(name, {})
        runs = "yes" if tests and all(tests.values()) else "no"
        where = ", ".join(f"`{test}`" for test in sorted(tests)) or "none"
        lines.append(f"| {name} | {page} | {code.replace('|', '&#124;')} | {runs} | {where} |")
    return "\n".join(lines) + "\n"
