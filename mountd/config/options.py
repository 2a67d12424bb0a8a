"""Every option of a mount, declared once, and how their sources are weighed.

flag or `-o` > `MOUNTD_<FLAG>` > Azure ML's `DATASET_*` > config.yaml > the datastore's own > default. The first that is
set counts and must be valid; an empty variable counts as unset. Errors say where the value came from.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mountd.config.config_file import Defaults
from mountd.config.memory_limit import default_memory
from mountd.config.mount_options import MountOptions
from mountd.config.option_values import (
    parse_boolean,
    parse_cache_size,
    parse_dataset_memory,
    parse_deadline,
    parse_directory,
    parse_fuse_engine,
    parse_memory,
    parse_milliseconds,
    parse_mode,
    parse_owner,
    parse_permissions,
    parse_share,
    parse_ttl,
)
from mountd.errors import UsageError
from mountd.units import GIB, parse_size

Parse = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option under all its names."""

    key: str
    """As in `-o` and config.yaml; with `-` for `_` it is the flag."""
    field: str
    """Of `MountOptions`."""
    parse: Parse
    """From text; ValueError says what is wrong with it."""
    default: Callable[[Mapping[str, str]], object]
    """The value when nothing is set, from the environment."""
    default_text: str
    unit: str
    doc: str
    dataset_variable: str | None = None
    """Azure ML's documented variable that means the same."""
    parse_dataset: Parse | None = None
    """From that variable's text, where it has another unit."""
    boolean: bool = False
    has_flag: bool = False
    """`mountd mount` has a flag of its own for it, beside `-o`."""

    @property
    def flag(self) -> str:
        """As on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable of ours."""
        return "MOUNTD_" + self.key.upper()


def _default_cache_dir(environ: Mapping[str, str]) -> str:
    if os.geteuid() == 0:
        return "/var/cache/mountd"
    base = environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):  # a relative one is to be ignored, says the XDG specification
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache")
    return os.path.join(base, "mountd")


