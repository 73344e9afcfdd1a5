"""Tables of the lanes of an arm, with means over seeds and their intervals."""

import dataclasses
import math

import numpy as np

from amarl_jax.evaluation.metrics import NORMAL_95
from amarl_jax.lanes.table import LaneTable
from amarl_jax.lanes.trade_off import COST
from amarl_jax.transition.intervals import student_half_width

I = "exact_nats"  # noqa: E741


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds and half of its 95% interval; NaN where there is none."""

    value: float
    half: float
    digits: int = 3

    @classmethod
    def of(cls, values: np.ndarray, errors: np.ndarray | None = None, digits: int = 3) -> "Mean":
        """Of values [S]; of one seed with the interval of its ``errors`` [S], standard errors over episodes."""
        if len(values) > 1:
            half = float(student_half_width(values))
        else:
            half = math.nan if errors is None else NORMAL_95 * float(errors[0])
        return cls(float(values.mean()), half, digits)

    def __str__(self) -> str:
        half = "" if math.isnan(self.half) else f" ± {self.half:.{self.digits}f}"
        return f"{self.value:.{self.digits}f}{half}"


def at(table: LaneTable, arm: str, penalty: float, measure: str) -> np.ndarray:
    """Values of the whole lanes of an arm at one penalty, [S]."""
    columns = table.columns
    here = (columns["arm"] == arm) & (columns["lambda"] == penalty) & (columns["status"] == "ok")
    return columns[measure][here]


def arm_table(table: LaneTable, arm: str) -> list[str]:
    """Every penalty of one arm."""
    head = (
        "lambda",
        "seeds",
        "shortfall, units",
        "completion",
        "exact, nats",
        "bracket",
        "fresh",
        "MINE",
        "belief",
        "C + lambda I",
    )
    lines = [f"## {arm}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for penalty in np.unique(table.columns["lambda"][table.columns["arm"] == arm]):
        cost, nats = (at(table, arm, penalty, name) for name in (COST, I))
        if not len(cost):
            lines.append(f"| {penalty:g} | 0 |" + " |" * (len(head) - 2))
            continue
        low, high = (at(table, arm, penalty, f"{I}_{side}").mean() for side in ("lower", "upper"))
        shares = (
            f"{(at(table, arm, penalty, f'{who}_efficiency') * nats).mean() / nats.mean():.0%}".replace("nan%", "-")
            for who in ("fresh", "mine", "belief")
        )
        total = Mean.of(cost + penalty * nats)
        cells = (
            f"{penalty:.3g}",
            len(cost),
            Mean.of(cost, at(table, arm, penalty, f"{COST}_stderr")),
            f"{at(table, arm, penalty, 'completion').mean():.3f}",
            Mean.of(nats, at(table, arm, penalty, f"{I}_stderr")),
            f"{low:.3f} to {high:.3f}",
            *shares,
            total,
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return [*lines, ""]
