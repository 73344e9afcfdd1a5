"""Three agents that learn against each other: how detection, cost and quotes move while they do.

Along each run, frozen policies play fresh episodes; the first of every such sample are read by whoever knows the
policy, which gives the information exactly, a detector is trained from scratch on all of it, and the divergence of each
policy from the one measured before is taken on the states the later one visits. Arms:

  default         the default configuration, one seed, no longer than an hour
  alternating     the debug configuration: execution trains, then maker and arbitrageur
  simultaneous    all agents train on every rollout, as many environment steps in all
  no_arbitrageur  alternating, the arbitrageur's orders of 0 lots
  no_belief_lag   alternating, the arbitrageur is paid its profit alone: delta = 0
  large_belief_lag  alternating, delta = 0.3, as in the reference

    PYTHONPATH=. python experiments/coevolution/coevolution.py --n_seeds=3
    PYTHONPATH=. python experiments/coevolution/coevolution.py --arms default --n_seeds=1
    PYTHONPATH=. python experiments/coevolution/coevolution.py --arms alternating no_belief_lag large_belief_lag \\
      --n_seeds=3 --n_points=6 --n_episodes=1024 --folder=experiments/coevolution/belief_lag
    python experiments/coevolution/report.py
"""

import argparse
import functools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax import config as configuration
from amarl_jax.evaluation.episodes import Batch, EpisodeSummary, fresh_episodes, summarise
from amarl_jax.evaluation.exact_reading import exact_reading
from amarl_jax.evaluation.frozen import spread_belief_moments
from amarl_jax.evaluation.metrics import Scale, evaluate_summaries
from amarl_jax.evaluation.report import spread_toxicity
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.game import Game
from amarl_jax.learn.players import TransformerBelief, players
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.learn.scoring import log_posterior_informed
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import advance, begin
from amarl_jax.posterior.exact import ExactRow, ExactSpec
from amarl_jax.types import AGENT_NAMES, Agent, Array

DEBUG, DEFAULT = "configs/fast_debug.py", "configs/default.py"
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": (DEFAULT, {"training.belief_microbatch": 4}),  # divides what a belief step reads with 64 environments
    "alternating": (DEBUG, {}),
    "simultaneous": (DEBUG, {"training.alternating.enabled": False}),
    "no_arbitrageur": (DEBUG, {"agents.arbitrageur.order_size_lots": 0}),
    "no_belief_lag": (DEBUG, {"agents.arbitrageur.delta_belief_lag": 0.0}),
    "large_belief_lag": (DEBUG, {"agents.arbitrageur.delta_belief_lag": 0.3}),
}
METRICS = (
    "execution/shortfall_ticks",
    "execution/completion",
    "information/exact_nats",
    "information/exact_accuracy",
    "information/fresh_nats",
    "information/fresh_accuracy",
    "information/belief_nats",
    "information/belief_accuracy",
    "information/mine_nats",
    "market/spread_ticks",
    "market/traded_lots",
    "maker/quoted_spread_ticks",
    "maker/pnl_tick_lots",
    "maker/adverse_selection_tick_lots",
    "arbitrageur/pnl_tick_lots",
    "arbitrageur/snipe_lots",
)


@struct.dataclass
class Sample:
    """What is kept of [n] fresh episodes of frozen policies."""

    summary: EpisodeSummary
    moments: Array  # [n, 5] of quoted spread and belief
    divergence: Array  # [n, agent] nats per decision from the policy measured before, on the episode's own states
    exact: ExactRow | None  # [m] of the first m episodes


def policy_divergence(before: TrainState, trajectory: Trajectory, game: Game) -> Array:
    """``mean_t log pi_now(a|s) - log pi_before(a|s)`` of one episode, [agent]; its mean estimates the KL divergence."""
    decisions = (trajectory.execution, trajectory.maker, trajectory.arbitrageur)
    seen = (trajectory.execution_seen, trajectory.maker_seen, trajectory.arbitrageur_seen)

    def one(agent: Agent) -> Array:
        module, parameters = game.actor(agent), before.agents[agent].params
        log_prob = jax.vmap(lambda s, a: module.apply(parameters, s).log_prob(a))(seen[agent], decisions[agent].latents)
        return jnp.mean(decisions[agent].log_prob - log_prob)

    return jnp.stack([one(agent) for agent in Agent])


