"""Curves, figure and tables of the co-evolution runs, from their JSON files.

python experiments/coevolution/report.py > experiments/coevolution/README.md
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from amarl_jax.evaluation.markdown import machine, programs, table
from amarl_jax.transition.intervals import counted_seeds

HERE = Path(__file__).parent
COMPARED = ("alternating", "simultaneous", "no_arbitrageur")
LAGS = {"no_belief_lag": "delta = 0", "alternating": "delta = 0.02", "large_belief_lag": "delta = 0.3"}
LAG_MEASURES = (
    "arbitrageur/pnl_tick_lots",
    "arbitrageur/snipe_lots",
    "market/traded_lots",
    "information/belief_nats",
    "information/fresh_nats",
    "execution/shortfall_ticks",
    "profit",
)
STYLES = {"alternating": ("#0072B2", "-"), "simultaneous": ("#D55E00", "--"), "no_arbitrageur": ("#009E73", "-.")}
PANELS = (
    ("execution/shortfall_ticks", "shortfall, ticks per lot"),
    ("information", "I, nats: exact, or a fresh detector's"),
    ("information/belief_nats", "claimed by the belief, nats"),
    ("claimed minus fresh", "MINE's claim less the detector's, nats"),
    ("maker/quoted_spread_ticks", "maker's own spread, ticks"),
    ("spread_belief_correlation", "correlation of spread and belief"),
    ("profit", "maker's profit, tick-lots per episode"),
    ("arbitrageur/snipe_lots", "lots sniped per episode"),
    ("execution/policy_kl_nats", "execution's KL between points, nats"),
)
ENDS = (
    *(name for name, _ in PANELS[:-1]),
    "execution/completion",
    "information/fresh_nats",
    "information/fresh_accuracy",
    "information/belief_accuracy",
    "market/spread_ticks",
    "arbitrageur/pnl_tick_lots",
)
AGENTS = ("execution", "maker", "arbitrageur")


def curve(run: dict[str, Any], name: str) -> np.ndarray:
    """One metric along a run; NaN where it is not defined."""

    def value(point: dict[str, Any], key: str) -> float:
        entry = point[key][0] if isinstance(point[key], list) else point[key]
        return np.nan if entry is None else entry

    if name == "information":  # results older than the exact reader have a fresh detector's alone
        name = "information/exact_nats" if "information/exact_nats" in run["points"][0] else "information/fresh_nats"
    if name == "claimed minus fresh":
        return curve(run, "information/mine_nats") - curve(run, "information/fresh_nats")
    if name == "profit":
        return curve(run, "maker/pnl_tick_lots") - curve(run, "maker/adverse_selection_tick_lots")
    return np.array([value(point, name) for point in run["points"]])


def steps(run: dict[str, Any]) -> np.ndarray:
    """Environment steps of its points, millions."""
    return np.array([point["env_steps"] for point in run["points"]]) / 1e6


def draw(documents: dict[str, dict[str, Any]], path: Path) -> None:
    """Every panel against environment steps: the mean of the seeds of an arm, and thinly each of them."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    for axis, (name, label) in zip(figure.subplots(3, 3, sharex=True).flat, PANELS, strict=True):
        for arm, document in documents.items():
            curves = np.stack([curve(run, name) for run in document["runs"]])
            at, (colour, style) = steps(document["runs"][0]), STYLES.get(arm, ("#000000", "-"))
            label_of_arm = f"{arm.replace('_', ' ')}, mean of {counted_seeds(len(curves))}"
            axis.plot(at, curves.mean(axis=0), style, color=colour, label=label_of_arm)
            for one in curves if len(curves) > 1 else ():
                axis.plot(at, one, style, color=colour, alpha=0.4, linewidth=0.5)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if "correlation" in label:
            axis.set_ylim(-0.25, 0.25)  # else a thousandth would fill the panel
    for axis in figure.axes[6:]:
        axis.set_xlabel("million environment steps")
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=120, metadata={"Software": None})


