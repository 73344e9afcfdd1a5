"""Possible actions of the slot in a step, and the likelihood of each relative to all rows being noise.

A step's possibilities are numbered: ``SILENT``, ``CUT`` (it acted, and the position limit left nothing of its order),
``FIRST_ROW + j`` (it acted, and row j is its order). docs/theory.md derives the weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.lob.messages import Side
from amarl_jax.market.events import slot_arrival_ratio
from amarl_jax.market.noise import MarksLaw, NoiseLaw, buy_probability, count_mass, size_distribution
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.record import Orders, StepRecord
from amarl_jax.market.recorded_noise import RecordedNoise
from amarl_jax.market.slot import SlotLaw
from amarl_jax.types import Array

SILENT, CUT, FIRST_ROW = 0, 1, 2


@struct.dataclass
class StepEvidence:
    """One step of a record with all that is common to every hypothesis on the slot. ``[T]`` leading for an episode."""

    record: StepRecord
    noise: MarksLaw  # of a noise order
    row: Array  # [R] weight of "row j is the slot's" before what the slot's law says of it, 0 for no row
    all_noise: Array  # [] 1 if all rows may be noise, else 0


@struct.dataclass
class Hidden:
    """The slot's hidden state at the start of a step."""

    child: Array  # [] int32, slot of its working child in the book, -1 for none
    position: Array  # [] int32 lots, signed


def read_evidence(record: StepRecord, noise_law: NoiseLaw, params: EnvParams, spec: MarketSpec) -> StepEvidence:
    """Weigh every row of an episode's record [T] against the noise law.

    Where a row or a count has probability 0 under noise, any positive number serves as the reference: it is the same
    for every possibility and cancels.
    """
    size_cdf = size_distribution(params, spec.max_order_size)
    if isinstance(noise_law, RecordedNoise):
        mass = noise_law.count_mass(params.slot_rate, spec)
    else:
        mass = count_mass(params.noise_rate, spec.max_noise_orders)

    def of_step(one: StepRecord) -> StepEvidence:
        orders = one.orders
        mid2 = jnp.round(2 * one.public.mid).astype(jnp.int32)
        p_buy = buy_probability(one.public.news_gap + one.public.mid, mid2, params)
        marks = noise_law.marks(p_buy, size_cdf, params, spec)  # type: ignore[attr-defined]
        law = side_and_kind(orders, marks.buy, marks.limit, marks.offset, spec)
        law *= of_size(marks.lots, orders, orders.lots - 1, spec)
        shown = orders.side != 0
        n_rows = jnp.sum(shown, dtype=jnp.int32)
        n_impossible = jnp.sum(shown & (law <= 0), dtype=jnp.int32)
        others_possible = n_impossible - (shown & (law <= 0)) == 0
        with_slot, without = mass[jnp.maximum(n_rows - 1, 0)], mass[n_rows]
        count_ratio = with_slot / (jnp.maximum(n_rows, 1) * jnp.where(without > 0, without, 1.0))
        ratio = count_ratio * slot_arrival_ratio(orders.time_ms, params) / jnp.where(law > 0, law, 1.0)
        return StepEvidence(
            record=one,
            noise=marks,
            row=jnp.where(shown & others_possible, ratio, 0.0),
            all_noise=((n_impossible == 0) & (without > 0)).astype(jnp.float32),
        )

    return jax.vmap(of_step)(record)


def side_and_kind(orders: Orders, buy: Array, limit: Array, offset: Array, spec: MarketSpec) -> Array:
    """Probability of each row's side, kind and offset under independent marks: [R]."""
    side = jnp.where(orders.side > 0, buy, 1.0 - buy)
    place = jnp.clip(orders.offset_ticks - spec.offset_min_ticks, 0, spec.n_offsets - 1)
    return side * jnp.where(orders.is_limit, limit * offset[place], 1.0 - limit)


def of_size(of_lots: Array, orders: Orders, lots: Array, spec: MarketSpec) -> Array:
    """Entry ``lots`` [R] of ``of_lots`` [max_order_size] for each row; of ``of_lots[place]`` where places lead: [R]."""
    if of_lots.ndim == 1:
        return of_lots[lots]
    offset = jnp.clip(orders.offset_ticks - spec.offset_min_ticks, 0, spec.n_offsets - 1)
    return of_lots[jnp.where(orders.is_limit, 1 + offset, 0), lots]


