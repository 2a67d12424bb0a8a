"""Where the supervisors of one user register, so that `list`, `status` and `unmount` find every one of them.

Root's is `/run/mountd`, a user's `$XDG_RUNTIME_DIR/mountd`, otherwise a directory under the temp dir;
`$MOUNTD_RUNTIME_DIR` wins over all. A directory counts only if it belongs to this user and nobody else can write to it
(or, below the shared temp dir, even look into it): whoever could would be handed credentials.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mountd.errors import DeniedError, SetupError

_WRITABLE_BY_OTHERS = 0o022
_OPEN_TO_OTHERS = 0o077


def runtime_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Return the directory in which a supervisor started here registers, made if it is missing.

    Raises:
        DeniedError: it belongs to somebody else or others can write to it.
        SetupError: it cannot be made.
    """
    environ = os.environ if environ is None else environ
    if chosen := environ.get("MOUNTD_RUNTIME_DIR"):
        return _made(Path(chosen).absolute(), _WRITABLE_BY_OTHERS)
    for parent in _usual_parents(environ):
        if os.access(parent, os.W_OK | os.X_OK):
            return _made(parent / "mountd", _WRITABLE_BY_OTHERS)
    return _made(_fallback(), _OPEN_TO_OTHERS)


def known_directories(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return the existing directories in which supervisors of this user may have registered.

    More than one, because a session with and one without `$XDG_RUNTIME_DIR` must see each other's mounts.
    """
    environ = os.environ if environ is None else environ
    if chosen := environ.get("MOUNTD_RUNTIME_DIR"):
        candidates = [(Path(chosen).absolute(), _WRITABLE_BY_OTHERS)]
    else:
        candidates = [(parent / "mountd", _WRITABLE_BY_OTHERS) for parent in _usual_parents(environ)]
        candidates.append((_fallback(), _OPEN_TO_OTHERS))
    return [path for path, forbidden in candidates if _refusal(path, forbidden) is None]


def _usual_parents(environ: Mapping[str, str]) -> list[Path]:
    if os.geteuid() == 0:
        return [Path("/run")]
    # /run/user/UID is what $XDG_RUNTIME_DIR says in a login session; a cron job has the directory but not the variable.
    named = [Path(environ["XDG_RUNTIME_DIR"])] if environ.get("XDG_RUNTIME_DIR") else []
    parents = [*named, Path(f"/run/user/{os.geteuid()}")]
    # `su` leaves the variable of somebody else behind.
    return [path for path in dict.fromkeys(parents) if _refusal(path, _WRITABLE_BY_OTHERS) is None]


def _fallback() -> Path:
    return Path(tempfile.gettempdir()) / f"mountd-{os.geteuid()}"


def _made(path: Path, forbidden_mode: int) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        pass  # not a directory: refused below
    except OSError as error:
        raise SetupError(
            f"cannot make the runtime directory {path}: {error.strerror}; "
            "set MOUNTD_RUNTIME_DIR to a directory you can write to"
        ) from None
    if refusal := _refusal(path, forbidden_mode):
        raise DeniedError(f"the runtime directory {path} {refusal}; remove it or set MOUNTD_RUNTIME_DIR")
    return path


def _refusal(path: Path, forbidden_mode: int) -> str | None:
    """Say what is wrong with `path`, or None."""
    try:
        status = path.lstat()
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}"
    if status.st_mode & forbidden_mode:
        return f"is open to others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None
