"""How often the bootstrap interval of the trajectory KL holds the truth, with a detector that had to be fitted.

    python experiments/calibration/coverage.py

writes coverage.json beside itself. Episodes are rows of 5 standard normal columns, one of which is shifted by
``sqrt(2 KL)`` where z = 1; each replication draws new episodes and fits a new detector.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binomtest

from amarl_jax.evaluation.provenance import provenance
from amarl_jax.information.crossfit import DetectorSpec, cross_fit, plan
from amarl_jax.information.divergence import bootstrap

HERE = Path(__file__).resolve().parent
SEED, N_COLUMNS, ROWS_AT_ONCE, N_BOOTSTRAP = 0, 5, 8, 1000
KLS = (0.0, 0.02, 0.125, 0.5, 1.0, 1.5)
FAST = DetectorSpec(hidden=(16,), n_steps=100, n_checks=10)  # a twentieth of the default's cost
NOMINAL = 0.95


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


def covered(key: jax.Array, log_ratios: np.ndarray, labels: np.ndarray, kl: float) -> dict[str, Any]:
    """Coverage of the intervals of KL, with its own 95% interval, and where the misses are."""
    keys = jax.random.split(key, log_ratios.shape[0])
    intervals = np.array(
        [
            bootstrap(k, row, labels, confidence=NOMINAL, n_bootstrap=N_BOOTSTRAP).kl_nats
            for k, row in zip(keys, log_ratios, strict=True)
        ]
    )
    value, lower, upper = intervals.T
    inside = (lower <= kl) & (kl <= upper)
    exact = binomtest(int(inside.sum()), inside.size).proportion_ci(method="exact")
    return {
        "coverage": float(inside.mean()),
        "coverage_interval_95": [float(exact.low), float(exact.high)],
        "truth_above": float((kl > upper).mean()),
        "truth_below": float((kl < lower).mean()),
        "mean_value_nats": float(value.mean()),
        "deviation_of_value_nats": float(value.std(ddof=1)),
        "mean_width_nats": float((upper - lower).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_replications", type=int, default=400)
    parser.add_argument("--output", type=Path, default=HERE / "coverage.json")
    arguments = parser.parse_args()
    arms = [(name, n, kl) for name, n in (("fast", 500), ("fast", 2000)) for kl in KLS]
    arms += [("default", 500, kl) for kl in (0.0, 0.5)]
    arms += [("exact log-ratio", 500, kl) for kl in KLS[1:]]
    rows = []
    for i, (name, n, kl) in enumerate(arms):
        started = time.time()
        key_fit, key_bootstrap = jax.random.split(jax.random.fold_in(jax.random.key(SEED), i))
        n_replications = 200 if name == "default" else arguments.n_replications
        features, labels = episodes(np.random.default_rng((SEED, i)), kl, n, n_replications)
        if name == "exact log-ratio":
            log_ratios = np.sqrt(2 * kl) * features[:, :, 2] - kl
        else:
            spec = FAST if name == "fast" else DetectorSpec()
            log_ratios = fitted_log_ratios(key_fit, features, labels, spec)
        rows.append({"detector": name, "n_episodes": n, "kl_nats": kl, "n_replications": n_replications})
        rows[-1] |= covered(key_bootstrap, log_ratios, labels, kl) | {"seconds": time.time() - started}
        print(rows[-1], flush=True)
        config = {"nominal": NOMINAL, "n_bootstrap": N_BOOTSTRAP, "n_columns": N_COLUMNS}
        config |= {"fast": dataclasses.asdict(FAST), "default": dataclasses.asdict(DetectorSpec())}
        arguments.output.write_text(json.dumps({"provenance": provenance(config, SEED), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
