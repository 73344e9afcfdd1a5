"""Reading of untrusted workdirs: size limits, no links, and a one-line error for whatever is wrong.

Nothing in a workdir is executed or unpickled: it holds JSON, and arrays that Orbax keeps as bytes with a JSON index.
Damage to arrays is found by the hash in the checkpoint's record (:mod:`amarl_jax.host.checkpoint_record`).
"""

import json
import os
from pathlib import Path
from typing import Any

from amarl_jax.errors import BadInput

MAX_JSON_BYTES = 8 << 20  # a configuration has 4 kB, lanes a few hundred bytes each
MAX_FILES = 100_000  # of the checkpoints of a run


def read_text(path: Path) -> str:
    """The text of a regular file of at most ``MAX_JSON_BYTES`` that is no link; raises :class:`BadInput`."""
    if path.is_symlink() or not path.is_file():
        raise BadInput(f"{path}: is not a regular file")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BadInput(f"{path}: is larger than {MAX_JSON_BYTES} bytes, which no run writes")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not text") from None


def parse_json(text: str, path: Path) -> Any:
    """The content of a JSON text; raises :class:`BadInput`, also where it is nested too deeply for Python."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput(f"{path}: is not JSON") from None


def refuse_links(path: Path) -> None:
    """Raise :class:`BadInput` where ``path`` is, or contains, a link or what is neither file nor folder."""
    _refuse_link(path)
    entries = 0
    for parent, folders, files in os.walk(path):
        entries += len(folders) + len(files)
        if entries > MAX_FILES:
            raise BadInput(f"{path}: holds more than {MAX_FILES} files, which no run writes")
        for name in (*folders, *files):
            _refuse_link(Path(parent, name))


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise BadInput(f"{path}: is a symbolic link, which is not followed")
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise BadInput(f"{path}: is not a regular file")
