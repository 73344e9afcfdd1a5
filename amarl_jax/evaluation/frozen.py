"""Fresh episodes of frozen policies, with what reports and figures need beyond their summaries."""

import functools
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.evaluation.episodes import Batch, EpisodeSummary, fresh_episodes, summarise
from amarl_jax.evaluation.exact_reading import exact_reading, n_batches_read
from amarl_jax.learn.players import TransformerBelief, players
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.learn.scoring import log_posterior_informed
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.market.params import EnvParams
from amarl_jax.market.recorded_noise import on_held_out
from amarl_jax.policies.baselines import Choice, make_baselines
from amarl_jax.posterior.exact import ExactRow, ExactSpec
from amarl_jax.side_by_side import dealt, side_by_side, together
from amarl_jax.types import GAP_UNITS, HALF_TICK, Array, Owner


@struct.dataclass
class ChildOrders:
    """The slot's order in each step of an episode, in either class; zeros where it sent none."""

    acts: Array  # [T] int8
    along: Array  # [T] int8, +1 along the parent side, -1 against
    lots: Array  # [T] int8
    offset_ticks: Array  # [T] int8, behind mid on its own side; limit orders
    is_limit: Array  # [T] int8


@struct.dataclass
class Trace:
    """One episode, step by step, prices in ticks relative to the opening mid."""

    mid: Array  # [T] at the start of the step
    value: Array  # [T] V
    news_gap: Array  # [T] W - mid after the step
    quote_price: Array  # [T, 2] the maker's, bid first
    position: Array  # [T] of the slot along the parent side after the step, lots
    belief: Array  # [T] P(z = 1 | F) after the step
    spread: Array  # [T]
    direction: Array  # [] the parent side
    orders: ChildOrders


@struct.dataclass
class FrozenEpisodes:
    """Rows of fresh episodes of frozen policies."""

    summary: EpisodeSummary  # [n]
    orders: ChildOrders  # [n, T]
    volatility_ticks: Array  # [n] root mean square of the mid's moves, ticks per sqrt(step)
    spread_belief_moments: Array  # [n, 5] means over steps: x, y, x^2, y^2, x y of quoted spread x and belief y
    belief_speed: Array  # [n] mean absolute change of the belief per step
    snipes: Array  # [n, T] int8, 1 where the arbitrageur filled a maker's quote of an earlier step
    trace: Trace | None  # [n / batch, T] one informed episode of each batch; None if not asked for
    exact: ExactRow | None = None  # [m] of the first m episodes; None if not asked for, or if a law is not stated


def child_orders(trajectory: Trajectory, params: EnvParams) -> ChildOrders:
    """The slot's orders of one episode as they reached the book: cut to the position limit, or not sent at all."""
    slot, position = trajectory.output.slot, trajectory.output.inventory[:, Owner.SLOT]
    before = jnp.concatenate([jnp.zeros(1, jnp.int32), position[:-1]])
    lots = jnp.clip(slot.lots, 0, jnp.maximum(params.parent_lots - slot.side * before, 0))
    sent = slot.acts & (lots > 0)
    columns = (sent, slot.side * trajectory.direction, lots, slot.offset_ticks, slot.is_limit)
    return ChildOrders(*(jnp.where(sent, column, 0).astype(jnp.int8) for column in columns))


def spread_belief_moments(trajectory: Trajectory) -> Array:
    """Means over steps of products of the maker's quoted spread and the belief it quoted on. [5] float32."""
    price = trajectory.output.quotes.price[1:].astype(jnp.float32)
    x, y = price[:, 1] - price[:, 0], trajectory.belief[:-1]
    return jnp.stack([jnp.mean(product) for product in (x, y, x**2, y**2, x * y)])


def trace(trajectory: Trajectory, params: EnvParams) -> Trace:
    """One episode, step by step."""
    out = trajectory.output
    return Trace(
        mid=HALF_TICK * out.mid2,
        value=out.value,
        news_gap=out.tape.value_gap_16 / GAP_UNITS,
        quote_price=out.quotes.price,
        position=trajectory.direction * out.inventory[:, Owner.SLOT],
        belief=trajectory.belief,
        spread=out.tape.spread_ticks,
        direction=trajectory.direction,
        orders=child_orders(trajectory, params),
    )


def trace_columns(traces: Trace) -> dict[str, np.ndarray]:
    """The first of traces [n, T] as host arrays by name, child orders among them."""
    one = jax.tree.map(lambda x: np.asarray(x)[0], traces)
    parts = (one, one.orders)
    return {name: getattr(part, name) for part in parts for name in part.__dataclass_fields__ if name != "orders"}


