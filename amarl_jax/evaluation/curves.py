"""Learning curves of a run or a sweep as a table: ``read_curves("runs/first")``, for pandas or numpy."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax.config.grid import LANES_FILE, MAIN, PENALTY, read_rows
from amarl_jax.errors import BadInput
from amarl_jax.host import untrusted
from amarl_jax.host.runlog import read_metrics
from amarl_jax.host.workdir import METRICS_FILE


@dataclasses.dataclass(frozen=True)
class Curve:
    """Metrics by update, averaged over the lanes drawn together; NaN where one of them was not finite."""

    columns: dict[str, np.ndarray]  # [n_updates] each, by the names of docs/metrics.md
    n_lanes: int = 1

    def __repr__(self) -> str:
        return f"Curve({len(self.columns)} metrics of {len(self.columns['update'])} updates, lanes: {self.n_lanes})"

    def over_phases(self, name: str) -> np.ndarray:
        """Mean of ``phase/name`` over the phases that measured it, [n_updates]; NaN where none did."""
        found = [column for key, column in self.columns.items() if key.partition("/")[2] == name]
        return np.mean(found, axis=0) if found else np.full(len(self.columns["update"]), np.nan)

    def frame(self) -> Any:
        """The columns as a ``pandas.DataFrame``; needs pandas."""
        import pandas

        return pandas.DataFrame(self.columns)


def read_curves(workdir: str | Path) -> dict[str, Curve]:
    """The learning curve of a run, under the name "", or of every arm and penalty of a sweep.

    Raises :class:`BadInput` where the workdir holds none.
    """
    path = Path(workdir)
    file = path / METRICS_FILE
    if not file.is_file():
        raise BadInput(f"{path}: holds no learning curves (no {METRICS_FILE})")
    rows = read_metrics(file)
    if not rows:
        raise BadInput(f"{file}: has no update yet")
    lanes = _lanes(path) if "lane" in rows[0] else {}
    if not lanes:
        return {"": Curve(_columns(rows))}
    named: dict[str, list[dict[str, np.ndarray]]] = {}
    for lane, name in lanes.items():
        named.setdefault(name, []).append(_columns([row for row in rows if row.get("lane") == lane]))
    return {name: _mean(parts) for name, parts in named.items() if all(parts)}


def _mean(lanes: list[dict[str, np.ndarray]]) -> Curve:
    """Mean curve of lanes, up to the last update that all of them have."""
    n = min(len(columns["update"]) for columns in lanes)
    return Curve({key: np.mean([columns[key][:n] for columns in lanes], axis=0) for key in lanes[0]}, len(lanes))


def _columns(rows: list[dict[str, float | None]]) -> dict[str, np.ndarray]:
    """Column [n_updates] of every name; None becomes NaN."""
    names = dict.fromkeys(name for row in rows for name in row if name != "lane")
    return {name: np.array([np.nan if row.get(name) is None else row[name] for row in rows]) for name in names}


def _lanes(path: Path) -> dict[int, str]:
    """Name of the curve each lane, by number, belongs to: its arm and penalty."""
    file = path / LANES_FILE
    found = {}
    for number, lane in enumerate(read_rows(untrusted.read_text(file), str(file))):
        weights = lane.get("weights", {})
        penalty = weights.get(PENALTY) if isinstance(weights, dict) else None
        arm = "" if lane.get("arm", MAIN) == MAIN else f"{lane['arm']} "
        found[number] = f"{arm}lambda {penalty}"
    return found
