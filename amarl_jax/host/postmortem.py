"""What is kept of an update that diverged: its metrics and the learner it left, where no resume looks for them."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.learn.game import Game
from amarl_jax.learn.phases import learned_metric_names
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import phase_names

_NAMED = 4  # terms in the message; the file has them all
_FINITE = "finite/"  # leads the flag of each network


def not_finite(row: Mapping[str, float], game: Game) -> tuple[list[str], list[str]]:
    """Terms that are not finite, ``phase/owner/term``, and networks whose parameters or optimiser state are not.

    Terms come in the order in which an update computes them, so the first is nearest to the cause: phase by phase,
    what the rollout was before what was learned from it.
    """
    phases, learned = phase_names(game), learned_metric_names()

    def computed(name: str) -> tuple[int, bool]:
        phase, _, term = name.partition("/")
        return (phases.index(phase) if phase in phases else len(phases), term in learned)

    networks = [name.removeprefix(_FINITE) for name, ok in row.items() if name.startswith(_FINITE) and ok != 1.0]
    terms = [name for name, x in row.items() if not name.startswith(_FINITE) and not math.isfinite(x)]
    return sorted(terms, key=computed), networks


def message(update: int, terms: list[str], networks: list[str]) -> str:
    """One line: which update, which terms of whom, which networks."""
    parts = []
    if terms:
        more = f" and {len(terms) - _NAMED} more" if len(terms) > _NAMED else ""
        parts.append(f"{', '.join(terms[:_NAMED])}{more} not finite")
    if networks:
        parts.append(f"parameters of {', '.join(networks)} not finite")
    return f"update {update}: {'; '.join(parts)}"


def save(folder: Path, update: int, row: Mapping[str, float], state: TrainState) -> None:
    """Write ``metrics.json`` of the update and ``state``, the learner at the end of its chunk, in place of older ones.

    The state is an Orbax checkpoint: ``Checkpointer(folder / "state").restore(like)``.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    values = {name: x if math.isfinite(x) else repr(x) for name, x in row.items()}
    (folder / "metrics.json").write_text(json.dumps({"update": update, **values}, indent=1, allow_nan=False) + "\n")
    with Checkpointer(folder / "state") as checkpoints:
        checkpoints.save(int(state.update), state)
