"""Write ``README.md`` and ``frontier.png`` of this folder from ``frontier.json``, and a sweep's table if given.

python experiments/frontier/report.py
python experiments/frontier/report.py --lanes=runs/lambda_sweep/lanes.csv
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import special

from amarl_jax.evaluation.figures import STYLES, save
from amarl_jax.evaluation.metrics import NORMAL_95
from amarl_jax.lanes.table import LaneTable, read_lanes
from amarl_jax.lanes.trade_off import COST, scripted_policies
from amarl_jax.transition.curve_fits import SCALE
from amarl_jax.transition.frontier import Frontier, Policies, frontier

HERE = Path(__file__).parent
HEAD = """# The best of a scripted family

`min C + lambda I` over bursts, cover by noise orders and private coins (`amarl_jax/policies/bursts.py`): C is the
shortfall in reward units, I the exact information of the order-level record in nats. A search on common random numbers,
and its best plans measured again on fresh episodes that no choice was made on; ± is one standard error over those.
By the posterior is `H(z) - E H(z | G)` of the reader's own posterior, which the search went by: I where the filter is
right, no bound, and much less noisy where little leaks."""
TICKS = (0.0, 0.1, 0.5, 2.0, 8.0, 32.0)


def number(cell: dict[str, float]) -> str:
    """Value and standard error."""
    return f"{cell['value']:.3f} ± {cell['stderr']:.3f}"


def best_table(document: dict[str, Any]) -> list[str]:
    """The best plan at each penalty, as it was measured again."""
    lines = ["| lambda | plan | C, units | I, nats | by the posterior | C + lambda I |", "|---" * 6 + "|"]
    for best in document["best"]:
        row, penalty = document["rows"][best["row"]], best["lambda"]
        total = row[COST]["value"] + penalty * row["exact_nats"]["value"]
        cells = (
            f"{penalty:g}",
            best["row"],
            number(row[COST]),
            number(row["exact_nats"]),
            number(row["posterior_nats"]),
            f"{total:.3f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def gap_table(document: dict[str, Any], table: LaneTable, arm: str | None) -> list[str]:
    """Learned objective less the family's best at every penalty of a sweep, with a 95% interval.

    The best is chosen by its fresh measurement among all rows, which favours the family by the noise of the least of
    them; the interval holds the seeds' scatter and the chosen row's error over episodes.
    """
    penalties, nats = table.grid(table.information, arm)
    units = table.grid(COST, arm)[1]
    rows = list(document["rows"].values())
    lines = ["| lambda | learned C + lambda I | best of the family | learned less best |", "|---|---|---|---|"]
    for penalty, learned in zip(penalties, (units + penalties * nats).T, strict=True):
        totals = [row[COST]["value"] + penalty * row["exact_nats"]["value"] for row in rows]
        best = rows[int(np.argmin(totals))]
        n = len(learned)
        of_best = math.hypot(best[COST]["stderr"], penalty * best["exact_nats"]["stderr"])
        of_seeds = learned.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
        half = special.stdtrit(max(n - 1, 1), 0.975) * math.hypot(of_seeds, of_best)
        gap = f"{learned.mean() - min(totals):+.3f} ± {half:.3f}"
        lines.append(f"| {penalty:g} | {learned.mean():.3f} | {min(totals):.3f} | {gap} |")
    return lines


def draw(document: dict[str, Any], found: Frontier, table: LaneTable | None, arm: str | None) -> None:
    """Searched plans, the hull and the learned policies in the plane; I(lambda) of either."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    plane, curve = figure.subplots(1, 2)
    searched = np.array([(row["exact_nats"]["value"], row[COST]["value"]) for row in document["searched"]])
    plane.plot(*searched.T, ".", color="0.75", label=f"{len(searched)} plans searched")
    for name, row in document["rows"].items():
        x, y = row["exact_nats"], row[COST]
        label = "best plans, measured again" if name == next(iter(document["rows"])) else None
        error = {"xerr": NORMAL_95 * x["stderr"], "yerr": NORMAL_95 * y["stderr"]}
        plane.errorbar(x["value"], y["value"], **error, fmt="D", color=STYLES[2][0], markersize=4, label=label)
    plane.plot(*found.policies.points[list(found.corners)].T, color="0.4", linewidth=1.0, label="lower hull")
    penalty = np.union1d([0.0], np.geomspace(0.005, 32.0, 200))
    value, limits = found.predicted(penalty)
    curve.step(penalty, value, where="mid", color="0.4", label="best of the family")
    curve.fill_between(penalty, *limits, step="mid", color="0.4", alpha=0.2, linewidth=0)
    if table is not None:
        grid, nats = table.grid(table.information, arm)
        units = table.grid(COST, arm)[1]
        plane.plot(nats.mean(axis=0), units.mean(axis=0), "o-", color=STYLES[0][0], markersize=4, label="learned")
        curve.plot(grid, nats.mean(axis=0), "o-", color=STYLES[0][0], markersize=4, label="learned")
    plane.set(xlabel="I, exact, nats", ylabel="C, shortfall, reward units", ylim=(0.0, None))
    _label(curve)
    for axis in (plane, curve):
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    save(figure, HERE / "frontier")


def _label(axis: Axes) -> None:
    axis.set_xscale("asinh", linear_width=SCALE)
    axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axis.minorticks_off()
    axis.set(xlabel="lambda, reward units per nat", ylabel="I, nats", xlim=(0.0, 33.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=HERE / "frontier.json")
    parser.add_argument("--lanes", type=Path, help="lanes.csv of a sweep in the same market, exactly read")
    parser.add_argument("--arm")
    given = parser.parse_args()
    document = json.loads(given.rows.read_text())
    table = None if given.lanes is None else read_lanes(given.lanes)
    policies = scripted_policies(document["rows"], "exact_nats")
    if table is not None:
        grid, nats = table.grid(table.information, given.arm)
        policies = Policies.learned(grid, nats, table.grid(COST, given.arm)[1]) + policies
    found = frontier(policies)
    where = document["provenance"]
    lines = [HEAD, "", *best_table(document), "", f"Frontier: {found}.", ""]
    if table is not None:
        lines += ["## Learned policies beside it", "", *gap_table(document, table, given.arm), ""]
    spent = f"{document['cpu_seconds']:.0f} CPU-s"
    lines += [
        f"Command `{where['command']}`, commit `{where['commit'][:10]}`, {spent}.",
        "",
        "![frontier](frontier.png)",
    ]
    (HERE / "README.md").write_text("\n".join(lines) + "\n")
    draw(document, found, table, given.arm)


if __name__ == "__main__":
    main()
