"""Two auctions on the order book: one price for the net flow, and a ladder of limit orders that orders walk.

Both are sequences of messages to :func:`amarl_jax.lob.book.apply`; lots and money are read off its reports.
"""

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.lob.book import Book, BookSpec, Execution, Message, MessageKind, apply_all, empty_book, live
from amarl_jax.lob.messages import NEVER
from amarl_jax.types import Array

INFORMED, NOISE, MAKERS = 0, 1, 2  # owners of orders; makers from MAKERS on
MAX_PRICE, MAX_LOTS = 1 << 15, 1 << 13  # bounds on quotes, ticks, and orders, lots


@struct.dataclass
class Accounts:
    """Lots and money that trading gave each owner."""

    lots: Array  # [O] int32
    cash: Array  # [O] int32, tick-lots


def messages(kind, side, price, quantity, order_id, owner) -> Message:
    """A table of messages [E] from arrays or scalars; without lots or a side it is padding."""
    side, quantity = jnp.asarray(side, jnp.int32), jnp.asarray(quantity, jnp.int32)
    kind = jnp.asarray(kind, jnp.int32)
    empty = (kind != MessageKind.CANCEL) & ((quantity == 0) | (side == 0))
    columns = jnp.broadcast_arrays(
        jnp.where(empty, MessageKind.NONE, kind),
        side,
        *(jnp.asarray(x, jnp.int32) for x in (price, quantity, order_id, owner)),
        jnp.int32(NEVER),
    )
    return Message(*columns)


def join(*tables: Message) -> Message:
    """Tables of messages, one after the other."""
    return jax.tree.map(lambda *x: jnp.concatenate(x), *tables)


def settled(table: Message, reports: Execution) -> Accounts:
    """Lots and cash of every owner after the messages [E] of a table."""
    n_owners = reports.owner_quantity.shape[-1]
    sender = (table.owner[:, None] == jnp.arange(n_owners, dtype=jnp.int32)[None, :]).astype(jnp.int32)
    bought = table.side[:, None] * (sender * reports.filled[:, None] - reports.owner_quantity)
    paid = table.side[:, None] * (sender * reports.notional[:, None] - reports.owner_notional)
    return Accounts(jnp.sum(bought, axis=0, dtype=jnp.int32), -jnp.sum(paid, axis=0, dtype=jnp.int32))


