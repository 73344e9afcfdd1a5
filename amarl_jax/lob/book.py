"""A limit order book of fixed capacity as a pure function of (book, message).

Orders lie in price-time priority, so priority among equal prices is the order of arrival by construction, and the
state holds *cumulative* size ``C``. A message that takes ``X`` lots from a side leaves ``max(C - X, 0)`` there: filled
orders become empty slots in front of the first live one, and no order moves. An insertion or a cancellation shifts
one end of its row by one slot. There is no branch, loop, sort or gather, so batching makes no book more expensive.
Written for one book; batch with ``jax.vmap``. Everything is int32.
"""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp

from amarl_jax.lob.edits import apply_edit, plan_cancel, plan_entry
from amarl_jax.lob.matching import Match, Resting, lots_before, match_order, screen, split_rows
from amarl_jax.lob.messages import (
    NEVER,
    Book,
    BookSpec,
    Counters,
    Execution,
    Message,
    MessageKind,
    SelfTrade,
    Side,
)
from amarl_jax.trees import select
from amarl_jax.types import Array

__all__ = [
    "NEVER",
    "Book",
    "BookSpec",
    "Counters",
    "Execution",
    "Message",
    "MessageKind",
    "SelfTrade",
    "Side",
    "apply",
    "apply_all",
    "best_quotes",
    "empty_book",
    "live",
    "owner_depth",
    "prices",
    "remove",
    "sizes",
    "vwap",
]


def empty_book(spec: BookSpec) -> Book:
    """A book without orders and with all counters at zero."""
    rows = jnp.zeros((2, spec.capacity), jnp.int32)
    zero = jnp.zeros((), jnp.int32)
    return Book(
        key=rows,
        cumulative=rows,
        order_id=rows,
        owner=rows,
        expiry=rows,
        first=jnp.zeros(2, jnp.int32),
        count=jnp.zeros(2, jnp.int32),
        counters=Counters(**dict.fromkeys(Counters.__dataclass_fields__, zero)),
    )


def live(book: Book) -> Array:
    """Mask of the slots that hold an order, bool ``[2, N]``."""
    slot = jnp.arange(book.key.shape[-1], dtype=jnp.int32)[None, :]
    return (slot >= book.first[:, None]) & (slot < (book.first + book.count)[:, None])


def sizes(book: Book) -> Array:
    """Lots at rest in every slot, 0 in empty ones, ``[2, N]``."""
    return book.cumulative - lots_before(book.cumulative)


def prices(book: Book) -> Array:
    """Price of every slot in ticks, ``[2, N]``; meaningless where no order is live."""
    return jnp.stack([-book.key[Side.BID], book.key[Side.ASK]])


def best_quotes(book: Book) -> tuple[Array, Array]:
    """Best bid and ask in ticks ``[2]`` and whether they exist, bool ``[2]``; 0 where they do not."""
    key = jnp.take_along_axis(book.key, book.first[:, None], axis=-1, mode="clip")[:, 0]
    exists = book.count > 0
    return jnp.where(exists, key * jnp.array([-1, 1], jnp.int32), 0), exists


def owner_depth(book: Book, owner: Array | int) -> tuple[Array, Array]:
    """Best price in ticks ``[2]`` (0 if none) and total lots ``[2]`` of one owner's orders, by side."""
    own = live(book) & (book.owner == owner)
    key = jnp.min(jnp.where(own, book.key, NEVER), axis=-1)
    price = jnp.where(jnp.any(own, axis=-1), key * jnp.array([-1, 1], jnp.int32), 0)
    return price, jnp.sum(jnp.where(own, sizes(book), 0), axis=-1, dtype=jnp.int32)


def vwap(execution: Execution) -> Array:
    """Volume-weighted average price of a message's fills in ticks, float32 ``[]``: ``sum p q / sum q``, 0 if none."""
    return execution.notional.astype(jnp.float32) / jnp.maximum(execution.filled, 1).astype(jnp.float32)


