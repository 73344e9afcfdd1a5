"""Facts of the simulated market: episodes of noise traders alone, or of whoever plays, as stretches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.flow.facts import Stretch
from amarl_jax.flow.stretches import simulated_stretches
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts
from amarl_jax.market.env import Market
from amarl_jax.market.noise import NoiseLaw
from amarl_jax.market.params import EnvParams, MarketSpec
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
    players = Players(Mimic(spec, noise_law=law), ConstantSpread(), ValueRule())
    market = Market(spec, law, keeps_records=True)
    output = rollouts(keys, market, players, PriorBelief(), jnp.zeros(keys.shape[0], jnp.int32), params).output
    record = output.record
    assert record is not None
    names = ("price_ticks", "lots", "left", "slot_after")
    orders = {f"order_{field.name}": getattr(record.orders, field.name) for field in dataclasses.fields(record.orders)}
    return {"mid2": output.mid2, **{name: getattr(record, name) for name in names}, **orders}
