"""Execution policies in the plane of information against cost, drawn from a file of baseline rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amarl_jax.evaluation.figures import STYLES, save
from amarl_jax.evaluation.metrics import NORMAL_95
from amarl_jax.lanes.table import LaneTable, read_lanes
from amarl_jax.transition.frontier import lower_hull
from amarl_jax.transition.intervals import counted_seeds

LINEAR_NATS = 0.02  # the information axis is linear up to here, logarithmic beyond
COLUMN = {True: "exact_nats", False: "information_nats"}  # of the information: exact, or by a fresh detector
CORNERS = np.array([(9.0, 8.0), (9.0, -8.0), (-9.0, 8.0), (-9.0, -8.0)])  # places of a number around its point
FAMILIES = (  # first match counts: part of the name, marker, style
    ("learned", "*", "#000000"),
    ("camouflage", "D", STYLES[2][0]),
    ("mimic", "o", STYLES[1][0]),
    ("", "s", STYLES[0][0]),
)


def draw_plane(
    rows: str | Path, path: str | Path, lanes: str | Path | None = None, arm: str | None = None
) -> list[str]:
    """Draw shortfall against I with 95% intervals, a panel per market; numbers name the policies, beside their fill.

    I is the exact one where every row has it, lanes included, else what a fresh detector found.

    The grey line is the lower envelope: tossing a private coin between two of its corners once per episode costs their
    mean and, since I is convex in the law of the flow, gives away at most the mean of their I.

    Args:
        rows: JSON with "rows" (one market) or "markets" (several), as :mod:`amarl_jax.evaluation.baselines` makes them.
        path: of the figure, without suffix.
        lanes: ``lanes.csv`` of a sweep, whose seed means are drawn as the learned frontier in the first panel.
        arm: of that sweep; default the first.
    """
    document = json.loads(Path(rows).read_text())
    markets: Mapping[str, Any] = document.get("markets") or {"": document["rows"]}
    figure = Figure(figsize=(1.5 + 6.5 * len(markets), 6.2), layout="constrained")
    axes = figure.subplots(1, len(markets), squeeze=False)[0]
    frontier = None if lanes is None else read_lanes(lanes)
    exact = (frontier is None or frontier.is_exact) and all(_is_exact(table) for table in markets.values())
    for axis, (name, table) in zip(axes, markets.items(), strict=True):
        _draw_market(axis, table, exact)
        axis.set_title(", ".join(filter(None, (name.replace("_", " "), _episodes(table)))))
    if frontier is not None:
        _draw_frontier(axes[0], frontier, arm, exact)
    for axis in axes:
        axis.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, handletextpad=0.3)
    return save(figure, path)


def _draw_market(axis: Axes, table: Mapping[str, Any], exact: bool) -> None:
    """Draw every policy of one market."""
    leaked = COLUMN[exact]
    points = np.array([(row[leaked]["value"], row["shortfall_ticks"]["value"]) for row in table.values()])
    axis.set_xscale("asinh", linear_width=LINEAR_NATS)
    for number, ((name, row), (x, y)) in enumerate(zip(table.items(), points, strict=True), start=1):
        marker, colour = next((marker, colour) for part, marker, colour in FAMILIES if part in name)
        error = {"xerr": row[leaked]["stderr"], "yerr": row["shortfall_ticks"]["stderr"]}
        wide: dict[str, Any] = {side: NORMAL_95 * value for side, value in error.items()}
        label = f"{number} {name.replace('_', ' ')}, {row['completion']['value']:.0%} filled"
        axis.errorbar(
            x, y, **wide, fmt=marker, color=colour, markersize=7, elinewidth=1, markerfacecolor="white", label=label
        )
    shown = np.maximum(points, [0.0, -np.inf])
    corners = shown[lower_hull(shown)]
    nats = np.linspace(corners[0, 0], corners[-1, 0], 200)  # straight in I, so curved on this axis
    axis.plot(
        nats,
        np.interp(nats, *corners.T),
        color="0.7",
        linewidth=1.0,
        zorder=0,
        label="mixing two by a private coin: no worse than this",
    )
    axis.axvline(0.0, color="0.6", linewidth=0.8)
    axis.set_xticks(
        [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.693], ["0", "0.01", "0.02", "0.05", "0.1", "0.2", "0.4", "ln 2"]
    )
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    _number_points(axis, points)
    label = "I, exact, nats" if exact else "I seen by a fresh detector, nats"
    axis.set(xlabel=label, ylabel="shortfall, ticks per parent lot")


def _is_exact(table: Mapping[str, Any]) -> bool:
    """True if all rows of a market have the exact information; older files have only that of a fresh detector."""
    return all(row.get(COLUMN[True], {}).get("value") is not None for row in table.values())


def _episodes(table: Mapping[str, Any]) -> str:
    """Number of episodes behind every row, in words; empty where a file has none."""
    counts = sorted({row["n_episodes"] for row in table.values() if "n_episodes" in row})
    return f"{' to '.join(f'{count:,}' for count in (counts[:1] + counts[1:][-1:]))} episodes a policy" * bool(counts)


def _number_points(axis: Axes, points: np.ndarray) -> None:
    """Write numbers from 1 beside points [n, 2], each at that corner of its point that is farthest from all else."""
    pixels = axis.transData.transform(points)
    taken = list(pixels)
    for i, point in enumerate(pixels):
        others = np.array(taken[:i] + taken[i + 1 :])
        room = [np.min(np.hypot(*(point + corner - others).T)) for corner in CORNERS * axis.figure.dpi / 72.0]
        corner = CORNERS[int(np.argmax(room))]
        style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": "small"}
        axis.annotate(str(i + 1), points[i], xytext=corner, **style)
        taken.append(point + corner * axis.figure.dpi / 72.0)


def _draw_frontier(axis: Axes, table: LaneTable, arm: str | None, exact: bool) -> None:
    """Draw seed means of a sweep in the plane, joined in the order of lambda."""
    penalty, information = table.grid(COLUMN[exact], arm)
    _, shortfall = table.grid("shortfall_ticks", arm)
    if len(information):
        label = f"learned, lambda {penalty[0]:g} (right) to {penalty[-1]:g}, mean of {counted_seeds(len(information))}"
        axis.plot(information.mean(axis=0), shortfall.mean(axis=0), "*-", color="black", linewidth=1.2, label=label)
