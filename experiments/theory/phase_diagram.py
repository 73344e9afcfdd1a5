"""Draws the predicted phase diagram: penalty by leverage, for the deterministic and the randomising trader.

    python experiments/theory/phase_diagram.py

writes phase_diagram.json, .png and .pdf beside itself; ``--redraw`` draws again from the JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from amarl_jax.host.provenance import provenance
from amarl_jax.theory import deterministic as covert
from amarl_jax.theory import gaussian_channel, randomised

HERE = Path(__file__).parent
CHANNELS = {
    "side known": gaussian_channel.Channel(),
    "side random": gaussian_channel.Channel(side_known=False),
}
CONFIG = {
    "prior": 0.5,
    "haste": "linear on [0, d_max], g(d_max) = 1",
    "leverages": [
        1.0,
        1.3,
        1.6,
        1.64,
        1.7,
        1.85,
        2.0,
        2.19,
        2.2,
        2.3,
        2.5,
        2.8,
        3.2,
        3.6,
        4.0,
        5.0,
        6.0,
        7.0,
        8.0,
        10.0,
        12.0,
    ],
    "loud_levels": [0.9, 0.5, 0.1, 0.01],
    "slice_leverage": 4.0,
    "slice_penalties": [round(float(x), 4) for x in np.geomspace(0.1, 10.0, 81)],
}
PENALTY = r"leakage penalty $\lambda$, savings of full haste per nat"
LEVEL_STYLE = {0.9: ":", 0.5: "--", 0.1: "-.", 0.01: "-"}
BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"  # Okabe and Ito 2008


def phase_row(max_leverage, channel):
    """First-order point, onset of mixing and the levels of P(loud) at one leverage."""
    haste = covert.linear_haste(max_leverage)
    jump = covert.jump(haste, channel)
    loud = max_leverage > gaussian_channel.inflection(channel)
    levels = [
        randomised.penalty_at_loud_probability(level, haste, channel) if loud else None
        for level in CONFIG["loud_levels"]
    ]
    return {
        "max_leverage": max_leverage,
        "jump": None if jump is None else vars(jump),
        "mixing_onset": randomised.mixing_onset(haste, channel),
        "loud_levels": levels,
    }


def slice_row(penalty, channel):
    """Both optima at one penalty."""
    haste = covert.linear_haste(CONFIG["slice_leverage"])
    d = covert.best_leverage(penalty, haste, channel)
    mixed = randomised.best_mixture(penalty, haste, channel)
    return {
        "penalty": penalty,
        "pure_leverage": d,
        "pure_information": float(gaussian_channel.information(d, channel)),
        "mixed_information": mixed.information,
        "mixed_haste": mixed.haste,
        "mixed_gap": mixed.gap,
        "loud_probability": mixed.loud_probability(gaussian_channel.inflection(channel)),
    }


def compute():
    """Every number in the figure."""
    results = {}
    for name, channel in CHANNELS.items():
        results[name] = {
            "inflection": gaussian_channel.inflection(channel),
            "linear_critical_point": vars(covert.linear_critical_point(channel)),
            "quadratic_critical_point": vars(covert.quadratic_critical_point(channel)),
            "phase": [phase_row(d, channel) for d in CONFIG["leverages"]],
            "slice": [slice_row(lam, channel) for lam in CONFIG["slice_penalties"]],
        }
    results["infinite leverage"] = {
        "death": randomised.infinite_leverage_death(),
        "jump": 1.0 / float(np.log(2.0)),
        "loud_probability": [randomised.infinite_leverage_loud_probability(x) for x in CONFIG["slice_penalties"]],
    }
    return results


def record():
    """The result file: what ran, where, on what, and what came out."""
    start = time.time()
    results = compute()
    return {
        "provenance": provenance(CONFIG, None),
        "wall_seconds": round(time.time() - start, 1),
        "results": results,
    }


def draw_phase(axis, name, result):
    """Penalty by leverage: the first-order line and its end, and the mixed curves over it."""
    phase, critical = result["phase"], result["linear_critical_point"]
    jumps = [row for row in phase if row["jump"] is not None]
    x = [critical["scale"]] + [row["max_leverage"] for row in jumps]
    y = [critical["penalty"]] + [row["jump"]["penalty"] for row in jumps]
    axis.plot(x, y, color=BLACK, lw=3.0, solid_capstyle="round", label="deterministic: first-order line", zorder=3)
    axis.plot(x[0], y[0], "o", color=BLACK, ms=10, mfc="white", mew=2.5, label="its end, the inflection of I", zorder=4)
    onset = [(row["max_leverage"], row["mixing_onset"]) for row in phase if row["mixing_onset"] is not None]
    axis.plot(
        *zip(*onset, strict=True), color=GREEN, lw=2.0, ls=(0, (5, 1, 1, 1, 1, 1)), label="randomising: mixing starts"
    )
    for k, level in enumerate(CONFIG["loud_levels"]):
        curve = [(row["max_leverage"], row["loud_levels"][k]) for row in phase if row["loud_levels"][k] is not None]
        axis.plot(
            *zip(*curve, strict=True),
            color=ORANGE,
            ls=LEVEL_STYLE[level],
            lw=2.0,
            label=f"randomising: P(loud) = {level:g}",
        )
    axis.axhline(1.0 / np.log(2.0), color=BLACK, lw=0.8, ls=(0, (1, 3)))
    axis.text(12.2, 1.0 / np.log(2.0), r"$1/\ln 2$", va="center", fontsize=9)
    axis.axhline(2.0 / np.log(2.0), color=ORANGE, lw=0.8, ls=(0, (1, 3)))
    axis.text(12.2, 2.0 / np.log(2.0), r"$2/\ln 2$", va="center", fontsize=9, color=ORANGE)
    axis.set(xscale="log", yscale="log", xlim=(1.0, 12.0), ylim=(0.1, 10.0))
    axis.set_xticks([1, 2, 3, 4, 6, 8, 12], ["1", "2", "3", "4", "6", "8", "12"])
    axis.set_xticks([], minor=True)
    axis.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    axis.set(xlabel=r"leverage $d_{\max} = Q\,/\,(\sigma\sqrt{N})$", ylabel=PENALTY, title=name)


def draw_information(axis, name, result):
    """Information of both optima along a line of constant leverage."""
    rows = result["slice"]
    penalty = np.array([row["penalty"] for row in rows])
    pure = np.array([row["pure_information"] for row in rows])
    cut = int(np.argmax(-np.diff(pure))) + 1
    jump = next(row["jump"] for row in result["phase"] if row["max_leverage"] == CONFIG["slice_leverage"])
    ends = [jump["loud_information"], jump["quiet_information"]]
    for part, end in ((slice(None, cut), 0), (slice(cut, None), 1)):
        x, y = list(penalty[part]), list(pure[part])
        x, y = ([*x, jump["penalty"]], [*y, ends[0]]) if end == 0 else ([jump["penalty"], *x], [ends[1], *y])
        axis.plot(x, y, color=BLACK, lw=3.0, label="deterministic" if end == 0 else None)
    axis.plot([jump["penalty"]] * 2, ends, color=BLACK, lw=1.0, ls=":", label="its jump")
    axis.plot(penalty, [row["mixed_information"] for row in rows], color=BLUE, lw=2.0, ls="--", label="randomising")
    axis.axhline(np.log(2.0), color="0.5", lw=0.8)
    axis.text(9.6, np.log(2.0) + 0.005, "H(z) = ln 2", fontsize=9, color="0.3", ha="right")
    axis.set(ylim=(0.0, 0.75), ylabel="information at the optimum, nats")
    label_slice(axis, name)


def draw_loud(axis, name, result, infinite):
    """Probability of the loud episodes along the same line, beside the closed form of infinite leverage [L]."""
    penalty = [row["penalty"] for row in result["slice"]]
    loud = [row["loud_probability"] for row in result["slice"]]
    axis.plot(penalty, loud, color=ORANGE, lw=2.0, ls="-.", label=f"leverage {CONFIG['slice_leverage']:g}")
    axis.plot(penalty, infinite, color=BLACK, lw=1.0, label="infinite leverage, closed form")
    axis.set(ylim=(0.0, 1.03), ylabel="P(loud) of the randomising trader")
    label_slice(axis, name)


def label_slice(axis, name):
    """Set the axis of penalties and the title of a panel of the cut."""
    axis.set(xscale="log", xlim=(0.1, 10.0), xlabel=PENALTY)
    axis.set_xticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    axis.set_title(rf"{name}, at leverage $d_{{\max}} = {CONFIG['slice_leverage']:g}$")


def draw(document):
    """Two rows, side known and side random: the diagram, and a cut through it in nats and in probability."""
    infinite = document["results"]["infinite leverage"]["loud_probability"]
    figure, axes = plt.subplots(2, 3, figsize=(15.0, 9.4), constrained_layout=True)
    for row, name in zip(axes, CHANNELS, strict=True):
        draw_phase(row[0], name, document["results"][name])
        draw_information(row[1], name, document["results"][name])
        draw_loud(row[2], name, document["results"][name], infinite)
    for axis, columns in zip(axes[1], (2, 3, 2), strict=True):
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=columns, fontsize=9, frameon=False)
    for suffix in ("png", "pdf"):
        figure.savefig(
            HERE / f"phase_diagram.{suffix}", dpi=150, metadata={"CreationDate": None} if suffix == "pdf" else None
        )
    plt.close(figure)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redraw", action="store_true", help="draw from the JSON that is there")
    path = HERE / "phase_diagram.json"
    if parser.parse_args(arguments).redraw:
        document = json.loads(path.read_text())
    else:
        document = record()
        path.write_text(json.dumps(document, indent=1) + "\n")
    draw(document)


if __name__ == "__main__":
    main(sys.argv[1:])
