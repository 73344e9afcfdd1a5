"""A book in the style of the first published JAX engines: rows in no order, a branch per message kind, a while loop.

Each side is one ``[N, 6]`` array whose rows stand wherever a slot was free. A match looks for the best price, then for
the earliest arrival at it, takes what it can, writes a row of a trade log, and starts again. Right on sound messages:
ids that do not rest yet, sides that do not overflow. Written for one book; batch with ``jax.vmap``. Frozen.
"""

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.lob.messages import INT32_MAX, BookSpec, Message, MessageKind

PRICE, QUANTITY, ORDER_ID, OWNER, ARRIVAL, EXPIRY = range(6)
EMPTY = jnp.array([0, 0, -1, -1, 0, 0], jnp.int32)
N_TRADES = 64  # rows of the log of one message


@struct.dataclass
class NaiveBook:
    """Both sides; a row without quantity is free."""

    bids: jax.Array  # [N, 6]
    asks: jax.Array  # [N, 6]
    clock: jax.Array  # [] messages so far


@struct.dataclass
class Trades:
    """What one message traded; rows beyond the last trade are zero."""

    rows: jax.Array  # [N_TRADES, 4] price, quantity, order id and owner of the resting order
    count: jax.Array  # []


def empty(spec: BookSpec) -> NaiveBook:
    """No orders."""
    rows = jnp.tile(EMPTY, (spec.capacity, 1))
    return NaiveBook(bids=rows, asks=rows, clock=jnp.int32(0))


def _best(rows, sign):
    """Slot of the order that trades first; ``sign`` is +1 for asks (lowest price) and -1 for bids."""
    live = rows[:, QUANTITY] > 0
    price = jnp.where(live, sign * rows[:, PRICE], INT32_MAX)
    at_best = live & (price == jnp.min(price))
    return jnp.argmin(jnp.where(at_best, rows[:, ARRIVAL], INT32_MAX))


def _match(rows, sign, quantity, reach):
    """Trade against one side while it crosses; ``reach`` is the limit price in the side's own sign."""

    def crosses(carry):
        rows, quantity, _ = carry
        best = rows[_best(rows, sign)]
        return (quantity > 0) & (best[QUANTITY] > 0) & (sign * best[PRICE] <= reach)

    def trade(carry):
        rows, quantity, trades = carry
        slot = _best(rows, sign)
        order = rows[slot]
        lots = jnp.minimum(quantity, order[QUANTITY])
        left = order[QUANTITY] - lots
        rows = rows.at[slot].set(jnp.where(left > 0, order.at[QUANTITY].set(left), EMPTY))
        row = jnp.stack([order[PRICE], lots, order[ORDER_ID], order[OWNER]])
        trades = Trades(trades.rows.at[trades.count].set(row), trades.count + 1)
        return rows, quantity - lots, trades

    nothing = Trades(jnp.zeros((N_TRADES, 4), jnp.int32), jnp.int32(0))
    return jax.lax.while_loop(crosses, trade, (rows, quantity, nothing))


def _insert(rows, message, quantity, clock):
    """Write what is left into a free slot."""
    slot = jnp.argmin(rows[:, QUANTITY])
    row = jnp.stack([message.price, quantity, message.order_id, message.owner, clock, message.expiry])
    return jnp.where(quantity > 0, rows.at[slot].set(row), rows)


def _order(book, message, reach, rests):
    """A limit, market or immediate-or-cancel order of either side."""

    def buy(book):
        asks, left, trades = _match(book.asks, 1, message.quantity, reach)
        bids = _insert(book.bids, message, jnp.where(rests, left, 0), book.clock)
        return book.replace(bids=bids, asks=asks), trades

    def sell(book):
        bids, left, trades = _match(book.bids, -1, message.quantity, reach)
        asks = _insert(book.asks, message, jnp.where(rests, left, 0), book.clock)
        return book.replace(bids=bids, asks=asks), trades

    return jax.lax.cond(message.side == 1, buy, sell, book)


def _cancel(book, message):
    """Take lots off the order that bears the id, on whichever side."""

    def reduce(rows):
        hit = (rows[:, ORDER_ID] == message.order_id) & (rows[:, QUANTITY] > 0)
        left = rows[:, QUANTITY] - jnp.where(message.quantity == 0, rows[:, QUANTITY], message.quantity)
        reduced = rows.at[:, QUANTITY].set(left)
        return jnp.where(hit[:, None], jnp.where((left > 0)[:, None], reduced, EMPTY[None]), rows)

    return book.replace(bids=reduce(book.bids), asks=reduce(book.asks))


def apply(book: NaiveBook, message: Message, spec: BookSpec) -> tuple[NaiveBook, Trades]:
    """Process one message."""
    nothing = Trades(jnp.zeros((N_TRADES, 4), jnp.int32), jnp.int32(0))
    limit = message.side * message.price
    branches = [
        lambda book: (book, nothing),
        lambda book: _order(book, message, limit, rests=True),
        lambda book: _order(book, message, INT32_MAX - 1, rests=False),
        lambda book: _order(book, message, limit, rests=False),
        lambda book: (_cancel(book, message), nothing),
    ]
    book = book.replace(clock=book.clock + 1)
    return jax.lax.switch(jnp.clip(message.kind, 0, MessageKind.CANCEL), branches, book)


def traded(trades: Trades) -> tuple[jax.Array, jax.Array]:
    """Lots and tick-lots of one message, [] each."""
    lots = trades.rows[:, 1]
    return jnp.sum(lots), jnp.sum(lots * trades.rows[:, 0])


def best_quotes(book: NaiveBook) -> tuple[jax.Array, jax.Array]:
    """Best bid and ask in ticks [2] and whether they exist, bool [2]."""
    bid, ask = book.bids[_best(book.bids, -1)], book.asks[_best(book.asks, 1)]
    exists = jnp.stack([bid[QUANTITY], ask[QUANTITY]]) > 0
    return jnp.where(exists, jnp.stack([bid[PRICE], ask[PRICE]]), 0), exists


def remove(book: NaiveBook, leaves) -> tuple[NaiveBook, jax.Array]:
    """Take out all orders for which ``leaves(owner [N], expiry [N])``; the book and the orders gone [2]."""

    def clear(rows):
        gone = (rows[:, QUANTITY] > 0) & leaves(rows[:, OWNER], rows[:, EXPIRY])
        return jnp.where(gone[:, None], EMPTY[None], rows), jnp.sum(gone, dtype=jnp.int32)

    (bids, n_bids), (asks, n_asks) = clear(book.bids), clear(book.asks)
    return book.replace(bids=bids, asks=asks), jnp.stack([n_bids, n_asks])


def resting(book: NaiveBook) -> jax.Array:
    """Orders at rest, [2]."""
    return jnp.stack([jnp.sum(rows[:, QUANTITY] > 0, dtype=jnp.int32) for rows in (book.bids, book.asks)])
