"""The main figure: what the penalty lambda does to detection and execution, drawn from a sweep's files."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amarl_jax.evaluation.figures import STYLES, save, style
from amarl_jax.lanes.table import LaneTable, read_lanes
from amarl_jax.transition.curve_fits import SCALE
from amarl_jax.transition.intervals import counted_seeds, student_half_width

PANELS = (  # column of lanes.csv, label, limits of the axis, however wide an interval is
    ("information_nats", "I of a fresh detector, nats", (-0.1, 0.72)),
    ("kl_nats", "KL of the flow from noise, nats", (-0.1, np.inf)),
    ("accuracy", "accuracy of a fresh detector", (0.4, 1.01)),
    ("shortfall_units", "shortfall, reward units", (-np.inf, np.inf)),
    ("completion", "share of the parent order done", (-1.01, 1.01)),
)
EXACT = {  # the exact measure and its label, drawn where a table has it, the detector's beside it in grey
    "information_nats": ("exact_nats", "I, exact, nats"),
    "accuracy": ("exact_accuracy", "accuracy, knowing the policy"),
}
ENDS_OF_THE_SCALE = {"information_nats": (float(np.log(2.0)), "certainty"), "accuracy": (0.5, "guessing")}
DEFINITIONS = {  # of lambda*: name in the file, label, line style
    "lambda_half": ("logistic midpoint", "--"),
    "lambda_isotonic": ("half of the fall", (0, (5, 1, 1, 1, 1, 1))),
    "lambda_chi": ("steepest accuracy", "-."),
    "lambda_eq": ("I < 0.01 from here", ":"),
}
ABSENT = {"value": None, "lower": None, "upper": None}  # for a definition that an older file lacks
LINEAR_KL = 0.1  # nats: the KL axis is linear up to here, logarithmic beyond
PINK = STYLES[3][0]
FEWEST_SEEDS = 2  # fewer have no interval
BAND_SEEDS = 4  # with fewer, the interval by Student's t is wider than the spread of the data: dots alone


def draw_transition(lanes: str | Path, path: str | Path, located: str | Path | None = None) -> list[str]:
    """Draw I, KL, accuracy, shortfall and fill rate against lambda: seeds, means with 95% intervals, lambda*.

    I and accuracy are the exact ones where the table has them, with a fresh detector's mean beside.

    Args:
        lanes: ``lanes.csv`` of a sweep; every arm is drawn.
        path: of the figure, without suffix.
        located: JSON of :func:`amarl_jax.transition.verdict.as_json`, with "verdict" beside it where there is one.
    """
    table = read_lanes(lanes)
    found = None if located is None else json.loads(Path(located).read_text())
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True)
    for axis, (column, label, ends) in zip(axes.flat, PANELS, strict=False):
        exact, exact_label = EXACT.get(column, (None, "")) if table.is_exact else (None, "")
        if exact is not None:
            _draw_detector(axis, table, column)
            label = exact_label
        _draw_arms(axis, table, exact or column)
        if found is not None:
            _draw_located(axis, found, table.arms())
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if column in ENDS_OF_THE_SCALE:
            level, meaning = ENDS_OF_THE_SCALE[column]
            axis.axhline(level, color="0.6", linewidth=0.8)
            edge = "top" if meaning == "certainty" else "bottom"
            of_axes = axis.get_yaxis_transform()
            axis.text(0.01, level, meaning, transform=of_axes, va=edge, color="0.4", fontsize="small")
        _end_axis(axis, *ends)
    _compress_kl(axes[0, 1])
    _label_penalty(axes, table)
    _draw_key(axes.flat[-1], axes[0, 0], found)
    return save(figure, path)


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over seeds [L] and half the width of its 95% interval by Student's t; NaN with one seed.

    Args:
        values: [S, L].
    """
    if len(values) < FEWEST_SEEDS:
        return values.mean(axis=0), np.full(values.shape[1], np.nan)
    return values.mean(axis=0), student_half_width(values)


