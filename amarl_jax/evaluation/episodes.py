"""Fresh episodes of frozen policies, and the summary that evaluation keeps of each."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.players import Belief, Players
from amarl_jax.learn.rollout import Trajectory, rollouts, stratified_labels
from amarl_jax.market import rewards
from amarl_jax.market.env import Market
from amarl_jax.market.params import EnvParams
from amarl_jax.types import Array, Owner, PyTree, Tape


@struct.dataclass
class EpisodeSummary:
    """One row per episode; leading [n]. Money in tick-lots unless said otherwise."""

    z: Array  # [] int32
    shortfall_ticks: Array  # [] implementation shortfall, ticks per parent lot, remainder included; z = 1
    completion: Array  # [] share of the parent order done at the horizon; z = 1
    child_orders: Array  # [] decisions of the slot to send one, some of which the position limit may cut to nothing
    maker_pnl: Array  # []
    adverse_selection: Array  # [] of the maker
    maker_markout: Array  # [] move of mid against the maker in the 5 steps after its fills
    arbitrageur_pnl: Array  # []
    snipe_lots: Array  # []
    spread_ticks: Array  # [] mean over steps
    quoted_spread_ticks: Array  # [] mean over steps, the maker's own
    traded_lots: Array  # []
    belief: Array  # [] the maker's posterior at the horizon
    belief_accuracy: Array  # [] mean over steps of b z + (1 - b)(1 - z)
    tape: Tape  # [T] what a detector reads
    messages: Array  # [] largest number in a step
    resting: Array  # [] largest number of orders at rest on a side
    noise_cut: Array  # [] noise orders lost to the bound
    refused: Array  # [] orders a full side refused or pushed out
    mine: Array | None = None  # [] the MI critic's posterior at the horizon, where there is such a critic


def summarise(trajectory: Trajectory, params: EnvParams) -> EpisodeSummary:
    """Summary of one episode."""
    out, z, belief = trajectory.output, trajectory.z, trajectory.belief
    counters = trajectory.final.book.counters
    return EpisodeSummary(
        z=z,
        shortfall_ticks=jnp.sum(rewards.shortfall_ticks(out, trajectory.direction, params)),
        completion=trajectory.direction * out.inventory[-1, Owner.SLOT] / params.parent_lots,
        child_orders=jnp.sum(out.slot.acts, dtype=jnp.int32),
        maker_pnl=jnp.sum(rewards.maker_pnl(out)),
        adverse_selection=jnp.sum(rewards.adverse_selection(out)),
        maker_markout=jnp.sum(rewards.maker_markout(out)),
        arbitrageur_pnl=jnp.sum(rewards.arbitrageur_pnl(out)),
        snipe_lots=jnp.sum(out.snipe_lots, dtype=jnp.int32),
        spread_ticks=jnp.mean(out.tape.spread_ticks.astype(jnp.float32)),
        quoted_spread_ticks=jnp.mean((out.quotes.price[:, 1] - out.quotes.price[:, 0]).astype(jnp.float32)),
        traded_lots=jnp.sum(out.traded_lots, dtype=jnp.int32),
        belief=belief[-1],
        belief_accuracy=jnp.mean(jnp.where(z == 1, belief, 1.0 - belief)),
        tape=out.tape,
        messages=jnp.max(out.n_messages),
        resting=jnp.max(out.resting_orders),
        noise_cut=trajectory.final.noise_cut,
        refused=counters.refused + counters.evicted,
    )


def fresh_summaries(
    key: Array,
    market: Market,
    players: Players,
    belief: Belief,
    params: EnvParams,
    n_episodes: int,
    batch: int,
    mine: Callable[[Trajectory], Array] | None = None,
) -> EpisodeSummary:
    """At least ``n_episodes`` new episodes of frozen policies, ``batch`` at a time, ``z`` stratified. [n] leading.

    ``mine`` reads a batch of episodes [E, T] to the MI critic's posterior at the horizon [E].
    """

    def read(trajectories: Trajectory, batch: Batch) -> EpisodeSummary:
        rows = jax.vmap(lambda one: summarise(one, params))(trajectories)
        return rows if mine is None else replace(rows, mine=mine(trajectories))

    return fresh_episodes(key, market, players, belief, params, n_episodes, batch, read)


class Batch(NamedTuple):
    """The batch of fresh episodes that is being read."""

    key: Array  # typed key for reading it
    number: Array  # [] int32, from 0; the same for all lanes of a sweep


def fresh_episodes(
    key: Array,
    market: Market,
    players: Players,
    belief: Belief,
    params: EnvParams,
    n_episodes: int,
    batch: int,
    read: Callable[[Trajectory, Batch], PyTree],
    batches: Array | None = None,
) -> PyTree:
    """Results of ``read`` on at least ``n_episodes`` new episodes of frozen policies, ``batch`` at a time.

    ``read`` takes a batch of episodes [E, T], and which batch it is, to arrays, whose leading axes are joined.
    ``batches`` [m] int32 names the batches to play, in this order; None is all.
    """

    def play(inputs: tuple[Array, Array]) -> PyTree:
        raw_key, number = inputs
        key_labels, key_episodes, key_read = jax.random.split(jax.random.wrap_key_data(raw_key), 3)
        z = stratified_labels(key_labels, batch, params.informed_probability)
        keys = jax.random.split(key_episodes, batch)
        return read(rollouts(keys, market, players, belief, z, params), Batch(key_read, number))

    n_batches = -(-n_episodes // batch)
    numbers = jnp.arange(n_batches, dtype=jnp.int32) if batches is None else batches
    raw_keys = jax.random.key_data(jax.random.split(key, n_batches))
    inputs = (raw_keys if batches is None else raw_keys[numbers], numbers)
    rows = jax.lax.map(play, inputs)  # jax's key-reuse checker counts a mapped loop as a use
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
