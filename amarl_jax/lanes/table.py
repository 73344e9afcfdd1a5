"""The tidy table of a sweep, one row per lane, and curves over the penalty read from it."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.host.workdir import write_atomically
from amarl_jax.lanes.behaviour import CONDUCT
from amarl_jax.transition.locate import Curves

OK, FAILED = "ok", "failed"  # status of a lane
LEAST_EPISODES = 256  # of which a lane's information is worth a look
NEGATIVE = "below 0 by more than two standard errors"  # why its information is in doubt
FEW = f"measured on fewer than {LEAST_EPISODES} episodes"
WORDS = ("arm", "status", "doubt")  # columns that are not numbers
_ROUNDING_NATS = 1e-4  # of the exact information of a mimic, whose error is as small
_NAMED = 6  # lanes in the line about those in doubt
KEYS = ("lane", "arm", "lambda", "seed", "status")  # before the measures; "arm" names what else differs, "main" if none


@dataclasses.dataclass(frozen=True)
class LaneTable:
    """Columns of a sweep's table, [n_lanes] each; measures of failed lanes are NaN."""

    columns: dict[str, np.ndarray]

    def arms(self) -> list[str]:
        """Names of the arms, in order of appearance."""
        return list(dict.fromkeys(self.columns["arm"].tolist()))

    def grid(self, measure: str, arm: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Penalties [L] and a measure [S, L] of one arm (default: the first); seeds with a failed lane are left out."""
        return self.by_seed(measure, arm)[1:]

    def by_seed(self, measure: str, arm: str | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Results of :meth:`grid`, and the seeds [S] that are left, by which arms are paired."""
        arm = self.arms()[0] if arm is None else arm
        rows = np.flatnonzero(self.columns["arm"] == arm)
        penalty, column = np.unique(self.columns["lambda"][rows], return_inverse=True)
        seeds, line = np.unique(self.columns["seed"][rows], return_inverse=True)
        values = np.full((len(seeds), len(penalty)), np.nan)
        values[line, column] = np.where(self.columns["status"][rows] == OK, self.columns[measure][rows], np.nan)
        whole = ~np.isnan(values).any(axis=1)
        return seeds[whole], penalty, values[whole]

    @property
    def is_exact(self) -> bool:
        """True if every lane that did not fail has the exact information; older tables have none."""
        exact = self.columns.get("exact_nats")
        return exact is not None and bool(np.isfinite(exact[self.columns["status"] == OK]).all())

    @property
    def information(self) -> str:
        """Column of the information: the exact one, or, where there is none, what a fresh detector found."""
        return "exact_nats" if self.is_exact else "information_nats"

    @property
    def accuracy(self) -> str:
        """Column of the accuracy, likewise."""
        return "exact_accuracy" if self.is_exact else "accuracy"

    def curves(self, arm: str | None = None, **about: Any) -> Curves:
        """Information and accuracy of one arm, for :func:`amarl_jax.transition.locate.locate`."""
        penalty, information = self.grid(self.information, arm)
        return Curves(penalty, information, self.grid(self.accuracy, arm)[1], **about)


def lane_row(lane: int, penalty: float, seed: int, row: Mapping[str, Any] | None, arm: str = "main") -> dict[str, Any]:
    """One line of the table from a row of :mod:`amarl_jax.evaluation.baselines`; None is a failed lane."""
    status = FAILED if row is None else OK
    line: dict[str, Any] = dict(zip(KEYS, (lane, arm, penalty, seed, status), strict=True))
    missing = {"value": math.nan, "stderr": math.nan}
    for name in (*COLUMNS, "kl_nats", *CONDUCT):
        line[name] = (row or {}).get(name, missing)["value"]
    for name in (*COLUMNS, *CONDUCT):
        line[f"{name}_stderr"] = (row or {}).get(name, missing)["stderr"]
    line["n_episodes"] = None if row is None else row["n_episodes"]
    line["doubt"] = "; ".join(_doubts_of(row))
    return line


def _doubts_of(row: Mapping[str, Any] | None) -> list[str]:
    """Why the information of a lane means nothing, though it did not diverge."""
    if row is None:
        return []
    exact = row.get("exact_nats", {}).get("value")
    found = row["information_nats" if exact is None else "exact_nats"]
    negative = found["value"] is not None and found["value"] < -2.0 * (found["stderr"] or 0.0) - _ROUNDING_NATS
    return [why for why, holds in ((NEGATIVE, negative), (FEW, row["n_episodes"] < LEAST_EPISODES)) if holds]


def doubts(rows: Sequence[Mapping[str, Any] | None]) -> str:
    """One line that names lanes of which the information means nothing, though they did not diverge; empty if none.

    It is below 0 by more than two standard errors, which no information is, or rests on fewer than 256 episodes.

    Args:
        rows: of :mod:`amarl_jax.evaluation.baselines`, by lane; None is a failed lane.
    """
    of = [_doubts_of(row) for row in rows]
    lanes = {why: [lane for lane, doubts in enumerate(of) if why in doubts] for why in (NEGATIVE, FEW)}
    said = [f"{_named(those, len(rows))} {why}" for why, those in lanes.items() if those]
    return f"warning: information not to be relied on: {'; '.join(said)}" if said else ""


def _named(lanes: Sequence[int], n_lanes: int) -> str:
    """Text that names lanes, the first few of many."""
    if len(lanes) == n_lanes > 1:
        return f"all {n_lanes} lanes"
    more = f" and {len(lanes) - _NAMED} more" if len(lanes) > _NAMED else ""
    return f"lane{'s' if len(lanes) > 1 else ''} {', '.join(map(str, lanes[:_NAMED]))}{more}"


def write_lanes(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the table as CSV; what is not finite is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: "" if _missing(value) else value for name, value in line.items()})
    write_atomically(path, text.getvalue().encode())


def read_lanes(path: str | Path) -> LaneTable:
    """Read a table that :func:`write_lanes` wrote."""
    with Path(path).open(newline="") as file:
        lines = list(csv.DictReader(file))
    return LaneTable(
        {
            name: np.array([line[name] if name in WORDS else float(line[name] or "nan") for line in lines])
            for name in lines[0]
        }
    )


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