def single_price(quote: Array, arrival: Array, informed: Array, noise: Array, last: Array) -> tuple[Array, Accounts]:
    """Clear a batch at one price, that of the best quote for its net flow.

    The makers, who know the net flow y = x + u, post a limit order of |y| lots each on the side it needs; market
    orders of y lots hit them in price-time priority, so the best quote, and the first among equals, takes all. The rest
    of the batch crosses at the price of that trade: what is lighter posts, what is heavier hits it. Without net flow
    the batch crosses at the last price.

    Args:
        quote: [M] int32 ticks, of each maker for this y.
        arrival: [M] int32, the makers in the order in which their quotes arrive.
        informed: [] int32 lots x, bought if positive.
        noise: [] int32 lots u.
        last: [] int32 ticks, price of the auction before.

    Returns:
        The price [] int32 ticks and the accounts [2 + M].
    """
    n_makers = quote.shape[0]
    spec = BookSpec(capacity=n_makers + 1, n_owners=MAKERS + n_makers, max_price=MAX_PRICE, max_quantity=MAX_LOTS)
    orders = jnp.stack([informed, noise])
    net, crossed = informed + noise, jnp.where(informed * noise < 0, jnp.minimum(abs(informed), abs(noise)), 0)
    side = jnp.sign(net)
    senders = jnp.array([INFORMED, NOISE], jnp.int32)
    quotes = messages(MessageKind.LIMIT, -side, quote[arrival], abs(net), arrival, MAKERS + arrival)
    takes = messages(MessageKind.MARKET, jnp.sign(orders), 0, abs(orders) - crossed, n_makers + senders, senders)
    table = join(quotes, takes)
    book, reports = apply_all(empty_book(spec), table, spec)
    price = jnp.where(net == 0, last, jnp.sum(reports.notional) // jnp.maximum(jnp.sum(reports.filled), 1))

    light = jnp.where(abs(informed) < abs(noise), INFORMED, NOISE).astype(jnp.int32)
    given = jnp.stack([orders[light], orders[1 - light]])
    kinds = jnp.array([MessageKind.LIMIT, MessageKind.MARKET], jnp.int32)
    rest = messages(kinds, jnp.sign(given), price, crossed, n_makers + 2 + senders, jnp.stack([light, 1 - light]))
    makers = jnp.arange(n_makers, dtype=jnp.int32)
    last_table = join(messages(MessageKind.CANCEL, 0, 0, 0, makers, MAKERS + makers), rest)
    _, last_reports = apply_all(book, last_table, spec)
    accounts = jax.tree.map(jnp.add, settled(table, reports), settled(last_table, last_reports))
    return price.astype(jnp.int32), accounts


ENTRANT, N_LADDER_OWNERS = 3, 4  # of the ladder: one maker that stands for all incumbents, and the entrants


def ladder_spec(n_levels: int) -> BookSpec:
    """The book of a ladder: two orders at each price of either side."""
    return BookSpec(2 * n_levels, N_LADDER_OWNERS, max_price=MAX_PRICE, max_quantity=MAX_LOTS)


def post_ladder(price: Array, lots: Array) -> Book:
    """A book with ``lots`` [2, K] int32, at least 1, at bids ``-price`` and asks ``price`` [K] int32 ticks.

    The last lot of each queue is an entrant's: it came after the maker's order at the same price.
    """
    side = jnp.array([[1], [-1]], jnp.int32)
    levels = jnp.arange(lots.size, dtype=jnp.int32).reshape(lots.shape)

    def queue(quantity, first_id, owner):
        return messages(
            MessageKind.LIMIT,
            jnp.broadcast_to(side, lots.shape).ravel(),
            (-side * price[None, :]).ravel(),
            quantity.ravel(),
            first_id + levels.ravel(),
            owner,
        )

    table = join(queue(lots - 1, lots.size, MAKERS), queue(jnp.ones_like(lots), 0, ENTRANT))
    spec = ladder_spec(lots.shape[1])
    return apply_all(empty_book(spec), table, spec)[0]


def walk_ladder(book: Book, informed: Array, noise: Array, noise_first: Array) -> tuple[Array, Accounts]:
    """Send both orders as market orders, one after the other, to a book of :func:`post_ladder`.

    Returns:
        Which entrants' lots traded, [2, K] int32, and the accounts [4].
    """
    n_levels = book.key.shape[1] // 2
    orders, senders = jnp.stack([informed, noise]), jnp.array([INFORMED, NOISE], jnp.int32)
    turn = jnp.where(noise_first, senders[::-1], senders)
    table = messages(MessageKind.MARKET, jnp.sign(orders)[turn], 0, abs(orders)[turn], 4 * n_levels + turn, turn)
    _, reports = apply_all(book, table, ladder_spec(n_levels))
    hit = jnp.where(table.side > 0, 1, 0)[:, None] == jnp.arange(2, dtype=jnp.int32)[None, :]  # [2 messages, side]
    taken = jnp.sum(hit[:, :, None] * reports.quantity[:, None, :], axis=0, dtype=jnp.int32)  # [2, N]
    ids = jnp.arange(2 * n_levels, dtype=jnp.int32).reshape(2, n_levels)
    own = live(book)[:, None, :] & (book.order_id[:, None, :] == ids[:, :, None])
    slot = jnp.argmax(own, axis=-1)  # orders do not move as others fill
    return jnp.take_along_axis(taken, slot, axis=-1), settled(table, reports)
