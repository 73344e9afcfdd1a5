"""Transition or crossover: the word, and exactly what it was given for.

"Transition" is written only if the logistic's width reaches the grid spacing, shrinks as the horizon grows with the
parent order in proportion, with the private randomiser on, from loud and from quiet starts alike. Everything else is a
crossover; with fewer than eight seeds in an arm that decides, it is "not determined".
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from amarl_jax.transition.locate import (
    FEWEST_SEEDS,
    NOT_DETERMINED,
    Curves,
    Location,
    Transition,
    locate,
    reaches_spacing,
)

STARTS = ("loud", "quiet")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The word, the reasons for it, and what every arm showed."""

    word: str  # "transition", "crossover" or "not determined"
    reasons: tuple[str, ...]  # what held, or what did not
    arms: tuple[tuple[Curves, Transition], ...]

    def __str__(self) -> str:
        return f"{self.word}: {'; '.join(self.reasons)}"


def judge(arms: Sequence[Curves], seed: int = 0) -> Verdict:
    """Locate lambda* in every arm and give the verdict.

    Args:
        arms: curves for one or several horizons, starts, with and without the private randomiser.
        seed: of the bootstrap.
    """
    located = tuple((arm, locate(arm, seed)) for arm in arms)
    deciding = [(arm, found) for arm, found in located if arm.private_randomiser]
    if not deciding:
        return Verdict("crossover", ("no arm with the private randomiser on",), located)
    few = [arm for arm, _ in deciding if arm.n_seeds < FEWEST_SEEDS]
    if few:
        reason = f"{few[0].n_seeds} seeds, {FEWEST_SEEDS} are needed"
        return Verdict(NOT_DETERMINED, (reason,), located)
    failures = [failure for start in STARTS for failure in _failures(start, deciding)]
    if failures:
        return Verdict("crossover", tuple(failures), located)
    held = "as narrow as the grid and narrowing with the horizon, from loud and quiet starts, private randomiser on"
    return Verdict("transition", (held,), located)


def _failures(start: str, deciding: Sequence[tuple[Curves, Transition]]) -> list[str]:
    """What keeps the arms of one start from being a transition."""
    arms = sorted(((arm.horizon, found) for arm, found in deciding if arm.start == start), key=lambda pair: pair[0])
    if not arms:
        return [f"no {start} start was run"]
    failures = []
    (shortest, first), (longest, last) = arms[0], arms[-1]
    if last.height_nats.lower is None or last.height_nats.lower <= 0:
        failures.append(f"from the {start} start I does not fall with lambda")
    elif not reaches_spacing(last):
        spacing = f"the grid spacing {last.grid_spacing:.2f}"
        failures.append(f"from the {start} start the width, {_text(last.width)}, stays above {spacing}")
    if shortest == longest:
        failures.append(f"only one horizon was run from the {start} start")
    elif not _shrinks(first, last):
        failures.append(
            f"from the {start} start the width does not shrink: {_text(first.width)} at T = {shortest}, "
            f"{_text(last.width)} at T = {longest}"
        )
    return failures


def _shrinks(short: Transition, long: Transition) -> bool:
    """True if the width at the longer horizon is smaller in 97.5% of the resampled pairs, arms being independent."""
    return float(np.mean(long.width_samples < short.width_samples)) >= 0.975


def _text(location: Location) -> str:
    return f"{location.value:.2f} [{location.lower:.2f}, {location.upper:.2f}]"


def as_json(transition: Transition) -> dict[str, Any]:
    """One arm's findings, ready for a strict JSON file; infinite limits read "not reached"."""
    names = ("lambda_eq", "lambda_half", "lambda_chi", "width", "height_nats")
    document: dict[str, Any] = {name: _location(getattr(transition, name)) for name in names}
    shapes = transition.shapes
    return document | {
        "grid_spacing": transition.grid_spacing,
        "n_seeds": transition.n_seeds,
        "kind": transition.kind,
        "log_likelihood_per_seed": None if shapes is None else shapes.log_likelihood,
    }


def _location(location: Location) -> dict[str, Any]:
    parts = {"value": location.value, "lower": location.lower, "upper": location.upper}
    words = {part: "not reached" if x == float("inf") else x for part, x in parts.items()}
    return words | {"note": location.note}
