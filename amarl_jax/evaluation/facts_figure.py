"""Figure of the facts of recorded and simulated markets."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from amarl_jax.evaluation.figures import style
from amarl_jax.flow.facts import UNITS, UNITS_OF_CURVES, Facts


def draw_facts(recorded: Facts | None, simulated: Mapping[str, Facts]) -> Figure:
    """Figure of all facts, a panel for each with every market in it."""
    figure = Figure(figsize=(11, 9), layout="constrained")
    panels = iter(figure.subplots(4, 3).flat)
    shown = {f"simulated, {name}": facts for name, facts in simulated.items()}
    shown = shown if recorded is None else {"recorded day": recorded, **shown}  # a simulated one may be named recorded
    first = next(iter(shown.values()))
    for name in (*first.laws, *first.curves):
        axes = next(panels)
        for place, (label, facts) in enumerate(shown.items()):
            colour, line = style(place)
            if name in facts.laws:
                x = np.sort(facts.laws[name])
                keep = np.linspace(0, len(x) - 1, min(len(x), 400)).astype(int)
                axes.step(x[keep], (keep + 1) / max(len(x), 1), line, color=colour, label=label, where="post")
            else:
                axes.plot(*facts.curves[name], line, color=colour, label=label)
        if name in first.laws and len(first.laws[name]):
            axes.set_xlim(*_span(first.laws[name]))
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(UNITS[name], fontsize=8)
        axes.set_ylabel("share below" if name in first.laws else UNITS_OF_CURVES[name], fontsize=8)
    for axes in panels:
        axes.axis("off")
    figure.axes[0].legend(fontsize=8)
    return figure


def _span(x: np.ndarray) -> tuple[float, float]:
    low, high = (float(q) for q in np.quantile(x, [0.0, 0.995]))
    return low, high if high > low else low + 1.0
