"""What replay does to the belief's loss when the execution policy moves.

    python experiments/replay/ablation.py

writes ablation.json beside itself. In the debug market the execution agent works its order lot by lot over the day,
then in a quarter of the day in clips of 5, then lot by lot again. After each rollout the belief learns by the very
function that training calls, and is judged on episodes that it never learns from, of both policies. Arms: memory drawn
by priority (as configured) or uniformly; no memory, only each fresh episode once; and, as memory costs work, as many
draws from the current rollout alone. Arms share every episode; seeds change all.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax import config as configuration
from amarl_jax.host.provenance import provenance
from amarl_jax.learn import replay
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts, stratified_labels
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import Episode, TrainState, init_state
from amarl_jax.learn.tape_readers import fit_belief
from amarl_jax.market.params import EnvParams
from amarl_jax.nets.belief import belief_loss
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.protocol import Policy
from amarl_jax.policies.twap import Twap
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.types import Array, PyTree

HERE = Path(__file__).resolve().parent
CONFIG = "configs/fast_debug.py"
N_ROLLOUTS, N_HELD_OUT = 20, 512  # rollouts per phase; episodes of each policy
PHASES = ("lot_by_lot", "quick_clips", "lot_by_lot")


class Arm(NamedTuple):
    """What the belief draws from beside fresh episodes."""

    source: int  # 0 memory of past rollouts, 1 nothing, 2 the current rollout
    alpha: float  # priority exponent
    beta: float  # importance exponent


def arms(hypers: Hypers) -> dict[str, Arm]:
    """The arms by name."""
    by_priority = (float(hypers.replay_alpha), float(hypers.replay_beta))
    return {
        "prioritised": Arm(0, *by_priority),
        "uniform": Arm(0, 0.0, 0.0),
        "off": Arm(1, 0.0, 0.0),
        "current rollout only": Arm(2, 0.0, 0.0),
    }


def policies(game: Game) -> dict[str, Policy]:
    """The two execution policies."""
    spec = game.market_spec
    return {"lot_by_lot": Twap(spec, None, 1), "quick_clips": Twap(spec, round(spec.horizon / 4), 5)}


def played(key: Array, policy: Policy, game: Game, params: EnvParams, n_rollouts: int, n_envs: int) -> Episode:
    """Episodes [R, E] of one execution policy against a constant spread and the value rule."""
    players = Players(policy, ConstantSpread(), ValueRule())

    def batch(key_batch: Array) -> Episode:
        key_labels, key_episodes = jax.random.split(key_batch)
        z = stratified_labels(key_labels, n_envs, params.informed_probability)
        keys = jax.random.split(key_episodes, n_envs)
        return Episode(
            rollouts(keys, game.market, players, PriorBelief(), z, params).output.tape, z.astype(jnp.float32)
        )

    return jax.lax.map(batch, jax.random.split(key, n_rollouts))


def loss_of(network: PyTree, episodes: Episode, setup: Setup) -> Array:
    """The belief's mean loss over episodes [E], nats per prefix."""

    def one(episode: Episode) -> Array:
        logits, _ = setup.game.belief.apply(network, episode.tape)
        return belief_loss(logits, episode.target, setup.hypers.belief_loss_entropy)

    return jnp.mean(jax.lax.map(one, episodes, batch_size=128))


def learn(
    key: Array,
    state: TrainState,
    flow: Episode,
    held_out: dict[str, Episode],
    source: Array,
    setup: Setup,
) -> dict[str, Array]:
    """Held-out losses of either policy after each rollout, [R]; ``flow`` is [R, E]."""
    empty = state.replay

    def step(state: TrainState, inputs: tuple[Array, Episode]) -> tuple[TrainState, dict[str, Array]]:
        key_step, fresh = inputs
        memories = [state.replay, empty, replay.add(empty, fresh)]
        memory = jax.tree.map(lambda *x: jnp.stack(x)[source], *memories)
        state, _ = fit_belief(key_step, state.replace(replay=memory), fresh.tape, fresh.target, setup)
        return state, {name: loss_of(state.belief.params, part, setup) for name, part in held_out.items()}

    n_rollouts = flow.target.shape[0]
    return jax.lax.scan(step, state, (jax.random.split(key, n_rollouts), flow))[1]