def second_half(run: dict[str, Any], name: str) -> np.ndarray:
    """The later half of a curve."""
    whole = curve(run, name)
    return whole[len(whole) // 2 :]


def over_seeds(document: dict[str, Any], measure: Any) -> str:
    """Mean over seeds of a number per run, with its standard error."""
    x = np.array([measure(run) for run in document["runs"]])
    return f"{x.mean():.3f}" + (f" ± {x.std(ddof=1) / np.sqrt(len(x)):.3f}" if len(x) > 1 else "")


def ends(documents: dict[str, dict[str, Any]], names: Sequence[str]) -> str:
    """Where each arm ends: means over the later half of the points."""
    rows = [
        [
            "I, exact or a fresh detector's" if name == "information" else name.replace("_", " "),
            *(over_seeds(d, lambda run, n=name: second_half(run, n).mean()) for d in documents.values()),
        ]
        for name in names
    ]
    return table(["mean over the later half", *documents], rows) + "\n"


def stability(documents: dict[str, dict[str, Any]]) -> str:
    """How much an arm still moves: successive points' policies, and the scatter of the curves about their trend."""

    def scatter(run: dict[str, Any], name: str) -> float:
        return float(np.sqrt(np.mean(np.diff(second_half(run, name)) ** 2) / 2.0))

    rows = [
        [f"KL of the {agent}'s policy between points, nats per decision"]
        + [
            over_seeds(d, lambda run, a=agent: second_half(run, f"{a}/policy_kl_nats").mean())
            for d in documents.values()
        ]
        for agent in AGENTS
    ]
    for name, label in (PANELS[0], PANELS[1], PANELS[4], PANELS[6]):
        cells = [over_seeds(d, lambda run, n=name: scatter(run, n)) for d in documents.values()]
        rows.append([f"scatter of {label}", *cells])
    return table(["over the later half", *documents], rows) + "\n"


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Result files of a folder by arm."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def main() -> None:
    documents = read(HERE)
    small = {arm: documents[arm] for arm in COMPARED if arm in documents}
    bonus = read(HERE / "belief_lag")
    lags = {title: bonus[arm] for arm, title in LAGS.items() if arm in bonus}
    print("# Three agents that learn against each other\n")
    if small:
        draw(small, HERE / "debug.png")
        print("## The debug market: alternating, simultaneous, and without the arbitrageur\n\n![curves](debug.png)\n")
        print("Lines are means over seeds, bands their range; all arms have as many environment steps.\n")
        print(ends(small, ENDS))
        print("Which is stabler: how far policies are from those of the point before, and the scatter of a curve from")
        print("point to point, `sqrt(E[(x[k+1] - x[k])^2] / 2)`, sampling error of a point included.\n")
        print(stability(small))
    if len(lags) == len(LAGS):
        print("## The arbitrageur's bonus for acting before the belief has moved\n")
        print("Its reward is its profit plus delta |change of b| in the steps in which it traded.\n")
        print(ends(lags, LAG_MEASURES))
    if "default" in documents:
        draw({"default": documents["default"]}, HERE / "default.png")
        run = documents["default"]["runs"][0]
        print("## The default configuration\n\n![curves](default.png)\n")
        print(
            f"{run['env_steps']:,} environment steps in {run['training_wall_seconds'] / 60:.0f} minutes of training.\n"
        )
        print(ends({"default": documents["default"]}, ENDS))
    print("## Where it comes from\n")
    for arm, document in [*documents.items(), *((f"belief_lag/{arm}", document) for arm, document in bonus.items())]:
        where = document["provenance"]
        print(f"- {arm}: `{where['command']}`, {len(document['runs'])} seeds,")
        print(f"  {document['cpu_seconds']} CPU-seconds, commit {programs([where['commit']])}, {machine(where)}.")


if __name__ == "__main__":
    main()
