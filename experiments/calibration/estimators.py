"""Estimates of the laws of the ground truth with the default settings, beside the truth.

    python experiments/calibration/estimators.py

writes estimators.json beside itself, again after each law: MINE on every law. Other files of this folder choose laws,
estimators, seeds and the output's name.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np

from amarl_jax.ground_truth.laws import TRUTH, sample
from amarl_jax.host.provenance import provenance
from amarl_jax.information import EstimateSpec, estimate

HERE = Path(__file__).resolve().parent
N_EPISODES = 5000


def row_of(name, estimator, seed, value, stderr, seconds):
    """One estimate beside its truth; what counts as near is that of the specification."""
    truth = max(TRUTH[name]["mi"], 0.0)
    is_pair = TRUTH[name]["family"] == "corr_gaussian"
    tolerance = max(0.05, 0.1 * truth) if is_pair else max(0.02, 3 * stderr)
    return {
        "law": name,
        "estimator": estimator,
        "seed": seed,
        "truth_nats": truth,
        "value_nats": value,
        "stderr_nats": stderr,
        "tolerance_nats": tolerance,
        "within": abs(value - truth) <= tolerance,
        "above_by_3_stderr": value > truth + 3 * stderr,
        "seconds": round(seconds, 1),
    }


def measured(name, estimator, seed):
    """One estimate as a row of the result."""
    started = time.time()
    x, y = sample(TRUTH[name], np.random.default_rng(seed), N_EPISODES)
    result = estimate(x, y, estimator=estimator, key=jax.random.key(seed))
    row = row_of(name, estimator, seed, result.value, result.stderr, time.time() - started)
    return row | {"training_gap_nats": result.training_gap}


def write(path, config, seeds, rows):
    """The result so far."""
    document = {"provenance": provenance(config, seeds[0]), "seeds": seeds, "rows": rows}
    path.write_text(json.dumps(document | {"n_laws_in_ground_truth": len(TRUTH)}, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laws", nargs="+", default=list(TRUTH))
    parser.add_argument("--estimators", nargs="+", default=["mine"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", default="estimators.json")
    arguments = parser.parse_args()
    config = dataclasses.asdict(EstimateSpec()) | {"n_episodes": N_EPISODES}
    rows = []
    for name in arguments.laws:
        for estimator in arguments.estimators:
            for seed in arguments.seeds:
                rows.append(measured(name, estimator, seed))
                print(rows[-1], flush=True)
        write(HERE / arguments.output, config, arguments.seeds, rows)


if __name__ == "__main__":
    main()
