"""Two figures: information against lambda in groups of arms, and the four emergent claims."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measured import Measured, hidden_lots, interval

from amarl_jax.evaluation.figures import STYLES
from amarl_jax.evaluation.shapes import SCALE

PANELS = {  # title: arms
    "private randomiser, warm starts": (
        "main",
        "no_randomiser",
        "up",
        "down",
        "no_randomiser_up",
        "no_randomiser_down",
    ),
    "first policies, day": ("main", "loud", "quiet", "long_day"),
    "who else is there": ("main", "forced", "no_arbitrageur", "belief_frozen"),
    "noise, same parent order": ("main", "noise_quarter", "noise_x4", "noise_x16"),
    "noise, order as its root": ("main", "noise_quarter_scaled", "noise_x4_scaled", "noise_x16_scaled"),
}
TICKS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
LN2 = float(np.log(2.0))


def draw_arms(arms: dict[str, Measured], path: Path) -> None:
    """Mean I over seeds with 95% intervals, arm by arm; the last panel has hidden lots against N."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3).flat
    for axis, (title, names) in zip(axes, PANELS.items(), strict=False):
        shown = [name for name in names if name in arms]
        for name, (colour, style) in zip(shown, _styles(len(shown)), strict=True):
            draw_curve(axis, arms[name], "information_nats", colour, style, name.replace("_", " "))
        axis.axhline(LN2, color="0.6", linewidth=0.8)
        axis.set(title=title, ylabel="I(z; F), nats", ylim=(-0.03, 0.72))
        label_penalty(axis)
        axis.legend(fontsize="x-small")
    _draw_hidden(axes[5], arms)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def draw_curve(axis: Axes, arm: Measured, measure: str, colour: str, style: str, label: str) -> None:
    """Means over seeds against lambda, with error bars."""
    cells = [arm.at(penalty, measure) for penalty in arm.penalties]
    halves = [0.0 if np.isnan(cell.half) else cell.half for cell in cells]
    axis.errorbar(
        arm.penalties, [cell.value for cell in cells], halves, fmt=style, color=colour, label=label, capsize=2
    )


def label_penalty(axis: Axes) -> None:
    """An asinh axis with plain ticks."""
    axis.set_xscale("asinh", linear_width=SCALE)
    axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axis.minorticks_off()
    axis.set_xlim(-0.02, 4.4)
    axis.set_xlabel("lambda, reward units per nat")
    axis.grid(alpha=0.3)


def _styles(n: int) -> list[tuple[str, str]]:
    """As many colours and line styles."""
    return [STYLES[i % len(STYLES)] for i in range(n)]


def _draw_hidden(axis: Axes, arms: dict[str, Measured]) -> None:
    """Hidden lots against the noise orders of an episode, and the slope the law gives."""
    groups = {
        "same parent order": PANELS["noise, same parent order"],
        "order as its root": PANELS["noise, order as its root"],
    }
    for (label, names), (colour, style) in zip(groups.items(), STYLES, strict=False):
        points = [(arms[name].n_noise, hidden_lots(arms[name])) for name in names if name in arms]
        points = [(n, lots) for n, lots in points if lots.n > 1 and lots.value > 0]
        points.sort(key=lambda point: point[0])
        if points:
            x, y = np.array([n for n, _ in points]), np.array([lots.value for _, lots in points])
            axis.errorbar(x, y, [lots.half for _, lots in points], fmt=style, color=colour, label=label, capsize=2)
            axis.plot(x, y[0] * np.sqrt(x / x[0]), ":", color=colour, linewidth=0.8)
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="N, noise orders of an episode",
        ylabel="lots done with I < 0.05 nats",
        title="hidden lots; dotted: N^0.5",
    )
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize="x-small")


def draw_claims(arms: dict[str, Measured], path: Path) -> None:
    """Splitting, spread and belief, snipes, total variation."""
    main = arms["main"]
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    (colour, style), (other, dashed) = STYLES[0], STYLES[1]
    draw_curve(axes[0, 0], main, "child_lots", colour, style, "lots per child order")
    draw_curve(axes[0, 0], main, "child_orders", other, dashed, "child orders")
    axes[0, 0].set_title("order splitting")
    draw_curve(axes[0, 1], main, "spread_belief_correlation", colour, style, "spread and belief")
    axes[0, 1].axhline(0.6, color="0.5", linestyle=":", label="the reference expects more at small lambda")
    axes[0, 1].set(title="spread follows belief", ylabel="correlation over steps")
    draw_curve(axes[1, 1], main, "order_variation", colour, style, "child orders from noise")
    draw_curve(axes[1, 1], main, "order_variation_null", other, dashed, "labels shuffled")
    axes[1, 1].set(title="flow becomes noise", ylabel="total variation")
    for axis in (axes[0, 0], axes[0, 1], axes[1, 1]):
        label_penalty(axis)
    _draw_lags(axes[1, 0], arms)
    for axis in axes.flat:
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize="x-small")
    figure.savefig(path, dpi=130, metadata={"Software": None})


def _draw_lags(axis: Axes, arms: dict[str, Measured]) -> None:
    """Autocorrelation of snipe times at the smallest penalty, by the maker's latency."""
    shown = [name for name in ("maker_first", "main", "maker_late") if name in arms]
    for name, (colour, style) in zip(shown, STYLES, strict=False):
        cells = [interval(column) for column in arms[name].lags(arms[name].penalties[0]).T]
        halves = [0.0 if np.isnan(cell.half) else cell.half for cell in cells]
        lags = range(1, len(cells) + 1)
        latency = arms[name].config["environment"]["latency_ms"]["market_maker"]
        axis.errorbar(
            lags,
            [cell.value for cell in cells],
            halves,
            fmt=style,
            color=colour,
            label=f"maker at {latency:g} ms",
            capsize=2,
        )
    axis.axhline(0.0, color="0.6", linewidth=0.8)
    axis.set(title="snipe times, lambda 0", xlabel="lag, steps", ylabel="autocorrelation")
    axis.grid(alpha=0.3)
