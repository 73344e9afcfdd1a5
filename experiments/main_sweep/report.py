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
from amarl_jax.evaluation.metrics import NORMAL_95
from amarl_jax.host.workdir import write_json
from amarl_jax.lanes.frontier_figure import draw_frontier
from amarl_jax.lanes.table import LaneTable, read_lanes
from amarl_jax.lanes.trade_off import COST, can_trade_off, trade_off
from amarl_jax.transition.bistability import POWER, bimodality, hysteresis
from amarl_jax.transition.curve_fits import SCALE, penalty_axis
from amarl_jax.transition.frontier import Policies, frontier
from amarl_jax.transition.intervals import FEWEST_SEEDS, student_half_width
from amarl_jax.transition.verdict import as_json, judge

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # pieces.py lies beside this folder
import pieces  # noqa: E402

I = "exact_nats"  # noqa: E741
PAIRS = [(f"{source}, loud", f"{source}, quiet") for source in ("exact", "mine")]
PAIRS += [(f"mine, {start}", f"exact, {start}") for start in ("loud", "quiet")]
HORIZON = 50  # T of the debug market, steps
HEAD = """# The main sweep

Cost and exact information of what the three agents learn, penalty by penalty, in the debug market. In an arm `exact`
the trader pays for what leaks, in an arm `mine` for what MINE claims; it begins near "all at once" (`loud`) or as the
mimic (`quiet`). Means over seeds; ± is half of a 95% interval over seeds (Student's t), or, of the cost and information
of one seed, over the episodes of its measurement. Hulls of all starts are those of the mean policies, with the same
intervals below eight seeds and by resampling whole seeds from eight on."""


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
            f"{(at(table, arm, penalty, f'{who}_efficiency') * nats).mean() / nats.mean():.0%}"
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


def envelope_lines(found: Mapping[str, Any]) -> list[str]:
    """What the envelope condition says between neighbouring penalties."""
    slopes = found["envelope"]
    told = [slope for slope in slopes if slope["agrees"] is not None]
    good = sum(slope["agrees"] for slope in told)
    lines = [
        f"-dC/dI lies between the two penalties, or within 25% of their middle, in {good} of the {len(told)} pairs of "
        f"neighbours that can be told, of {len(slopes)}:",
        "",
        "| lambda | -dC/dI over the middle | 95% | agrees |",
        "|---" * 4 + "|",
    ]
    for slope in slopes:
        low, high = slope["lambda_below"], slope["lambda_above"]
        ratio = "none" if slope["ratio"] is None else f"{slope['ratio']:.2f}"
        limits = [slope["slope"][side] for side in ("lower", "upper")]
        between = "" if None in limits else " to ".join(f"{x / (0.5 * (low + high)):.2f}" for x in limits)
        word = {True: "yes", False: "no", None: "cannot tell"}[slope["agrees"]]
        lines.append(f"| {low:.3g} to {high:.3g} | {ratio} | {between} | {word} |")
    return lines


def located_lines(found: Mapping[str, Any]) -> list[str]:
    """lambda* by its definitions, the longest straight piece of the hull, and the curve that the hull predicts."""
    names = {"lambda_eq": "below 0.01 nats from", "lambda_half": "half by a logistic"}
    names |= {"lambda_isotonic": "half without a model", "lambda_chi": "steepest fall of the accuracy"}
    lines = ["- lambda*: " + "; ".join(f"{word} {place(found[name])}" for name, word in names.items()) + "."]
    predicted, learned = found["trade_off"]["frontier"]["predicted"], found["trade_off"]["learned"]
    best = [predicted["nats"][predicted["lambda"].index(penalty)] for penalty in learned["lambda"]]
    gaps = np.array(learned["nats"]) - best
    most = int(np.argmax(np.abs(gaps)))
    text = f"{gaps[most]:+.3f} nats at lambda {learned['lambda'][most]:.3g}" if gaps[most] else "nothing"
    return [*lines, f"- Learned I less what the hull predicts (Legendre), where most: {text}."]


def longest_piece(hull: Mapping[str, Any]) -> str:
    """The longest straight piece of a hull: at its penalty I jumps, or nothing was measured in between."""
    if not hull["pieces"]:
        return "no straight piece"
    piece = max(hull["pieces"], key=lambda each: each["size_nats"]["value"])
    return (
        f"longest straight piece {place(piece['size_nats'])} nats at lambda {place(piece['penalty'])}, "
        f"from {piece['quiet']} to {piece['loud']}: {piece['kind']}"
    )


def place(located: Mapping[str, Any]) -> str:
    """A located number with its interval, or the words where there is none."""
    word = lambda x: x if isinstance(x, str) else f"{x:.2f}"  # noqa: E731
    value = located["note"] if located["value"] is None else word(located["value"])
    if located["lower"] is None or located["upper"] is None:
        return value if located["note"] in ("", value) else f"{value} ({located['note']})"
    return f"{value} [{word(located['lower'])}, {word(located['upper'])}]"


def paired(table: LaneTable, one: str, other: str) -> dict[str, np.ndarray] | None:
    """Differences [S, L] of two arms by measure, over the seeds and "lambda" [L] that both have; None without any."""
    if not {one, other} <= set(table.arms()):
        return None
    arms = [table.by_seed(I, arm) for arm in (one, other)]
    seeds, penalties = (np.intersect1d(arms[0][i], arms[1][i]) for i in (0, 1))
    if not len(seeds) or not len(penalties):
        return None

    def of(measure: str) -> list[np.ndarray]:
        grids = [table.grid(measure, arm)[1] for arm in (one, other)]
        return [
            grid[np.isin(arm[0], seeds)][:, np.isin(arm[1], penalties)] for grid, arm in zip(grids, arms, strict=True)
        ]

    found = {"lambda": penalties}
    for measure in (I, COST):
        found[measure] = np.subtract(*of(measure))
        found[f"{measure}_stderr"] = np.hypot(*of(f"{measure}_stderr"))
    return found


