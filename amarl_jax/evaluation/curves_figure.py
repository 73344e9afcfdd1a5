"""Learning curves: of one run in a figure of its own, of several runs in one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amarl_jax.evaluation.curves import Curve
from amarl_jax.evaluation.figures import save, style

PANELS = (  # title, unit, metrics over the phases that have them, "one - other" their difference
    ("cost of the order", "reward units", {"execution/shortfall": "shortfall"}),
    ("order done", "share of the parent order", {"execution/completion": "completion"}),
    (
        "information claimed of the flow",
        "nats",
        {"information/source_nats": "what the trader pays for", "information/belief_nats": "maker's belief"},
    ),
    ("belief right at the horizon", "share of episodes", {"belief/final_accuracy": "belief"}),
    (
        "earnings, marked to V",
        "reward units per episode",
        {"maker/pnl - maker/adverse_selection": "maker", "arbitrageur/pnl": "arbitrageur"},
    ),
    ("spread", "ticks", {"market/spread_ticks": "of the market", "maker/quoted_spread_ticks": "the maker quotes"}),
)
LEVELS = {  # a line across the panel: its height, its meaning, which is written below it or above
    "information claimed of the flow": (float(np.log(2.0)), "certainty", "top"),
    "belief right at the horizon": (0.5, "guessing", "bottom"),
}
# for several runs, Okabe and Ito's again; for more than these, shades from dark to light in the order given
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
MARKERS = "osD^vX*P"  # and by marker, for print in grey
MOST_NAMED = 16  # curves with a line in the legend


def draw_curves(curves: Mapping[str, Curve], path: str | Path) -> list[str]:
    """Draw one line per run and metric: runs differ in colour, the metrics of a panel in line style.

    Args:
        curves: by name in the legend; a single one is not named.
        path: of the figure, without suffix.
    """
    return save(curves_figure(curves), path)


def curves_figure(curves: Mapping[str, Curve]) -> Figure:
    """Figure of learning curves, not saved; see :func:`draw_curves`."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True)
    for axis, (title, unit, metrics) in zip(axes.flat, PANELS, strict=True):
        for place, (curve, colour) in enumerate(zip(curves.values(), _colours(len(curves)), strict=True)):
            _draw(axis, curve, metrics, colour, place)
        axis.set(title=title, ylabel=unit)
        axis.ticklabel_format(useOffset=False)
        axis.grid(alpha=0.3)
        if title in LEVELS:
            level, meaning, edge = LEVELS[title]
            axis.axhline(level, color="0.6", linewidth=0.8)
            of_axes = axis.get_yaxis_transform()
            axis.text(0.99, level, meaning, transform=of_axes, ha="right", va=edge, color="0.4", fontsize="small")
        if len(metrics) > 1 and len(curves) == 1:
            _name_lines(axis, metrics)
        elif len(metrics) > 1:
            _name_styles(axis, metrics)
    for axis in axes[1]:
        axis.set_xlabel("million environment steps")
    if len(curves) > 1:
        handles = axes.flat[0].lines[: min(len(curves), MOST_NAMED)]
        more = f", and {len(curves) - MOST_NAMED} more" if len(curves) > MOST_NAMED else None
        names = [*curves][:MOST_NAMED]
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize="small", title=more)
    return figure


def _colours(n_curves: int) -> list[Any]:
    """A colour for each run; None for a single one, whose metrics have their own colours."""
    if n_curves == 1:
        return [None]
    if n_curves <= len(COLOURS):
        return list(COLOURS[:n_curves])
    return [colormaps["viridis"](x) for x in np.linspace(0.0, 0.95, n_curves)]


def _draw(axis: Axes, curve: Curve, metrics: Mapping[str, str], colour: Any, place: int) -> None:
    steps = curve.columns["env_steps"] / 1e6
    marked: dict[str, Any] = {} if colour is None else {"marker": MARKERS[place % len(MARKERS)], "markersize": 4}
    if marked:  # a few of the updates, each run others
        marked["markevery"] = (place % 4 * len(steps) // 32, max(len(steps) // 8, 1))
    for j, metric in enumerate(metrics):
        own, line = style(j)
        first, *less = (curve.over_phases(name) for name in metric.split(" - "))
        axis.plot(steps, first - sum(less), line, color=own if colour is None else colour, linewidth=1.4, **marked)


def _name_lines(axis: Axes, metrics: Mapping[str, str]) -> None:
    """Write the names of two lines beside their ends: above the upper one, below the lower one, clear of both."""
    last = {}
    for line, words in zip(axis.lines, metrics.values(), strict=False):
        x, y = (np.asarray(values, np.float64) for values in line.get_data())
        there = np.isfinite(y) & (x >= x[-1] - 0.6 * (x[-1] - x[0]))
        if there.any():
            last[words] = (y[there], line.get_color())
    upwards = sorted(last, key=lambda words: float(np.mean(last[words][0])))
    axis.margins(y=0.15)
    for words, reach, offset in zip(upwards, (np.min, np.max), (-3, 3), strict=False):
        y, colour = last[words]
        axis.annotate(
            words,
            (1.0, float(reach(y))),
            xycoords=axis.get_yaxis_transform(),
            xytext=(-4, offset),
            textcoords="offset points",
            ha="right",
            va="top" if offset < 0 else "bottom",
            color=colour,
            fontsize="small",
        )


def _name_styles(axis: Axes, metrics: Mapping[str, str]) -> None:
    """Draw a legend of line styles in grey, where colours tell runs apart."""
    for j, words in enumerate(metrics.values()):
        axis.plot([], [], style(j)[1], color="0.3", label=words)
    axis.legend(fontsize="small", framealpha=0.8)
