"""Facts of recorded and simulated markets as a document and as rows of a table."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax.errors import BadInput
from amarl_jax.flow.facts import UNITS, Facts, distances
from amarl_jax.host import untrusted

FACTS_FILE = "facts.json"
_N_QUANTILES = 41  # of a law in the document
_N_BETWEEN = 25  # points that stand for the law between two of them, where the document is read
_WHAT = "facts of the recorded market and of simulated ones, in ticks, lots and steps"


def document(recorded: Facts | None, simulated: Mapping[str, Facts]) -> dict[str, Any]:
    """The document: quantiles of the laws, points of the curves, distances from the recorded ones; strict JSON."""
    return {
        "what": _WHAT,
        "recorded": None if recorded is None else _as_json(recorded),
        "simulated": {name: _as_json(facts) for name, facts in simulated.items()},
        "distances": {} if recorded is None else {name: distances(recorded, one) for name, one in simulated.items()},
    }


def read_recorded(path: Path) -> Facts:
    """The recorded facts of a document; laws are interpolated linearly between quantiles. Raises :class:`BadInput`."""
    found = untrusted.parse_json(untrusted.read_text(path), path)
    try:
        recorded = found["recorded"]
        laws = {name: _between(recorded["quantiles"][name]) for name in recorded["quantiles"]}
        curves = {
            name: (np.array(one["at"], float), np.array([math.nan if y is None else y for y in one["is"]], float))
            for name, one in recorded["curves"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadInput(f"{path}: holds no facts of a recorded market, as fit_flow writes them") from None
    if set(laws) | set(curves) != set(UNITS) or any(x.shape != y.shape for x, y in curves.values()):
        raise BadInput(f"{path}: holds other facts than this version's fit_flow writes")
    return Facts(laws, curves)


def distance_rows(found: Mapping[str, Mapping[str, float]]) -> list[tuple[str, Any, str]]:
    """Rows of the table: distances of a simulated market by fact."""
    rows: list[tuple[str, Any, str]] = []
    for name, one in found.items():
        if "wasserstein" in one:
            means = f"mean {one['simulated_mean']:.3g}, recorded {one['recorded_mean']:.3g} {UNITS[name]}"
            rows.append((name, one["wasserstein_of_range"], f"Wasserstein, of the range; KS {one['ks']:.2f}; {means}"))
        else:
            rows.append((name, one["mean"], f"mean absolute difference; largest {one['largest']:.3g}"))
    return rows


def as_bytes(what: Mapping[str, Any]) -> bytes:
    """The bytes of a document's file."""
    return (json.dumps(what, indent=1, allow_nan=False) + "\n").encode()


def _as_json(facts: Facts) -> dict[str, Any]:
    """Quantiles of the laws, points of the curves; None for unknown numbers."""
    at = np.linspace(0, 1, _N_QUANTILES)
    return {
        "quantiles": {name: np.quantile(x, at).tolist() if len(x) else None for name, x in facts.laws.items()},
        "curves": {
            name: {"at": x.tolist(), "is": [None if np.isnan(value) else float(value) for value in y]}
            for name, (x, y) in facts.curves.items()
        },
    }


def _between(quantiles: list[float] | None) -> np.ndarray:
    """A sample of the law with these quantiles, evenly spaced; empty without quantiles."""
    if quantiles is None:
        return np.empty(0)
    values = np.array(quantiles, float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError("quantiles must be numbers")
    n = (len(values) - 1) * _N_BETWEEN
    return np.interp((np.arange(n) + 0.5) / n, np.linspace(0, 1, len(values)), values)
