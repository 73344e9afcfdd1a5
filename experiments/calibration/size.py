"""How often the permutation test rejects a true null, how often pooled steps would, and what the verdict can see.

    python experiments/calibration/size.py

writes size.json beside itself. The size of a test is the share of true nulls that it rejects at 5%.
"""

import argparse
import collections
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binomtest

from amarl_jax.host.provenance import provenance
from amarl_jax.information.detector_fit import DetectorSpec
from amarl_jax.information.significance import compare, permutation_test

HERE = Path(__file__).resolve().parent
SEED, LEVEL, N_PERMUTATIONS = 0, 0.05, 39
DETECTOR = DetectorSpec(n_folds=3, hidden=(8,), n_steps=40, n_checks=4, batch_size=64)
N_EPISODES, N_STEPS, N_COLUMNS, AUTOCORRELATION = 60, 100, 4, 0.77
PLANTED_NATS, D_PRIME = 0.02, 0.4040  # a shift of d' deviations carries 0.02 nats


def separation(features: jax.Array, labels: jax.Array) -> jax.Array:
    """Absolute difference of the classes' means of the first column."""
    ones = labels.astype(features.dtype)
    return jnp.abs(ones @ features[:, 0] / ones.sum() - (1 - ones) @ features[:, 0] / (1 - ones).sum())


def rejections(p_values: list[float]) -> dict[str, Any]:
    """Share of tests that reject at the level, with its exact 95% interval."""
    n = int(np.sum(np.array(p_values) <= LEVEL))
    exact = binomtest(n, len(p_values)).proportion_ci(method="exact")
    return {
        "n_tests": len(p_values),
        "rejected": n / len(p_values),
        "interval_95": [float(exact.low), float(exact.high)],
    }


def size_of_the_detectors_test(key: jax.Array, rng: np.random.Generator, n_tests: int) -> dict[str, Any]:
    """The cross-fitted detector's information, trained again for each permutation; a third of episodes has z = 1."""
    labels = (np.arange(N_EPISODES) % 3 == 0).astype(int)
    p_values = [
        permutation_test(
            k, rng.standard_t(3, (N_EPISODES, N_COLUMNS)), labels, n_permutations=N_PERMUTATIONS, spec=DETECTOR
        )
        for k in jax.random.split(key, n_tests)
    ]
    return rejections(p_values)


def autoregressive(rng: np.random.Generator) -> np.ndarray:
    """Episodes [n, T] of one law with dependent steps."""
    x = rng.standard_normal((N_EPISODES, N_STEPS))
    for t in range(1, N_STEPS):
        x[:, t] = AUTOCORRELATION * x[:, t - 1] + np.sqrt(1 - AUTOCORRELATION**2) * x[:, t]
    return x


def sizes_by_unit(key: jax.Array, rng: np.random.Generator, n_tests: int) -> dict[str, dict[str, Any]]:
    """The same statistic on the same episodes, labels permuted by episode and, wrongly, by step."""
    labels, p_values = np.arange(N_EPISODES) % 2, collections.defaultdict(list)

    def test(k: jax.Array, x: np.ndarray, z: np.ndarray) -> float:
        return permutation_test(k, x, z, statistic=separation, n_permutations=N_PERMUTATIONS)

    for k in jax.random.split(key, n_tests):
        steps, (key_episode, key_step) = autoregressive(rng), jax.random.split(k)
        p_values["episode"].append(test(key_episode, steps.mean(axis=1)[:, None], labels))
        p_values["step"].append(test(key_step, steps.reshape(-1, 1), np.repeat(labels, N_STEPS)))
    return {unit: rejections(values) for unit, values in p_values.items()}


def verdicts(key: jax.Array, rng: np.random.Generator, n: int, shift: float, n_tests: int) -> dict[str, Any]:
    """What the three-part verdict says of n episodes with one shifted column, or none."""
    labels, found = np.arange(n) % 2, []
    for k in jax.random.split(key, n_tests):
        x = rng.normal(size=(n, N_COLUMNS))
        x[:, 1] += shift * labels
        found.append(compare(k, x, labels, n_permutations=N_PERMUTATIONS, n_planted=16, spec=DETECTOR))
    return {
        "n_episodes": n,
        "information_nats": PLANTED_NATS if shift else 0.0,
        "permutation_test": rejections([verdict.p_value for verdict in found]),
        "planted_nats": PLANTED_NATS,
        "recovered_nats": float(np.mean([verdict.recovered_nats for verdict in found])),
        "bounded": float(np.mean([verdict.bounded for verdict in found])),
        "powered": float(np.mean([verdict.powered for verdict in found])),
        "verdicts": dict(collections.Counter(str(verdict).partition(":")[0] for verdict in found)),
    }


def timed(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """A result, printed, with what it cost."""
    started = time.time()
    result = measure(*arguments) | {"seconds": round(time.time() - started, 1)}
    print(measure.__name__, result, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_tests", type=int, default=1000)
    parser.add_argument("--n_verdicts", type=int, default=40)
    parser.add_argument("--output", type=Path, default=HERE / "size.json")
    arguments = parser.parse_args()
    keys, rng = iter(jax.random.split(jax.random.key(SEED), 8)), np.random.default_rng(SEED)
    results: dict[str, Any] = {
        "detector": timed(size_of_the_detectors_test, next(keys), rng, arguments.n_tests),
        "unit": timed(sizes_by_unit, next(keys), rng, arguments.n_tests),
        "verdict": [
            timed(verdicts, next(keys), rng, n, shift, arguments.n_verdicts)
            for n in (500, 3000)
            for shift in (0.0, D_PRIME)
        ],
    }
    config = {"level": LEVEL, "n_permutations": N_PERMUTATIONS, "detector": str(DETECTOR)}
    config |= {"n_episodes": N_EPISODES, "n_steps": N_STEPS, "n_columns": N_COLUMNS, "autocorrelation": AUTOCORRELATION}
    document = {"provenance": provenance(config, SEED), "results": results}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
