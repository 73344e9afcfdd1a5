"""What hiding costs without learning: every baseline's shortfall, completion, I, KL and accuracy.

Scripted execution policies against a constant spread of one tick and an arbitrageur that trades when value is beyond
the quote by more than a tick; for each the exact information, read by whoever knows the policy, and a detector trained
from scratch, both on its own fresh episodes. This is also the calibration at lambda = 0: an impatient order must be
caught in more than 72% of the episodes, and completing patiently must remain possible.

    python experiments/baselines/baselines.py --output=experiments/baselines/baselines.json
    python experiments/baselines/report.py
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from amarl_jax import config as configuration
from amarl_jax.evaluation import baselines
from amarl_jax.evaluation.episodes import Batch, fresh_episodes, summarise
from amarl_jax.evaluation.exact_reading import exact_reading
from amarl_jax.evaluation.metrics import Scale
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.market.env import Market
from amarl_jax.policies.baselines import choice, make_baselines
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.trees import as_arrays

MARKETS = {"default": "configs/default.py", "lambda_sweep": "configs/lambda_sweep.py"}
BATCH = 256  # episodes side by side


def measure(key: jax.Array, path: str, n_episodes: int) -> dict[str, Any]:
    """Every row of one market; its policies share one compiled program."""
    experiment = configuration.resolve(configuration.load(path))
    spec, params = experiment.market_spec, as_arrays(experiment.env_params)
    policies = make_baselines(spec)

    @jax.jit
    def compiled(key: jax.Array, index: jax.Array) -> baselines.Played:
        players = Players(choice(policies, index), ConstantSpread(), ValueRule())
        reading = exact_reading(Market(spec), players.execution, experiment.run.exact, n_episodes, BATCH)

        def read(trajectories: Trajectory, batch: Batch) -> baselines.Played:
            summaries = jax.vmap(lambda one: summarise(one, params))(trajectories)
            return summaries, reading.read(trajectories, batch, params)

        summaries, exact = fresh_episodes(key, reading.market, players, PriorBelief(), params, n_episodes, BATCH, read)
        return summaries, reading.only_read(exact)

    def play(key: jax.Array, i: int) -> baselines.Played:
        print(f"  {list(policies)[i]}, {time.process_time():.0f} CPU seconds so far", flush=True)
        return compiled(key, jnp.int32(i))

    return baselines.rows(key, play, list(policies), Scale.of(params, spec))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("experiments/baselines/baselines.json"))
    parser.add_argument("--n_episodes", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(MARKETS), choices=list(MARKETS))
    args = parser.parse_args()
    results = {}
    for name in args.only:
        print(name, flush=True)
        results[name] = measure(jax.random.key(args.seed), MARKETS[name], args.n_episodes)
    config = {"n_episodes": args.n_episodes, "markets": {name: MARKETS[name] for name in args.only}}
    cost = {"cpu_seconds": round(time.process_time(), 1)}
    document = {"provenance": provenance(config, args.seed), **cost, "markets": results}
    args.output.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
