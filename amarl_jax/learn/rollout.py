"""Whole episodes of the market, for any players: one scan over time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.players import Belief, Players
from amarl_jax.market import observe
from amarl_jax.market.env import Actions, Market, StepOutput, streams
from amarl_jax.market.params import EnvParams
from amarl_jax.market.state import EnvState
from amarl_jax.policies.learned import features
from amarl_jax.policies.protocol import Decision
from amarl_jax.trees import Packed, pack, unpack
from amarl_jax.types import Agent, Array, PyTree


@struct.dataclass
class Trajectory:
    """One episode, or [E] of them. ``[T]`` axes follow the environment axis."""

    output: StepOutput  # [T] market terms
    execution: Decision  # [T]
    maker: Decision  # [T]
    arbitrageur: Decision  # [T]
    execution_seen: Array  # [T, D] features before the step
    maker_seen: Array  # [T, D]
    arbitrageur_seen: Array  # [T, D]
    global_seen: Array  # [T, D] the critic's pre-action state
    belief: Array  # [T] posterior after the step
    hidden: Array  # [T, D] the belief's state after the step
    z: Array  # [] int32
    direction: Array  # [] int32
    final: EnvState


class _Carry(NamedTuple):
    state: EnvState
    memory: PyTree
    belief: Array
    policies: tuple[PyTree, PyTree, PyTree]


def rollouts(keys: Array, market: Market, players: Players, belief: Belief, z: Array, params: EnvParams) -> Trajectory:
    """Play ``[E]`` episodes of ``T`` steps side by side.

    At every step all agents see the state at the end of the last one and the maker's posterior then; the slot's key
    goes to the execution policy, so the mimic draws exactly what the slot would draw at ``z = 0``.

    Args:
        keys: [E] typed keys, one per episode.
        market: the environment.
        players: a policy for each agent.
        belief: the maker's inference.
        z: [E] int32, the class of each episode.
        params: market constants.

    Returns:
        The trajectories, [E] leading: fields marked [T] are ``[E, T]``.
    """

    def begin(key: Array, label: Array) -> tuple[Array, _Carry]:
        key_reset, key_steps = jax.random.split(key)
        start = market.reset(key_reset, params, label)
        prior = jnp.asarray(params.informed_probability, jnp.float32)
        memories = tuple(player.init(params) for player in players)
        return key_steps, _Carry(start, belief.init(params), prior, memories)

    keys_steps, first = jax.vmap(begin)(keys, z)

    def play(carry: _Carry, time: Array) -> tuple[_Carry, Packed]:
        def one(key: Array, carry: _Carry) -> tuple[_Carry, Packed]:
            after, row = _play_step(step_keys(key, time), time, carry, market, players, belief, params)
            return after, pack(row)

        return jax.vmap(one)(keys_steps, carry)  # inside the scan: mapping the scan would trace it twice

    last, steps = jax.lax.scan(play, first, jnp.arange(market.spec.horizon, dtype=jnp.int32))
    steps = unpack(jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), steps))
    return Trajectory(**steps, z=first.state.z, direction=first.state.direction, final=last.state)


def step_keys(key: Array, time: Array) -> Array:
    """Keys of one step of an episode whose steps have ``key``: of the market, the maker and the arbitrageur, [3]."""
    return jax.random.split(jax.random.fold_in(key, time), 3)


def rollout(key: Array, market: Market, players: Players, belief: Belief, z: Array, params: EnvParams) -> Trajectory:
    """One episode: :func:`rollouts` of one, without the leading axis."""
    episodes = rollouts(key[None], market, players, belief, jnp.asarray(z, jnp.int32)[None], params)
    return jax.tree.map(lambda x: x[0], episodes)


def _play_step(
    keys: Array, time: Array, carry: _Carry, market: Market, players: Players, belief: Belief, params: EnvParams
) -> tuple[_Carry, dict]:
    """Observe, act, step, infer; [3] keys, of the market, the maker and the arbitrageur."""
    key_env, key_maker, key_arbitrageur = keys
    seen = observe.views(carry.state, carry.belief, params, market.spec)
    views = (seen.execution, seen.maker, seen.arbitrageur)
    key_slot, key_rest = streams(key_env)
    for_players = (jax.random.clone(key_slot), key_maker, key_arbitrageur)  # only one of the slot's rules is used
    acted = [
        player.act(key, memory, view, params)
        for player, key, memory, view in zip(players, for_players, carry.policies, views, strict=True)
    ]
    decisions = [decision for _, decision in acted]
    actions = Actions(*(decision.action for decision in decisions))
    state, output = market.step_of(key_slot, key_rest, carry.state, actions, params)
    with jax.named_scope("decode"):
        memory, posterior, hidden = belief.read(carry.memory, output.tape, time, params)
    after = _Carry(state, memory, posterior, tuple(memory for memory, _ in acted))
    return after, {
        "output": output,
        "execution": decisions[0],
        "maker": decisions[1],
        "arbitrageur": decisions[2],
        "execution_seen": features(Agent.EXECUTION, seen.execution, params),
        "maker_seen": features(Agent.MAKER, seen.maker, params),
        "arbitrageur_seen": features(Agent.ARBITRAGEUR, seen.arbitrageur, params),
        "global_seen": observe.global_features(carry.state, seen, carry.belief, params),
        "belief": posterior,
        "hidden": hidden,
    }


def stratified_labels(key: Array, n_envs: int, probability: Array | float) -> Array:
    """``z`` with ``P(z = 1)`` met to within one environment in every batch, in random order. [E] int32."""
    uniform = jax.random.uniform(key, (1 + n_envs,), jnp.float32)
    position = (jnp.argsort(uniform[1:]).astype(jnp.int32) + uniform[0]) / n_envs
    return (position < probability).astype(jnp.int32)
