"""Ranges of the static settings of estimates and detectors, checked when the settings are made."""

import math
from typing import Any

import numpy as np

from amarl_jax.information.arrays import count


def check_counts(spec: Any, **least: int) -> None:
    """Raise ValueError unless each named field of ``spec`` is an integer of at least the given number."""
    for name, low in least.items():
        count(name, getattr(spec, name), low)


def check_numbers(spec: Any, **ranges: str) -> None:
    """Raise ValueError unless each named field is a finite number in its range, written as in mathematics: ``(0, 1]``.

    A bound that is parenthesised is excluded.
    """
    for name, text in ranges.items():
        value = getattr(spec, name)
        low, high = (float(bound) for bound in text[1:-1].split(","))
        is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"{name} must be a finite number in {text}, got {value!r}")
        if (value == low and text[0] == "(") or (value == high and text[-1] == ")"):
            raise ValueError(f"{name} must be a finite number in {text}, got {value!r}")


def check_widths(spec: Any, name: str) -> None:
    """Raise ValueError unless the field is a tuple of positive integers."""
    widths = getattr(spec, name)
    if not isinstance(widths, tuple):
        raise ValueError(f"{name} must be a tuple of positive integers, got {widths!r}")
    for width in widths:
        count(f"each of {name}", width, 1)


def check_schedule(n_steps: int, n_checks: int) -> None:
    """Raise ValueError if there are more checks than steps, of which none would then be taken."""
    if n_checks > n_steps:
        raise ValueError(f"n_checks must be at most n_steps, {n_steps}, got {n_checks}: nothing would be trained")
