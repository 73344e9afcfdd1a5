"""Record of an update that diverged: its metrics and the learner it left, in a folder that no resume reads."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amarl_jax.host.checkpoint import Checkpointer

_NAMED = 4  # terms in the message; the file has them all


def message(update: int, terms: list[str], networks: list[str]) -> str:
    """One line that names the update, the terms and the networks that are not finite."""
    parts = []
    if terms:
        more = f" and {len(terms) - _NAMED} more" if len(terms) > _NAMED else ""
        parts.append(f"{', '.join(terms[:_NAMED])}{more} not finite")
    if networks:
        parts.append(f"parameters of {', '.join(networks)} not finite")
    return f"update {update}: {'; '.join(parts)}"


def save(folder: Path, update: int, row: Mapping[str, float], state: Any) -> None:
    """Write ``metrics.json`` of the update and ``state``, the learner at the end of its chunk, in place of older ones.

    The state is an Orbax checkpoint: ``Checkpointer(folder / "state").restore(like)``.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    values = {name: x if math.isfinite(x) else repr(x) for name, x in row.items()}
    (folder / "metrics.json").write_text(json.dumps({"update": update, **values}, indent=1, allow_nan=False) + "\n")
    with Checkpointer(folder / "state") as checkpoints:
        checkpoints.save(int(state.update), state)
