"""Replay streams of messages through the order book: NumPy in, NumPy out, every trade reported.

A stream is a mapping of equal-length columns ``kind, side, price, quantity, order_id, owner``: arrays or lists of
integers of any width. Long streams run in chunks of one compiled program; fills are compressed on the host after each
of them, so memory is bounded and no trade is lost. A lone stream is a batch of one.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.lob.book import (
    NEVER,
    Book,
    BookSpec,
    Counters,
    Message,
    MessageKind,
    SelfTrade,
    Side,
    apply,
    live,
    prices,
    sizes,
)
from amarl_jax.lob.columns import FIELDS, INT32_MIN, Numbering, check_resting, clip, integer, read_columns, read_orders
from amarl_jax.lob.snapshot import level_snapshot
from amarl_jax.types import Array

__all__ = ["FIELDS", "MessageKind", "ReplayResult", "SelfTrade", "replay", "replay_batch"]

_RECORD_BYTES = 1 << 25  # bound on the records of one chunk


@dataclass(frozen=True)
class ReplayResult:
    """Trades of a stream and the book it left. Arrays are int64; ids and owners are those of the stream."""

    trades: np.ndarray  # [n, 6] price, quantity, maker id, taker id, maker owner, taker owner; in time order, complete
    bids: np.ndarray  # [k, 4] price, quantity, order id, owner; in priority order
    asks: np.ndarray  # [k, 4] the same
    counters: dict[str, int]  # exceptional events by name; see `messages.Counters`
    checksum: int  # runs over the whole book after every message that is not padding; see `_checksum`
    levels: np.ndarray  # int32 [messages, 2, L, 2] price and lots of the best levels after every message; 0 if none


def replay(
    messages: Mapping[str, Any], capacity: int, *, bids: Any = None, asks: Any = None, **options: Any
) -> ReplayResult:
    """Replay one stream ``[messages]`` through a book of ``capacity`` orders per side; see :func:`replay_batch`.

    ``bids`` and ``asks`` (``[k, 4]``, as in the result) are the orders resting at the start.
    """
    columns = {name: column[None] for name, column in read_columns(messages, n_axes=1).items()}
    return _replay(columns, capacity, [read_orders("bids", bids)], [read_orders("asks", asks)], **options)[0]


def replay_batch(
    messages: Mapping[str, Any],
    capacity: int,
    *,
    bids: Sequence[Any] | None = None,
    asks: Sequence[Any] | None = None,
    **options: Any,
) -> list[ReplayResult]:
    """Replay streams ``[streams, messages]``, each through a book of its own; one result per stream.

    ``kind`` is a :class:`MessageKind` (NONE pads shorter streams), ``side`` +1 to buy and -1 to sell, ``price`` in
    ticks, ``quantity`` in lots, 0 in a CANCEL for all. ``bids`` and ``asks`` have one ``[k, 4]`` per stream.

    Options: ``self_trade`` (ALLOW), ``max_price`` and ``max_quantity`` (2**15 each; their product must fit int32, and
    messages beyond them are counted as invalid), ``n_owners`` (None: every integer is an owner; else
    owners outside 0 .. n_owners - 1 are invalid), ``n_levels`` (0) of the book to report after every message.
    Raises ValueError naming the field where the input is not of this form.
    """
    columns = read_columns(messages, n_axes=2)
    n_streams = len(columns["kind"])
    for name, orders in (("bids", bids), ("asks", asks)):
        if orders is not None and len(orders) != n_streams:
            raise ValueError(f"{name}: {len(orders)} given for {n_streams} streams")
    nothing = [None] * n_streams
    bid_rows = [read_orders("bids", rows) for rows in (nothing if bids is None else bids)]
    ask_rows = [read_orders("asks", rows) for rows in (nothing if asks is None else asks)]
    return _replay(columns, capacity, bid_rows, ask_rows, **options)


def _replay(
    columns: dict[str, np.ndarray],
    capacity: int,
    bids: list[np.ndarray],
    asks: list[np.ndarray],
    *,
    self_trade: SelfTrade | str = SelfTrade.ALLOW,
    n_owners: int | None = None,
    max_price: int = 1 << 15,
    max_quantity: int = 1 << 15,
    n_levels: int = 0,
) -> list[ReplayResult]:
    n_streams, n_messages = columns["kind"].shape
    given = np.concatenate([np.zeros((0, 4), np.int64), *bids, *asks])
    ids = Numbering.of(columns["order_id"], given[:, 2])
    owners = Numbering.of(columns["owner"], given[:, 3], always=True) if n_owners is None else Numbering(None)
    spec = BookSpec(
        capacity=integer("capacity", capacity),
        n_owners=_power_of_two(len(owners)) if n_owners is None else integer("n_owners", n_owners),
        self_trade=SelfTrade(self_trade),
        max_price=integer("max_price", max_price),
        max_quantity=integer("max_quantity", max_quantity),
    )
    n_levels = integer("n_levels", n_levels, at_least=0)
    if not n_streams:
        return []
    state = _State(_start(spec, ids, owners, bids, asks), jnp.zeros(n_streams, jnp.uint32))
    log = _Log(columns, ids, owners, state, n_levels)
    length = _chunk_length(n_streams, n_messages, spec, n_levels)
    for start in range(0, n_messages, length):
        state, record = _run(state, _encode(columns, start, length, ids, owners, spec), spec, n_levels)
        log.append(start, state, record)
    return log.results()


@struct.dataclass
class _State:
    book: Book
    checksum: Array  # [] uint32


@struct.dataclass
class _Record:
    """What the host reads of one message."""

    quantity: Array  # [N] lots taken from each resting order
    price: Array  # [N]
    order_id: Array  # [N]
    owner: Array  # [N]
    levels: Array  # [2, L, 2] price and lots of each level after the message
    counters: Counters  # of this message alone: a sum over many could overflow int32


@functools.partial(jax.jit, static_argnames=("spec", "n_levels"))
def _run(state: _State, messages: Message, spec: BookSpec, n_levels: int) -> tuple[_State, _Record]:
    """Scan a batch of streams over one chunk, messages ``[streams, chunk]``."""

    def step(state: _State, message: Message) -> tuple[_State, _Record]:
        book, execution = apply(state.book, message, spec)
        ran = state.checksum * jnp.uint32(0x01000193) + _checksum(book)
        checksum = jnp.where(message.kind == MessageKind.NONE, state.checksum, ran)
        levels = jnp.zeros((2, 0, 2), jnp.int32)
        if n_levels:
            snapshot = level_snapshot(book, n_levels)
            levels = jnp.stack([snapshot.price, snapshot.size], axis=-1)
        counted = book.counters
        record = _Record(execution.quantity, execution.price, execution.order_id, execution.owner, levels, counted)
        book = replace(book, counters=jax.tree.map(jnp.zeros_like, counted))
        return _State(book, checksum), record

    return jax.vmap(lambda start, table: jax.lax.scan(step, start, table))(state, messages)


def _checksum(book: Book) -> Array:
    """``1 + sum (4 rank + 2 side + 1) h`` modulo 2**32 over live orders, ``h = ((a price + size) a + id) a + owner``.

    ``rank`` counts from 0 in each side's priority order, ``side`` is a :class:`Side`, ``a = 0x9E3779B1``. Over the
    messages it runs as ``c <- 0x01000193 c + checksum`` from 0.
    """
    a = jnp.uint32(0x9E3779B1)
    price, size, order_id, owner = (
        x.astype(jnp.uint32) for x in (prices(book), sizes(book), book.order_id, book.owner)
    )
    h = ((a * price + size) * a + order_id) * a + owner
    slot, side = (jax.lax.broadcasted_iota(jnp.int32, h.shape, axis) for axis in (1, 0))
    weight = (4 * (slot - book.first[:, None]) + 2 * side + 1).astype(jnp.uint32)
    return jnp.sum(jnp.where(live(book), weight * h, jnp.uint32(0)), dtype=jnp.uint32) + jnp.uint32(1)


def _chunk_length(n_streams: int, n_messages: int, spec: BookSpec, n_levels: int) -> int:
    """Messages per chunk, a power of two that bounds the size of the records."""
    counters = 4 * len(Counters.__dataclass_fields__)
    most = max(1, _RECORD_BYTES // (n_streams * (16 * (spec.capacity + n_levels) + counters)))
    return min(_power_of_two(n_messages), 1 << (most.bit_length() - 1))


class _Log:
    """Collects what the chunks report."""

    def __init__(
        self, columns: dict[str, np.ndarray], ids: Numbering, owners: Numbering, state: _State, n_levels: int
    ) -> None:
        self._columns, self._ids, self._owners, self._state = columns, ids, owners, state
        n_streams, n_messages = columns["kind"].shape
        self._lanes: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._trades: list[np.ndarray] = [np.zeros((0, 6), np.int64)]
        self._levels = np.zeros((n_streams, n_messages, 2, n_levels, 2), np.int32)
        self._counters = {name: np.zeros(n_streams, np.int64) for name in Counters.__dataclass_fields__}

    def append(self, start: int, state: _State, record: _Record) -> None:
        """Add the chunk that began with message ``start``; ``nonzero`` yields fills by time, then by priority."""
        quantity = np.asarray(record.quantity)
        filled = lane, index, _ = np.nonzero(quantity)
        price, order_id, owner = (np.asarray(x)[filled] for x in (record.price, record.order_id, record.owner))
        taker_id, taker = (self._columns[name][lane, start + index] for name in ("order_id", "owner"))
        maker_id, maker = self._ids.decode(order_id), self._owners.decode(owner)
        self._lanes.append(lane)
        self._trades.append(np.stack([price, quantity[filled], maker_id, taker_id, maker, taker], axis=1))
        levels = self._levels[:, start : start + quantity.shape[1]]
        levels[...] = np.asarray(record.levels)[:, : levels.shape[1]]
        for name, total in self._counters.items():
            total += np.asarray(getattr(record.counters, name)).sum(axis=1, dtype=np.int64)
        self._state = state

    def results(self) -> list[ReplayResult]:
        """One result per stream."""
        lanes, trades = np.concatenate(self._lanes), np.concatenate(self._trades)
        trades = trades[np.argsort(lanes, kind="stable")]
        ends = np.cumsum(np.bincount(lanes, minlength=len(self._levels)))
        book, checksum = jax.tree.map(np.asarray, (self._state.book, self._state.checksum))
        size = np.diff(book.cumulative, prepend=0, axis=-1)
        return [
            ReplayResult(
                trades=trades[ends[lane - 1] if lane else 0 : ends[lane]],
                bids=self._resting(book, size, lane, Side.BID),
                asks=self._resting(book, size, lane, Side.ASK),
                counters={name: int(total[lane]) for name, total in self._counters.items()},
                checksum=int(checksum[lane]),
                levels=self._levels[lane],
            )
            for lane in range(len(ends))
        ]

    def _resting(self, book: Any, size: np.ndarray, lane: int, side: Side) -> np.ndarray:
        first = int(book.first[lane, side])
        rows = (book.key, size, book.order_id, book.owner)
        key, lots, order_id, owner = (x[lane, side, first : first + int(book.count[lane, side])] for x in rows)
        price = -key if side is Side.BID else key
        return np.stack([price, lots, self._ids.decode(order_id), self._owners.decode(owner)], axis=1)


def _encode(
    columns: dict[str, np.ndarray], start: int, length: int, ids: Numbering, owners: Numbering, spec: BookSpec
) -> Message:
    """Messages ``start`` to ``start + length`` in int32, padded; a price out of bounds stays out of bounds."""
    raw = {name: column[:, start : start + length] for name, column in columns.items()}
    out_of_bounds = (raw["price"] < -spec.max_price) | (raw["price"] > spec.max_price)
    encoded = {
        **{name: clip(raw[name]) for name in ("kind", "side", "quantity")},
        "price": np.where(out_of_bounds, INT32_MIN, raw["price"]).astype(np.int32),
        "order_id": ids.encode(raw["order_id"]),
        "owner": owners.encode(raw["owner"]),
    }
    encoded["expiry"] = np.full_like(encoded["kind"], NEVER)
    padding = ((0, 0), (0, length - encoded["kind"].shape[1]))
    return Message(**{name: jnp.asarray(np.pad(column, padding)) for name, column in encoded.items()})


def _start(spec: BookSpec, ids: Numbering, owners: Numbering, bids: list[np.ndarray], asks: list[np.ndarray]) -> Book:
    """Books, ``[streams]`` leading, with these resting orders."""
    rows = np.zeros((5, len(bids), 2, spec.capacity), np.int32)  # key, cumulative, order_id, owner, expiry
    for lane, sides in enumerate(zip(bids, asks, strict=True)):
        check_resting(*sides, spec, any_owner=owners.labels is not None)
        for side, orders in zip(Side, sides, strict=True):
            k, lots = len(orders), np.cumsum(orders[:, 1])
            outwards = -orders[:, 0] if side is Side.BID else orders[:, 0]
            rows[:4, lane, side, :k] = outwards, lots, ids.encode(orders[:, 2]), owners.encode(orders[:, 3])
            rows[1, lane, side, k:] = lots[-1] if k else 0
    rows[4] = NEVER
    key, cumulative, order_id, owner, expiry = (jnp.asarray(row) for row in rows)
    return Book(
        key=key,
        cumulative=cumulative,
        order_id=order_id,
        owner=owner,
        expiry=expiry,
        first=jnp.zeros((len(bids), 2), jnp.int32),
        count=jnp.asarray([[len(orders) for orders in sides] for sides in zip(bids, asks, strict=True)], jnp.int32),
        counters=Counters(**dict.fromkeys(Counters.__dataclass_fields__, jnp.zeros(len(bids), jnp.int32))),
    )


def _power_of_two(n: int) -> int:
    """The smallest power of two that is at least ``n``, so that similar sizes share a program."""
    return 1 << max(0, n - 1).bit_length()
