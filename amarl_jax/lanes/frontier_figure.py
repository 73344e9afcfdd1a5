"""The frontier of cost over information, the curve it predicts over the learned one, and the price that was paid."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amarl_jax.evaluation.figures import STYLES, save
from amarl_jax.transition.curve_fits import SCALE
from amarl_jax.transition.envelope import TOLERANCE
from amarl_jax.transition.frontier import JUMP
from amarl_jax.transition.intervals import counted_seeds

TICKS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
LEARNED, HULL, JUMPED = STYLES[0][0], "0.4", STYLES[3][0]


def draw_frontier(sweep: str | Path, path: str | Path) -> list[str]:
    """Draw three panels for each arm of a ``sweep.json``; nothing is drawn where no arm has a frontier.

    Left, policies in the plane of I and cost with the lower hull, jumps in colour. Middle, learned I against lambda
    over what the hull predicts, with 95% bands. Right, the slope ``-dC/dI`` between neighbours over lambda, where 1 is
    paying the nominal price.

    Args:
        sweep: ``sweep.json``, whose "located" has a "trade_off" for the arms to draw.
        path: of the figure, without suffix.
    """
    located = json.loads(Path(sweep).read_text())["located"]
    arms = {arm: found["trade_off"] for arm, found in located.items() if "trade_off" in found}
    if not arms:
        return []
    figure = Figure(figsize=(13.5, 4.4 * len(arms)), layout="constrained")
    for line, (arm, found) in zip(figure.subplots(len(arms), 3, squeeze=False), arms.items(), strict=True):
        _draw_plane(line[0], found)
        _draw_curve(line[1], found)
        _draw_envelope(line[2], found["envelope"])
        line[0].set_title(arm, loc="left", fontsize="medium")
        line[1].set_title(found["frontier"]["statement"], fontsize="x-small", wrap=True)
    return save(figure, path)


def _draw_plane(axis: Axes, found: Mapping[str, Any]) -> None:
    """Draw policies, hull and jumps in the plane."""
    policies, frontier = found["frontier"]["policies"], found["frontier"]
    points = np.array([(policy["nats"], policy["units"]) for policy in policies])
    n_learned = len(found["learned"]["lambda"])
    if len(points) > n_learned:
        axis.plot(
            *points[n_learned:].T, "D", color=STYLES[2][0], markersize=4, markerfacecolor="white", label="scripted"
        )
    seeds = (np.ravel(found["seeds"][name]) for name in ("nats", "units"))
    axis.plot(*seeds, ".", color=LEARNED, alpha=0.3, markersize=3)
    axis.plot(
        *points[:n_learned].T,
        "o",
        color=LEARNED,
        markersize=4,
        label=f"learned, mean of {counted_seeds(found['n_seeds'])}",
    )
    hull = points[frontier["corners"]]
    axis.plot(*hull.T, color=HULL, linewidth=1.0, label="lower hull")
    for a, b, piece in zip(hull[:-1], hull[1:], frontier["pieces"], strict=True):
        if piece["kind"] == JUMP:
            label = f"jump at lambda {piece['penalty']['value']:.2f}"
            axis.plot(*np.stack([a, b]).T, color=JUMPED, linewidth=2.5, label=label)
    label = "I, exact, nats" if found["information"] == "exact_nats" else "I of a fresh detector, nats"
    axis.set(xlabel=label, ylabel="C, shortfall, reward units")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")


def _draw_curve(axis: Axes, found: Mapping[str, Any]) -> None:
    """Draw learned and predicted I against lambda."""
    predicted, learned = found["frontier"]["predicted"], found["learned"]
    penalty = np.array(predicted["lambda"])
    lower, upper = (np.array(predicted[name], float) for name in ("lower", "upper"))
    axis.step(penalty, predicted["nats"], where="mid", color=HULL, linewidth=1.2, label="best of all measured policies")
    if np.isfinite(lower).all():
        axis.fill_between(penalty, lower, upper, step="mid", color=HULL, alpha=0.2, linewidth=0)
    axis.plot(learned["lambda"], np.transpose(found["seeds"]["nats"]), ".", color=LEARNED, alpha=0.3, markersize=3)
    axis.plot(learned["lambda"], learned["nats"], "o-", color=LEARNED, markersize=4, label="learned")
    axis.axhline(np.log(2.0), color="0.6", linewidth=0.8)
    axis.set_ylabel("I, nats")
    axis.legend(fontsize="small")
    _label_penalty(axis, penalty)


def _draw_envelope(axis: Axes, envelope: list[dict[str, Any]]) -> None:
    """Draw slope over the middle penalty, with its interval; behind it the bracket of the two penalties."""
    for slope in envelope:
        low, high = slope["lambda_below"], slope["lambda_above"]
        middle = 0.5 * (low + high)
        limits = sorted((min(low / middle, 1.0 - TOLERANCE), max(high / middle, 1.0 + TOLERANCE)))
        axis.fill_between([low, high], *limits, color="0.85", linewidth=0)
        if slope["ratio"] is None or slope["slope"]["lower"] is None:
            continue
        ratio, lower, upper = slope["ratio"], slope["slope"]["lower"] / middle, slope["slope"]["upper"] / middle
        mark = {True: "o", False: "X", None: "_"}[slope["agrees"]]
        axis.plot([middle, middle], [lower, upper], color=LEARNED, linewidth=1.0)
        axis.plot(middle, ratio, mark, color=JUMPED if slope["agrees"] is False else LEARNED, markersize=5)
    axis.axhline(1.0, color="0.6", linewidth=0.8)
    axis.set(ylabel="-dC/dI over the middle lambda", ylim=(-0.25, 3.0))
    _label_penalty(axis, np.array([slope[name] for slope in envelope for name in ("lambda_below", "lambda_above")]))


def _label_penalty(axis: Axes, penalty: np.ndarray) -> None:
    """Set an asinh axis with plain ticks, as far as there are penalties."""
    low, high = float(penalty.min()), float(penalty.max())
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axis.set_xscale("asinh", linear_width=SCALE)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(low - 0.01, high * 1.05)
    axis.set_xlabel("lambda, reward units per nat")
    axis.grid(alpha=0.3)