def read_episodes(trajectories: Trajectory, params: EnvParams) -> FrozenEpisodes:
    """Rows of a batch of episodes [E, T], and the trace of its first informed one."""
    first_informed = jax.tree.map(lambda x: x[jnp.argmax(trajectories.z)], trajectories)
    moves = HALF_TICK * (trajectories.output.mid2_next - trajectories.output.mid2)
    return FrozenEpisodes(
        summary=jax.vmap(lambda one: summarise(one, params))(trajectories),
        orders=jax.vmap(lambda one: child_orders(one, params))(trajectories),
        volatility_ticks=jnp.sqrt(jnp.mean(moves**2, axis=1)),
        spread_belief_moments=jax.vmap(spread_belief_moments)(trajectories),
        belief_speed=jnp.mean(jnp.abs(jnp.diff(trajectories.belief, axis=1)), axis=1),
        snipes=(trajectories.output.snipe_lots > 0).astype(jnp.int8),
        trace=jax.tree.map(lambda x: x[None], trace(first_informed, params)),
    )


@functools.partial(jax.jit, static_argnames=("n_episodes", "deterministic", "exact"))
def play_frozen(
    key: Array,
    state: TrainState,
    setup: Setup,
    n_episodes: int,
    deterministic: bool = False,
    baseline: Array | None = None,
    exact: ExactSpec | None = None,
    batches: Array | None = None,
) -> FrozenEpisodes:
    """Fresh episodes of the learned policies as they stand, compiled; on a recorded day, of its held-out part.

    Leading axis [n].

    Args:
        key: typed key; episodes are stratified over ``z``.
        state: the learner.
        setup: what it was trained with.
        n_episodes: rounded up to whole batches of ``n_envs``.
        deterministic: policies play the mode of their heads.
        baseline: [] int32, who executes: -1 the learned policy, i the i-th of
            :func:`amarl_jax.policies.baselines.make_baselines`. None is the learned policy in a program of its own.
        exact: how many episodes are read exactly, and how, None for none.
        batches: [m] int32, the batches to play instead of all; ``exact`` then has a row, perhaps an empty one, for each
            of their episodes.
    """
    setup = setup.replace(params=on_held_out(setup.params))
    game, params = setup.game, setup.params
    everyone = players(state, game, deterministic)
    if baseline is not None:
        scripted = make_baselines(game.market_spec, law=game.noise_law).values()
        everyone = everyone._replace(execution=Choice((everyone.execution, *scripted), baseline + 1))
    belief = TransformerBelief(state.belief.params, setup)

    batch = _batch(setup, n_episodes)
    reading = exact_reading(game.market, everyone.execution, exact, n_episodes, batch)

    def read(trajectories: Trajectory, which: Batch) -> FrozenEpisodes:
        rows = read_episodes(trajectories, params)
        claimed = jnp.exp(log_posterior_informed(state, trajectories, setup)[:, -1])
        found = reading.read(trajectories, which, params)
        return replace(rows, summary=replace(rows.summary, mine=claimed), exact=found)

    rows = fresh_episodes(key, reading.market, everyone, belief, params, n_episodes, batch, read, batches)
    return rows if batches is not None else replace(rows, exact=reading.only_read(rows.exact))


def frozen_program(
    key: Array,
    state: TrainState,
    setup: Setup,
    n_episodes: int,
    deterministic: bool = False,
    baseline: Array | None = None,
    exact: ExactSpec | None = None,
) -> Callable[[Array], FrozenEpisodes]:
    """Batches [m] int32 to their episodes: :func:`play_frozen`, compiled for one of the parts that :func:`dealt` deals.

    The arguments are those of :func:`play_frozen`; to compile ahead, shapes will do.
    """
    own = dealt(_n_batches(setup, n_episodes)).shape[1]
    static = {"n_episodes": n_episodes, "deterministic": deterministic, "exact": exact}
    shape = jax.ShapeDtypeStruct((own,), jnp.int32)
    program = play_frozen.lower(key, state, setup, baseline=baseline, batches=shape, **static).compile()
    return lambda batches: program(key, state, setup, baseline=baseline, batches=batches)


def play_on_cores(
    key: Array,
    state: TrainState,
    setup: Setup,
    n_episodes: int,
    deterministic: bool = False,
    baseline: Array | None = None,
    exact: ExactSpec | None = None,
) -> FrozenEpisodes:
    """The episodes of :func:`play_frozen`, as host arrays, their batches played at the same time on several cores."""
    n_batches, batch = _n_batches(setup, n_episodes), _batch(setup, n_episodes)
    program = frozen_program(key, state, setup, n_episodes, deterministic, baseline, exact)
    played = side_by_side(program, list(dealt(n_batches)))
    rows = jax.tree.map(lambda *leaves: together(leaves, n_batches), *played)
    n_read = 0 if exact is None else n_batches_read(exact, n_episodes, batch) * batch
    return replace(rows, exact=jax.tree.map(lambda x: x[:n_read], rows.exact))


def _batch(setup: Setup, n_episodes: int) -> int:
    """Episodes that are played at once."""
    return min(setup.game.learn.n_envs, n_episodes)


def _n_batches(setup: Setup, n_episodes: int) -> int:
    return -(-n_episodes // _batch(setup, n_episodes))
