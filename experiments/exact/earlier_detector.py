"""Measure what the detector of version 0.1 finds in camouflaged TWAP, by the number of its episodes.

    git worktree add ../earlier 6dadac1
    PYTHONPATH=../earlier python experiments/exact/earlier_detector.py

That detector read sums over windows of the tape, made by hand, and is gone from the package: this runs the package as
it was. Market, policy and opponents are those of ``measure.py``, so the exact information is that of its row. Rows go
to ``experiments/exact/growth_earlier.jsonl`` one by one.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from amarl_jax.evaluation.provenance import provenance

from amarl_jax import config as configuration
from amarl_jax.evaluation.episodes import fresh_summaries  # as it was then
from amarl_jax.evaluation.metrics import fresh_detection
from amarl_jax.learn.rollout import Players, PriorBelief
from amarl_jax.market.env import Market
from amarl_jax.market.params import as_arrays
from amarl_jax.policies.baselines import make_baselines
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.value_rule import ValueRule

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="twap_camouflaged")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384])
    given = parser.parse_args()
    config = configuration.load("configs/fast_debug.py")
    experiment = configuration.resolve(config)
    spec, params = experiment.market_spec, as_arrays(experiment.env_params)
    players = Players(make_baselines(spec)[given.policy], ConstantSpread(1.0), ValueRule(1.0))
    n_episodes = max(given.sizes)

    def play(key: jax.Array) -> object:
        return fresh_summaries(key, Market(spec), players, PriorBelief(), params, n_episodes, 64)

    summaries = jax.tree.map(np.asarray, jax.jit(play)(jax.random.key(2)))
    row: dict = {"row": given.policy, "fresh": {}}
    for size in given.sizes:
        started = time.process_time()
        some = jax.tree.map(lambda x, size=size: x[:size], summaries)
        found = fresh_detection(jax.random.key(size), some, float(params.informed_probability))
        row["fresh"][str(size)] = {
            "nats": float(found.mi),
            "stderr": float(found.mi_stderr),
            "cpu_seconds": time.process_time() - started,
        }
        print(f"{given.policy}, {size} episodes: {found.mi:.4f} +- {found.mi_stderr:.4f}", flush=True)
    with (HERE / "growth_earlier.jsonl").open("a") as file:
        file.write(json.dumps(row | {"provenance": provenance(config.to_dict(), 0)}) + "\n")


if __name__ == "__main__":
    main()
