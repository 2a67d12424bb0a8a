"""Every message that command line, supervisor and worker exchange, declared once.

A client sends one `Request` per connection and gets one `Reply`. A supervisor sends its worker `Order`s and gets
`News`. Values of higher layers (the mount's specification, its statistics) travel as they are encoded there: this
module knows none of them.
"""

from typing import Any, Literal

import msgspec

from mountd import errors

PROTOCOL = 2
"""Grows with every change that an older program would misunderstand."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of all messages."""


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """Opens each direction of every conversation."""

    protocol: int = PROTOCOL
    pid: int
    """Whom an error message can name."""


State = Literal["starting", "ready", "restarting", "failed", "stopping", "detached", "not answering"]
"""What a mount does right now.

starting: set-up runs. ready: it serves. restarting: its worker died and a new one is on its way. failed: workers died
too often; it waits for `unmount`. stopping: it ends. detached: unmounted lazily, still serving what is open.
not answering: worker or supervisor did not answer in time.
"""


class MountRecord(Message, frozen=True, kw_only=True, tag="mount_record"):
    """What a supervisor says about one mount."""

    name: str
    mountpoint: str
    source: str
    """What was mounted, secrets redacted."""
    mode: str
    state: State
    since: float
    """When the mount was asked for: seconds since 1970 UTC."""
    supervisor_pid: int
    worker_pid: int | None = None
    private: bool = True
    """Its supervisor ends with it."""
    restarts: int = 0
    """How often a worker died and was replaced, or could not be."""
    last_error: str | None = None
    """Why the latest worker died or could not start."""
    log: str | None = None
    """The file that supervisor and worker write their log to; None: their standard error."""
    details: dict[str, str] = {}
    """What the mount says about itself, line by line."""
    statistics: dict[str, Any] | None = None
    """`observe.statistics.MountStatistics` as plain values; None: not asked for, or the worker did not answer."""


# Requests: client to supervisor.


class Mount(Message, frozen=True, kw_only=True, tag="mount"):
    """Mount, and answer when a stat through the mount has answered."""

    spec: msgspec.Raw
    """`modes.mount_spec.MountSpec`, encoded by `wire.codec.pack`."""
    owner_pid: int | None = None
    """The mount ends with this process of this node; None: it stays until it is unmounted."""


class Unmount(Message, frozen=True, kw_only=True, tag="unmount"):
    """End the mount at a mount point."""

    mountpoint: str
    lazy: bool = False
    """Detach at once; what is open is served to its end."""


class ListMounts(Message, frozen=True, kw_only=True, tag="list"):
    """Say which mounts there are, without asking their workers."""


class Status(Message, frozen=True, kw_only=True, tag="status"):
    """Say how mounts are doing, statistics included."""

    mountpoint: str | None = None
    """None: all of them."""


class Prefetch(Message, frozen=True, kw_only=True, tag="prefetch"):
    """Begin to bring to disk what is below a mount point; statistics say how far it is."""

    mountpoint: str
    patterns: list[str] = []
    """Of paths below the mount point; none: everything."""
    pin: bool = False
    """Keep it until the cache is cleared."""
    ticket: str = ""
    """What the statistics name it by."""


class Shutdown(Message, frozen=True, kw_only=True, tag="shutdown"):
    """Unmount everything and end."""


Request = Mount | Unmount | ListMounts | Status | Prefetch | Shutdown


# Replies: supervisor to client.


class Mounted(Message, frozen=True, kw_only=True, tag="mounted"):
    """The mount is ready."""

    record: MountRecord


class Mounts(Message, frozen=True, kw_only=True, tag="mounts"):
    """What `ListMounts` and `Status` asked for."""

    records: list[MountRecord]


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """What was asked for is done."""

    note: str = ""
    """What there is to be said of it: of an unmount, that it is still served."""


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    """What was asked for did not work; crosses the wire as the error's class, exit code and one line."""

    error: str
    exit_code: int
    message: str

    @classmethod
    def from_error(cls, error: errors.MountdError) -> "Failed":
        """Return `error` in the form that travels."""
        return cls(error=type(error).__name__, exit_code=error.exit_code, message=error.message)

    def to_error(self) -> errors.MountdError:
        """Return the error as its own class, or as the nearest one of its exit code if that class is not known here."""
        known = getattr(errors, self.error, None)
        if isinstance(known, type) and issubclass(known, errors.MountdError) and known.exit_code == self.exit_code:
            return known(self.message)
        return _BY_EXIT_CODE.get(self.exit_code, errors.MountdError)(self.message)


_BY_EXIT_CODE: dict[int, type[errors.MountdError]] = {
    2: errors.UsageError,
    3: errors.NotFoundError,
    4: errors.DeniedError,
    5: errors.SetupError,
    6: errors.BusyError,
    7: errors.UnsafeError,
}

Reply = Mounted | Mounts | Done | Failed


# Orders: supervisor to worker.


class Serve(Message, frozen=True, kw_only=True, tag="serve"):
    """Mount and serve; the first and only order of its kind."""

    spec: msgspec.Raw


class AskReport(Message, frozen=True, kw_only=True, tag="ask_report"):
    """Answer with a `Report` of the same serial number."""

    serial: int


class Bring(Message, frozen=True, kw_only=True, tag="bring"):
    """Begin to bring to disk what `Prefetch` asked for."""

    patterns: list[str] = []
    pin: bool = False
    ticket: str = ""


class Stop(Message, frozen=True, kw_only=True, tag="stop"):
    """Unmount and end."""


Order = Serve | AskReport | Bring | Stop


# News: worker to supervisor.


class Step(Message, frozen=True, kw_only=True, tag="step"):
    """A step of the set-up begins; named when the set-up fails or takes too long."""

    name: str


class Ready(Message, frozen=True, kw_only=True, tag="ready"):
    """A stat through the mount has answered."""


class Report(Message, frozen=True, kw_only=True, tag="report"):
    """How the mount is doing."""

    serial: int
    details: dict[str, str]
    statistics: dict[str, Any]
    is_over: bool = False
    """The kernel has nothing of the mount any more: the worker is about to end."""


class Ended(Message, frozen=True, kw_only=True, tag="ended"):
    """The mount is over and the worker exits."""

    reason: str


News = Step | Ready | Report | Ended | Failed
