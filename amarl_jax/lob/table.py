"""A whole table of messages at once: merge, match, compact.

Message by message, every limit order moves half the book to make room for itself. Here the table's limit orders get
their places first: resting orders and newcomers are merged once into ``L = N + M`` entries per side, in the priority
they will have, newcomers with no lots yet. Then the messages pass one by one, and all that changes is one array, the
running size ``C``: a trade of ``X`` lots leaves ``max(C - X, 0)``, an order that comes to rest or a cancel adds a step
at its place, and what an order can trade is one entry of ``C``. At the end the survivors are compacted once, which
also removes the orders that left before the table began.

The result is that of :func:`amarl_jax.lob.book.apply` message by message on a book of ``N + M`` slots a side,
cut to the best ``N`` at the end, with one difference: an order is refused as a duplicate if its id is that of an order
at rest when the table begins or of an earlier order of the table, whether that one still rests or not.
Written for one book; batch with ``jax.vmap``. Everything is int32.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.lob.book import live, sizes
from amarl_jax.lob.entries import SIDES, Entries, Fate, at_entries, compact, fates, merge
from amarl_jax.lob.matching import running_sum, screen
from amarl_jax.lob.messages import Book, BookSpec, Message, MessageKind, SelfTrade, Side
from amarl_jax.trees import Packed, pack, unpack
from amarl_jax.types import Array

NOBODY = -1  # the target of a message that cancels nothing


@struct.dataclass
class Row:
    """One message with all that is known of it before the table begins."""

    message: Message
    is_order: Array  # [] bool, a valid order
    is_limit: Array  # [] bool, such an order that may come to rest
    cancels: Array  # [] bool, a cancel whose target is in the book or may be by then
    opposite: Array  # [] side it trades against
    reach: Array  # [] entries of that side that its price meets
    side: Array  # [] side of its entry, or of the entry it cancels
    entry: Array  # [] place of that entry
    target_lots: Array  # [] lots at the start of the resting order that a cancel names


@struct.dataclass
class Outcome:
    """What one message did. int32 ``[]``, or ``[M]`` for a table."""

    quantity: Array  # lots it was allowed to trade or rest, whatever its kind
    filled: Array  # lots it traded
    notional: Array  # tick-lots it traded
    rested: Array  # lots that came to rest
    cancelled: Array  # lots a CANCEL took off
    target_filled: Array  # lots of the resting order a CANCEL names that had traded since the table began
    marked: Array  # lots it took from the marked order of the side it hit
    marketable: Array  # bool, an order whose price met the best opposite quote on arrival


@struct.dataclass
class TableReport:
    """What a table did."""

    outcome: Outcome  # [M] each
    owner_quantity: Array  # [2, O] lots of each owner's resting orders that traded, by side
    owner_notional: Array  # [2, O] tick-lots of those trades
    removed: Array  # [2] orders that left before the first message
    fate: Fate  # of every order


Kernel = Callable[[Array, Any, Row, Array, Array], tuple[Array, Outcome]]  # see clear


def locate(book: Book, staying: Array, order_id: Array) -> Array:
    """Slots ``side * N + slot`` of the orders under ``staying`` (bool [2, N]) with these ids; NOBODY if none. [K]."""
    slots = jnp.arange(book.order_id.size, dtype=jnp.int32)
    same = staying.reshape(-1)[None, :] & (book.order_id.reshape(-1)[None, :] == order_id[:, None])
    return jnp.max(jnp.where(same, slots[None, :], NOBODY), axis=-1)


def apply_table(book: Book, messages: Message, spec: BookSpec) -> tuple[Book, TableReport]:
    """Process messages ``[M]`` in order, see the module's docstring for the rules."""
    index = jnp.arange(messages.kind.shape[0], dtype=jnp.int32)
    is_order, is_cancel, _ = screen(messages, spec)
    resting = locate(book, live(book), messages.order_id)
    same_id = messages.order_id[None, :] == messages.order_id[:, None]
    earlier = same_id & is_order[None, :] & (index[None, :] < index[:, None])
    repeated = jnp.any(earlier, axis=1)
    newcomer = 2 * spec.capacity + jnp.argmax(earlier, axis=1).astype(jnp.int32)
    target = jnp.where(resting != NOBODY, resting, jnp.where(repeated, newcomer, NOBODY))
    duplicate = is_order & (target != NOBODY)
    n_duplicates = book.counters.duplicate + jnp.sum(duplicate, dtype=jnp.int32)
    book, report = clear(
        replace(book, counters=replace(book.counters, duplicate=n_duplicates)),
        jnp.zeros(book.key.shape, bool),
        replace(messages, kind=jnp.where(duplicate, MessageKind.NONE, messages.kind)),
        jnp.where(is_cancel, target, NOBODY),
        marked=jnp.full(2, NOBODY, jnp.int32),
        ledger=(),
        admit=lambda _, message: message.quantity,
        settle=lambda ledger, row, outcome: ledger,
        spec=spec,
    )
    return book, report


