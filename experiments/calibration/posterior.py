"""Is the belief a posterior? The Transformer and its loss on laws whose exact posterior is known at every prefix.

    python experiments/calibration/posterior.py

writes posterior.json beside itself, again after each law. For each: the largest over prefixes of the mean absolute
error of the de-biased belief and of the belief as trained, of the expected calibration error (with that of the exact
posterior, the floor that the number of episodes sets), and by how much leakage increments fail to telescope.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.ground_truth.known_posteriors import Training, read, train
from amarl_jax.ground_truth.laws import TRUTH
from amarl_jax.host.provenance import provenance
from amarl_jax.information import mine
from amarl_jax.information.calibration import expected_calibration_error
from amarl_jax.nets.spec import BeliefSpec

HERE = Path(__file__).resolve().parent
LAWS = {  # and the steps they are trained for: a product of neighbouring steps takes longest to find
    "seq_gauss_d0.5_T20": 4000,
    "seq_bern_0.55_T50": 2500,
    "seq_pois_T20": 3000,
    "seq_ar1_phi0.3_T20": 9000,
}
SPEC = BeliefSpec(d_model=32, n_heads=4, n_layers=2, d_ff=64)
TRAINING = Training(n_steps=0, batch=64, learning_rate=3e-3)
SEED, N_BATCHES, BATCH = 0, 40, 1000
PRIOR = 0.5
MAE_LIMIT, ECE_LIMIT, TELESCOPE_LIMIT = 0.03, 0.02, 1e-5


def telescoping_error(posterior: np.ndarray) -> float:
    """Largest ``|sum_t L[t] - p_z (l[T] - log p_z)|`` over the episodes that no clip touches, nats."""
    inside = ((posterior > mine.POSTERIOR_MIN) & (posterior < mine.POSTERIOR_MAX)).all(axis=1)
    log_posterior = jnp.log(posterior[inside])
    increments = jax.jit(jax.vmap(lambda row: mine.leakage_increments(row, PRIOR)))(log_posterior)
    whole = PRIOR * (log_posterior[:, -1] - np.log(PRIOR))
    return float(jnp.max(jnp.abs(jnp.sum(increments, axis=1) - whole)))


def worst_calibration(posterior: np.ndarray, z: np.ndarray) -> float:
    """Largest expected calibration error over prefixes."""
    return max(expected_calibration_error(column.astype(np.float64).clip(0, 1), z) for column in posterior.T)


def measured(name: str, training: Training) -> dict:
    """One law as a row of the result."""
    started = time.time()
    key_train, key_read = jax.random.split(jax.random.key(SEED))
    model, parameters = train(name, key_train, SPEC, training)
    belief, posterior, exact, z = read(model, parameters, name, key_read, N_BATCHES, BATCH, training.beta_entropy)
    errors = np.abs(posterior - exact).mean(axis=0)
    row = {
        "law": name,
        "horizon": TRUTH[name]["T"],
        "n_episodes": int(z.size),
        "largest_mean_absolute_error": float(errors.max()),
        "mean_absolute_error_at_the_horizon": float(errors[-1]),
        "largest_mean_absolute_error_before_debiasing": float(np.abs(belief - exact).mean(axis=0).max()),
        "largest_mean_absolute_error_of_the_prior": float(np.abs(PRIOR - exact).mean(axis=0).max()),
        "largest_calibration_error": worst_calibration(posterior, z),
        "largest_calibration_error_before_debiasing": worst_calibration(belief, z),
        "largest_calibration_error_of_the_exact_posterior": worst_calibration(exact, z),
        "largest_telescoping_error_nats": telescoping_error(posterior),
        "mean_absolute_error": [round(float(x), 5) for x in errors],
        "seconds": time.time() - started,
    }
    row["within"] = (
        row["largest_mean_absolute_error"] <= MAE_LIMIT
        and row["largest_calibration_error"] < ECE_LIMIT
        and row["largest_telescoping_error_nats"] <= TELESCOPE_LIMIT
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laws", nargs="+", default=list(LAWS))
    parser.add_argument("--output", type=Path, default=HERE / "posterior.json")
    arguments = parser.parse_args()
    config = {
        "belief": dataclasses.asdict(SPEC),
        "training": dataclasses.asdict(TRAINING) | {"n_steps": LAWS},
        "n_evaluated": N_BATCHES * BATCH,
    }
    rows = []
    for name in arguments.laws:
        rows.append(measured(name, dataclasses.replace(TRAINING, n_steps=LAWS[name])))
        print(rows[-1], flush=True)
        document = {"provenance": provenance(config, SEED), "rows": rows}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
