"""Checks before a run is resumed or measured: checkpoint, curves and configuration belong to one run."""

import hashlib
import math
from pathlib import Path

from amarl_jax.config.grid import LANES_FILE
from amarl_jax.errors import BadInput
from amarl_jax.host import checkpoint_record, untrusted
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.runlog import curves_up_to, read_metrics
from amarl_jax.host.workdir import METRICS_FILE, Run

OBJECTIVE = "objective"  # the metric that the best checkpoint of a run is kept by; larger is better


def hash_of_lanes(path: Path) -> str:
    """Hash of the content of a sweep's ``lanes.json``; empty where the workdir ``path`` has none."""
    file = path / LANES_FILE
    return hashlib.sha256(untrusted.read_text(file).encode()).hexdigest() if file.is_file() else ""


def require_checkpoint_of(
    checkpoints: Checkpointer, step: int, path: Path, fingerprint: str, n_lanes: int = 0, needs_curves: bool = True
) -> None:
    """Raise :class:`BadInput` unless checkpoint ``step`` belongs to the configuration, lanes and curves in ``path``.

    Args:
        checkpoints: of the workdir.
        step: its update.
        path: the workdir.
        fingerprint: of its configuration.
        n_lanes: of a sweep; 0 for a run.
        needs_curves: refuse a workdir without ``metrics.jsonl``.
    """
    record, where = checkpoints.record(step), f"checkpoint {step} in {path / 'checkpoints'}"
    expected = {"configuration": fingerprint, "lanes": hash_of_lanes(path) if n_lanes else ""}
    checkpoint_record.require_training(record, expected, where)
    if needs_curves or (path / METRICS_FILE).exists():
        untrusted.refuse_links(path / METRICS_FILE)
        curves = curves_up_to(path / METRICS_FILE, step, n_lanes)
        checkpoint_record.require_training(record, {"rows": curves.rows, "rows_hash": curves.digest}, where)


def require_nothing_lost(run: Run, n_lanes: int = 0) -> None:
    """Raise :class:`BadInput` where a resumed run has no checkpoint but curves from after its first one."""
    file = run.path / METRICS_FILE
    if run.from_weights:
        raise BadInput(f"{run.path}: began with another run's networks and holds no checkpoint: delete it, start again")
    settings, total = run.experiment.run, run.experiment.n_updates
    interval = (
        settings.checkpoint_interval if n_lanes else math.lcm(settings.log_interval, settings.checkpoint_interval)
    )
    first = min(interval, total)
    rows = read_metrics(file) if file.exists() else []
    if any((row["update"] or 0) > first for row in rows):
        where = f"{run.checkpoints}: holds no checkpoint"
        raise BadInput(f"{where}, but {file} goes beyond update {first}, after which one is saved")


def saved_at(done: int, total: int, run: Run) -> str:
    """The message of a run that was stopped between updates."""
    return f"stopped and saved at update {done} of {total}; continue with --resume --workdir={run.path}"
