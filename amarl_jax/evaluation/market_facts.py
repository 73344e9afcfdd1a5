"""Facts of the simulated market: episodes of noise traders alone, or of all agents, as stretches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.evaluation.frozen_run import FrozenRun
from amarl_jax.flow.facts import Stretch
from amarl_jax.flow.stretches import simulated_stretches
from amarl_jax.learn.players import Players, PriorBelief, TransformerBelief, players
from amarl_jax.learn.rollout import rollouts, stratified_labels
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.market.env import Market, StepOutput
from amarl_jax.market.noise import NoiseLaw
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.recorded_noise import on_held_out
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.types import Array


def noise_alone(params: EnvParams) -> EnvParams:
    """The constants of a market in which slot, maker and arbitrageur send nothing: their limits leave no room."""
    return dataclasses.replace(
        params,
        slot_rate=jnp.zeros_like(params.slot_rate),
        maker_inventory_limit=jnp.zeros_like(params.maker_inventory_limit),
        arbitrageur_position_limit=jnp.zeros_like(params.arbitrageur_position_limit),
    )


def play_noise(key: Array, params: EnvParams, spec: MarketSpec, law: NoiseLaw, n_episodes: int) -> list[Stretch]:
    """Fresh episodes of the noise traders alone, one stretch each."""
    rows = jax.tree.map(np.asarray, _play(jax.random.split(key, n_episodes), noise_alone(params), spec, law))
    return simulated_stretches(rows)


@functools.partial(jax.jit, static_argnames=("spec", "law"))
def _play(keys: Array, params: EnvParams, spec: MarketSpec, law: NoiseLaw) -> dict[str, Array]:
    everyone = Players(Mimic(spec, noise_law=law), ConstantSpread(), ValueRule())
    market, z = Market(spec, law, keeps_records=True), jnp.zeros(keys.shape[0], jnp.int32)
    return _shown(rollouts(keys, market, everyone, PriorBelief(), z, params).output)


def play_agents(key: Array, run: FrozenRun, n_episodes: int) -> list[Stretch]:
    """Fresh episodes of a run's frozen agents in its market, both classes, one stretch each.

    Orders of the maker and of the arbitrageur are not counted.
    """
    return simulated_stretches(jax.tree.map(np.asarray, _play_agents(key, run.state, run.setup, n_episodes)))


@functools.partial(jax.jit, static_argnames=("n_episodes",))
def _play_agents(key: Array, state: TrainState, setup: Setup, n_episodes: int) -> dict[str, Array]:
    key_labels, key_play = jax.random.split(key)
    game, params = setup.game, on_held_out(setup.params)
    market = dataclasses.replace(game.market, keeps_records=True)
    z = stratified_labels(key_labels, n_episodes, params.informed_probability)
    keys = jax.random.split(key_play, n_episodes)
    belief = TransformerBelief(state.belief.params, setup)
    return _shown(rollouts(keys, market, players(state, game), belief, z, params).output)


def _shown(output: StepOutput) -> dict[str, Array]:
    """Arrays that stretches are made of, by name. [E, T, ...]."""
    record = output.record
    assert record is not None
    names = ("price_ticks", "lots", "left", "slot_after")
    orders = {f"order_{field.name}": getattr(record.orders, field.name) for field in dataclasses.fields(record.orders)}
    return {"mid2": output.mid2, **{name: getattr(record, name) for name in names}, **orders}
