"""The frontier of cost over information, the curve it predicts over the learned one, and the price that was paid."""

import json
import textwrap
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from amarl_jax.evaluation.figures import STYLES, save
from amarl_jax.transition.curve_fits import SCALE
from amarl_jax.transition.envelope import TOLERANCE
from amarl_jax.transition.frontier import JUMP
from amarl_jax.transition.intervals import counted_seeds

TICKS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
LEARNED, HULL, JUMPED, NOMINAL = STYLES[0][0], "0.4", STYLES[3][0], "0.85"
PRICES = (-0.25, 3.0)  # limits of the axis of prices; an interval that goes on has an arrow there
MARKS = {  # of a price: marker, meaning
    True: ("o", "price agrees with lambda"),
    False: ("X", "price differs from lambda"),
    None: ("_", "interval cannot tell"),
}
TITLE_WIDTH = 54  # characters of a panel's title in a line


def draw_frontier(sweep: str | Path, path: str | Path) -> list[str]:
    """Draw three panels for each arm of a ``sweep.json``; nothing is drawn where no arm has a frontier.

    Args:
        sweep: ``sweep.json``, whose "located" has a "trade_off" for the arms to draw.
        path: of the figure, without suffix.
    """
    located = json.loads(Path(sweep).read_text())["located"]
    arms = {arm: found["trade_off"] for arm, found in located.items() if "trade_off" in found}
    return save(frontier_figure(arms), path) if arms else []


