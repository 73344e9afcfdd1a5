"""Does each agent learn what is known? One learns, the others play rules; the same episodes for all that are compared.

  execution    at lambda = 0, against TWAP, VWAP and its untrained self, all forced to complete: shortfall
  maker        against every constant spread and size on a grid, facing TWAP and the value rule: profit
  arbitrageur  against the rule "trade when V is beyond the quote by more than c" at its best c: profit
  belief       on TWAP flow, against a detector trained afresh on the same episodes: information

The grids' best is chosen on the very episodes it is compared on, which favours the grid. The debug market and networks.

    PYTHONPATH=. python experiments/market_probes/market_probes.py --output=experiments/market_probes/market_probes.json
    python experiments/market_probes/report.py
"""

import argparse
import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax import config as configuration
from amarl_jax.evaluation.episodes import EpisodeSummary, fresh_summaries
from amarl_jax.evaluation.metrics import NORMAL_95, claimed_information, fresh_detection, mean_and_error
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.game import Game, script
from amarl_jax.learn.players import Players, PriorBelief, TransformerBelief, players
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import advance, begin
from amarl_jax.policies.baselines import choice, make_baselines
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.forced import ForcedCompletion
from amarl_jax.policies.learned import learned_policy
from amarl_jax.policies.protocol import Policy
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.types import Agent

CONFIG = "configs/fast_debug.py"
OVERRIDES = {  # one agent learns at a time, in every rollout
    "training.alternating.enabled": False,
    "agents.execution.lambda_leakage": 0.0,
    "agents.execution.mu_predictability": 0.0,
    "agents.arbitrageur.delta_belief_lag": 0.0,
    "training.replay_capacity": 4096,  # the flow does not move, so no episode is stale
}
N_UPDATES = {"execution": 60, "maker": 150, "arbitrageur": 60, "belief": 200}  # of two rollouts
SPREADS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)  # ticks from mid
SIZES = (0.1, 0.5, 1.0)  # of the largest quote
MARGINS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # c, ticks
BATCH = 256  # episodes side by side


def experiment_of(n_updates: int) -> configuration.Experiment:
    """The configuration of a probe."""
    steps = n_updates * configuration.resolve(configuration.load(CONFIG, OVERRIDES)).game.steps_per_update()
    return configuration.resolve(configuration.load(CONFIG, OVERRIDES | {"training.total_timesteps": steps}))


def trained(name: str, policies: Mapping[Agent, Policy], seeds: range) -> tuple[Setup, list]:
    """One learner per seed, before and after its training against the given rules."""
    experiment = experiment_of(N_UPDATES[name])
    setup = experiment.setup.replace(game=script(experiment.game, policies))
    learners = []
    for seed in seeds:
        before = begin(jax.random.key(seed), setup)
        after, _ = advance(jax.tree.map(jnp.copy, before), setup, N_UPDATES[name])
        learners.append((before, jax.block_until_ready(after)))
        print(f"  {name} seed {seed}, {time.process_time():.0f} CPU seconds so far", flush=True)
    return setup, learners


def rules(game: Game) -> dict[Agent, Policy]:
    """The fixed opponents: TWAP over the day in clips of a typical order, one tick from mid, trade beyond one tick."""
    twap = make_baselines(game.market_spec)["twap"]
    return {Agent.EXECUTION: twap, Agent.MAKER: ConstantSpread(), Agent.ARBITRAGEUR: ValueRule()}


def opponents(agent: Agent) -> dict[Agent, Policy]:
    """The rules of the two others."""
    game = experiment_of(1).game
    return {other: policy for other, policy in rules(game).items() if other != agent}