def clear(
    book: Book,
    leaving: Array,
    messages: Message,
    target: Array,
    marked: Array,
    ledger: Any,
    admit: Callable[[Any, Message], Array],
    settle: Callable[[Any, Row, Outcome], Any],
    spec: BookSpec,
    kernel: Kernel | None = None,
) -> tuple[Book, TableReport]:
    """Remove the ``leaving`` orders, then process a table of messages whose order ids are all new.

    Args:
        book: before.
        leaving: [2, N] bool, orders that are gone before the first message.
        messages: [M] in order of arrival; the ids of its orders are neither in the book nor repeated.
        target: [M] what each cancel cancels: slot ``side * N + slot``, ``2 N + j`` for the order of message j, NOBODY.
        marked: [2] slot ``side * N + slot`` of one order on either side whose trades the outcomes report separately,
            NOBODY for none.
        ledger: any pytree, carried from message to message.
        admit: lots of an order that are accepted, given the ledger and the message; never more than it asks for.
        settle: the ledger after a message, given its row and its outcome.
        spec: sizes and rules; the self-trade policy must be ALLOW.
        kernel: for CUDA, what does in one launch what ``admit`` and ``settle`` do message by message: from running
            size, ledger, rows, marks and drops of the key to running size and outcomes.

    Returns:
        The book, its live orders from slot 0 on; what happened.
    """
    if spec.self_trade is not SelfTrade.ALLOW:
        raise ValueError(f"a table is processed with self_trade ALLOW only, got {spec.self_trade}")
    chex.assert_shape([book.key, leaving], (2, spec.capacity))
    chex.assert_equal_shape([messages.kind, target])
    alive = live(book)
    start = jnp.where(alive & ~leaving, sizes(book), 0)
    rows, entries = _rows(book, alive, start, messages, target, spec)
    at_start = at_entries(start, jnp.zeros_like(target), entries.source)
    running = jnp.pad(running_sum(at_start), ((0, 0), (1, 0)))
    next_key = jnp.pad(entries.key[:, 1:], ((0, 0), (0, 1)))
    key_drop = jnp.pad(entries.key - next_key, ((0, 0), (1, 0)))
    n_entries = entries.key.shape[1]
    marks = jnp.where(marked == NOBODY, n_entries, entries.place[jnp.maximum(marked, 0)])

    def one(carry: tuple[Array, Any], row: Packed) -> tuple[tuple[Array, Any], Packed]:
        carry, outcome = _pass(carry, unpack(row), marks, key_drop, admit, settle)
        return carry, pack(outcome)

    def one_by_one(running: Array, ledger: Any, rows: Packed, *, unroll: bool = False) -> tuple[Array, Packed]:
        (running, _), outcomes = jax.lax.scan(one, (running, ledger), rows, unroll=unroll)
        return running, outcomes

    without_loop = functools.partial(one_by_one, unroll=True)  # each loop iteration would end a CUDA graph
    on_cuda = without_loop if kernel is None else functools.partial(_at_once, kernel, marks, key_drop)
    running, outcomes = jax.lax.platform_dependent(
        running, ledger, pack(rows, n_lead=1), cuda=on_cuda, rocm=without_loop, default=one_by_one
    )
    outcome: Outcome = unpack(outcomes)

    at_rest = jnp.diff(running, axis=1)
    arrived = at_entries(jnp.zeros_like(start), outcome.rested, entries.source)
    taken_off = jnp.zeros_like(at_rest).at[rows.side, rows.entry].add(outcome.cancelled)
    traded = at_start + arrived - taken_off - at_rest
    owner = at_entries(book.owner, messages.owner, entries.source)
    quantity, notional = _by_owner(owner, traded, entries.key, spec.n_owners)
    removed = jnp.sum(alive & leaving, axis=-1, dtype=jnp.int32)
    fate = fates(1 - rows.opposite, rows.is_limit, entries, at_rest, spec.capacity)
    book = _count(compact(book, messages, entries, running[:, 1:], at_rest), messages, outcome, spec)
    return book, TableReport(outcome, quantity, notional, removed, fate)


