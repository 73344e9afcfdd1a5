"""What each agent sees at the start of a step: structured views, and flat features for networks.

Only :func:`global_features`, which only the centralised critic reads, contains ``z``; only it and the arbitrageur's
view contain ``V``; the maker's view has no owner, no side of the parent, no ``V``.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.lob.book import best_quotes, live, prices, sizes
from amarl_jax.lob.snapshot import normalised_depth
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotDecision
from amarl_jax.market.state import EnvState, TapeEvents
from amarl_jax.types import HALF_TICK, TIME_UNITS, Array, Owner

PRICE_SCALE = np.float32(10.0)  # ticks that count as one unit in features
SIZE_SCALE = np.float32(10.0)  # lots that count as one unit in features


@struct.dataclass
class PublicView:
    """What everyone sees."""

    depth: Array  # [4 L] normalised snapshot, see lob.snapshot
    time_left: Array  # [] fraction of the horizon
    mid: Array  # [] ticks from the opening mid
    news_gap: Array  # [] W - mid, ticks
    spread: Array  # [] ticks, 0 if a side is empty


@struct.dataclass
class ExecutionView:
    """What the execution agent sees."""

    public: PublicView
    direction: Array  # [] int32, its side s
    remaining: Array  # [] int32 lots of the parent order still to do
    completion: Array  # [] fraction of the parent order done
    volatility: Array  # [] ticks per sqrt(step), realised
    child_lots: Array  # [] int32, of the working child, 0 for none
    child_along: Array  # [] +1 if the child is along s, -1 against, 0 for none
    child_offset: Array  # [] ticks the child stands behind mid on its own side
    private: Array  # [] N(0, 1), 0 if the private randomiser is off
    planned: SlotDecision | None = None  # where noise is recorded, what the slot would send at z = 0


@struct.dataclass
class MakerView:
    """What the market maker sees, its own belief included."""

    public: PublicView
    recent: TapeEvents  # [H] the last events of the tape
    inventory: Array  # [] int32 lots
    belief: Array  # [] P(z = 1 | F)


@struct.dataclass
class ArbitrageurView:
    """What the arbitrageur sees; the only view with V."""

    public: PublicView
    value_gap: Array  # [] V - mid, ticks
    staleness: Array  # [] ticks the mid moved since the maker's quotes were set
    position: Array  # [] int32 lots


@struct.dataclass
class Views:
    """Everyone's view of one state."""

    execution: ExecutionView
    maker: MakerView
    arbitrageur: ArbitrageurView


def public_view(state: EnvState, spec: MarketSpec) -> PublicView:
    """The public view of a state."""
    depth = normalised_depth(state.book, state.mid2, spec.n_levels, float(SIZE_SCALE))
    mid = HALF_TICK * state.mid2
    best, exists = best_quotes(state.book)
    return PublicView(
        depth=depth,
        time_left=1.0 - state.time / spec.horizon,
        mid=mid,
        news_gap=state.news - mid,
        spread=jnp.where(jnp.all(exists), best[1] - best[0], 0).astype(jnp.float32),
    )


def _working_child(state: EnvState) -> tuple[Array, Array, Array]:
    """Side, lots and price of the slot's resting order; zeros if it has none. [] int32 each."""
    is_child = live(state.book) & (state.book.owner == Owner.SLOT)
    lots = jnp.sum(jnp.where(is_child, sizes(state.book), 0), axis=1, dtype=jnp.int32)  # [2]
    price = jnp.sum(jnp.where(is_child, prices(state.book), 0), dtype=jnp.int32)
    return jnp.sign(lots[0] - lots[1]), jnp.sum(lots, dtype=jnp.int32), price


def execution_view(
    public: PublicView,
    volatility: Array,
    direction: Array,
    position: Array,
    child: tuple[Array, Array, Array],
    private: Array,
    params: EnvParams,
) -> ExecutionView:
    """The view of an execution agent with this side, position, working child and private number.

    Args:
        public: what everyone sees.
        volatility: [] ticks per sqrt(step), realised.
        direction: [] int32, the parent side.
        position: [] int32 lots, signed.
        child: [] each, side (+1, -1, 0 for none), lots and price of the working child.
        private: [] the private number as it is shown.
        params: market constants.
    """
    side, lots, price = child
    done = direction * position
    return ExecutionView(
        public=public,
        direction=direction,
        remaining=params.parent_lots - done,
        completion=(done / params.parent_lots).astype(jnp.float32),
        volatility=volatility,
        child_lots=lots,
        child_along=(side * direction).astype(jnp.float32),
        child_offset=jnp.where(side == 0, 0.0, side * (public.mid - price)),
        private=private,
    )


