"""config.yaml: an administrator's and a user's defaults for mounts.

```yaml
defaults:          # any mount option, see docs/CONFIGURATION.md
  memory: 512MiB
  attr_ttl: 5m
```
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mountd.config.strict_yaml import convert, load_yaml, read_text

SYSTEM_FILE = Path("/etc/mountd/config.yaml")


class Defaults(dict[str, object]):
    """Mount options by key, as files say them; each knows which file that was."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, Path] = {}

    def take(self, said: Mapping[str, object], file: Path) -> None:
        """Take over what `file` says."""
        self.update(said)
        self._files |= dict.fromkeys(said, file)

    def origin(self, key: str) -> str:
        """Say where the value of `key` comes from."""
        return f"{self._files[key]}: {key}"


class _ConfigFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    defaults: dict[str, str | int | float | bool | None] = {}


def read_config(environ: Mapping[str, str], system_file: Path = SYSTEM_FILE) -> Defaults:
    """Return the mount options of `/etc/mountd/config.yaml`, overridden one by one by the user's file.

    The user's is `$XDG_CONFIG_HOME/mountd/config.yaml`, or `~/.config/mountd/config.yaml`. Files that do not exist say
    nothing.

    Raises:
        UsageError: a file is malformed.
        DeniedError: a file may not be read.
    """
    files = [system_file]
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    if home.startswith("/"):
        files.append(Path(home) / "mountd" / "config.yaml")
    options = Defaults()
    for file in files:
        if file.exists():
            value = load_yaml(read_text(file), str(file))
            options.take(convert({} if value is None else value, _ConfigFile, str(file)).defaults, file)
    return options
