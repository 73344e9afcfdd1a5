"""Figure of how much of its order each episode of each lane got done: tells mixing, stuck and not trading apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from amarl_jax.evaluation.figures import save
from amarl_jax.lanes.behaviour import FILLS


def draw_lane_fills(sweep: str | Path, path: str | Path) -> list[str]:
    """Draw the distribution of each lane's informed fills, a line per lane; returns the names written, if any.

    Lanes are sorted by penalty and seed. Two bright places in one line are a policy that mixes episodes; lines of one
    penalty that differ are seeds stuck on different branches; brightness far from a fill of 1 is a trader that hides by
    not trading.

    Args:
        sweep: ``sweep.json``; its first arm is drawn.
        path: of the figure, without suffix.
    """
    lanes: list[dict[str, Any]] = json.loads(Path(sweep).read_text())["lanes"]
    arms = list(dict.fromkeys(lane["arm"] for lane in lanes))
    lanes = [lane for lane in lanes if lane["arm"] == arms[0] and FILLS in (lane["measures"] or {})]
    if not lanes:
        return []
    lanes.sort(key=lambda lane: (lane["lambda"], lane["seed"]))
    counts = np.array([lane["measures"][FILLS] for lane in lanes], float)
    edges = np.linspace(-1.0, 1.0, counts.shape[1] + 1)
    first = max(min(int(np.flatnonzero(counts.sum(axis=0))[0]), counts.shape[1] - 5), 0)
    figure = Figure(figsize=(7.5, 2.0 + 0.075 * max(len(lanes), 30)), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(
        (counts / counts.sum(axis=1, keepdims=True))[:, first:],
        aspect="auto",
        cmap="cividis",
        norm=PowerNorm(0.5, 0.0, 1.0),
        extent=(edges[first], 1.0, len(lanes), 0),
        interpolation="nearest",
    )
    figure.colorbar(image, ax=axis, label="share of the informed episodes")
    _label_lanes(axis, np.array([lane["lambda"] for lane in lanes]))
    title = "fills, one line per lane"
    if len(arms) > 1:
        title = f"fills of {arms[0]}, one line per lane; not drawn: {', '.join(arms[1:])}"
    axis.set(xlabel="share of the parent order done in an episode")
    axis.set_title(title, wrap=True)
    return save(figure, path)


def _label_lanes(axis: Axes, penalty: np.ndarray) -> None:
    """Write penalties beside their lanes, separated by lines."""
    values, start, count = np.unique(penalty, return_index=True, return_counts=True)
    axis.set_yticks(start + count / 2.0, [f"{value:.3g}" for value in values])
    for line in start[1:]:
        axis.axhline(line, color="white", linewidth=1.0)
    axis.set_ylabel("lambda, reward units per nat; seeds downwards")