def _draw_arms(axis: Axes, table: LaneTable, column: str) -> None:
    """Draw seeds as dots, their mean as a line, the interval as a band where there are enough seeds."""
    for place, arm in enumerate(table.arms()):
        colour, line = style(place)
        penalty, values = table.grid(column, arm)
        if not len(values):
            continue
        mean, half = mean_interval(values)
        name = "measured" if len(table.arms()) == 1 else arm
        few = len(values) < BAND_SEEDS
        seeds = counted_seeds(len(values)) + ", too few for an interval" * few
        axis.plot(penalty, mean, line, color=colour, label=f"{name}, mean of {seeds}")
        if not few:
            axis.fill_between(penalty, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
        axis.plot(penalty, values.T, ".", color=colour, alpha=0.5, markersize=3)


def _draw_detector(axis: Axes, table: LaneTable, column: str) -> None:
    """Draw what fresh detectors found, the mean of every arm as a thin grey line beside the exact measure."""
    for i, arm in enumerate(table.arms()):
        penalty, values = table.grid(column, arm)
        if len(values):
            label = "found by a fresh detector" if i == 0 else None
            axis.plot(penalty, values.mean(axis=0), color="0.45", linewidth=1.0, linestyle=(0, (3, 1)), label=label)


def _end_axis(axis: Axes, lowest: float, highest: float) -> None:
    """Limit the axis to these ends, unless nothing measured lies between them."""
    low, high = np.clip(axis.get_ylim(), lowest, highest)
    if low < high:
        axis.set_ylim(low, high)


def _compress_kl(axis: Axes) -> None:
    """Set an asinh axis with ticks at plain numbers: theory's KL at small penalties dwarfs the rest."""
    axis.set_yscale("asinh", linear_width=LINEAR_KL)
    ticks = [x for x in (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0) if x <= axis.get_ylim()[1]]
    axis.set_yticks(ticks, [f"{x:g}" for x in ticks])
    axis.minorticks_off()


def _draw_located(axis: Axes, found: Mapping[str, Any], arms: Sequence[str]) -> None:
    """Draw lambda* of the first arm by each definition, with its interval as a band."""
    of = "" if len(arms) == 1 else f" of {arms[0]}"
    for name, (label, line) in DEFINITIONS.items():
        location = found.get(name, ABSENT)
        if isinstance(location["value"], float) and location["lower"] is not None:  # else it is not determined
            axis.axvline(
                location["value"], linestyle=line, color=STYLES[3][0], linewidth=1.2, label=f"lambda*{of}: {label}"
            )
        if isinstance(location["lower"], float) and isinstance(location["upper"], float):
            axis.axvspan(location["lower"], location["upper"], color=PINK, alpha=0.1, linewidth=0)


def _label_penalty(axes: np.ndarray, table: LaneTable) -> None:
    """Set one asinh axis for all panels, with ticks at penalties of the grid."""
    penalty = np.unique(table.columns["lambda"])
    ticks = [x for x in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0) if penalty[0] <= x <= penalty[-1]]
    for axis in axes.flat[:5]:
        axis.set_xscale("asinh", linear_width=SCALE)
        axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axis.minorticks_off()
        axis.set_xlim(penalty[0] - 0.01, penalty[-1] * 1.05)
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("lambda, reward units per nat")


def _draw_key(key: Axes, legend_of: Axes, found: Mapping[str, Any] | None) -> None:
    """Draw the last panel: the legend, and the findings in words."""
    key.axis("off")
    key.legend(*legend_of.get_legend_handles_labels(), loc="upper left", fontsize="small", frameon=False)
    lines = []
    if found is not None:
        lines = [f"{label}: {_text(found[name])}" for name, (label, _) in DEFINITIONS.items() if name in found]
        lines += [f"width (asinh axis): {_text(found['width'])}", f"kind of fall: {found['kind']}"]
        lines += [f"verdict: {found['verdict']}"] if "verdict" in found else []
    lines = [part for line in lines for part in textwrap.wrap(line, 52)]
    key.text(0.02, 0.02, "\n".join(lines), fontsize="small", va="bottom", transform=key.transAxes)


def _text(location: Mapping[str, Any]) -> str:
    number = lambda x: f"{x:.2f}" if isinstance(x, float) else str(x)  # noqa: E731
    if location["value"] is None and location["lower"] in (None, location["note"]):
        return str(location["note"])
    value = location["note"] if location["value"] is None else number(location["value"])
    if location["lower"] is None:
        return f"{value}, interval not determined"
    return f"{value} [{number(location['lower'])}, {number(location['upper'])}]"
