"""Write ``README.md`` and ``frontier.png`` of this folder from ``frontier.json``, ``gaps.jsonl`` and ``mix.jsonl``.

python experiments/frontier/report.py
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amarl_jax.evaluation.figures import STYLES, save
from amarl_jax.evaluation.markdown import programs
from amarl_jax.evaluation.metrics import NORMAL_95
from amarl_jax.lanes.trade_off import COST, scripted_policies
from amarl_jax.transition.curve_fits import SCALE
from amarl_jax.transition.frontier import Frontier, frontier

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # hulls.py and mix_tables.py lie beside this folder
from hulls import hull_line  # noqa: E402
from mix_tables import mix_section, read_mixes  # noqa: E402

HEAD = """# The best of a scripted family

`min C + lambda I` over bursts, cover by noise orders and private coins (`amarl_jax/policies/bursts.py`): C is the
shortfall in reward units, I the exact information of the order-level record in nats. A search on common random numbers,
and its best plans measured again on fresh episodes that no choice was made on; ± is one standard error over those.
By the posterior is `H(z) - E H(z | G)` of the reader's own posterior, which the search went by: I where the filter is
right, no bound, and much less noisy where little leaks. A row is the least of those measured again, which favours the
family by the noise of the least of them."""
BESIDE = """Each lane's own maker and arbitrageur play against its trader and against the family, searched again for
them. I is by the reader's posterior, and both play the same fresh episodes. ± is one standard error over those."""
TICKS = (0.0, 0.1, 0.5, 2.0, 8.0, 32.0)


def number(cell: dict[str, float]) -> str:
    """Value and standard error."""
    return f"{cell['value']:.3f} ± {cell['stderr']:.3f}"


def fresh_objective(row: dict[str, Any], penalty: float) -> float:
    """``C + lambda I`` of a plan on fresh episodes, reward units."""
    return row[COST]["value"] + penalty * row["exact_nats"]["value"]