def _rows(
    book: Book, alive: Array, start: Array, messages: Message, target: Array, spec: BookSpec
) -> tuple[Row, Entries]:
    """All that is known before the table begins, when ``start`` [2, N] lots are resting."""
    is_order, is_cancel, _ = screen(messages, spec)
    is_limit = is_order & (messages.kind == MessageKind.LIMIT)
    own = jnp.where(messages.side > 0, Side.BID, Side.ASK).astype(jnp.int32)
    reach = jnp.where(messages.kind == MessageKind.MARKET, spec.max_price, messages.side * messages.price)
    entries, met = merge(book, alive, own, is_limit, reach)
    n_slots = 2 * spec.capacity
    rests = target < n_slots
    newcomer = jnp.maximum(target - n_slots, 0)
    cancels = is_cancel & (target != NOBODY) & (rests | is_limit[newcomer])
    target = jnp.maximum(target, 0)
    target_side = jnp.where(rests, target // spec.capacity, own[newcomer])
    target_lots = jnp.where(cancels & rests, start.reshape(-1)[jnp.minimum(target, n_slots - 1)], 0)
    return Row(
        message=messages,
        is_order=is_order,
        is_limit=is_limit,
        cancels=cancels,
        opposite=1 - own,
        reach=met,
        side=jnp.where(cancels, target_side, own),
        entry=jnp.where(cancels, entries.place[target], entries.place[n_slots:]),
        target_lots=target_lots,
    ), entries


def _pass(
    carry: tuple[Array, Any],
    row: Row,
    marks: Array,
    key_drop: Array,
    admit: Callable[[Any, Message], Array],
    settle: Callable[[Any, Row, Outcome], Any],
) -> tuple[tuple[Array, Any], Outcome]:
    """Process one message; ``running`` [2, L + 1] begins with 0, and entry ``e`` holds its step from column e to e + 1.

    The notional of a trade of ``X`` lots is ``sum_e key_e (min(C_e, X) - min(C_(e-1), X))``, summed by parts over the
    drops ``key_e - key_(e+1)``; where a partial sum overflows int32 it wraps, and the total is exact.
    """
    running, ledger = carry
    column = jnp.arange(running.shape[1], dtype=jnp.int32)
    allowed = admit(ledger, row.message)
    wanted = jnp.where(row.is_order, allowed, 0)
    available = running[row.opposite, row.reach]
    filled = jnp.minimum(wanted, available)
    rested = jnp.where(row.is_limit, wanted - filled, 0)
    here = running[row.side, row.entry + 1] - running[row.side, row.entry]
    asked = row.message.quantity
    cancelled = jnp.where(row.cancels, jnp.where(asked == 0, here, jnp.minimum(asked, here)), 0)

    removed = jnp.where(row.opposite == SIDES, filled, 0)[:, None]
    change = jnp.where(row.side == SIDES, rested - cancelled, 0)[:, None]
    mark = marks[row.opposite]
    before, after = running[row.opposite, mark], running[row.opposite, jnp.minimum(mark + 1, column.shape[0] - 1)]
    outcome = Outcome(
        quantity=allowed,
        filled=filled,
        notional=row.message.side * jnp.sum(jnp.minimum(running, removed) * key_drop, dtype=jnp.int32),
        rested=rested,
        cancelled=cancelled,
        target_filled=jnp.where(row.target_lots > 0, row.target_lots - here, 0),
        marked=jnp.minimum(after, filled) - jnp.minimum(before, filled),
        marketable=(wanted > 0) & (available > 0),
    )
    running = jnp.maximum(running - removed, 0) + jnp.where(column[None, :] > row.entry, change, 0)
    return (running, settle(ledger, row, outcome)), outcome


def _at_once(
    kernel: Kernel, marks: Array, key_drop: Array, running: Array, ledger: Any, rows: Packed
) -> tuple[Array, Packed]:
    """The running size after all messages, and their outcomes, by a kernel."""
    running, outcome = kernel(running, ledger, unpack(rows), marks, key_drop)
    return running, pack(outcome, n_lead=1)


def _by_owner(owner: Array, traded: Array, key: Array, n_owners: int) -> tuple[Array, Array]:
    """Traded lots and tick-lots of each owner, ``[2, O]`` each, from the lots ``traded`` [2, L] of each entry."""
    of_owner = owner[:, None, :] == jnp.arange(n_owners, dtype=jnp.int32)[None, :, None]
    price = key * jnp.array([[-1], [1]], jnp.int32)
    quantity = jnp.sum(jnp.where(of_owner, traded[:, None, :], 0), axis=-1, dtype=jnp.int32)
    return quantity, jnp.sum(jnp.where(of_owner, (traded * price)[:, None, :], 0), axis=-1, dtype=jnp.int32)


def _count(book: Book, messages: Message, outcome: Outcome, spec: BookSpec) -> Book:
    """Count the invalid messages and the cancels that found no lots."""
    _, is_cancel, invalid = screen(messages, spec)
    unknown = is_cancel & (outcome.cancelled == 0)
    counters = replace(
        book.counters,
        invalid=book.counters.invalid + jnp.sum(invalid, dtype=jnp.int32),
        unknown_cancel=book.counters.unknown_cancel + jnp.sum(unknown, dtype=jnp.int32),
    )
    return replace(book, counters=counters)
