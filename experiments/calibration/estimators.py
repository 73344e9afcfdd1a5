"""Estimates of every law of the ground truth with the default settings, beside the truth.

    python experiments/calibration/estimators.py

writes estimators.json beside itself, again after each law; ``--laws`` and ``--estimators`` choose some of them.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # the tests' samplers

from amarl_jax.evaluation.provenance import provenance  # noqa: E402
from amarl_jax.information import EstimateSpec, estimate  # noqa: E402
from tests.information.laws import TRUTH, sample  # noqa: E402

SEED, N_EPISODES = 0, 5000


def measured(name, estimator):
    """One estimate as a row of the result."""
    started = time.time()
    x, y = sample(TRUTH[name], np.random.default_rng(SEED), N_EPISODES)
    result = estimate(x, y, estimator=estimator, key=jax.random.key(SEED))
    truth = TRUTH[name]["mi"]
    return {
        "law": name,
        "estimator": estimator,
        "truth_nats": truth,
        "value_nats": result.value,
        "stderr_nats": result.stderr,
        "training_gap_nats": result.training_gap,
        "within": abs(result.value - truth) <= max(0.02, 3 * result.stderr),
        "above_by_3_stderr": result.value > truth + 3 * result.stderr,
        "seconds": time.time() - started,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laws", nargs="+", default=list(TRUTH))
    parser.add_argument("--estimators", nargs="+", default=["mine"])
    parser.add_argument("--output", type=Path, default=HERE / "estimators.json")
    arguments = parser.parse_args()
    config = dataclasses.asdict(EstimateSpec()) | {"n_episodes": N_EPISODES}
    rows = []
    for name in arguments.laws:
        for estimator in arguments.estimators:
            rows.append(measured(name, estimator))
            print(rows[-1], flush=True)
        result = {"provenance": provenance(config, SEED), "n_laws_in_ground_truth": len(TRUTH), "rows": rows}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