OPTIONS: tuple[Option, ...] = (
    Option(
        key="mode",
        field="mode",
        parse=parse_mode,
        default=lambda _: "auto",
        default_text="`auto`",
        unit="`auto`, `stream`, `download`",
        doc="How data reaches the reader. `stream` keeps it in memory only; `auto` also on disk, all of it if it is a "
        "dataset that fits; `download` returns when everything is on disk.",
        has_flag=True,
    ),
    Option(
        key="memory",
        field="memory_bytes",
        parse=parse_memory,
        default=lambda _: default_memory(),
        default_text="25 % of RAM or of the control group's limit, within 256MiB and 2GiB",
        unit="size",
        doc="Ceiling of the mount's block cache and read-ahead; at least 16MiB.",
        dataset_variable="DATASET_MOUNT_MEMORY_CACHE_SIZE",
        parse_dataset=parse_dataset_memory,
        has_flag=True,
    ),
    Option(
        key="cache_dir",
        field="cache_dir",
        parse=parse_directory,
        default=_default_cache_dir,
        default_text="`/var/cache/mountd` for root, else `$XDG_CACHE_HOME/mountd`",
        unit="directory",
        doc="Where the disk cache of this node lives; mode 0700.",
        has_flag=True,
    ),
    Option(
        key="cache_size",
        field="cache_size",
        parse=parse_cache_size,
        default=lambda _: "80%",
        default_text="`80%`",
        unit="size, -size or %",
        doc="Ceiling of the disk cache: `10GB` in all, `-20GB` leaves so much free, `80%` of what is free while it "
        "is empty. Of all mounts that share the directory, the smallest counts.",
        dataset_variable="DATASET_MOUNT_CACHE_SIZE",
        has_flag=True,
    ),
    Option(
        key="cache_reserve",
        field="cache_reserve_bytes",
        parse=parse_size,
        default=lambda _: 1 * GIB,
        default_text="`1GiB`",
        unit="size",
        doc="Bytes of the disk that the cache never uses; when others use them, the cache makes room.",
        dataset_variable="DATASET_RESERVED_FREE_DISK_SPACE",
    ),
    Option(
        key="cache_prune_threshold",
        field="cache_prune_threshold",
        parse=parse_share,
        default=lambda _: 1.0,
        default_text="`1.0`",
        unit="0 to 1",
        doc="Part of `cache_size` from which on the least recently used is removed.",
        dataset_variable="DATASET_MOUNT_FILE_CACHE_PRUNE_THRESHOLD",
    ),
    Option(
        key="cache_prune_target",
        field="cache_prune_target",
        parse=parse_share,
        default=lambda _: 0.95,
        default_text="`0.95`",
        unit="0 to 1",
        doc="Part of `cache_size` that stays in use then.",
        dataset_variable="DATASET_MOUNT_FILE_CACHE_PRUNE_TARGET",
    ),
    Option(
        key="attr_ttl",
        field="attr_ttl_s",
        parse=parse_ttl,
        default=lambda _: 30.0,
        default_text="the datastore's `blob_cache_timeout`, else `30s`",
        unit="duration in s, or `never`",
        doc="How long attributes, names and listings may be used without asking storage; 0 asks each time.",
        dataset_variable="DATASET_MOUNT_ATTRIBUTE_CACHE_TTL",
        parse_dataset=parse_milliseconds,
    ),
    Option(
        key="uid",
        field="uid",
        parse=parse_owner,
        default=lambda _: os.getuid(),
        default_text="the mounting user",
        unit="number",
        doc="Owner of everything in the mount.",
    ),
    Option(
        key="gid",
        field="gid",
        parse=parse_owner,
        default=lambda _: os.getgid(),
        default_text="the mounting user's group",
        unit="number",
        doc="Group of everything in the mount.",
    ),
    Option(
        key="file_mode",
        field="file_mode",
        parse=parse_permissions,
        default=lambda _: 0o644,
        default_text="`0644`",
        unit="octal",
        doc="Permissions of files.",
    ),
    Option(
        key="dir_mode",
        field="dir_mode",
        parse=parse_permissions,
        default=lambda _: 0o755,
        default_text="`0755`",
        unit="octal",
        doc="Permissions of directories.",
    ),
    Option(
        key="allow_other",
        field="allow_other",
        parse=parse_boolean,
        default=lambda _: False,
        default_text="`false`",
        unit="`true`, `false`",
        doc="Lets other users in; without root this needs `user_allow_other` in `/etc/fuse.conf`.",
        boolean=True,
        has_flag=True,
    ),
    Option(
        key="request_deadline",
        field="request_deadline_s",
        parse=parse_deadline,
        default=lambda _: 60.0,
        default_text="`60s`",
        unit="duration in s",
        doc="A request without progress for this long ends in EIO.",
    ),
    Option(
        key="fuse_engine",
        field="fuse_engine",
        parse=parse_fuse_engine,
        default=lambda _: "direct",
        default_text="`direct`",
        unit="`direct`, `libfuse`",
        doc="Who answers the kernel's requests. `libfuse` is slower: for kernels on which `direct` will not do.",
    ),
    Option(
        key="passthrough",
        field="passthrough",
        parse=parse_boolean,
        default=lambda _: False,
        default_text="`false`",
        unit="`true`, `false`",
        doc="Lets the kernel read large files itself that lie whole and checked in the disk cache, at the speed of its "
        "file system. Linux 6.9, root; what is given up for it: [SEMANTICS](SEMANTICS.md#passthrough).",
        boolean=True,
    ),
)

_BY_KEY = {option.key: option for option in OPTIONS}


