"""Numbers of the main sweep as text: slopes of the envelope, and places."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax.transition.envelope import slopes

sys.path.insert(0, str(Path(__file__).parents[1]))  # hulls.py lies beside this folder
from hulls import place


def envelope_lines(found: Mapping[str, Any]) -> list[str]:
    """What the envelope condition says between neighbouring penalties, and between every third of them."""
    learned, seeds = found["learned"], found["seeds"]
    third = slice(None, None, 3)
    grids = (np.array(seeds[name])[:, third] for name in ("nats", "units"))
    wider = [slope.as_json() for slope in slopes(np.array(learned["lambda"])[third], *grids)]
    return [*_slope_lines(found["envelope"], "neighbours"), "", *_slope_lines(wider, "every third penalty")]


def _slope_lines(between: list[dict[str, Any]], of: str) -> list[str]:
    """A sentence and a table of slopes."""
    told = [slope for slope in between if slope["agrees"] is not None]
    good = sum(slope["agrees"] for slope in told)
    lines = [
        f"-dC/dI lies between the two penalties, or within 25% of their middle, in {good} of the {len(told)} pairs "
        f"that can be told, of {len(between)} of {of}:",
        "",
        "| lambda | -dC/dI over the middle | 95% | agrees |",
        "|---" * 4 + "|",
    ]
    for slope in between:
        low, high = slope["lambda_below"], slope["lambda_above"]
        ratio = "none" if slope["ratio"] is None else f"{slope['ratio']:.2f}"
        limits = [slope["slope"][side] for side in ("lower", "upper")]
        between = "" if None in limits else " to ".join(f"{x / (0.5 * (low + high)):.2f}" for x in limits)
        word = {True: "yes", False: "no", None: "cannot tell"}[slope["agrees"]]
        lines.append(f"| {low:.3g} to {high:.3g} | {ratio} | {between} | {word} |")
    return lines


def located_lines(found: Mapping[str, Any]) -> list[str]:
    """lambda* by its definitions, how well families of curves predict, and the curve that the hull predicts."""
    names = {"lambda_eq": "below 0.01 nats from", "lambda_half": "half by a logistic"}
    names |= {"lambda_isotonic": "half without a model", "lambda_chi": "steepest fall of the accuracy"}
    lines = ["- lambda*: " + "; ".join(f"{word} {place(found[name])}" for name, word in names.items()) + "."]
    predicted, learned = found["trade_off"]["frontier"]["predicted"], found["trade_off"]["learned"]
    best = [predicted["nats"][predicted["lambda"].index(penalty)] for penalty in learned["lambda"]]
    gaps = np.array(learned["nats"]) - best
    most = int(np.argmax(np.abs(gaps)))
    text = f"{gaps[most]:+.3f} nats at lambda {learned['lambda'][most]:.3g}" if gaps[most] else "nothing"
    scores = found.get("log_likelihood_per_seed") or {}
    if scores:
        order = sorted(scores, key=lambda family: -scores[family])
        told = ", ".join(f"{family} {scores[family]:.1f}" for family in order)
        lines.append(f"- Log-likelihood of a seed left out, nats: {told}.")
    return [*lines, f"- Learned I less what the hull predicts (Legendre), where most: {text}."]
