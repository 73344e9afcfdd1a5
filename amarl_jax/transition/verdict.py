"""Transition, crossover, no fall or not determined: the word, and exactly what it was given for.

Arms without the private randomiser are shown and do not decide. Of the others, at the longest horizon of each start:

- "no fall": every arm is flat.
- "crossover": every arm is smooth, and where a shorter horizon was run the fall does not narrow from it.
- "transition": every arm is a step at the resolution of the grid, loud and quiet starts were both run, and from both
  the fall narrows as the horizon grows with the parent order in proportion.

Everything else is "not determined", with what is missing or what disagrees. No word is given for what was not run: a
step seen in one arm alone is neither a transition nor a crossover.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from amarl_jax.transition.intervals import FEWEST_SEEDS, NOT_DETERMINED, counted_seeds
from amarl_jax.transition.locate import FLAT, SMOOTH, STEP, Curves, Transition, locate

STARTS = ("loud", "quiet")
TRANSITION, CROSSOVER, NO_FALL = "transition", "crossover", "no fall"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The word, the reasons for it, and what every arm showed."""

    word: str  # "transition", "crossover", "no fall" or "not determined"
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
        return Verdict(NOT_DETERMINED, ("no arm with the private randomiser on",), located)
    few = [arm for arm, _ in deciding if arm.n_seeds < FEWEST_SEEDS]
    if few:
        return Verdict(NOT_DETERMINED, (f"{counted_seeds(few[0].n_seeds)}, {FEWEST_SEEDS} are needed",), located)
    by_start = {start: _by_horizon(start, deciding) for start in STARTS}
    longest = [pair for found in by_start.values() for pair in found if pair[0].horizon == found[-1][0].horizon]
    told = tuple(_told(*last) for last in longest)
    kinds = {found.kind for _, found in longest}
    if kinds == {FLAT} and {found.kind for _, found in deciding} == {FLAT}:
        return Verdict(NO_FALL, told, located)
    missing = _missing(by_start)
    if kinds == {SMOOTH}:
        narrowing = [
            start for start, found in by_start.items() if len(found) > 1 and _shrinks(found[0][1], found[-1][1])
        ]
        if narrowing:
            reason = f"the fall from the {narrowing[0]} start narrows with the horizon, and longer ones were not run"
            return Verdict(NOT_DETERMINED, (*told, reason), located)
        return Verdict(CROSSOVER, (*told, *missing), located)
    if kinds == {STEP}:
        wide = [_not_narrowing(start, found) for start, found in by_start.items() if len(found) > 1]
        open_ends = [*missing, *(reason for reason in wide if reason)]
        if open_ends:
            return Verdict(NOT_DETERMINED, (*told, *open_ends), located)
        held = "narrowing with the horizon, from loud and quiet starts, private randomiser on"
        return Verdict(TRANSITION, (*told, held), located)
    differ = ("the starts differ",) if len(kinds) > 1 else ()
    return Verdict(NOT_DETERMINED, (*told, *differ), located)


def _by_horizon(start: str, deciding: Sequence[tuple[Curves, Transition]]) -> list[tuple[Curves, Transition]]:
    """Arms of one start, the shortest horizon first."""
    return sorted((pair for pair in deciding if pair[0].start == start), key=lambda pair: pair[0].horizon)


def _missing(by_start: dict[str, list[tuple[Curves, Transition]]]) -> list[str]:
    """Runs that a transition needs and that are missing."""
    none = [f"no {start} start was run" for start, found in by_start.items() if not found]
    one = [
        f"only one horizon was run from the {start} start"
        for start, found in by_start.items()
        if found and found[0][0].horizon == found[-1][0].horizon
    ]
    return none + one


def _told(arm: Curves, found: Transition) -> str:
    """One arm's kind, with the numbers it rests on."""
    where = f"from the {arm.start} start at T = {arm.horizon}"
    if found.kind == FLAT:
        return f"{where} I falls by {found.height_nats} nats"
    spacing = f"the grid spacing is {found.grid_spacing:.2f}"
    words = {STEP: "is as narrow as the grid", SMOOTH: "is wider than the grid", NOT_DETERMINED: NOT_DETERMINED}
    return f"{where} the fall of {found.height_nats} nats {words[found.kind]}: width {found.width}, {spacing}"


def _not_narrowing(start: str, found: list[tuple[Curves, Transition]]) -> str:
    """Reason why the fall is not known to narrow towards the longest horizon; empty if it is."""
    (short, first), (long, last) = found[0], found[-1]
    if short.horizon == long.horizon:
        return ""
    if first.kind not in (SMOOTH, STEP):
        return f"from the {start} start there is no fall at T = {short.horizon} that narrows: {first.kind}"
    if _shrinks(first, last):
        return ""
    widths = f"{first.width} at T = {short.horizon}, {last.width} at T = {long.horizon}"
    finer = ": the grid is too coarse to see it" if first.kind == STEP else ""
    return f"from the {start} start the width does not shrink, {widths}{finer}"


def _shrinks(short: Transition, long: Transition) -> bool:
    """True if the width at the longer horizon is smaller in 97.5% of the resampled pairs, arms being independent."""
    return float(np.mean(long.width_samples < short.width_samples)) >= 0.975


def as_json(transition: Transition) -> dict[str, Any]:
    """One arm's findings, ready for a strict JSON file; infinite limits read "not reached"."""
    names = ("lambda_eq", "lambda_half", "lambda_isotonic", "lambda_chi", "width", "height_nats")
    document: dict[str, Any] = {name: getattr(transition, name).as_json() for name in names}
    shapes = transition.shapes
    return document | {
        "grid_spacing": transition.grid_spacing,
        "n_seeds": transition.n_seeds,
        "kind": transition.kind,
        "shape": None if shapes is None else shapes.chosen,
        "log_likelihood_per_seed": None if shapes is None else shapes.log_likelihood,
    }
