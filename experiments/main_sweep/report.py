"""Write ``README.md``, ``answer.json`` and the figures of the main sweep from ``lanes.csv`` and ``pieces.json``.

python experiments/main_sweep/report.py
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from amarl_jax import strict_json
from amarl_jax.host.workdir import write_json
from amarl_jax.lanes.frontier_figure import draw_frontier
from amarl_jax.lanes.table import LaneTable, read_lanes
from amarl_jax.lanes.trade_off import COST, can_trade_off, trade_off
from amarl_jax.transition.bistability import POWER, bimodality, hysteresis
from amarl_jax.transition.intervals import FEWEST_SEEDS
from amarl_jax.transition.verdict import as_json, judge

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # pieces.py lies beside this folder
import pieces  # noqa: E402

HORIZON = 50  # T of the debug market, steps
HEAD = """# The main sweep

Cost and exact information of what the three agents learn, penalty by penalty, in the debug market. In an arm `exact`
the trader pays for what leaks, in an arm `mine` for what MINE claims; it begins near "all at once" (`loud`) or as the
mimic (`quiet`). Means over seeds; ± is half of a 95% interval over seeds (Student's t), missing where there is one
seed."""


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds and half of its 95% interval; NaN with one seed."""

    value: float
    half: float
    digits: int = 3

    @classmethod
    def of(cls, values: np.ndarray, digits: int = 3) -> "Mean":
        """Of values [S]."""
        n = len(values)
        half = special.stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
        return cls(float(values.mean()), float(half), digits)

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
        cost, nats = (at(table, arm, penalty, name) for name in (COST, "exact_nats"))
        if not len(cost):
            lines.append(f"| {penalty:g} | 0 |" + " |" * (len(head) - 2))
            continue
        low, high = (at(table, arm, penalty, f"exact_nats_{side}").mean() for side in ("lower", "upper"))
        shares = (
            f"{(at(table, arm, penalty, f'{who}_efficiency') * nats).mean() / nats.mean():.0%}"
            for who in ("fresh", "mine", "belief")
        )
        total = Mean.of(cost + penalty * nats)
        cells = (
            f"{penalty:.3g}",
            len(cost),
            Mean.of(cost),
            f"{at(table, arm, penalty, 'completion').mean():.3f}",
            Mean.of(nats),
            f"{low:.3f} to {high:.3f}",
            *shares,
            total,
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return [*lines, ""]


def envelope_lines(found: Mapping[str, Any]) -> list[str]:
    """What the envelope condition says between neighbouring penalties."""
    slopes = found["envelope"]
    told = [slope for slope in slopes if slope["agrees"] is not None]
    good = sum(slope["agrees"] for slope in told)
    lines = [
        f"-dC/dI is within 25% of the penalty in {good} of the {len(told)} pairs of neighbours that can be told, "
        f"of {len(slopes)}."
    ]
    wrong = [slope for slope in told if not slope["agrees"]]
    if wrong:
        texts = [
            f"{slope['lambda_below']:.3g} to {slope['lambda_above']:.3g}: {slope['ratio']:.2f} times" for slope in wrong
        ]
        lines.append("Not: " + "; ".join(texts) + ".")
    return lines


def pairs(table: LaneTable, one: str, other: str, what: str) -> list[str]:
    """Paired differences of two arms over the penalties that both have, seeds paired."""
    if not all(can_trade_off(table, arm) for arm in (one, other)):
        return []
    lines = [f"## {what}", "", "| lambda | seeds | I, nats | C, units | C + lambda I |", "|---" * 5 + "|"]
    grids = {name: [table.by_seed(name, arm) for arm in (one, other)] for name in (COST, "exact_nats")}
    (first, penalties, _), (second, _, _) = grids[COST]
    seeds = np.intersect1d(first, second)
    if not len(seeds):
        return []
    whole = np.isin(first, seeds), np.isin(second, seeds)
    gaps = {name: a[2][whole[0]] - b[2][whole[1]] for name, (a, b) in grids.items()}
    for i, where in enumerate(penalties):
        nats, cost = gaps["exact_nats"][:, i], gaps[COST][:, i]
        lines.append(
            f"| {where:.3g} | {len(seeds)} | {Mean.of(nats)} | {Mean.of(cost)} | {Mean.of(cost + where * nats)} |"
        )
    return [*lines, ""]


def bistable(table: LaneTable, source: str) -> list[str]:
    """Two groups of seeds, and what the starts differ by, with the power of what is not seen."""
    lines = []
    for start in ("loud", "quiet"):
        arm = f"{source}, {start}"
        splits = bimodality(*table.grid("exact_nats", arm)) if arm in table.arms() else None
        if splits is None:
            lines.append(f"- {arm}: two groups of seeds not determined, {FEWEST_SEEDS} seeds are needed.")
            continue
        two = [f"{s.penalty:.3g} ({s.loud_nats:.2f} and {s.quiet_nats:.2f} nats)" for s in splits if s.bimodal]
        seen = f"two groups of seeds at lambda {', '.join(two)}" if two else "no two groups of seeds seen"
        far = [s.detectable_nats for s in splits]
        lines.append(
            f"- {arm}: {seen}; groups {min(far):.2f} to {max(far):.2f} nats apart are found with power {POWER:g}."
        )
    arms = [f"{source}, {start}" for start in ("loud", "quiet")]
    if set(arms) <= set(table.arms()):
        (a, penalty, loud), (b, _, quiet) = (table.by_seed("exact_nats", arm) for arm in arms)
        both = np.intersect1d(a, b)
        if len(both) > 1:
            found = hysteresis(penalty, loud[np.isin(a, both)], quiet[np.isin(b, both)])
            lines.append(f"- {source}, loud less quiet start, {len(both)} seeds: {found}.")
    return [*lines, ""]


def answer(table: LaneTable) -> dict[str, Any]:
    """lambda*, shape, frontier and verdict of every arm, and the verdict over the starts of a source."""
    located: dict[str, Any] = {}
    curves: dict[str, list[Any]] = {}
    for arm in table.arms():
        if not can_trade_off(table, arm):
            continue
        source, start = arm.split(", ")
        curve = table.curves(arm, horizon=HORIZON, private_randomiser=True, start=start)
        verdict = judge([curve])
        located[arm] = as_json(verdict.arms[0][1]) | {
            "verdict": str(verdict),
            "trade_off": trade_off(table, arm),
        }
        curves.setdefault(source, []).append(curve)
    verdicts = {source: str(judge(found)) for source, found in curves.items()}
    return strict_json.finite({"located": located, "verdicts": verdicts})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE, help="holds lanes.csv and pieces.json")
    given = parser.parse_args()
    table = read_lanes(given.folder / "lanes.csv")
    found = answer(table)
    write_json(given.folder / "answer.json", found)
    draw_frontier(given.folder / "answer.json", given.folder / "frontier")
    lines = [HEAD, "", "![frontier, curve and price](frontier.png)", ""]
    for source, verdict in found["verdicts"].items():
        lines += [f"- Verdict, `{source}`: {verdict}."]
    for arm, told in found["located"].items():
        lines += [f"- Frontier of `{arm}`: {told['trade_off']['frontier']['statement']}."]
    lines += [""]
    for arm in table.arms():
        lines += arm_table(table, arm)
        if arm in found["located"]:
            lines += [*envelope_lines(found["located"][arm]["trade_off"]), ""]
    lines += pairs(table, "exact, loud", "exact, quiet", "Loud less quiet start, paid for what leaks")
    lines += pairs(table, "mine, loud", "exact, loud", "Paid by MINE less paid for what leaks, loud start")
    lines += ["## Two groups of seeds, and the start", ""]
    for source in ("exact", "mine"):
        lines += bistable(table, source)
    (given.folder / "README.md").write_text(
        "\n".join([*lines, *pieces.foot(pieces.read_pieces(given.folder), "main_sweep")]) + "\n"
    )


if __name__ == "__main__":
    main()
