"""The order-level record of one step: every order without its owner, and what became of it.

The record G, of which the tape F is a function. The maker's and the arbitrageur's orders are left out: given the rest
they carry no information about ``z``. Whether the slot or a noise trader sent an order is not in it.
"""

import jax.numpy as jnp
from flax import struct

from amarl_jax.lob.book import live, prices, sizes
from amarl_jax.lob.messages import MessageKind
from amarl_jax.market.events import EventLog, shown_rows
from amarl_jax.market.observe import PublicView, public_view
from amarl_jax.market.params import MarketSpec
from amarl_jax.market.state import EnvState
from amarl_jax.types import Array, Owner


@struct.dataclass
class Orders:
    """The orders of one step that a noise trader or the slot sent, in the order of arrival."""

    side: Array  # [R] int8, +1 buy, -1 sell, 0 no order in this row
    lots: Array  # [R] int16, as they reached the book
    offset_ticks: Array  # [R] int16, behind mid on its own side; 0 for market orders
    is_limit: Array  # [R] bool
    time_ms: Array  # [R] arrival within the step


@struct.dataclass
class StepRecord:
    """One step of G, or with a leading axis an episode. ``2 N + R`` axes run over the book's slots, then the rows."""

    price_ticks: Array  # [2 N] int16, of each order at rest when the step began
    lots: Array  # [2 N] int16, its size, 0 for an empty slot
    left: Array  # [2 N] bool, it left at the start of the step, expired or replaced
    orders: Orders  # [R]
    traded: Array  # [2 N + R] int16 lots that it traded in the step
    slot_after: Array  # [2 N + R] int16, its slot after the step, -1 if it is gone
    public: PublicView  # what everyone saw when the step began
    volatility: Array  # [] ticks per sqrt(step), realised
    value: Array  # [] V[t], ticks, known from W[t] and W[t+1]


def record_step(before: EnvState, log: EventLog, spec: MarketSpec) -> tuple[StepRecord, Array]:
    """The record of a step, and which of its rows the slot sent: [] int32, -1 for none.

    The second is hidden information; no inference may read it.

    Args:
        before: the market when the step began.
        log: [M] rows in arrival order.
        spec: market sizes.
    """
    n_slots = 2 * spec.book_capacity
    message = log.message
    named = (message.owner == Owner.NOISE) | (message.owner == Owner.SLOT)
    rows, shown = shown_rows((message.kind != MessageKind.NONE) & named, spec.n_record_rows)
    is_limit = message.kind == MessageKind.LIMIT
    centre = jnp.where(message.side > 0, before.mid2 >> 1, (before.mid2 + 1) >> 1)
    offset = jnp.where(is_limit, message.side * (centre - message.price), 0)

    def of_rows(x: Array) -> Array:
        return jnp.where(shown, x[rows], jnp.zeros((), x.dtype))

    at_rest = jnp.where(live(before.book), sizes(before.book), 0).reshape(-1)
    stayed = jnp.where(log.leaving.reshape(-1), 0, at_rest)
    makers = (before.book.owner == Owner.MAKER).reshape(-1)
    of_slots = jnp.where(makers, 0, stayed - log.fate.lots[:n_slots])
    of_messages = jnp.where(is_limit, message.quantity - log.fate.lots[n_slots:], log.filled)
    record = StepRecord(
        price_ticks=jnp.where(at_rest > 0, prices(before.book).reshape(-1), 0).astype(jnp.int16),
        lots=at_rest.astype(jnp.int16),
        left=log.leaving.reshape(-1) & (at_rest > 0),
        orders=Orders(
            side=of_rows(message.side).astype(jnp.int8),
            lots=of_rows(message.quantity).astype(jnp.int16),
            offset_ticks=of_rows(offset).astype(jnp.int16),
            is_limit=of_rows(is_limit),
            time_ms=of_rows(log.time_ms),
        ),
        traded=jnp.concatenate([of_slots, of_rows(of_messages)]).astype(jnp.int16),
        slot_after=jnp.concatenate(
            [log.fate.slot[:n_slots], jnp.where(shown, log.fate.slot[n_slots:][rows], -1)]
        ).astype(jnp.int16),
        public=public_view(before, spec),
        volatility=jnp.sqrt(before.variance),
        value=before.value,
    )
    slots_own = shown & (message.owner[rows] == Owner.SLOT)
    return record, jnp.where(jnp.any(slots_own), jnp.argmax(slots_own), -1).astype(jnp.int32)
