"""Three figures: information against lambda in groups of arms, the square-root law, and the four emergent claims."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measured import Measured, common_penalties, interval
from square_root import HIDDEN_NATS, hidden_lots

from amarl_jax.evaluation.figures import STYLES, save
from amarl_jax.theory.gaussian_channel import Channel, information
from amarl_jax.transition.curve_fits import SCALE

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
GROUPS = {
    "same parent order": PANELS["noise, same parent order"],
    "order as its root": PANELS["noise, order as its root"],
}
MORE_STYLES = (*STYLES, ("#E69F00", (0, (5, 1))), ("#56B4E9", (0, (1, 1))))  # Okabe and Ito's as well
MARKS = "os^vDP"
VOLUMES = {0.25: "v", 1.0: "o", 4.0: "s", 16.0: "^"}  # times the noise of main: mark
TICKS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
LN2 = float(np.log(2.0))
FOUND = "found by a fresh detector, nats"  # a part of what leaks: see experiments/exact
BARS = "means over seeds with 95% intervals (Student's t)"


def draw_arms(arms: dict[str, Measured], path: Path) -> list[str]:
    """Mean I over seeds with 95% intervals, arm by arm, at the penalties that all of a panel's arms have."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3).flat
    for axis, (title, names) in zip(axes, PANELS.items(), strict=False):
        shown = [name for name in names if name in arms]
        penalties = common_penalties([arms[name] for name in shown])
        for i, name in enumerate(shown):
            draw_curve(axis, arms[name], "information_nats", i, name.replace("_", " "), penalties)
        axis.axhline(LN2, color="0.6", linewidth=0.8)
        axis.text(0.99, LN2, "certainty", transform=axis.get_yaxis_transform(), ha="right", va="top", color="0.4")
        axis.set(title=title, ylabel=FOUND, ylim=(-0.03, 0.72))
        label_penalty(axis, penalties)
        axis.legend(fontsize="x-small")
    _draw_hidden(axes[5], arms)
    figure.suptitle(BARS, fontsize="medium")
    return save(figure, path)


def draw_curve(axis: Axes, arm: Measured, measure: str, place: int, label: str, penalties: np.ndarray) -> None:
    """Means over seeds against lambda, with error bars; every place has a colour, a line style and a mark.

    A measure that the arm's version of the program did not take yet is left out.
    """
    cells = [arm.at(penalty, measure) for penalty in penalties]
    if np.isnan([cell.value for cell in cells]).all():
        return
    colour, style = MORE_STYLES[place % len(MORE_STYLES)]
    axis.errorbar(
        penalties,
        [cell.value for cell in cells],
        [0.0 if np.isnan(cell.half) else cell.half for cell in cells],
        linestyle=style,
        marker=MARKS[place % len(MARKS)],
        markersize=3.5,
        color=colour,
        label=label,
        capsize=2,
    )


def label_penalty(axis: Axes, penalties: np.ndarray) -> None:
    """An asinh axis with plain ticks, as far as there are penalties."""
    ticks = [tick for tick in TICKS if tick <= penalties[-1]]
    axis.set_xscale("asinh", linear_width=SCALE)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(-0.02, 1.1 * penalties[-1])
    axis.set_xlabel("lambda, reward units per nat")
    axis.grid(alpha=0.3)


def noise_arms(arms: dict[str, Measured]) -> dict[str, list[Measured]]:
    """Arms of each group that were run, by N; main is in both."""
    groups = {label: [arms[name] for name in names if name in arms] for label, names in GROUPS.items()}
    return {label: sorted(group, key=lambda arm: arm.n_noise) for label, group in groups.items()}


def _draw_hidden(axis: Axes, arms: dict[str, Measured]) -> None:
    """Hidden lots against the noise orders of an episode, the slope the law gives, and where the order ends."""
    groups = noise_arms(arms)
    everyone = [arm for group in groups.values() for arm in group]
    penalties = common_penalties(everyone)
    for i, (label, group) in enumerate(groups.items()):
        points = [(arm.n_noise, hidden_lots(arm, penalties)) for arm in group]
        points = [(n, lots) for n, lots in points if lots.value > 0]
        if points:
            x, y = np.array([n for n, _ in points]), np.array([lots.value for _, lots in points])
            halves = [0.0 if np.isnan(lots.half) else min(lots.half, 0.9 * lots.value) for _, lots in points]
            (colour, style), mark = MORE_STYLES[i], MARKS[i]
            axis.errorbar(x, y, halves, linestyle=style, marker=mark, color=colour, label=label, capsize=2)
            axis.plot(x, y[0] * np.sqrt(x / x[0]), ":", color=colour, linewidth=0.8)
    n, order = (np.array([getattr(arm, name) for arm in everyone]) for name in ("n_noise", "order_lots"))
    axis.plot(n, order, "_", color="0.4", markersize=12, label="the whole order")
    axis.plot([], [], ":", color="0.4", label="N^0.5")
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="N, noise orders of an episode",
        ylabel=f"lots done with less than {HIDDEN_NATS:g} nats found",
        title="hidden lots",
    )
    for place, values in ((axis.xaxis, np.unique(n)), (axis.yaxis, np.unique(order))):
        place.set_ticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize="x-small")


