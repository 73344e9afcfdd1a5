"""Write ``README.md``, ``answer.json`` and the figures of the main sweep from ``lanes.csv`` and ``pieces.json``.

python experiments/main_sweep/report.py
"""

import argparse
import csv
import math
import sys
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
from amarl_jax.transition.intervals import FEWEST_SEEDS, counted_seeds, student_half_width
from amarl_jax.transition.verdict import as_json, judge

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]  # pieces.py lies beside this folder
import hypotheses  # noqa: E402
import pieces  # noqa: E402
from arm_tables import I, Mean, arm_table  # noqa: E402
from hulls import hull_line  # noqa: E402
from readings import envelope_lines, located_lines  # noqa: E402

PAIRS = [(f"{source}, loud", f"{source}, quiet") for source in ("exact", "mine")]
PAIRS += [(f"mine, {start}", f"exact, {start}") for start in ("loud", "quiet")]
JOINED = "longer where longer is needed"  # ends the name of an arm with the longer lanes in place of its own
CONVERGED = HERE.parent / "convergence" / "lanes.csv"  # lanes of the same market, trained for longer
HORIZON = 50  # T of the debug market, steps
HEAD = """# The main sweep

Cost and exact information of what the three agents learn, penalty by penalty, in the debug market. In an arm `exact`
the trader pays for what leaks, in an arm `mine` for what MINE claims; it begins near "all at once" (`loud`) or as the
mimic (`quiet`). Where penalties up to 0.315 were run for more updates too, those are an arm of their own, and stand in
place of all shorter ones up to there in the arm that says "longer". Means over seeds; ± is half of a 95% interval over
seeds (Student's t), or, of the cost and information of one seed, over the episodes of its measurement. Hulls of all
starts are those of the mean policies, with the same intervals below eight seeds, by resampling whole seeds from eight
on."""
TESTED = """One number per seed, tested against its bound from both sides by Student's t; p-values are corrected for the
number of hypotheses in their table (Holm), and so is the distance from the bound that is found with power 0.8."""


def read(path: Path) -> LaneTable:
    """The table, with an arm more for each that has longer lanes, penalties to 12 digits: then both have the same."""
    columns = read_lanes(path).columns
    columns["lambda"] = np.array([float(f"{penalty:.12g}") for penalty in columns["lambda"]])
    parts = [columns]
    for arm, longer in longest_of(LaneTable(columns)).items():
        short, new = (columns["arm"] == name for name in (arm, longer))
        both = np.intersect1d(columns["seed"][short], columns["seed"][new])
        rows = (new | short & (columns["lambda"] > columns["lambda"][new].max())) & np.isin(columns["seed"], both)
        parts.append({name: column[rows] for name, column in columns.items()})
        parts[-1]["arm"] = np.full(rows.sum(), f"{arm}, {JOINED}", dtype=object)
    return LaneTable({name: np.concatenate([part[name] for part in parts]) for name in columns})


def longest_of(table: LaneTable) -> dict[str, str]:
    """The arm with the most updates, for each that has one with more than its own."""
    found: dict[str, str] = {}
    for arm in sorted(table.arms(), key=updates_of):
        if updates_of(arm):
            found[arm.rpartition(", ")[0]] = arm
    return found


def updates_of(arm: str) -> int:
    """Updates of an arm of longer lanes, 0 of any other."""
    last = arm.rpartition(", ")[2]
    return int(last.removesuffix(" updates")) if last.endswith(" updates") else 0


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
        lines.append(f"- {source}, loud less quiet start, {counted_seeds(len(gaps[I]))}: {found}; {widest}.")
    return lines