def child_of(record: StepRecord, child: Array) -> tuple[Array, Array, Array]:
    """Side (+1, -1, 0 for none), lots and price of the order in slot ``child`` when the step began. [] int32 each."""
    n_slots = record.lots.shape[0]
    at = jnp.maximum(child, 0)
    exists = child >= 0
    side = jnp.where(at < n_slots // 2, 1, -1)  # bids come first: Side.BID is 0
    lots, price = record.lots[at].astype(jnp.int32), record.price_ticks[at].astype(jnp.int32)
    return tuple(jnp.where(exists, x, 0) for x in (side, lots, price))  # type: ignore[return-value]


def possibilities(
    evidence: StepEvidence,
    hidden: Hidden,
    law: SlotLaw,
    params: EnvParams,
    spec: MarketSpec,
    *,
    sees_removals: bool = True,
) -> Array:
    """Weights of ``SILENT``, ``CUT`` and every row, [2 + R].

    When the slot acts its old child leaves at once; otherwise that expires with probability ``1 / lifetime``. The order
    is cut to what the position limit leaves when it arrives. Without ``sees_removals`` removals are ignored.
    """
    record, orders = evidence.record, evidence.record.orders
    left = record.left[jnp.maximum(hidden.child, 0)]
    by_itself = 1.0 / jnp.maximum(params.lifetime_steps, 1.0)
    child_went = jnp.where(hidden.child < 0, 1.0, jnp.where(left, 1.0 / by_itself, 0.0))
    if not sees_removals:
        child_went = jnp.ones_like(child_went)
    room_buy = jnp.maximum(params.parent_lots - hidden.position, 0)
    room_sell = jnp.maximum(params.parent_lots + hidden.position, 0)
    room = jnp.where(orders.side > 0, room_buy, room_sell)
    lots = orders.lots.astype(jnp.int32)

    def by_way(gate: Array, marks: MarksLaw) -> tuple[Array, Array]:
        tail = np.tri(spec.max_order_size, dtype=np.float32)
        at_least = jnp.matmul(marks.lots, tail, precision=jax.lax.Precision.HIGHEST)
        of_lots = jnp.where(
            lots < room,
            of_size(marks.lots, orders, lots - 1, spec),
            jnp.where(lots == room, of_size(at_least, orders, lots - 1, spec), 0.0),
        )
        of_row = gate * side_and_kind(orders, marks.buy, marks.limit, marks.offset, spec) * of_lots
        nothing_left = jnp.where(room_buy == 0, marks.buy, 0.0) + jnp.where(room_sell == 0, 1.0 - marks.buy, 0.0)
        return of_row, gate * nothing_left

    of_rows, cut = (jnp.sum(x, axis=0) for x in jax.vmap(by_way)(law.gate, law.marks))
    silent = jnp.maximum(1.0 - jnp.sum(law.gate), 0.0)
    alone = evidence.all_noise * jnp.stack([silent, child_went * cut])
    return jnp.concatenate([alone, child_went * evidence.row * of_rows])


def after(record: StepRecord, hidden: Hidden, option: Array) -> Hidden:
    """The slot's hidden state at the start of the next step, if ``option`` happened in this one."""
    n_slots = record.lots.shape[0]
    side, _, _ = child_of(record, hidden.child)
    old = jnp.maximum(hidden.child, 0)
    row = jnp.maximum(option - FIRST_ROW, 0)
    is_silent, is_row = option == SILENT, option >= FIRST_ROW
    kept = is_silent & (hidden.child >= 0)
    moved = jnp.where(is_row, record.orders.side[row], jnp.where(kept, side, 0)).astype(jnp.int32)
    place = jnp.where(is_row, n_slots + row, old)
    return Hidden(
        child=jnp.where(is_row | kept, record.slot_after[place], -1).astype(jnp.int32),
        position=hidden.position + moved * record.traded[place].astype(jnp.int32),
    )


assert Side.BID == 0