@functools.partial(jax.jit, static_argnames=("n_episodes", "exact"))
def sample(
    key: Array,
    state: TrainState,
    before: TrainState,
    setup: Setup,
    n_episodes: int,
    exact: ExactSpec,
) -> Sample:
    """Fresh episodes of ``state``, and how far its policies are from those of ``before``."""
    game, params = setup.game, setup.params
    everyone, batch = players(state, game), min(game.learn.n_envs, n_episodes)
    reading = exact_reading(game.market, everyone.execution, exact, n_episodes, batch)

    def read(trajectories: Trajectory, which: Batch) -> Sample:
        claimed = jnp.exp(log_posterior_informed(state, trajectories, setup)[:, -1])
        summaries = jax.vmap(lambda one: summarise(one, params))(trajectories)
        return Sample(
            summary=replace(summaries, mine=claimed),
            moments=jax.vmap(spread_belief_moments)(trajectories),
            divergence=jax.vmap(lambda one: policy_divergence(before, one, game))(trajectories),
            exact=reading.read(trajectories, which, params),
        )

    belief = TransformerBelief(state.belief.params, setup)
    drawn = fresh_episodes(key, reading.market, everyone, belief, params, n_episodes, batch, read)
    return replace(drawn, exact=reading.only_read(drawn.exact))


def point(key: Array, drawn: Sample, scale: Scale) -> dict[str, Any]:
    """One point of the curves: [value, standard error] of each metric."""
    drawn = jax.tree.map(np.asarray, drawn)
    measured = evaluate_summaries(key, drawn.summary, scale, drawn.exact).metrics
    row: dict[str, Any] = {name: [round(x, 5) for x in measured[name]] for name in METRICS}
    correlation = spread_toxicity(np.random.default_rng(0), drawn.moments)
    row["spread_belief_correlation"] = [round(x, 4) if np.isfinite(x) else None for x in correlation]
    informed = drawn.summary.z == 1
    for agent in Agent:  # the execution policy acts in informed episodes only
        rows = drawn.divergence[informed if agent == Agent.EXECUTION else slice(None), agent]
        row[f"{AGENT_NAMES[agent]}/policy_kl_nats"] = round(float(rows.mean()), 5)
    return row


def run(arm: str, seed: int, n_points: int, n_episodes: int, minutes: float, overrides: dict) -> dict[str, Any]:
    """The curves of one run; it ends early, and says so, when its minutes are over."""
    path, changes = ARMS[arm]
    experiment = configuration.resolve(configuration.load(path, changes | overrides))
    setup = experiment.setup
    game = setup.game
    every = max(1, experiment.n_updates // n_points)
    state = begin(jax.random.key(seed), setup)
    size = {"n_episodes": n_episodes, "exact": experiment.run.exact}
    measure = functools.partial(sample, setup=setup, **size)
    scale = Scale.of(setup.params, game.market_spec)
    points, entropies, started = [], [], time.monotonic()
    before, update, training = jax.tree.map(jnp.copy, state), 0, 0.0
    while True:
        key_play, key_detector = jax.random.split(jax.random.fold_in(jax.random.key(1000 + seed), update))
        row = point(key_detector, measure(key_play, state, before), scale)
        points.append({"env_steps": update * game.steps_per_update()} | row)
        print(
            arm,
            seed,
            points[-1]["env_steps"],
            row["execution/shortfall_ticks"],
            row["information/exact_nats"],
            flush=True,
        )
        if update >= experiment.n_updates or time.monotonic() - started > 60 * minutes:
            break
        before, began = jax.tree.map(jnp.copy, state), time.monotonic()
        state, rows = advance(state, setup, every)
        rows = jax.tree.map(np.asarray, rows)
        training += time.monotonic() - began
        update += every
        entropies += [
            {name: round(float(x[i]), 4) for name, x in rows.items() if name.endswith("/entropy")} for i in range(every)
        ]
    return {
        "seed": seed,
        "env_steps": update * game.steps_per_update(),
        "env_steps_of_the_configuration": experiment.n_updates * game.steps_per_update(),
        "training_wall_seconds": round(training),
        "points": points,
        "entropies": entropies,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    compared = ["alternating", "simultaneous", "no_arbitrageur"]
    parser.add_argument("--arms", nargs="*", default=compared, choices=list(ARMS))
    parser.add_argument("--n_seeds", type=int, default=4)
    parser.add_argument("--n_points", type=int, default=15, help="of each curve, beside its start")
    parser.add_argument("--n_episodes", type=int, default=1024, help="of each point")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each run, at most")
    parser.add_argument(
        "--total_timesteps", type=int, default=None, help="environment steps, if not the configuration's"
    )
    parser.add_argument("--n_envs", type=int, default=None, help="if not the configuration's")
    parser.add_argument("--folder", type=Path, default=Path("experiments/coevolution"))
    args = parser.parse_args()
    overrides = {"training.total_timesteps": args.total_timesteps, "training.n_envs": args.n_envs}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    for arm in args.arms:
        began = time.process_time()
        runs = [run(arm, seed, args.n_points, args.n_episodes, args.minutes, overrides) for seed in range(args.n_seeds)]
        config = {"config": ARMS[arm][0], "overrides": ARMS[arm][1] | overrides, "n_episodes": args.n_episodes}
        cost = {"cpu_seconds": round(time.process_time() - began)}
        document = {"provenance": provenance(config, 0), **cost, "runs": runs}
        (args.folder / f"{arm}.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
