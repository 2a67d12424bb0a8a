"""Environments: on this node a run's script is started with the interpreter that submits it.

An environment's packages are not installed here, its variables are set.
"""

import os

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.errors import UserErrorException, as_api_errors
from mountd.config.strict_yaml import load_yaml, read_text


class Environment(PartlyAbsent):
    """A name, variables for the script, and what a Conda file says, which nobody acts upon here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.environment_variables: dict[str, str] = {}
        self.conda_specification: object = None
        """The Conda file's content, for scripts that look at it (mountd's own name)."""

    @staticmethod
    def from_conda_specification(name: str, file_path: str) -> "Environment":
        """Return an environment that says what the Conda file `file_path` does.

        Raises:
            UserErrorException: there is no such file, or it is no YAML.
        """
        if not os.path.isfile(file_path):
            raise UserErrorException(f"Could not find file {file_path}. The environment {name} needs its Conda file.")
        environment = Environment(name)
        with as_api_errors():
            from pathlib import Path  # noqa: PLC0415

            environment.conda_specification = load_yaml(read_text(Path(file_path)), file_path)
        return environment

    def __repr__(self) -> str:
        return f"Environment(Name: {self.name})"


__getattr__ = absent(__name__)
