"""How often the interval of a trajectory divergence holds the truth, with a detector that had to be fitted.

    python experiments/calibration/coverage.py

writes coverage.json beside itself. Episodes are rows of 5 standard normal columns, one of which is shifted by
``sqrt(2 KL)`` where z = 1; each replication draws new episodes and fits new detectors, one on all training episodes
and one on half of them, as ``trajectory_divergence`` does. Beside it the plain percentile interval, which ignores what
the fit loses; and the exact log-ratio, which loses nothing.
"""

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binomtest, norm

from amarl_jax.host.provenance import provenance
from amarl_jax.information.detector_fit import DetectorSpec, cross_fit, plan
from amarl_jax.information.divergence import LIGHT, TrajectoryDivergence, bootstrap
from amarl_jax.theory import gaussian_channel

HERE = Path(__file__).resolve().parent
SEED, N_COLUMNS, ROWS_AT_ONCE, N_BOOTSTRAP = 0, 5, 8, 1000
KLS = (0.0, 0.02, 0.125, 0.5, 1.0, 1.5)
FAST = dataclasses.replace(LIGHT, hidden=(16,), n_steps=100, n_checks=10)  # a twentieth of the default's cost
SPECS = {"fast": FAST, "default": LIGHT}
NOMINAL = 0.95
N_DEFAULT = 60  # replications of the full-size detector, a look rather than a measurement


def episodes(rng: np.random.Generator, kl: float, n: int, n_replications: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [R, n, D] of Gaussian laws at a KL, and labels [n]."""
    labels = np.arange(n) % 2
    features = rng.normal(size=(n_replications, n, N_COLUMNS)).astype(np.float32)
    features[:, :, 2] += np.sqrt(2 * kl) * labels[None]
    return features, labels


def fitted_log_ratios(key: jax.Array, features: np.ndarray, labels: np.ndarray, spec: DetectorSpec) -> np.ndarray:
    """Held-out log-ratios [R, n], a detector of its own for each replication."""
    keys = jax.random.split(key, features.shape[0])
    plans = [plan(k, labels, N_COLUMNS, spec) for k in keys]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *plans)
    z = jnp.asarray(labels)

    @jax.jit
    def fit(design: Any, x: jax.Array) -> jax.Array:
        return jax.lax.map(lambda one: cross_fit(*one, z, jnp.float32(0.5), spec), (design, x), batch_size=ROWS_AT_ONCE)

    return np.asarray(fit(stacked, jnp.asarray(features)))


def truth_of(kl: float) -> dict[str, float]:
    """Every divergence of the Gaussian laws, by its field in ``TrajectoryDivergence``."""
    shift = math.sqrt(2 * kl)
    return {
        "kl_nats": kl,
        "kl_plug_in_nats": kl,
        "jensen_shannon_nats": float(gaussian_channel.information(shift, gaussian_channel.Channel())),
        "total_variation": 2 * norm.cdf(shift / 2) - 1,
    }


def coverage(results: list[TrajectoryDivergence], name: str, truth: float) -> dict[str, Any]:
    """Share of the intervals of one divergence that hold the truth, with its own 95% interval, and the misses."""
    value, lower, upper = np.array([getattr(result, name) for result in results]).T
    inside = (lower <= truth) & (truth <= upper)
    exact = binomtest(int(inside.sum()), inside.size).proportion_ci(method="exact")
    return {
        "truth": truth,
        "coverage": float(inside.mean()),
        "coverage_interval_95": [float(exact.low), float(exact.high)],
        "truth_above": float((truth > upper).mean()),
        "truth_below": float((truth < lower).mean()),
        "mean_value": float(value.mean()),
        "deviation_of_value": float(value.std(ddof=1)),
        "mean_width": float((upper - lower).mean()),
    }


def measured(seed: tuple[int, int], detector: str, n: int, kl: float, n_replications: int) -> dict[str, Any]:
    """One case: coverage of every divergence, and of the KL by percentiles alone."""
    started = time.time()
    key = jax.random.fold_in(jax.random.key(seed[0]), seed[1])
    features, labels = episodes(np.random.default_rng(seed), kl, n, n_replications)
    if detector == "exact log-ratio":
        log_ratios, on_half = math.sqrt(2 * kl) * features[:, :, 2] - kl, [None] * n_replications
    else:
        spec = SPECS[detector]
        log_ratios = fitted_log_ratios(key, features, labels, spec)
        half = dataclasses.replace(spec, training_share=spec.training_share / 2)
        on_half = fitted_log_ratios(key, features, labels, half)

    def intervals(halves: Any) -> list[TrajectoryDivergence]:
        keys = jax.random.split(jax.random.fold_in(key, 1), n_replications)
        options = {"confidence": NOMINAL, "n_bootstrap": N_BOOTSTRAP}
        return [bootstrap(*row, labels, h, **options) for *row, h in zip(keys, log_ratios, halves, strict=True)]

    results, plain = intervals(on_half), intervals([None] * n_replications)
    row = {"detector": detector, "n_episodes": n, "n_replications": n_replications}
    row |= {name: coverage(results, name, truth) for name, truth in truth_of(kl).items()}
    row["kl_nats_by_percentiles_alone"] = coverage(plain, "kl_nats", kl)
    return row | {"seconds": round(time.time() - started, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_replications", type=int, default=200)
    parser.add_argument("--output", type=Path, default=HERE / "coverage.json")
    arguments = parser.parse_args()
    cases = [("fast", 500, kl) for kl in KLS] + [("exact log-ratio", 500, kl) for kl in KLS[1:]]
    cases += [("fast", 2000, kl) for kl in (0.02, 0.125, 1.5)] + [("default", 500, 0.125)]
    config = {"nominal": NOMINAL, "n_bootstrap": N_BOOTSTRAP, "n_columns": N_COLUMNS}
    config |= {name: dataclasses.asdict(spec) for name, spec in SPECS.items()}
    rows = []
    for i, (detector, n, kl) in enumerate(cases):
        rows.append(
            measured((SEED, i), detector, n, kl, N_DEFAULT if detector == "default" else arguments.n_replications)
        )
        kl_row = rows[-1]["kl_nats"]
        print(detector, n, kl, kl_row["coverage"], rows[-1]["kl_nats_by_percentiles_alone"]["coverage"], flush=True)
        document = {"provenance": provenance(config, SEED), "rows": rows}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
