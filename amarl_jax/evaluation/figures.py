"""Figures, drawn from files only, so that any of them can be drawn again."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amarl_jax.runlog import read_metrics

# Okabe and Ito's colours, told apart by the colour-blind; every line has a style of its own for print
STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
BELIEF_RIGHT = "belief/final_accuracy"


def save(figure: Figure, path: str | Path) -> list[str]:
    """Write a figure as ``path.png`` and ``path.pdf``; returns the two names. Equal input makes equal files."""
    stem = Path(path)
    figure.savefig(stem.with_name(f"{stem.name}.png"), dpi=150, metadata={"Software": None})
    figure.savefig(stem.with_name(f"{stem.name}.pdf"), metadata={"CreationDate": None, "Creator": None})
    return [f"{stem.name}.png", f"{stem.name}.pdf"]


def draw_training(metrics_path: str | Path, path: str | Path) -> list[str]:
    """What a run learned: cost and completion, detection, earnings, spreads.

    Args:
        metrics_path: a run's ``metrics.jsonl``.
        path: of the figure, without suffix.
    """
    rows = read_metrics(metrics_path)
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    panels = (
        ("the execution trader", "reward units, share", ("execution/shortfall", "execution/completion")),
        ("what the maker knows", "share of episodes", (BELIEF_RIGHT,)),
        ("earnings per episode, marked to V", "reward units", ("maker/pnl", "arbitrageur/pnl")),
        ("spread", "ticks", ("market/spread_ticks", "maker/quoted_spread_ticks")),
    )
    for axis, (title, unit, names) in zip(axes.flat, panels, strict=True):
        _draw_panel(axis, rows, names)
        axis.set(title=title, ylabel=unit)
    axes.flat[1].axhline(0.5, color="0.6", linewidth=0.8)
    axes.flat[1].set_ylim(0.35, 1.0)
    for axis in axes[1]:
        axis.set_xlabel("million environment steps")
    return save(figure, path)


def _draw_panel(axis: Axes, rows: Sequence[dict[str, float | None]], names: Sequence[str]) -> None:
    """One line per metric, averaged over the phases that measured it."""
    steps = [(row.get("env_steps") or 0.0) / 1e6 for row in rows]
    for name, (colour, style) in zip(names, STYLES, strict=False):
        values = [_over_phases(row, name) for row in rows]
        axis.plot(steps, values, style, color=colour, label=name.replace("/", " ").replace("_", " "))
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")


def _over_phases(row: dict[str, float | None], name: str) -> float:
    """Mean of ``phase/name`` over the phases that have it."""
    values = [value for key, value in row.items() if key.partition("/")[2] == name and value is not None]
    return sum(values) / len(values) if values else float("nan")