def views(state: EnvState, belief: Array, params: EnvParams, spec: MarketSpec) -> Views:
    """Everyone's view at the start of a step.

    Args:
        state: the market.
        belief: [] the maker's posterior after the last step.
        params: market constants.
        spec: market sizes.
    """
    public = public_view(state, spec)
    execution = execution_view(
        public,
        jnp.sqrt(state.variance),
        state.direction,
        state.accounts.inventory[Owner.SLOT],
        _working_child(state),
        state.private if spec.private_randomiser else jnp.zeros_like(state.private),
        params,
    )
    if state.planned is not None:
        execution = dataclasses.replace(execution, planned=state.planned.decision)
    maker = MakerView(
        public=public, recent=state.recent, inventory=state.accounts.inventory[Owner.MAKER], belief=belief
    )
    arbitrageur = ArbitrageurView(
        public=public,
        value_gap=state.value - public.mid,
        staleness=HALF_TICK * (state.mid2 - state.quote_mid2),
        position=state.accounts.inventory[Owner.ARBITRAGEUR],
    )
    return Views(execution=execution, maker=maker, arbitrageur=arbitrageur)


def _public_features(view: PublicView) -> list[Array]:
    scalars = [view.time_left, view.mid / PRICE_SCALE, view.news_gap / PRICE_SCALE, view.spread / PRICE_SCALE]
    return [view.depth, jnp.stack(scalars)]


def _execution_private(view: ExecutionView) -> Array:
    """[8] features of the execution agent alone."""
    side = view.direction.astype(jnp.float32)
    return jnp.stack(
        [
            side,
            1.0 - view.completion,
            side * view.public.news_gap / PRICE_SCALE,
            view.volatility / PRICE_SCALE,
            view.child_lots / SIZE_SCALE,
            view.child_along,
            view.child_offset / PRICE_SCALE,
            view.private,
        ]
    )


def execution_features(view: ExecutionView) -> Array:
    """Network input of the execution agent, [4 L + 12] float32."""
    return jnp.concatenate([*_public_features(view.public), _execution_private(view)])


def side_and_news_gap(features: Array) -> tuple[Array, Array]:
    """The parent side, int32, and ``W - mid``, ticks, read off :func:`execution_features` [..., D]. [...] each."""
    return jnp.round(features[..., -8]).astype(jnp.int32), features[..., -10] * PRICE_SCALE


def maker_features(view: MakerView, params: EnvParams) -> Array:
    """Network input of the maker, [4 L + 5 H + 7] float32; the belief enters as probability and as log-odds."""
    recent = view.recent
    rows = jnp.stack(
        [
            recent.side.astype(jnp.float32),
            recent.price_ticks / PRICE_SCALE,
            recent.size_lots / SIZE_SCALE,
            recent.marketable.astype(jnp.float32),
            recent.time_256 / TIME_UNITS,
        ]
    )
    clipped = jnp.clip(view.belief, 0.01, 0.99)
    own = [view.inventory / params.maker_inventory_limit, view.belief, jnp.log(clipped / (1 - clipped)) / 4.0]
    return jnp.concatenate([*_public_features(view.public), rows.reshape(-1), jnp.stack(own)])


def arbitrageur_features(view: ArbitrageurView, params: EnvParams) -> Array:
    """Network input of the arbitrageur, [4 L + 7] float32."""
    own = [
        view.value_gap / PRICE_SCALE,
        view.staleness / PRICE_SCALE,
        view.position / params.arbitrageur_position_limit,
    ]
    return jnp.concatenate([*_public_features(view.public), jnp.stack(own)])


def global_features(state: EnvState, view: Views, belief: Array, params: EnvParams) -> Array:
    """[4 L + 21] float32, the critic's pre-action state: everything hidden, and what pending rewards depend on."""
    hidden = [
        state.z.astype(jnp.float32),
        state.direction.astype(jnp.float32),
        view.arbitrageur.value_gap / PRICE_SCALE,
        state.direction * view.arbitrageur.value_gap / PRICE_SCALE,
        view.arbitrageur.staleness / PRICE_SCALE,
        view.arbitrageur.position / params.arbitrageur_position_limit,
        view.maker.inventory / params.maker_inventory_limit,
        belief,
        state.arbitrageur_traded.astype(jnp.float32),
    ]
    public = _public_features(view.execution.public)
    return jnp.concatenate([*public, _execution_private(view.execution), jnp.stack(hidden)])
