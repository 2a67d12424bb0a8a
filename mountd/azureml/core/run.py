"""Experiments and their runs: submitted to this node, waited for, and seen from inside by the script.

A run is a directory of the workspace (`mountd.run.record`); these objects read it anew at every question. It goes on
when the interpreter that submitted it ends.
"""

import os
import uuid
from pathlib import Path
from typing import Any, Protocol

from mountd.azureml.absent import PartlyAbsent, absent
from mountd.azureml.core.dataset import Dataset
from mountd.azureml.core.run_output import Stream, summary
from mountd.azureml.core.runconfig import RunConfiguration
from mountd.azureml.core.submission import job_of
from mountd.azureml.core.workspace import Workspace
from mountd.azureml.errors import ActivityFailedException, UserErrorException, as_api_errors
from mountd.run import metrics, record, submit
from mountd.run.environment import INPUT_LIST, INPUT_PREFIX


class Submittable(Protocol):
    """What `Experiment.submit` takes: a `ScriptRunConfig` or an `Estimator`."""

    @property
    def source_directory(self) -> str | None:
        """The code's directory."""

    @property
    def run_config(self) -> RunConfiguration:
        """All the rest."""


class Experiment(PartlyAbsent):
    """A name that runs have in common."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = name

    def submit(self, config: Submittable, tags: dict[str, str] | None = None, **kwargs: Any) -> "Run":
        """Start a run on this node and return it; the code is copied before this returns.

        Raises:
            UserErrorException: the configuration contradicts itself, or names what is not there.
            AzureMLException: the run could not be started.
        """
        if kwargs:
            raise UserErrorException(f"submit() of mountd takes no {next(iter(kwargs))}.")
        if not isinstance(getattr(config, "run_config", None), RunConfiguration):
            raise UserErrorException("submit() of mountd takes a ScriptRunConfig or an Estimator.")
        with as_api_errors():
            job = job_of(
                config.run_config,
                source_directory=config.source_directory,
                experiment=self.name,
                workspace=self.workspace,
                tags=tags,
            )
            return Run(self, submit.submit(job, self.workspace.catalog).name)

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {self.workspace.name})"

    __str__ = __repr__


class Run(PartlyAbsent):
    """A run of this workspace."""

    def __init__(self, experiment: Experiment, run_id: str) -> None:
        """Look at the run `run_id`.

        Raises:
            UserErrorException: there is none of that id.
        """
        self._experiment = experiment
        with as_api_errors():
            self._directory = record.run_directory(experiment.workspace.catalog, run_id)
        self._id = run_id

    @classmethod
    def get_context(cls, allow_offline: bool = True, **kwargs: Any) -> "Run | OfflineRun":
        """Return the run whose script this is, or one that keeps its metrics to itself where there is none.

        Raises:
            UserErrorException: there is none, and `allow_offline` is false.
        """
        del kwargs
        directory = os.environ.get(record.RUN_DIRECTORY_VARIABLE)
        if directory:
            with as_api_errors():
                known = record.read_record(Path(directory))
            workspace = Workspace.from_directory(Path(directory).parents[2])
            return Run(Experiment(workspace, known.experiment), known.id)
        if not allow_offline:
            raise UserErrorException(
                "This script was not started by a run; submit it with Experiment.submit, or allow_offline=True."
            )
        return OfflineRun()

    @property
    def id(self) -> str:
        """The run's identifier."""
        return self._id

    @property
    def experiment(self) -> Experiment:
        """What it is a run of."""
        return self._experiment

    @property
    @as_api_errors()
    def status(self) -> str:
        """NotStarted, Preparing, Running, Finalizing, Completed, Failed or Canceled."""
        return record.read_record(self._directory).status

    def get_status(self) -> str:
        """Return `status`."""
        return self.status

    def get_portal_url(self) -> str:
        """Return where the run's log and files are: a `file:` URL, since there is no portal."""
        return self._directory.as_uri()

    @as_api_errors()
    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Return details of the run once it is over.

        Args:
            show_output: print the log as it grows.
            wait_post_processing: taken and left: a run is over when its uploads are.
            raise_on_error: raise if it did not complete.

        Raises:
            ActivityFailedException: it failed or was canceled.
        """
        del wait_post_processing
        stream = Stream(show=show_output)
        stream.say(f"RunId: {self._id}\nWeb View: {self.get_portal_url()}\n")
        stream.say(f"Streaming {record.log_path(self._directory).relative_to(self._directory)}")
        stream.say("=" * 45 + "\n")
        ended = submit.wait(self._directory, on_log=stream.write if show_output else None)
        stream.say(f"\n{summary(self._id, self.get_portal_url())}")
        if raise_on_error and ended.status != "Completed":
            raise ActivityFailedException(
                f"run {self._id} ended as {ended.status}: {ended.error or f'exit status {ended.exit_code}'}; "
                f"its log is {record.log_path(self._directory)}"
            )
        return {
            "runId": self._id,
            "status": ended.status,
            "exitCode": ended.exit_code,
            "error": ended.error,
            "logFiles": {"user_logs/std_log.txt": record.log_path(self._directory).as_uri()},
        }

    @as_api_errors()
    def cancel(self) -> None:
        """Ask the script to end; what it leaves is still uploaded."""
        submit.cancel(self._directory)

    def log(self, name: str, value: object, description: str = "", step: int | None = None) -> None:
        """Keep a value of the metric `name`.

        Raises:
            UserErrorException: the value cannot be kept.
        """
        del description
        self._append(name, _plain(value), "scalar", step)

    def log_list(self, name: str, value: list[Any], description: str = "") -> None:
        """Keep a list of values as the metric `name`; errors as in `log`."""
        del description
        self._append(name, [_plain(item) for item in value], "list")

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Keep a row of named values of the metric `name`; errors as in `log`."""
        del description
        self._append(name, {key: _plain(item) for key, item in kwargs.items()}, "row")

    def log_table(self, name: str, value: dict[str, list[Any]], description: str = "") -> None:
        """Keep a table, columns by name, as the metric `name`; errors as in `log`."""
        del description
        self._append(name, {key: [_plain(item) for item in column] for key, column in value.items()}, "table")

    @as_api_errors()
    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """Return the metrics by name: the value that was kept, or a list where there were several."""
        found: dict[str, list[Any]] = {}
        for metric in metrics.read_metrics(self._directory):
            if name in {None, metric.name}:
                found.setdefault(metric.name, []).append(metric.value)
        return {key: values[0] if len(values) == 1 else values for key, values in found.items()}

    @as_api_errors()
    def tag(self, key: str, value: str | None = None) -> None:
        """Set a tag of the run."""
        metrics.append_tag(self._directory, key, "" if value is None else str(value))

    @as_api_errors()
    def get_tags(self) -> dict[str, str]:
        """Return the run's tags."""
        return {**record.read_record(self._directory).tags, **metrics.read_tags(self._directory)}

    @property
    def input_datasets(self) -> dict[str, Any]:
        """In the script: the run's inputs by name; the path of what is mounted or downloaded, else the dataset."""
        return _input_datasets(self._experiment.workspace)

    def _append(self, name: str, value: object, kind: str, step: int | None = None) -> None:
        with as_api_errors():
            metrics.append_metric(self._directory, name, value, step=_plain(step), kind=kind)

    def __repr__(self) -> str:
        return f"Run(Experiment: {self._experiment.name},\nId: {self._id},\nStatus: {self.status})"

    __str__ = __repr__