def apply(book: Book, message: Message, spec: BookSpec) -> tuple[Book, Execution]:
    """Process one message.

    Price-time priority. A full side keeps its best ``N`` orders: a newcomer's remainder that is strictly better than
    the worst resting order evicts it, any other remainder is refused. Invalid messages, duplicate live ids and
    unknown cancels leave the book as it is. Each such event is counted.
    """
    chex.assert_shape([book.key, book.cumulative, book.order_id, book.owner, book.expiry], (2, spec.capacity))
    chex.assert_rank(jax.tree.leaves(message), 0)
    chex.assert_type(jax.tree.leaves((book, message)), jnp.int32)
    is_order, is_cancel, invalid = screen(message, spec)
    alive = live(book)
    hit = alive & (book.order_id == message.order_id)
    found = jnp.any(hit)
    accepted, cancels = is_order & ~found, is_cancel & found
    buy = message.side > 0
    own_row = jnp.arange(2, dtype=jnp.int32) == jnp.where(buy, Side.BID, Side.ASK)
    own, opposite = split_rows(book, alive, buy)

    # In key units: an opposite order trades if its key is at most `reach`, an own one goes first if at most `-reach`.
    reach = jnp.where(message.kind == MessageKind.MARKET, spec.max_price, message.side * message.price)
    wanted = jnp.where(accepted, message.quantity, 0)
    crossing = opposite.alive & (opposite.key <= reach)
    match = match_order(opposite, crossing, wanted, message.owner, spec.self_trade)
    removed = jnp.where(own_row, 0, match.removed)
    n_gone = jnp.sum(opposite.alive & (opposite.cumulative <= match.removed), dtype=jnp.int32)

    rests = (message.kind == MessageKind.LIMIT) & ~match.blocked
    remainder = jnp.where(rests, wanted - match.filled, 0)
    rank = jnp.sum(own.alive & (own.key <= -reach), dtype=jnp.int32)
    entry = plan_entry(book, own_row, rank, remainder)
    edit = select(cancels, plan_cancel(hit, sizes(book), message.quantity), entry)
    evicts = edit.enters & jnp.all(own.alive)

    execution = replace(
        _report(opposite, match, message, spec),
        rested=entry.lots,
        refused=remainder - entry.lots,
        cancelled=jnp.where(cancels, -edit.lots, 0),
        evicted=jnp.where(evicts, own.cumulative[-1] - own.before[-1], 0),
        evicted_id=own.order_id[-1],
        evicted_owner=own.owner[-1],
        accepted=accepted | cancels,
        marketable=accepted & jnp.any(crossing),
    )
    events = {"invalid": invalid, "duplicate": is_order & found, "unknown_cancel": is_cancel & ~found}
    n_net = (edit.enters & ~evicts).astype(jnp.int32) - edit.leaves
    n_forwards = (edit.enters & edit.forwards).astype(jnp.int32)
    book = replace(
        apply_edit(book, edit, message, -reach, removed),
        first=book.first + jnp.where(own_row, -n_forwards, n_gone),
        count=book.count + jnp.where(edit.row, n_net, 0) - jnp.where(own_row, 0, n_gone),
        counters=_count(book.counters, execution, self_trade=match.n_self_cancelled, **events),
    )
    return book, execution


def apply_all(book: Book, messages: Message, spec: BookSpec) -> tuple[Book, Execution]:
    """Process messages ``[E]`` in order; executions come back stacked along a leading ``[E]``."""
    return jax.lax.scan(lambda carry, message: apply(carry, message, spec), book, messages)


def remove(book: Book, mask: Array) -> tuple[Book, Array, Array]:
    """Remove all live orders under ``mask`` (bool ``[2, N]``) at once; the rest keep their priority.

    Returns the book, the orders removed ``[2]`` and the lots removed ``[2]``.
    """
    chex.assert_shape(mask, book.key.shape)
    alive = live(book)
    leaving = mask & alive
    staying = alive & ~mask
    lots = jnp.cumsum(jnp.where(leaving, sizes(book), 0), axis=-1, dtype=jnp.int32)
    rank = jnp.cumsum(staying, axis=-1, dtype=jnp.int32)
    nth = jnp.arange(1, book.key.shape[-1] + 1, dtype=jnp.int32)
    source = jax.vmap(lambda r: jnp.searchsorted(r, nth, method="scan_unrolled"))(rank)
    source = jnp.minimum(source, book.key.shape[-1] - 1)
    rows = (book.key, book.cumulative - lots, book.order_id, book.owner, book.expiry)
    key, cumulative, order_id, owner, expiry = (jnp.take_along_axis(row, source, axis=-1) for row in rows)
    first, count = jnp.zeros_like(book.first), rank[:, -1]
    compacted = replace(
        book,
        key=key,
        cumulative=cumulative,
        order_id=order_id,
        owner=owner,
        expiry=expiry,
        first=first,
        count=count,
    )
    return compacted, book.count - count, lots[:, -1]


def _report(opposite: Resting, match: Match, message: Message, spec: BookSpec) -> Execution:
    """The execution report of the match alone; what rests, is refused, cancelled or evicted is still 0."""
    zero = jnp.zeros((), jnp.int32)
    price = message.side * opposite.key
    notional = match.quantity * price
    owners = jnp.arange(spec.n_owners, dtype=jnp.int32)[:, None]
    of_owner = opposite.owner[None, :] == owners
    return Execution(
        quantity=match.quantity,
        price=price,
        order_id=opposite.order_id,
        owner=opposite.owner,
        owner_quantity=jnp.sum(jnp.where(of_owner, match.quantity[None, :], 0), axis=-1, dtype=jnp.int32),
        owner_notional=jnp.sum(jnp.where(of_owner, notional[None, :], 0), axis=-1, dtype=jnp.int32),
        filled=match.filled,
        notional=jnp.sum(notional, dtype=jnp.int32),
        rested=zero,
        refused=zero,
        cancelled=zero,
        self_cancelled=match.self_cancelled,
        evicted=zero,
        evicted_id=zero,
        evicted_owner=zero,
        accepted=jnp.zeros((), bool),
        marketable=jnp.zeros((), bool),
    )


def _count(counters: Counters, execution: Execution, **events: Array) -> Counters:
    """Add one message's events to the counters."""
    increments = Counters(
        refused=execution.refused > 0,
        refused_lots=execution.refused,
        evicted=execution.evicted > 0,
        evicted_lots=execution.evicted,
        self_trade_lots=execution.self_cancelled,
        **events,
    )
    return jax.tree.map(lambda total, more: total + more.astype(jnp.int32), counters, increments)