def settle(
    flags: Mapping[str, str | None],
    o_options: Sequence[str],
    environ: Mapping[str, str],
    config: Mapping[str, object],
    *,
    datastore_ttl_s: float | None = None,
) -> MountOptions:
    """Return the options that hold for one mount.

    Args:
        flags: values of the command line's flags by key, None where a flag was not given; a boolean one is "true".
        o_options: the values of all `-o`, each a comma-separated list.
        environ: the environment.
        config: what config.yaml says about mounts, see `config.config_file`.
        datastore_ttl_s: the datastore's own attribute TTL in seconds (`Location.attr_ttl_s`).

    Raises:
        UsageError: an option is unknown, or the value that counts is bad.
    """
    given = _flags_and_o(flags, parse_o_options(o_options))
    for key in config:
        if _normal(key) not in _BY_KEY:
            raise UsageError(f"{_said_by(config, key)}: is no mount option; there are {', '.join(_BY_KEY)}")
    settings = {_normal(key): (_said_by(config, key), value) for key, value in config.items()}
    values: dict[str, object] = {}
    for option in OPTIONS:
        found = _find(option, given, environ, settings)
        if found is not None:
            values[option.field] = _parsed(*found)
        elif option.field == "attr_ttl_s" and datastore_ttl_s is not None:
            values[option.field] = datastore_ttl_s
        else:
            values[option.field] = option.default(environ)
    return MountOptions(**values)  # type: ignore[arg-type] # each parser yields its field's type; tests check it


def parse_o_options(o_options: Sequence[str]) -> dict[str, str]:
    """Return the `key=value` pairs of all `-o` lists, keys with `_`; the last of a key counts, no value is "true"."""
    pairs = {}
    for item in (part.strip() for text in o_options for part in text.split(",")):
        if not item:
            continue
        key, separator, value = item.partition("=")
        key = _normal(key)
        if not separator and key in _BY_KEY and not _BY_KEY[key].boolean:
            raise UsageError(f"-o {item}: needs a value: -o {item}=…")
        pairs[key] = value if separator else "true"
    return pairs


def _flags_and_o(flags: Mapping[str, str | None], pairs: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return origin and text by key."""
    given: dict[str, tuple[str, str]] = {}
    for name, text in flags.items():
        if text is not None:
            key = _normal(name)
            given[key] = (f"--{key.replace('_', '-')}", text)
    for key, text in pairs.items():
        if key in {"ro", "rw"}:
            if _parsed(f"-o {key}", text, parse_boolean) is not (key == "ro"):
                raise UsageError(f"-o {key}={text}: writing through a mount is not in this version; leave it out")
            continue  # read-only is what every mount is
        if key in given and given[key][1] != text:
            raise UsageError(f"{given[key][0]} and -o {key}: say different things; give one")
        given[key] = (f"-o {key}", text)
    for key, (origin, _) in given.items():
        if key not in _BY_KEY:
            raise UsageError(f"{origin}: is no mount option; there are {', '.join(_BY_KEY)}")
    return given


def _find(
    option: Option,
    given: Mapping[str, tuple[str, str]],
    environ: Mapping[str, str],
    settings: Mapping[str, tuple[str, object]],
) -> tuple[str, str, Parse] | None:
    """Return origin, text and parser of the value that counts."""
    if option.key in given:
        return *given[option.key], option.parse
    if environ.get(option.variable):
        return option.variable, environ[option.variable], option.parse
    dataset = option.dataset_variable
    if dataset and environ.get(dataset):
        return dataset, environ[dataset], option.parse_dataset or option.parse
    origin, value = settings.get(option.key, ("", None))
    return None if value is None else (origin, _setting_text(option, origin, value), option.parse)


def _said_by(config: Mapping[str, object], key: str) -> str:
    return config.origin(key) if isinstance(config, Defaults) else f"config.yaml: {key}"


def _setting_text(option: Option, origin: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float) and option.parse is parse_permissions:
        # YAML reads 0644 as the number 420
        raise UsageError(f'{origin}: write it in quotes: "0644"')
    if isinstance(value, str | int | float):
        return str(value)
    raise UsageError(f"{origin}: must be one value, not a list or a mapping")


def _parsed(origin: str, text: str, parse: Parse) -> object:
    try:
        return parse(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{origin}: {error}") from None


def _normal(key: str) -> str:
    return key.strip().lstrip("-").replace("-", "_").lower()
