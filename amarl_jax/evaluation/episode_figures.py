"""Figures of episodes, drawn from ``episodes.npz``: one episode step by step, all orders, all fills."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amarl_jax.evaluation.figures import STYLES, save

BLUE, RED, GREEN, PINK = (colour for colour, _ in STYLES)
N_FILL_BINS = 40


def draw_episode(episodes: str | Path, path: str | Path) -> list[str]:
    """Draw one informed episode: prices, quotes and child orders; the position; the maker's belief.

    Args:
        episodes: ``episodes.npz`` of an evaluation.
        path: of the figure, without suffix.
    """
    with np.load(episodes) as archive:
        one = {name.removeprefix("trace_"): archive[name] for name in archive.files if name.startswith("trace_")}
    return save(trace_figure(one), path)


def trace_figure(one: Mapping[str, np.ndarray]) -> Figure:
    """Figure of one informed episode, from the columns [T] of :func:`amarl_jax.evaluation.frozen.trace_columns`."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    prices, position, belief = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    step = np.arange(len(one["mid"]))
    _draw_prices(prices, step, one)
    side = "buys" if one["direction"] > 0 else "sells"
    prices.set(ylabel="ticks from the opening mid", title=f"an informed episode: the parent order {side}")
    position.step(step, one["position"], where="post", color=BLUE)
    position.axhline(0.0, color="0.6", linewidth=0.8)
    position.set_ylabel("lots done")
    belief.plot(step, one["belief"], color=BLUE)
    belief.axhline(0.5, color="0.6", linewidth=0.8)
    belief.set(ylim=(0.0, 1.0), ylabel="belief P(z = 1)", xlabel="step (minute)")
    for axis in (prices, position, belief):
        axis.grid(alpha=0.3)
    return figure


def _draw_prices(axis: Axes, step: np.ndarray, one: Mapping[str, np.ndarray]) -> None:
    """Draw mid, V, W, the maker's quotes as a band, child orders as triangles at their price."""
    bid, ask = one["quote_price"].T
    axis.fill_between(step, bid, ask, step="post", color="0.85", label="maker's quotes")
    axis.step(step, one["mid"], where="post", color="black", linewidth=1.0, label="mid")
    axis.plot(step, one["value"], color=RED, linestyle="--", linewidth=1.2, label="value V")
    news = np.append(0.0, (one["mid"][1:] + one["news_gap"][:-1]))
    axis.plot(step, news, color=GREEN, linestyle=":", linewidth=1.8, label="public value W")
    side = one["along"] * one["direction"]
    price = one["mid"] - side * one["offset_ticks"] * one["is_limit"]
    for sign, marker, word in ((1, "^", "buys"), (-1, "v", "sells")):
        for limit, face, kind in ((1, "white", "limit"), (0, BLUE, "market")):
            rows = (one["acts"] == 1) & (side == sign) & (one["is_limit"] == limit)
            if rows.any():
                style: dict[str, Any] = {"marker": marker, "facecolor": face, "edgecolor": BLUE, "zorder": 3}
                area = 8.0 + 4.0 * one["lots"][rows]
                axis.scatter(step[rows], price[rows], area, label=f"child {word}, {kind}", **style)
    axis.legend(fontsize="small", ncols=2)


def draw_flow(episodes: str | Path, path: str | Path) -> list[str]:
    """Draw child orders against the noise law by size and price, and their ratio; total variation in the title.

    Args:
        episodes: ``episodes.npz`` of an evaluation.
        path: of the figure, without suffix.
    """
    with np.load(episodes) as archive:
        orders = {name.removeprefix("orders_"): archive[name] for name in archive.files if name.startswith("orders_")}
        z = archive["z"]
    low, high = int(orders["offset_ticks"].min()), int(orders["offset_ticks"].max())
    largest = int(orders["lots"].max())
    counts = [_counts({name: x[z == label] for name, x in orders.items()}, low, high, largest) for label in (1, 0)]
    shares = [count / max(count.sum(), 1.0) for count in counts]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    top = max(share.max() for share in shares)
    titles = ("execution agent, z = 1", "noise law in the same slot, z = 0")
    for axis, share, count, title in zip(axes, shares, counts, titles, strict=False):
        image = axis.imshow(np.where(count > 0, share, np.nan), origin="lower", aspect="auto", cmap="cividis", vmax=top)
        axis.set_title(f"{title}\n{count.sum():.0f} orders", fontsize="medium")
    figure.colorbar(image, ax=axes[:2], label="share of orders")
    smooth = [(count + 0.5) / (count + 0.5).sum() for count in counts]
    ratio = np.where(counts[0] + counts[1] > 0, np.log2(smooth[0] / smooth[1]), np.nan)
    reach = max(1.0, float(np.nanmax(np.abs(ratio), initial=0.0)))
    image = axes[2].imshow(ratio, origin="lower", aspect="auto", cmap="PuOr", vmin=-reach, vmax=reach)
    figure.colorbar(image, ax=axes[2], label="log2 of the ratio of shares")
    variation = 0.5 * np.abs(shares[0] - shares[1]).sum()
    axes[2].set_title(f"ratio\ntotal variation {variation:.2f}, above 0 even for equal laws", fontsize="medium")
    _label_orders(axes, low, high, largest)
    return save(figure, path)


def _counts(orders: dict[str, np.ndarray], low: int, high: int, largest: int) -> np.ndarray:
    """Counts of orders by size (rows 1 .. largest) and column (market, then each limit offset). [largest, K]."""
    acts = orders["acts"] == 1
    column = np.where(orders["is_limit"] == 1, orders["offset_ticks"].astype(int) - low + 1, 0)[acts]
    table = np.zeros((largest, high - low + 2))
    np.add.at(table, (orders["lots"][acts].astype(int) - 1, column), 1.0)
    return table


def _label_orders(axes: np.ndarray, low: int, high: int, largest: int) -> None:
    names = ["market", *(str(offset) for offset in range(low, high + 1))]
    for axis in axes:
        axis.set_xticks(range(len(names)), names, fontsize="small")
        axis.get_xticklabels()[0].set_rotation(45)
        axis.set_xlabel("limit price, ticks behind mid")
    rows = [lots for lots in range(1, largest + 1) if lots == 1 or lots % 5 == 0]
    axes[0].set_yticks([lots - 1 for lots in rows], [str(lots) for lots in rows])
    axes[0].set_ylabel("size, lots")


def draw_fills(episodes: str | Path, path: str | Path) -> list[str]:
    """Draw histograms of completion and shortfall of informed episodes: two humps within one policy are mixing.

    Args:
        episodes: ``episodes.npz`` of an evaluation.
        path: of the figure, without suffix.
    """
    with np.load(episodes) as archive:
        z, completion, shortfall = archive["z"], archive["completion"], archive["shortfall_ticks"]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    done, cost = "share of the parent order done", "shortfall, ticks per parent lot"
    for axis, values, label in ((left, completion, done), (right, shortfall, cost)):
        informed = values[z == 1]
        axis.hist(informed, N_FILL_BINS, color=BLUE, edgecolor="white", linewidth=0.3)
        axis.axvline(informed.mean(), color=RED, linestyle="--", label=f"mean {informed.mean():.2f}")
        axis.set(xlabel=label, ylabel="informed episodes")
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    return save(figure, path)
