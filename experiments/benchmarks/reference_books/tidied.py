"""A book as an able engineer writes it: a structure of arrays, priority by argmin, one while loop, no branch.

Each side is a row of ``[2, N]`` arrays whose slots stand in no order; a match takes the order of least (price, arrival)
until nothing crosses. Right on sound messages: ids that do not rest yet, sides that do not overflow. Written for one
book; batch with ``jax.vmap``. Frozen.
"""

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.lob.messages import INT32_MAX, BookSpec, Message, MessageKind


@struct.dataclass
class TidiedBook:
    """Both sides, bids first; a slot without quantity is free."""

    key: jax.Array  # [2, N] -price for bids, price for asks
    quantity: jax.Array  # [2, N]
    order_id: jax.Array  # [2, N]
    owner: jax.Array  # [2, N]
    arrival: jax.Array  # [2, N]
    expiry: jax.Array  # [2, N]
    clock: jax.Array  # [] messages so far


@struct.dataclass
class Report:
    """What one message traded."""

    filled: jax.Array  # [] lots
    notional: jax.Array  # [] tick-lots
    taken: jax.Array  # [N] lots taken from each order of the side hit
    price: jax.Array  # [N] ticks of those orders
    order_id: jax.Array  # [N]
    owner: jax.Array  # [N]
    marketable: jax.Array  # [] bool


def empty(spec: BookSpec) -> TidiedBook:
    """No orders."""
    rows = jnp.zeros((2, spec.capacity), jnp.int32)
    return TidiedBook(rows, rows, rows, rows, rows, rows, clock=jnp.int32(0))


def apply(book: TidiedBook, message: Message, spec: BookSpec) -> tuple[TidiedBook, Report]:
    """Process one message."""
    is_order = (message.kind >= MessageKind.LIMIT) & (message.kind <= MessageKind.IMMEDIATE_OR_CANCEL)
    own = jnp.where(message.side == 1, 0, 1)
    other = 1 - own
    reach = jnp.where(message.kind == MessageKind.MARKET, INT32_MAX - 1, message.side * message.price)
    key, arrival, before = book.key[other], book.arrival[other], book.quantity[other]

    def front(quantity):
        best = jnp.where(quantity > 0, key, INT32_MAX)
        first = jnp.min(best)
        return jnp.argmin(jnp.where(best == first, arrival, INT32_MAX)), first

    def crosses(carry):
        quantity, left = carry
        _, first = front(quantity)
        return (left > 0) & (first <= reach)

    def trade(carry):
        quantity, left = carry
        slot, _ = front(quantity)
        lots = jnp.minimum(left, quantity[slot])
        return quantity.at[slot].add(-lots), left - lots

    wanted = jnp.where(is_order, message.quantity, 0)
    after, left = jax.lax.while_loop(crosses, trade, (before, wanted))
    taken, price = before - after, message.side * key
    quantity = book.quantity.at[other].set(after)

    hit = (book.order_id == message.order_id) & (quantity > 0) & (message.kind == MessageKind.CANCEL)
    reduced = jnp.where(message.quantity == 0, 0, jnp.maximum(quantity - message.quantity, 0))
    quantity = jnp.where(hit, reduced, quantity)

    rests = jnp.where(message.kind == MessageKind.LIMIT, left, 0)
    slot = jnp.argmin(quantity[own])
    here = (jnp.arange(2)[:, None] == own) & (jnp.arange(spec.capacity)[None, :] == slot) & (rests > 0)
    book = TidiedBook(
        key=jnp.where(here, -reach, book.key),
        quantity=jnp.where(here, rests, quantity),
        order_id=jnp.where(here, message.order_id, book.order_id),
        owner=jnp.where(here, message.owner, book.owner),
        arrival=jnp.where(here, book.clock, book.arrival),
        expiry=jnp.where(here, message.expiry, book.expiry),
        clock=book.clock + 1,
    )
    report = Report(
        filled=wanted - left,
        notional=jnp.sum(taken * price),
        taken=taken,
        price=price,
        order_id=book.order_id[other],
        owner=book.owner[other],
        marketable=is_order & (jnp.min(jnp.where(before > 0, key, INT32_MAX)) <= reach),
    )
    return book, report


def best_quotes(book: TidiedBook) -> tuple[jax.Array, jax.Array]:
    """Best bid and ask in ticks [2] and whether they exist, bool [2]."""
    key = jnp.min(jnp.where(book.quantity > 0, book.key, INT32_MAX), axis=1)
    exists = key < INT32_MAX
    return jnp.where(exists, key * jnp.array([-1, 1], jnp.int32), 0), exists


def remove(book: TidiedBook, leaves) -> tuple[TidiedBook, jax.Array]:
    """Take out all orders for which ``leaves(owner [2, N], expiry [2, N])``; the book and the orders gone [2]."""
    gone = (book.quantity > 0) & leaves(book.owner, book.expiry)
    quantity = jnp.where(gone, 0, book.quantity)
    return book.replace(quantity=quantity), jnp.sum(gone, axis=1, dtype=jnp.int32)


def resting(book: TidiedBook) -> jax.Array:
    """Orders at rest, [2]."""
    return jnp.sum(book.quantity > 0, axis=1, dtype=jnp.int32)
