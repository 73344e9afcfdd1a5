"""Does the locator name the kind of a curve, and do its intervals hold what they promise? Synthetic sweeps.

Eight seeds, penalties of the default grid, a fall of 0.6 nats, noise of each lane and a shift shared by the lanes of a
seed. For each kind and noise: the share of replications in which it is named, and for logistics the coverage of the 95%
intervals.

    python experiments/transition/recovery.py --output=experiments/transition/recovery.json
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax import config as configuration
from amarl_jax.host.provenance import provenance
from amarl_jax.transition.curve_fits import logistic_drop, penalty_at, penalty_axis
from amarl_jax.transition.locate import Curves, locate

PENALTY = np.array(configuration.resolve(configuration.load("configs/lambda_sweep.py")).sweep.lambdas())
X = penalty_axis(PENALTY)
MIDPOINT, WIDTH = 2.5, 2.0
TRUTHS = {
    "linear": 0.6 - 0.14 * PENALTY,
    "exponential": 0.02 + 0.6 * np.exp(-PENALTY / 0.8),
    "logistic": 0.02 + 0.6 * logistic_drop(X, MIDPOINT, WIDTH),
    "step": np.where(MIDPOINT > X, 0.62, 0.02),
}
NOISES = {"0.02": (0.02, 0.01), "0.05": (0.05, 0.025)}  # nats, of a lane and of a seed


def replicate(kind: str, noise: tuple[float, float], n_seeds: int, n: int) -> dict[str, Any]:
    """One cell of the table."""
    named, covered = Counter(), Counter()
    for i in range(n):
        rng = np.random.default_rng([i, 11])
        lanes = noise[0] * rng.normal(size=(n_seeds, len(PENALTY)))
        information = TRUTHS[kind] + lanes + noise[1] * rng.normal(size=(n_seeds, 1))
        found = locate(Curves(PENALTY, information, 0.5 + information / 1.4))
        named[found.kind] += 1
        for name, truth in (
            ("lambda_half", penalty_at(MIDPOINT)),
            ("lambda_chi", penalty_at(MIDPOINT)),
            ("width", WIDTH),
        ):
            location = getattr(found, name)
            covered[name] += location.lower is not None and location.lower <= truth <= location.upper
    cell: dict[str, Any] = {"named": {name: count / n for name, count in named.items()}}
    if kind == "logistic":
        cell["coverage"] = {name: count / n for name, count in covered.items()}
    return cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("experiments/transition/recovery.json"))
    parser.add_argument("--n_replications", type=int, default=200)
    parser.add_argument("--n_seeds", type=int, default=8)
    args = parser.parse_args()
    table = {
        level: {kind: replicate(kind, noise, args.n_seeds, args.n_replications) for kind in TRUTHS}
        for level, noise in NOISES.items()
    }
    config = {"n_replications": args.n_replications, "n_seeds": args.n_seeds, "penalty": PENALTY.tolist()}
    document = {"provenance": provenance(config, 11), "by_lane_noise_nats": table}
    args.output.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