def pairs(table: LaneTable, one: str, other: str) -> list[str]:
    """Paired differences of two arms over the penalties that both have, seeds paired."""
    gaps = paired(table, one, other)
    if gaps is None:
        return []
    lines = [f"## {one} less {other}", "", "| lambda | seeds | I, nats | C, units | C + lambda I |", "|---" * 5 + "|"]
    for i, where in enumerate(gaps["lambda"]):
        nats, cost = gaps[I][:, i], gaps[COST][:, i]
        cells = [Mean.of(gaps[name][:, i], gaps[f"{name}_stderr"][:, i]) for name in (I, COST)]
        lines.append(f"| {where:.3g} | {len(nats)} | {cells[0]} | {cells[1]} | {Mean.of(cost + where * nats)} |")
    areas = np.trapezoid(gaps[I], penalty_axis(gaps["lambda"]), axis=1)
    n = len(areas)
    told = f"I differs by {Mean.of(areas)} nats, integrated over asinh(lambda / {SCALE:g})"
    if n > 1:
        error = areas.std(ddof=1) / math.sqrt(n)
        least = (special.stdtrit(n - 1, 0.975) + special.stdtrit(n - 1, POWER)) * error
        told += f"; {n} seeds find {least:.3f} with power {POWER:g}"
    return [*lines, "", told + ".", ""]


def bistable(table: LaneTable, source: str) -> list[str]:
    """Two groups of seeds, and what the starts differ by, with the power of what is not seen."""
    lines = []
    arms = [f"{source}, {start}" for start in ("loud", "quiet") if f"{source}, {start}" in table.arms()]
    for arm in arms:
        splits = bimodality(*table.grid(I, arm))
        if splits is None:
            lines.append(f"- {arm}: two groups of seeds not determined, {FEWEST_SEEDS} seeds are needed.")
            continue
        two = [f"{s.penalty:.3g} ({s.loud_nats:.2f} and {s.quiet_nats:.2f} nats)" for s in splits if s.bimodal]
        seen = f"two groups of seeds at lambda {', '.join(two)}" if two else "no two groups of seeds seen"
        far = [s.detectable_nats for s in splits]
        lines.append(
            f"- {arm}: {seen}; groups {min(far):.2f} to {max(far):.2f} nats apart are found with power {POWER:g}."
        )
    gaps = paired(table, *arms) if len(arms) == 2 else None
    if gaps is not None:
        found = hysteresis(gaps["lambda"], gaps[I], np.zeros_like(gaps[I]))
        widest = f"widest {found.widest_nats:+.3f} nats at lambda {found.widest_at:.3g}"
        lines.append(f"- {source}, loud less quiet start, {len(gaps[I])} seeds: {found}; {widest}.")
    return lines


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
    hulls = {source: hull_of(table, [arm for arm in located if arm.startswith(f"{source}, ")]) for source in curves}
    return strict_json.finite({"located": located, "verdicts": verdicts, "hulls": hulls})


def hull_of(table: LaneTable, arms: list[str]) -> dict[str, Any]:
    """The frontier of the policies of several arms together."""
    learned = [policies_of(table, arm) for arm in arms]
    return frontier(sum(learned[1:], learned[0])).as_json(np.unique(table.columns["lambda"]))


def policies_of(table: LaneTable, arm: str) -> Policies:
    """Policies of an arm, whole seeds resampled; of too few seeds for that, means with Gaussian errors.

    Those are as wide as Student's intervals over the seeds, or, of one seed, as those over its episodes.
    """
    penalties, nats = table.grid(I, arm)
    both = np.stack([nats, table.grid(COST, arm)[1]], axis=-1)
    n = len(both)
    if n >= FEWEST_SEEDS:
        return Policies.learned(penalties, both[..., 0], both[..., 1], name=arm)
    errors = np.stack([table.grid(f"{name}_stderr", arm)[1][0] for name in (I, COST)], axis=-1)
    if n > 1:
        errors = student_half_width(both) / NORMAL_95
    return Policies.scripted([f"{arm}, lambda {x:.3g}" for x in penalties], both.mean(axis=0), errors)


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
    for source, hull in found["hulls"].items():
        lines += [f"- Hull of all starts, `{source}`: {hull['statement']}; {longest_piece(hull)}."]
    for arm, told in found["located"].items():
        hull = told["trade_off"]["frontier"]
        lines += [f"- Hull of `{arm}`: {hull['statement']}; {longest_piece(hull)}."]
    lines += [""]
    for arm in table.arms():
        lines += arm_table(table, arm)
        if arm in found["located"]:
            told = found["located"][arm]
            lines += [*envelope_lines(told["trade_off"]), "", *located_lines(told), ""]
    for one, other in PAIRS:
        lines += pairs(table, one, other)
    lines += ["## Two groups of seeds, and the start", ""]
    for source in ("exact", "mine"):
        lines += bistable(table, source)
    lines += [""]
    (given.folder / "README.md").write_text(
        "\n".join([*lines, *pieces.foot(pieces.read_pieces(given.folder), "main_sweep")]) + "\n"
    )


if __name__ == "__main__":
    main()
