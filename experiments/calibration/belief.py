"""The belief Transformer as an estimator of the sequence laws, beside the truth.

    python experiments/calibration/belief.py [--laws LAW ...] [--n_steps N] [--output NAME]

writes belief.json beside itself, again after each law. It learns from fresh episodes, as in training, and is read from
others.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from estimators import row_of, write  # noqa: E402

from amarl_jax.ground_truth.laws import TRUTH, sample  # noqa: E402
from amarl_jax.ground_truth.sequence_belief import estimate  # noqa: E402
from amarl_jax.nets.spec import BeliefSpec  # noqa: E402

LAWS = ("seq_ar1_phi0.3_T20", "seq_gauss_d0.5_T20", "seq_pois_T20", "seq_ar1_phi0.3_T50")
SEED = 0
SPEC = {"d_model": 32, "n_heads": 2, "n_layers": 2, "d_ff": 64}
TRAINING = {"n_steps": 1500, "batch_size": 128, "learning_rate": 2e-3, "n_held_out": 5000}


def measured(name, training):
    """One estimate as a row of the result."""
    started, case, rng = time.time(), TRUTH[name], np.random.default_rng(SEED)
    value, stderr = estimate(
        jax.random.key(SEED), lambda n: sample(case, rng, n), spec=BeliefSpec(**SPEC), prior=case["pi"], **training
    )
    return row_of(name, "belief", SEED, value, stderr, time.time() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laws", nargs="+", default=LAWS)
    parser.add_argument("--n_steps", type=int, default=TRAINING["n_steps"], help="Adam steps, each on fresh episodes")
    parser.add_argument("--output", default="belief.json")
    arguments = parser.parse_args()
    training, rows = TRAINING | {"n_steps": arguments.n_steps}, []
    for name in arguments.laws:
        rows.append(measured(name, training))
        print(rows[-1], flush=True)
        write(HERE / arguments.output, SPEC | training, [SEED], rows)


if __name__ == "__main__":
    main()