def draw_collapse(arms: dict[str, Measured], path: Path) -> list[str]:
    """I against Q / (sigma sqrt(N)), a panel per penalty: where the law holds, all arms lie on one curve.

    Marks say the volume of noise; those of equal leverage stand side by side. Dotted: what a Gaussian channel of that
    signal-to-noise gives away, the whole order spread over the day.
    """
    groups = noise_arms(arms)
    everyone = {arm.name: arm for group in groups.values() for arm in group}
    penalties = common_penalties(everyone.values())
    n_columns = min(3, len(penalties))
    n_rows = -(-len(penalties) // n_columns)
    figure = Figure(figsize=(3.9 * n_columns, 3.3 * n_rows + 0.5), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).flat)
    leverages = np.array([arm.leverage for arm in everyone.values()])
    ends = np.geomspace(leverages.min() / 1.3, leverages.max() * 1.5, 60)
    ticks = np.unique(leverages.round(3))
    for axis, penalty in zip(axes, penalties, strict=False):
        axis.plot(ends, information(ends, Channel()), ":", color="0.4", label="Gaussian channel, all day")
        for i, (label, group) in enumerate(groups.items()):
            _draw_volumes(axis, group, penalty, arms["main"].n_noise, label, i)
        axis.set(xscale="log", title=f"lambda {penalty:g}", xlabel="Q / (sigma sqrt(N))", ylim=(-0.03, 0.72))
        axis.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    for axis in axes[len(penalties) :]:
        axis.axis("off")
    for row in range(n_rows):
        figure.axes[row * n_columns].set_ylabel(FOUND)
    figure.suptitle(BARS, fontsize="medium")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    return save(figure, path)


def _draw_volumes(axis: Axes, group: list[Measured], penalty: float, base: float, label: str, place: int) -> None:
    """The arms of one group: a colour for the group, a mark for the volume of noise."""
    for arm in group:
        times = arm.n_noise / base
        if times == 1 and place:  # main is in every group, and drawn once
            continue
        cell = arm.at(penalty, "information_nats")
        aside = 1.0 + 0.03 * place * (1 + list(VOLUMES).index(times))
        axis.errorbar(
            arm.leverage * aside,
            cell.value,
            0.0 if np.isnan(cell.half) else cell.half,
            fmt=VOLUMES[times],
            color=MORE_STYLES[place][0],
            markerfacecolor="white",
            capsize=2,
            label=f"{label}, noise x{times:g}",
        )


def draw_claims(arms: dict[str, Measured], path: Path) -> list[str]:
    """Splitting, spread and belief, snipes, total variation."""
    main = arms["main"]
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes, at = figure.subplots(2, 2), main.penalties
    draw_curve(axes[0, 0], main, "child_lots", 0, "lots per child order", at)
    axes[0, 0].set(title="size of a child order", ylabel="lots", ylim=(0, None))
    draw_curve(axes[0, 1], main, "spread_belief_correlation", 0, "spread and belief", at)
    axes[0, 1].axhline(0.6, color="0.5", linestyle=":", label="expected by the reference at small lambda: above this")
    axes[0, 1].set(title="spread and belief", ylabel="correlation over steps")
    draw_curve(axes[1, 1], main, "order_variation", 0, "child orders from noise", at)
    draw_curve(axes[1, 1], main, "order_variation_null", 1, "labels shuffled", at)
    axes[1, 1].set(title="distance of child orders from noise orders", ylabel="total variation")
    for axis in (axes[0, 0], axes[0, 1], axes[1, 1]):
        label_penalty(axis, at)
    _draw_lags(axes[1, 0], arms)
    for axis in axes.flat:
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize="x-small")
    figure.suptitle(BARS, fontsize="medium")
    return save(figure, path)


def _draw_lags(axis: Axes, arms: dict[str, Measured]) -> None:
    """Autocorrelation of snipe times, all penalties together, by the maker's latency."""
    shown = [name for name in ("maker_first", "main", "maker_late") if name in arms]
    for name, (colour, style) in zip(shown, STYLES, strict=False):
        cells = [interval(column) for column in arms[name].lags().T]
        halves = [0.0 if np.isnan(cell.half) else cell.half for cell in cells]
        lags = range(1, len(cells) + 1)
        latency = arms[name].config["environment"]["latency_ms"]["market_maker"]
        sniped = "" if np.isfinite(cells[0].value) else ": no snipes"
        axis.errorbar(
            lags,
            [cell.value for cell in cells],
            halves,
            fmt=style,
            color=colour,
            label=f"maker at {latency:g} ms{sniped}",
            capsize=2,
        )
    axis.axhline(0.0, color="0.6", linewidth=0.8)
    axis.set(title="snipe times, all lambda together", xlabel="lag, steps", ylabel="autocorrelation")
    axis.grid(alpha=0.3)