def answer(table: LaneTable) -> dict[str, Any]:
    """lambda*, shape, frontier and verdict of every arm, and the verdict over the starts of a source."""
    located: dict[str, Any] = {}
    curves: dict[str, dict[str, tuple[str, Any]]] = {}
    for arm in table.arms():
        if updates_of(arm) or not can_trade_off(table, arm):
            continue
        source, start = arm.split(", ")[:2]
        curve = table.curves(arm, horizon=HORIZON, private_randomiser=True, start=start)
        verdict = judge([curve])
        located[arm] = as_json(verdict.arms[0][1]) | {
            "verdict": str(verdict),
            "trade_off": trade_off(table, arm),
        }
        of = curves.setdefault(source, {})
        if start not in of or curve.n_seeds >= of[start][1].n_seeds:  # longer lanes decide once all seeds have them
            of[start] = arm, curve
    verdicts = {source: str(judge([curve for _, curve in of.values()])) for source, of in curves.items()}
    hulls = {source: hull_of(table, [arm for arm, _ in of.values()]) for source, of in curves.items()}
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


def converged() -> Policies:
    """The lanes of most updates, means over their seeds, whose errors are those of the seeds or of the episodes."""
    with CONVERGED.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    most = max(int(row["updates"]) for row in rows)
    rows = [row for row in rows if int(row["updates"]) == most]
    names, means, errors = [], [], []
    for penalty in sorted({float(row["lambda"]) for row in rows}):
        of = [row for row in rows if float(row["lambda"]) == penalty]
        both = np.array([[float(row[name]) for name in (I, COST)] for row in of])
        measured = np.array([[float(row[f"{name}_stderr"]) for name in (I, COST)] for row in of])
        spread = np.hypot.reduce(measured, axis=0) / len(of)
        if len(of) > 1:
            spread = np.maximum(spread, both.std(axis=0, ddof=1) / math.sqrt(len(of)))
        names.append(f"{most} updates, lambda {penalty:g}")
        means.append(both.mean(axis=0))
        errors.append(spread)
    return Policies.scripted(names, np.array(means), np.array(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE, help="holds lanes.csv and pieces.json")
    given = parser.parse_args()
    table = read(given.folder / "lanes.csv")
    found = answer(table)
    write_json(given.folder / "answer.json", found)
    draw_frontier(given.folder / "answer.json", given.folder / "frontier")
    lines = [HEAD, "", "![frontier, curve and price](frontier.png)", ""]
    for source, verdict in found["verdicts"].items():
        lines += [f"- Verdict, `{source}`: {verdict}."]
    for arm, told in found["located"].items():
        lines += [f"- Verdict, `{arm}` alone: {told['verdict']}."]
    for source, hull in found["hulls"].items():
        lines += [f"- Hull of all starts, `{source}`: {hull_line(hull)}."]
    for arm, told in found["located"].items():
        hull = told["trade_off"]["frontier"]
        lines += [f"- Hull of `{arm}`: {hull_line(hull)}."]
    if given.folder == HERE and CONVERGED.exists() and "exact, loud" in found["located"]:
        both = frontier(policies_of(table, "exact, loud") + converged())
        found["hull_with_longest"] = strict_json.finite(both.as_json(np.unique(table.columns["lambda"])))
        write_json(given.folder / "answer.json", found)
        lines += [
            f"- Hull of `exact, loud` and the longest lanes of `convergence`: {hull_line(found['hull_with_longest'])}."
        ]
    lines += [""]
    for arm in table.arms():
        lines += [f"## {arm}", ""] if arm.endswith(JOINED) else arm_table(table, arm)
        if arm in found["located"]:
            told = found["located"][arm]
            lines += [*envelope_lines(told["trade_off"]), "", *located_lines(told), ""]
    for one, other in [*PAIRS, *((longer, arm) for arm, longer in longest_of(table).items())]:
        lines += pairs(table, one, other)
    lines += ["## Two groups of seeds, and the start", ""]
    for source in ("exact", "mine"):
        lines += bistable(table, source)
    lines += ["", "## Hypotheses", "", TESTED, ""]
    for source in ("exact", "mine"):
        lines += hypotheses.lines(table, source)
    (given.folder / "README.md").write_text(
        "\n".join([*lines, *pieces.foot(pieces.read_pieces(given.folder), "main_sweep")]) + "\n"
    )


if __name__ == "__main__":
    main()