def difference(mine: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Mean of the paired differences with its 95% interval."""
    value, stderr = mean_and_error(mine - other)
    return {"value": value, "lower": value - NORMAL_95 * stderr, "upper": value + NORMAL_95 * stderr}


def estimate(x: np.ndarray) -> dict[str, float]:
    """Mean and standard error."""
    value, stderr = mean_and_error(x)
    return {"value": value, "stderr": stderr}


def execution(seeds: range, n_episodes: int) -> dict[str, Any]:
    """Shortfall of the informed episodes, all forced to complete, and of the learned agent as it is."""
    others = opponents(Agent.EXECUTION)
    setup, learners = trained("execution", others, seeds)
    game, params = setup.game, setup.params
    scripted = make_baselines(game.market_spec)
    finishing = {name: ForcedCompletion(scripted[name], game.market_spec) for name in ("twap", "vwap", "sweep")}
    names = ("as it is", "learned", *finishing)

    @jax.jit
    def episodes(key: jax.Array, parameters: Any, index: jax.Array) -> EpisodeSummary:
        learned = learned_policy(Agent.EXECUTION, parameters, game.network, game.market_spec, noise_law=game.noise_law)
        policies = (learned, ForcedCompletion(learned, game.market_spec), *finishing.values())
        everyone = Players(choice(policies, index), others[Agent.MAKER], others[Agent.ARBITRAGEUR])
        return fresh_summaries(key, game.market, everyone, PriorBelief(), params, n_episodes, BATCH)

    def informed(key: jax.Array, state: TrainState, name: str) -> EpisodeSummary:
        parameters = state.agents[Agent.EXECUTION].params
        rows = jax.tree.map(np.asarray, episodes(key, parameters, jnp.int32(names.index(name))))
        return jax.tree.map(lambda x: x[rows.z == 1], rows)

    results = []
    for seed, (before, after) in zip(seeds, learners, strict=True):
        rows = {name: informed(jax.random.key(1000 + seed), after, name) for name in names}
        rows["untrained"] = informed(jax.random.key(1000 + seed), before, "learned")
        learned = rows["learned"].shortfall_ticks
        results.append(
            {
                "seed": seed,
                "shortfall_ticks": {name: estimate(row.shortfall_ticks) for name, row in rows.items()},
                "completion": {name: estimate(row.completion) for name, row in rows.items()},
                "saved_ticks": {
                    name: difference(row.shortfall_ticks, learned)
                    for name, row in rows.items()
                    if name not in ("as it is", "learned")
                },
            }
        )
    return {"unit": "ticks per parent lot", "n_episodes": n_episodes, "seeds": results}


def maker_profit(rows: EpisodeSummary) -> np.ndarray:
    """Profit with everything marked to V at the horizon: spread and revaluation less adverse selection, tick-lots."""
    return np.asarray(rows.maker_pnl - rows.adverse_selection)


def against_grid(
    agent: Agent,
    name: str,
    grid: dict[str, Policy],
    profit: Callable[[EpisodeSummary], np.ndarray],
    seeds: range,
    n_episodes: int,
) -> dict[str, Any]:
    """An agent that learned against the rules beside a grid of rules in its place, on the same episodes."""
    others = opponents(agent)
    setup, learners = trained(name, others, seeds)
    game, params = setup.game, setup.params

    def episodes(key: jax.Array, policy: Policy) -> EpisodeSummary:
        everyone = Players(*(policy if who == agent else others[who] for who in Agent))
        return fresh_summaries(key, game.market, everyone, PriorBelief(), params, n_episodes, BATCH)

    @jax.jit
    def learned(key: jax.Array, parameters: Any) -> EpisodeSummary:
        return episodes(
            key, learned_policy(agent, parameters, game.network, game.market_spec, noise_law=game.noise_law)
        )

    @functools.partial(jax.jit, static_argnames=("kind",))
    def ruled(key: jax.Array, kind: type, numbers: tuple[jax.Array, ...]) -> EpisodeSummary:
        return episodes(key, kind(*numbers))

    results = []
    for seed, (before, after) in zip(seeds, learners, strict=True):
        earned = {
            label: profit(learned(jax.random.key(1000 + seed), state.agents[agent].params))
            for label, state in (("untrained", before), ("learned", after))
        }
        for label, rule in grid.items():
            numbers = tuple(jnp.float32(x) for x in vars(rule).values())
            earned[label] = profit(ruled(jax.random.key(1000 + seed), type(rule), numbers))
        best = max(grid, key=lambda label: earned[label].mean())
        results.append(
            {
                "seed": seed,
                "profit_tick_lots": {label: estimate(x) for label, x in earned.items()},
                "best_of_grid": best,
                "learned_minus_best": difference(earned["learned"], earned[best]),
                "ratio_to_best": float(earned["learned"].mean() / earned[best].mean()),
            }
        )
    return {"unit": "tick-lots per episode, marked to V", "n_episodes": n_episodes, "seeds": results}


def maker(seeds: range, n_episodes: int) -> dict[str, Any]:
    """Profit beside every constant spread and size."""
    grid = {
        f"{ticks:g} ticks, {size:g} of the size": ConstantSpread(ticks, size) for ticks in SPREADS for size in SIZES
    }
    return against_grid(Agent.MAKER, "maker", grid, maker_profit, seeds, n_episodes)


def arbitrageur(seeds: range, n_episodes: int) -> dict[str, Any]:
    """Profit beside the value rule at every margin."""
    grid: dict[str, Policy] = {f"c = {margin:g}": ValueRule(margin) for margin in MARGINS}
    profit = lambda rows: np.asarray(rows.arbitrageur_pnl)  # noqa: E731
    return against_grid(Agent.ARBITRAGEUR, "arbitrageur", grid, profit, seeds, n_episodes)


@functools.partial(jax.jit, static_argnames=("n_episodes",))
def believed(key: jax.Array, state: TrainState, setup: Setup, n_episodes: int) -> EpisodeSummary:
    """Fresh episodes read by the belief as it acts."""
    reader, game = TransformerBelief(state.belief.params, setup), setup.game
    return fresh_summaries(key, game.market, players(state, game), reader, setup.params, n_episodes, BATCH)


def belief(seeds: range, n_episodes: int) -> dict[str, Any]:
    """Information the acting belief claims on TWAP flow, and what a fresh detector finds in the same episodes."""
    game = experiment_of(1).game
    results = []
    for flow in ("twap", "twap_quarter_of_the_day"):
        policies = rules(game) | {Agent.EXECUTION: make_baselines(game.market_spec)[flow]}
        setup, learners = trained("belief", policies, seeds)

        prior = float(setup.params.informed_probability)
        for seed, (_, after) in zip(seeds, learners, strict=True):
            rows = jax.tree.map(np.asarray, believed(jax.random.key(1000 + seed), after, setup, n_episodes))
            claimed = claimed_information(rows.belief, rows.z, prior)
            detection = fresh_detection(jax.random.key(2000 + seed), rows, prior)
            found = {"value": float(detection.mi), "stderr": float(detection.mi_stderr)}
            both = {"belief_nats": claimed._asdict(), "fresh_nats": found}
            results.append({"flow": flow, "seed": seed, **both, "share": claimed.value / found["value"]})
    return {"unit": "nats", "n_episodes": n_episodes, "seeds": results}


PROBES = {"execution": execution, "maker": maker, "arbitrageur": arbitrageur, "belief": belief}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("experiments/market_probes/market_probes.json"))
    parser.add_argument("--n_episodes", type=int, default=4096)
    parser.add_argument("--n_seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(PROBES), choices=list(PROBES))
    args = parser.parse_args()
    document = json.loads(args.output.read_text()) if args.output.exists() else {"probes": {}}
    for name in args.only:
        print(name, flush=True)
        started = time.process_time()
        measured = PROBES[name](range(args.n_seeds), args.n_episodes)
        config = {"config": CONFIG, "overrides": OVERRIDES, "n_updates": N_UPDATES[name]}
        config |= {"spreads": SPREADS, "sizes": SIZES} if name == "maker" else {}
        measured |= {"cpu_seconds": round(time.process_time() - started), "provenance": provenance(config, 0)}
        document["probes"][name] = measured
        args.output.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
