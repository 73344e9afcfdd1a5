"""Ownership of a workdir: ``run.json`` says which command made it, and a lock on it which process works in it now."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amarl_jax.errors import BadInput
from amarl_jax.host import untrusted

try:
    import fcntl
except ImportError:  # no such locks on this system: no process is kept out
    fcntl = None  # type: ignore[assignment]

RUN_FILE = "run.json"
COMMANDS = ("train", "sweep")
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Lock the workdir ``path`` against every other process; the system releases the lock if this one dies.

    Raises :class:`BadInput` where another one is at work there, ``OSError`` where the folder cannot be written.
    """
    held = _lock(path / RUN_FILE)
    try:
        yield
    finally:
        os.close(held)


def write_maker(path: Path, about: Mapping[str, Any]) -> None:
    """Write ``run.json`` of a claimed workdir: ``command``, and anything else about how it began."""
    (path / RUN_FILE).write_text(json.dumps(dict(about), indent=1) + "\n", encoding="utf-8")


def read_maker(path: Path) -> dict[str, Any]:
    """The content of ``run.json``; raises :class:`BadInput` where there is none, or another program made it."""
    file = path / RUN_FILE
    if not file.exists() and not file.is_symlink():
        raise BadInput(f"{path}: has no {RUN_FILE}, so no run of this version made it")
    about = untrusted.parse_json(untrusted.read_text(file), file)
    if not isinstance(about, dict) or about.get("command") not in COMMANDS:
        raise BadInput(f"{file}: does not say whether train or sweep made the folder")
    return about


def require_maker(path: Path, command: str) -> dict[str, Any]:
    """The content of ``run.json``; raises :class:`BadInput` unless ``command`` made the workdir."""
    about = read_maker(path)
    if about["command"] != command:
        made = about["command"]
        raise BadInput(f"{path}: was made by {made}; continue it with python -m amarl_jax.{made} --resume")
    return about


def _lock(file: Path) -> int:
    """A file descriptor that holds the lock."""
    untrusted.refuse_links(file)
    while True:
        held = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.exists() and os.path.samestat(os.fstat(held), file.stat()):
                return held  # else the file was removed in the meantime
        except BlockingIOError:
            os.close(held)
            raise BadInput(
                f"{file.parent}: another process is at work in it; wait for it, or choose another --workdir"
            ) from None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return held
            os.close(held)
            raise
        os.close(held)