def best_table(document: dict[str, Any]) -> list[str]:
    """The row with the least objective at each penalty, of all that were measured again."""
    lines = ["| lambda | plan | C, units | I, nats | by the posterior | C + lambda I |", "|---" * 6 + "|"]
    for best in document["best"]:
        penalty = best["lambda"]
        found = ((fresh_objective(row, penalty), name) for name, row in document["rows"].items())
        least, name = min(found)
        row = document["rows"][name]
        cells = (
            f"{penalty:g}",
            name,
            number(row[COST]),
            number(row["exact_nats"]),
            number(row["posterior_nats"]),
            f"{least:.3f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def gap_table(rows: list[dict[str, Any]]) -> list[str]:
    """Objectives of lanes and of the family's best against the same opponents, and the difference."""
    head = ("lambda", "seed", "learned C, units", "I, nats", "C + lambda I", "family C", "I", "C + lambda I")
    lines = ["| " + " | ".join([*head, "learned less family"]) + " |", "|---" * 9 + "|"]
    for row in sorted(rows, key=lambda row: (row["lambda"], row["seed"])):
        cells = [
            text
            for who in ("learned", "family")
            for text in (*(number(row[who][part]) for part in (COST, "posterior_nats")), f"{total(row, who):.3f}")
        ]
        error = math.hypot(*(row[who]["objective"]["stderr"] for who in ("learned", "family")))
        gap = {"value": total(row, "learned") - total(row, "family"), "stderr": error}
        lines.append("| " + " | ".join([f"{row['lambda']:.3g}", str(row["seed"]), *cells, number(gap)]) + " |")
    return lines


def beside(sweep: str, rows: list[dict[str, Any]]) -> list[str]:
    """The section of the lanes of one sweep."""
    title = "## Learned policies beside it" if sweep == "80" else f"## Lanes of the main sweep beside it, {sweep}"
    commits = programs(row["provenance"]["commit"] for row in rows)
    told = f"Command `{rows[-1]['provenance']['command']}`, commits {commits}; "
    told += f"{rows[0]['n_searched']} plans tried for each lane."
    return [title, "", BESIDE, "", *gap_table(rows), "", told, ""]


def total(row: dict[str, Any], who: str) -> float:
    """``C + lambda I`` of the lane's policy ("learned") or of the family's best."""
    return row[who]["objective"]["value"]


def draw(document: dict[str, Any], found: Frontier) -> None:
    """Searched plans and the hull in the plane; the I(lambda) that follows."""
    figure = Figure(figsize=(11, 5.0), layout="constrained")
    plane, curve = figure.subplots(1, 2)
    searched = np.array([(row["exact_nats"]["value"], row[COST]["value"]) for row in document["searched"]])
    plane.plot(*searched.T, ".", color="0.75", label=f"{len(searched)} plans searched")
    for name, row in document["rows"].items():
        x, y = row["exact_nats"], row[COST]
        label = "the best, measured again, 95%" if name == next(iter(document["rows"])) else None
        error = {"xerr": NORMAL_95 * x["stderr"], "yerr": NORMAL_95 * y["stderr"]}
        plane.errorbar(x["value"], y["value"], **error, fmt="D", color=STYLES[2][0], markersize=4, label=label)
    plane.plot(*found.policies.points[list(found.corners)].T, color="0.4", linewidth=1.0, label="lower hull")
    penalty = np.union1d([0.0], np.geomspace(0.005, 32.0, 200))
    value, limits = found.predicted(penalty)
    curve.step(penalty, value, where="mid", color="0.4", label="best of the family")
    band = {"color": "0.4", "alpha": 0.2, "linewidth": 0, "label": "its 95% interval"}
    curve.fill_between(penalty, *limits, step="mid", **band)
    curve.axhline(math.log(2.0), color="0.6", linewidth=0.8)
    where = {"transform": curve.get_yaxis_transform(), "ha": "right", "va": "bottom"}
    curve.text(0.99, math.log(2.0), "certainty, ln 2", **where, color="0.4", fontsize="small")
    plane.set(xlabel="I, exact, nats", ylabel="C, shortfall, reward units", ylim=(0.0, None))
    _label(curve)
    for axis in (plane, curve):
        axis.grid(alpha=0.3)
        axis.legend(
            fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, columnspacing=1.2
        )
    save(figure, HERE / "frontier")


def _label(axis: Axes) -> None:
    axis.set_xscale("asinh", linear_width=SCALE)
    axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axis.minorticks_off()
    axis.set(xlabel="lambda, reward units per nat", ylabel="I, nats", xlim=(0.0, 33.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=HERE / "frontier.json")
    parser.add_argument("--gaps", type=Path, default=HERE / "gaps.jsonl")
    parser.add_argument("--mixes", type=Path, default=HERE / "mix.jsonl")
    given = parser.parse_args()
    document = json.loads(given.rows.read_text())
    found = frontier(scripted_policies(document["rows"], "exact_nats"))
    where = document["provenance"]
    lines = [HEAD, "", *best_table(document), "", f"Frontier: {hull_line(found.as_json(np.array(TICKS)))}.", ""]
    if given.gaps.exists():
        rows = [json.loads(line) for line in given.gaps.read_text().splitlines()]
        for sweep in dict.fromkeys(row["sweep"] for row in rows):
            lines += beside(sweep, [row for row in rows if row["sweep"] == sweep])
    if given.mixes.exists():
        lines += mix_section(read_mixes(given.mixes))
    spent = f"{document['cpu_seconds']:.0f} CPU-s"
    lines += [
        f"Command `{where['command']}`, commit {programs([where['commit']])}, {spent}.",
        "",
        "![frontier](frontier.png)",
    ]
    (HERE / "README.md").write_text("\n".join(lines) + "\n")
    draw(document, found)


if __name__ == "__main__":
    main()