class OfflineRun(PartlyAbsent):
    """What a script gets that no run has started: metrics are printed, the workspace is the one around the script."""

    def __init__(self) -> None:
        self.id = f"OfflineRun_{uuid.uuid4()}"
        self.status = "Running"
        self._metrics: dict[str, list[Any]] = {}

    @property
    def experiment(self) -> Experiment:
        """An experiment in the workspace that is found from the current directory.

        Raises:
            UserErrorException: there is no workspace.
        """
        return Experiment(Workspace.from_config(), "offline")

    @property
    def input_datasets(self) -> dict[str, Any]:
        """As in a run, where `mountd run` started the script; else empty."""
        return _input_datasets(None)

    def get_status(self) -> str:
        """Return `status`."""
        return self.status

    def get_portal_url(self) -> str:
        """Return an empty text: there is nothing to look at."""
        return ""

    def log(self, name: str, value: object, description: str = "", step: int | None = None) -> None:
        """Print a value of the metric `name`."""
        del description, step
        self._say("scalar", name, value)

    def log_list(self, name: str, value: list[Any], description: str = "") -> None:
        """Print a list of values."""
        del description
        self._say("list", name, value)

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Print a row of named values."""
        del description
        self._say("row", name, kwargs)

    def log_table(self, name: str, value: dict[str, list[Any]], description: str = "") -> None:
        """Print a table."""
        del description
        self._say("table", name, value)

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """Return what was logged, as a run does."""
        return {
            key: values[0] if len(values) == 1 else values
            for key, values in self._metrics.items()
            if name in {None, key}
        }

    def tag(self, key: str, value: str | None = None) -> None:
        """Do nothing: there is no run to tag."""

    def get_tags(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def _say(self, kind: str, name: str, value: object) -> None:
        self._metrics.setdefault(name, []).append(_plain(value))
        Stream(show=True).say(f"Attempted to log {kind} metric {name}:\n{value}")


def _plain(value: Any) -> Any:
    """Return a number of numpy's or torch's as Python's own."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", 0) == 0 else value


def _input_datasets(workspace: Workspace | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in filter(None, os.environ.get(INPUT_LIST, "").split(",")):
        name, _, mode = entry.partition(":")
        value = os.environ.get(INPUT_PREFIX + name, "")
        if mode == "direct" and workspace is not None:
            found[name] = Dataset.get_by_id(workspace, value)
        else:
            found[name] = value
    return found


__getattr__ = absent(__name__)