def summary(losses: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means over seeds with standard errors, from losses [seed, rollout] by policy."""
    switch, back = N_ROLLOUTS, 2 * N_ROLLOUTS
    new, old = losses["quick_clips"], losses["lot_by_lot"]
    looks = {
        "new_policy_before_the_move": new[:, switch - 1],
        "new_policy_after_1_rollout": new[:, switch],
        "new_policy_after_5_rollouts": new[:, switch + 4],
        "new_policy_mean_of_phase": new[:, switch:back].mean(axis=1),
        "new_policy_at_the_end": new[:, back - 1],
        "old_policy_before_the_move": old[:, switch - 1],
        "old_policy_after_5_rollouts": old[:, switch + 4],
        "old_policy_at_the_end": old[:, back - 1],
        "old_policy_1_rollout_after_its_return": old[:, back],
    }
    error = np.sqrt(max(new.shape[0] - 1, 1))
    return {name: {"value": float(x.mean()), "stderr": float(x.std() / error)} for name, x in looks.items()}


def flows(key: Array, game: Game, params: EnvParams) -> tuple[Episode, dict[str, Episode]]:
    """The rollouts of all phases [R, E], and held-out episodes of either policy [n]."""
    n_envs, parts = game.learn.n_envs, {}
    n_batches = 2 * N_ROLLOUTS + N_HELD_OUT // n_envs
    for i, (name, policy) in enumerate(policies(game).items()):
        parts[name] = played(jax.random.fold_in(key, i), policy, game, params, n_batches, n_envs)
    phases = []
    for name, start in zip(PHASES, (0, 0, N_ROLLOUTS), strict=True):
        phases.append(jax.tree.map(lambda x, start=start: x[start : start + N_ROLLOUTS], parts[name]))
    held_out = jax.tree.map(lambda x: x[2 * N_ROLLOUTS :].reshape(-1, *x.shape[2:]), parts)
    return jax.tree.map(lambda *x: jnp.concatenate(x), *phases), held_out


def losses_of_seeds(n_seeds: int) -> dict[str, dict[str, np.ndarray]]:
    """Held-out loss by arm and policy, [seed, rollout], nats."""
    setup = configuration.resolve(configuration.load(CONFIG)).setup
    hypers, run, start = setup.hypers, jax.jit(learn), jax.jit(lambda key: init_state(key, setup))
    draw = jax.jit(lambda key: flows(key, setup.game, setup.params))
    curves = {name: [] for name in arms(hypers)}
    for seed in range(n_seeds):
        key_flow, key_start, key_learn = jax.random.split(jax.random.key(seed), 3)
        (flow, held_out), state = draw(key_flow), start(key_start)
        for name, arm in arms(hypers).items():
            changed = hypers.replace(replay_alpha=jnp.float32(arm.alpha), replay_beta=jnp.float32(arm.beta))
            swept = setup.replace(hypers=changed)
            curves[name].append(run(key_learn, state, flow, held_out, jnp.int32(arm.source), swept))
            print(seed, name, {policy: float(curve[-1]) for policy, curve in curves[name][-1].items()}, flush=True)
    return {name: jax.tree.map(lambda *x: np.stack(x).astype(np.float64), *rows) for name, rows in curves.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "ablation.json")
    arguments = parser.parse_args()
    started = time.time()
    losses = losses_of_seeds(arguments.n_seeds)
    config = {"config": CONFIG, "phases": PHASES, "n_rollouts": N_ROLLOUTS, "n_held_out": N_HELD_OUT}
    document = {
        "provenance": provenance(config | {"n_seeds": arguments.n_seeds}, 0),
        "seconds": time.time() - started,
        "summary": {name: summary(arm) for name, arm in losses.items()},
        "mean_loss_nats": {
            name: {policy: rows.mean(axis=0).round(5).tolist() for policy, rows in arm.items()}
            for name, arm in losses.items()
        },
    }
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