def frontier_figure(arms: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Figure of the "trade_off" of each arm, not saved; see :func:`draw_frontier`.

    Left, policies in the plane of I and cost with the lower hull, jumps in colour. Middle, learned I against lambda
    over what the hull predicts, with 95% bands. Right, the price ``-dC/dI`` between neighbours over their middle
    lambda, where 1 is paying the nominal price.
    """
    figure = Figure(figsize=(13.5, 0.5 + 4.4 * len(arms)), layout="constrained")
    readings: set[bool | None] = set()
    for line, (arm, found) in zip(figure.subplots(len(arms), 3, squeeze=False), arms.items(), strict=True):
        _draw_plane(line[0], found)
        _draw_curve(line[1], found)
        told = _draw_envelope(line[2], found["envelope"], counted_seeds(found["n_seeds"]))
        readings |= {slope["agrees"] for slope in told}
        prices = f"prices between neighbours, {len(told)} of {len(found['envelope'])} with an interval"
        for axis, title in zip(line, (arm, found["frontier"]["statement"], prices), strict=True):
            axis.set_title(textwrap.fill(title, TITLE_WIDTH), loc="left", fontsize="medium")
    if readings:
        handles = _price_key(readings)
        figure.legend(handles=handles, loc="outside lower right", ncols=3, fontsize="small", title="prices, right")
    return figure


def _draw_plane(axis: Axes, found: Mapping[str, Any]) -> None:
    """Draw policies, hull and jumps in the plane."""
    policies, frontier = found["frontier"]["policies"], found["frontier"]
    points = np.array([(policy["nats"], policy["units"]) for policy in policies])
    n_learned = len(found["learned"]["lambda"])
    if len(points) > n_learned:
        axis.plot(
            *points[n_learned:].T, "D", color=STYLES[2][0], markersize=4, markerfacecolor="white", label="scripted"
        )
    axis.plot(
        *points[:n_learned].T,
        "o",
        color=LEARNED,
        markersize=4,
        label=f"learned, mean of {counted_seeds(found['n_seeds'])}",
    )
    if found["n_seeds"] > 1:
        seeds = (np.ravel(found["seeds"][name]) for name in ("nats", "units"))
        axis.plot(*seeds, ".", color=LEARNED, alpha=0.4, markersize=4, zorder=1, label="a seed at a lambda")
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
    seeds = np.transpose(found["seeds"]["nats"])
    certain = float(np.log(2.0))
    name = f"learned, mean of {counted_seeds(found['n_seeds'])}"
    axis.plot(learned["lambda"], learned["nats"], "o-", color=LEARNED, markersize=4, label=name)
    if found["n_seeds"] > 1:
        of_seeds = axis.plot(learned["lambda"], seeds, ".", color=LEARNED, alpha=0.4, markersize=4, zorder=1)
        of_seeds[0].set_label("a seed")
    axis.step(penalty, predicted["nats"], where="mid", color=HULL, linewidth=1.2, label="best of all measured policies")
    if np.isfinite(lower).all():
        band: dict[str, Any] = {"color": HULL, "alpha": 0.2, "linewidth": 0}
        axis.fill_between(penalty, lower, upper, step="mid", label="its 95% interval", **band)
    axis.axhline(certain, color="0.6", linewidth=0.8)
    axis.text(0.99, certain, "certainty, ln 2", **_small_note(axis), va="bottom")
    axis.set(ylabel="I, nats", ylim=(None, max(1.12 * certain, axis.get_ylim()[1])))
    axis.legend(fontsize="small", loc="lower left")
    _label_penalty(axis, penalty)


def _draw_envelope(axis: Axes, envelope: list[dict[str, Any]], seeds: str) -> list[dict[str, Any]]:
    """Draw prices that have an interval over their middle penalty, which it returns; the nominal ones in grey."""
    told = [slope for slope in envelope if slope["ratio"] is not None and slope["slope"]["lower"] is not None]
    for slope in envelope if told else ():
        low, high = slope["lambda_below"], slope["lambda_above"]
        middle = 0.5 * (low + high)
        limits = sorted((min(low / middle, 1.0 - TOLERANCE), max(high / middle, 1.0 + TOLERANCE)))
        axis.fill_between([low, high], *limits, color=NOMINAL, linewidth=0)
    for slope in told:
        _draw_price(axis, slope)
    if not told:
        axis.text(0.5, 0.7, f"no interval: {seeds}", transform=axis.transAxes, ha="center", fontsize="large")
    axis.axhline(1.0, color="0.6", linewidth=0.8)
    axis.set(ylabel="price paid for a nat, over lambda", ylim=PRICES)
    _label_penalty(axis, np.array([slope[name] for slope in envelope for name in ("lambda_below", "lambda_above")]))
    return told


def _draw_price(axis: Axes, slope: Mapping[str, Any]) -> None:
    """Draw one price with its interval, which ends in an arrow where the axis ends before it."""
    middle = 0.5 * (slope["lambda_below"] + slope["lambda_above"])
    lower, upper = slope["slope"]["lower"] / middle, slope["slope"]["upper"] / middle
    mark, _ = MARKS[slope["agrees"]]
    colour = JUMPED if slope["agrees"] is False else LEARNED
    axis.plot([middle, middle], [lower, upper], color=colour, linewidth=1.0)
    axis.plot(middle, slope["ratio"], mark, color=colour, markersize=6)
    for end, goes_on, arrow in ((PRICES[0], lower < PRICES[0], "v"), (PRICES[1], upper > PRICES[1], "^")):
        if goes_on:
            axis.plot(middle, end, arrow, color=colour, markersize=7, clip_on=False, zorder=3)


def _price_key(readings: Container[bool | None]) -> list[Artist]:
    """Handles of a legend of what the panels of prices show, among them marks of these readings."""
    none: dict[str, Any] = {"linestyle": "none", "markersize": 6}
    marks = [
        Line2D([], [], marker=mark, color=JUMPED if agrees is False else LEARNED, label=meaning, **none)
        for agrees, (mark, meaning) in MARKS.items()
        if agrees in readings
    ]
    return [
        *marks,
        Line2D([], [], marker="^", color=LEARNED, label="95% interval goes on", **none),
        Line2D([], [], color="0.6", linewidth=0.8, label="lambda itself"),
        Patch(color=NOMINAL, label=f"agrees: between the two lambdas, or within {TOLERANCE:.0%}"),
    ]


def _small_note(axis: Axes) -> dict[str, Any]:
    """Style of words that name a level line at the right edge."""
    return {"transform": axis.get_yaxis_transform(), "ha": "right", "color": "0.4", "fontsize": "small"}


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
