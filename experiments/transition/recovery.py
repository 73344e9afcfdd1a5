"""Does the locator name the kind of a curve, and do its intervals hold what they promise? Synthetic sweeps.

Eight seeds, penalties of the default grid, a fall of 0.6 nats, noise of each lane and a shift shared by the lanes of a
seed. For each kind and noise: the share of replications in which it is called flat, step, smooth or not determined, and
the word that one such arm gets; for logistics the coverage of the 95% intervals. For frontiers, convex and dented: the
share of replications in which a jump is found, and the coverage of its size and penalty.

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
from amarl_jax.transition.frontier import Policies, frontier
from amarl_jax.transition.locate import Curves
from amarl_jax.transition.verdict import judge

PENALTY = np.array(configuration.resolve(configuration.load("configs/lambda_sweep.py")).sweep.lambdas())
X = penalty_axis(PENALTY)
MIDPOINT, WIDTH = 2.5, 2.0
TRUTHS = {
    "flat": np.full(len(PENALTY), 0.3),
    "step": np.where(MIDPOINT > X, 0.62, 0.02),
    "linear": 0.6 - 0.14 * PENALTY * 4.0 / PENALTY[-1],
    "exponential": 0.02 + 0.6 * np.exp(-PENALTY / 0.8),
    "hyperbola": 0.6 / (1.0 + PENALTY / 0.5),
    "power": 0.6 / np.sqrt(1.0 + PENALTY / 0.1),
    "logistic": 0.02 + 0.6 * logistic_drop(X, MIDPOINT, WIDTH),
}
NOISES = {"0.02": (0.02, 0.01), "0.05": (0.05, 0.025)}  # nats, of a lane and of a seed
NATS = np.sort(np.concatenate([[0.1, 0.5], np.linspace(0.02, 0.68, 14)]))  # of the policies on a frontier
SIZE, PRICE = 0.4, 2.0  # of the jump of a dented one: from 0.5 to 0.1 nats


def replicate(kind: str, noise: tuple[float, float], n_seeds: int, n: int) -> dict[str, Any]:
    """One cell of the table of curves."""
    kinds, words, covered = Counter(), Counter(), Counter()
    for i in range(n):
        rng = np.random.default_rng([i, 11])
        lanes = noise[0] * rng.normal(size=(n_seeds, len(PENALTY)))
        information = TRUTHS[kind] + lanes + noise[1] * rng.normal(size=(n_seeds, 1))
        verdict = judge([Curves(PENALTY, information, 0.5 + information / 1.4)])
        found = verdict.arms[0][1]
        kinds[found.kind] += 1
        words[verdict.word] += 1
        for name in ("lambda_half", "lambda_isotonic", "lambda_chi"):
            location = getattr(found, name)
            covered[name] += location.lower is not None and location.lower <= penalty_at(MIDPOINT) <= location.upper
    cell: dict[str, Any] = {name: {k: v / n for k, v in c.items()} for name, c in (("kind", kinds), ("word", words))}
    if kind == "logistic":
        cell["coverage"] = {name: count / n for name, count in covered.items()}
    return cell


def dented(height: float) -> np.ndarray:
    """C of a frontier that is convex but for a dent of this height over its jump; 0 is straight there."""
    left = 1.0 + PRICE * (0.1 - NATS) + 20.0 * (0.1 - NATS) ** 2
    right = 1.0 - PRICE * (SIZE + NATS - 0.5) + 5.0 * (NATS - 0.5) ** 2
    dent = 1.0 - PRICE * (NATS - 0.1) + height * np.sin(np.pi * (NATS - 0.1) / SIZE)
    return np.where(NATS < 0.1, left, np.where(NATS > 0.5, right, dent))


def replicate_frontier(cost: np.ndarray, noise: tuple[float, float], n_seeds: int, n: int) -> dict[str, float]:
    """Share of frontiers with a jump, and, among those, in which size and penalty lie in their intervals."""
    found = Counter()
    for i in range(n):
        rng = np.random.default_rng([i, 12])
        seeds = noise[0] * rng.normal(size=(n_seeds, len(NATS), 2)) + noise[1] * rng.normal(size=(n_seeds, 1, 2))
        both = np.stack([NATS, cost], axis=1) + seeds
        jumps = frontier(Policies.learned(np.arange(len(NATS)), both[..., 0], both[..., 1])).jumps
        found["jump"] += len(jumps) > 0
        if jumps:
            found["size"] += jumps[0].size_nats.lower <= SIZE <= jumps[0].size_nats.upper
            found["penalty"] += jumps[0].penalty.lower <= PRICE <= jumps[0].penalty.upper
    covered = {f"{name} covered": found[name] / max(found["jump"], 1) for name in ("size", "penalty")}
    return {"found": found["jump"] / n} | covered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("experiments/transition/recovery.json"))
    parser.add_argument("--n_replications", type=int, default=100)
    parser.add_argument("--n_seeds", type=int, default=8)
    args = parser.parse_args()
    size = (args.n_seeds, args.n_replications)
    curves = {level: {kind: replicate(kind, noise, *size) for kind in TRUTHS} for level, noise in NOISES.items()}
    costs = {
        "convex": 2.0 * (0.7 - NATS) ** 2,
        "straight": 1.0 - NATS,
        **{f"dent {h}": dented(h) for h in (0.05, 0.1, 0.15)},
    }
    frontiers = {name: replicate_frontier(cost, NOISES["0.02"], *size) for name, cost in costs.items()}
    config = {"n_replications": args.n_replications, "n_seeds": args.n_seeds, "penalty": PENALTY.tolist()}
    document = {"provenance": provenance(config, 11), "curves_by_noise_nats": curves, "frontiers": frontiers}
    args.output.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps({"curves": curves, "frontiers": frontiers}, indent=1))


if __name__ == "__main__":
    main()
