"""A script, its arguments, and how it is run."""

from typing import Any

from mountd.azureml.absent import NotPartOfMountdError, PartlyAbsent, absent
from mountd.azureml.core.environment import Environment
from mountd.azureml.core.runconfig import RunConfiguration
from mountd.azureml.errors import UserErrorException

_MAX_S = 2_592_000
"""Azure ML's default: 30 days."""


class ScriptRunConfig(PartlyAbsent):
    """What `Experiment.submit` takes."""

    def __init__(
        self,
        source_directory: str | None,
        script: str | None = None,
        arguments: list[Any] | None = None,
        run_config: RunConfiguration | None = None,
        _telemetry_values: object = None,
        compute_target: Any = None,
        environment: Environment | None = None,
        distributed_job_config: object = None,
        resume_from: object = None,
        max_run_duration_seconds: int = _MAX_S,
        command: str | list[Any] | None = None,
        docker_runtime_config: object = None,
    ) -> None:
        """Configure a run.

        Args:
            source_directory: its content is copied to be the script's working directory.
            script: the Python script in it.
            arguments: texts, numbers, datasets as inputs or outputs, data references.
            run_config: more of the configuration; what is given here besides wins.
            _telemetry_values: not used.
            compute_target: taken and left: the run is on this node.
            environment: its variables are set for the script.
            distributed_job_config: not part of mountd.
            resume_from: not part of mountd.
            max_run_duration_seconds: after which the script is ended.
            command: a command line instead of a script.
            docker_runtime_config: taken and left.

        Raises:
            UserErrorException: neither a script nor a command is given, or both are, or something that is not there.
        """
        del docker_runtime_config, _telemetry_values
        for name, value in (("distributed_job_config", distributed_job_config), ("resume_from", resume_from)):
            if value is not None:
                raise NotPartOfMountdError(name)
        config = RunConfiguration() if run_config is None else run_config
        config.script = script if script is not None else config.script
        config.command = command if command is not None else config.command
        if (config.script is None) == (config.command is None):
            raise UserErrorException("A run needs a script or a command, one of them.")
        if arguments is not None:
            config.arguments = list(arguments)
        if compute_target is not None:
            config.target = compute_target
        if environment is not None:
            config.environment = environment
        if config.max_run_duration_seconds is None and max_run_duration_seconds != _MAX_S:
            config.max_run_duration_seconds = max_run_duration_seconds
        self.source_directory = source_directory
        self.script = config.script
        self.arguments = config.arguments
        self.run_config = config


__getattr__ = absent(__name__)
