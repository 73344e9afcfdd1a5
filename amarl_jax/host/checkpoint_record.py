"""The record of a checkpoint: its update, a hash of its arrays, and what it was trained with.

Orbax keeps it as custom metadata in the checkpoint's ``_CHECKPOINT_METADATA``, written and renamed with the arrays. Its
hashes find damage and mixed-up files; whoever can edit a file can edit its hash, so they do not prove who made it.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from amarl_jax.errors import BadInput
from amarl_jax.host import untrusted
from amarl_jax.types import PyTree

KEY = "amarl_jax"  # in Orbax's custom metadata
_FILE = "_CHECKPOINT_METADATA"
MAX_BYTES = 64 << 20  # of a file that Orbax reads whole; those of a run have some ten kB


@dataclasses.dataclass(frozen=True)
class Training:
    """Settings that a checkpoint of a run was trained with, and the learning curves beside it."""

    configuration: str  # fingerprint of the configuration, then + and the hash of the file that its noise law reads
    lanes: str  # hash of a sweep's lanes.json; empty for a run
    rows: int  # of metrics.jsonl up to this update
    rows_hash: str  # of the bytes of those rows


@dataclasses.dataclass(frozen=True)
class Record:
    """Description of a checkpoint, in a few hundred bytes."""

    step: int
    arrays: str  # hash of all arrays
    metrics: dict[str, float]  # by which the best is chosen
    training: Training | None  # of a checkpoint of a run

    def as_metadata(self) -> dict[str, Any]:
        """The record as strict JSON for Orbax."""
        return {KEY: dataclasses.asdict(self)}


def read(folder: Path, step: int) -> Record:
    """The record of a checkpoint's folder; raises :class:`BadInput` where it has none, or is another step's."""
    file = folder / _FILE
    if not file.exists() and not file.is_symlink():
        raise BadInput(f"{folder}: has no {_FILE}")
    document = untrusted.parse_json(untrusted.read_text(file), file)
    try:
        found = document["custom_metadata"][KEY]
        training = None if found["training"] is None else Training(**found["training"])
        record = Record(found["step"], found["arrays"], dict(found["metrics"]), training)
        sound = all(isinstance(x, int | float) and not math.isnan(x) for x in record.metrics.values())
    except (TypeError, KeyError, ValueError):
        raise BadInput(f"{file}: does not say what the checkpoint holds") from None
    if not sound or record.step != step:
        raise BadInput(f"{file}: is of checkpoint {str(record.step)[:20]}, not of {step}")
    return record


def hash_of(state: PyTree) -> str:
    """SHA-256 of the names, types, shapes and bytes of a tree's arrays, in order; keys as plain data."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        array = np.ascontiguousarray(np.asarray(leaf))
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        digest.update(f"{name} {array.dtype.name}{list(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def refuse_oversized(folder: Path) -> None:
    """Raise :class:`BadInput` for a file of a checkpoint that is read whole and is larger than ``MAX_BYTES``.

    The arrays themselves, in folders called ``d``, are read in pieces of a known size.
    """
    for path in folder.rglob("*"):
        if path.parent.name != "d" and path.is_file() and path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path}: is larger than {MAX_BYTES} bytes, which no checkpoint writes")


def require_training(record: Record, expected: Mapping[str, Any], where: str) -> None:
    """Raise :class:`BadInput` where a checkpoint was trained with something other than ``expected``.

    ``expected`` gives some of the fields of :class:`Training`.
    """
    if record.training is None:
        raise BadInput(f"{where}: does not say what it was trained with")
    differs = [name for name, value in expected.items() if getattr(record.training, name) != value]
    what = {
        "configuration": "config.json is not the configuration that it was trained with",
        "lanes": "lanes.json is not that of the sweep",
        "rows": f"metrics.jsonl does not hold the {record.training.rows} rows up to it",
        "rows_hash": f"the first {record.training.rows} rows of metrics.jsonl are not those written up to it",
    }
    if differs == ["configuration"] and _of_settings(expected) == record.training.configuration.partition("+")[0]:
        raise BadInput(f"{where}: the file that environment.flow names is not the one that it was trained with")
    if differs:
        raise BadInput(f"{where}: {what[differs[0]]}")


def _of_settings(expected: Mapping[str, Any]) -> str:
    """The fingerprint of the settings alone."""
    return str(expected["configuration"]).partition("+")[0]
