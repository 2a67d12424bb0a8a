"""Read files with Azure's own packages and say as JSON, file by file, what they hold.

    PYTHON tests/clients/read_back.py FILE...

PYTHON is one that has azure-ai-ml and azureml-core, such as `.tools/clients/bin/python`. The directory says what a
file is: `datastores/` and `data/` are azure-ai-ml's, `config.json` is read by both. Nothing is asked of any service.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

from azure.ai.ml import MLClient, load_data, load_datastore
from azureml._project import project_info


def read(file: Path) -> object:
    """Return what the package makes of `file`."""
    if file.name == "config.json":
        return [*MLClient._get_workspace_info(str(file)), *project_info.get_workspace_info(str(file))]
    if file.parent.name == "datastores":
        return load_datastore(file)._to_dict()
    return load_data(file)._to_dict()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable()
    print(json.dumps({name: read(Path(name)) for name in sys.argv[1:]}))  # noqa: T201 - its output
