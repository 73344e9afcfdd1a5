"""A table of messages processed at once against the same messages one by one."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.book_comparison import as_on
from amarl_jax.ground_truth.message_streams import FIELDS, N_OWNERS, random_mix, random_stream
from amarl_jax.lob.book import BookSpec, Message, MessageKind, SelfTrade, apply_all, empty_book
from amarl_jax.lob.table import apply_table
from tests.lob.streams import counters, lane_of, resting

N_BOOKS, N_TABLES, N_ROWS, CAPACITY = 96, 8, 24, 10
SPEC = BookSpec(capacity=CAPACITY, n_owners=N_OWNERS)
ROOMY = BookSpec(capacity=CAPACITY + N_ROWS, n_owners=N_OWNERS)


@functools.cache
def engines():
    """(books, messages) of either engine, batched; the second one on books with room for a whole table more."""

    def widened(book):
        pad = ((0, 0), (0, N_ROWS))
        rows = {name: jnp.pad(getattr(book, name), pad) for name in ("key", "order_id", "owner", "expiry")}
        return book.__class__(
            **rows,
            cumulative=jnp.pad(book.cumulative, pad, mode="edge"),
            first=book.first,
            count=book.count,
            counters=book.counters,
        )

    def one_by_one(book, messages):
        return apply_all(widened(book), messages, ROOMY)

    return jax.jit(jax.vmap(lambda book, m: apply_table(book, m, SPEC))), jax.jit(jax.vmap(one_by_one))


def message(columns):
    return Message(**{name: jnp.asarray(columns[name], jnp.int32) for name in FIELDS})


def streams(seed):
    """[N_BOOKS, N_TABLES * N_ROWS], a mix of its own for every twelfth book: crossing, cancelling, odd."""
    rng = np.random.default_rng(seed)
    parts = [random_stream(rng, random_mix(rng), (N_BOOKS // 12, N_TABLES * N_ROWS)) for _ in range(12)]
    return {name: np.concatenate([part[name] for part in parts]).astype(np.int64) for name in FIELDS}


def is_sound(row):
    """Whether a message [name -> number] is an order that the book does not hold invalid."""
    orders = (MessageKind.LIMIT, MessageKind.MARKET, MessageKind.IMMEDIATE_OR_CANCEL)
    priced = row["kind"] == MessageKind.MARKET or abs(row["price"]) <= SPEC.max_price
    fits = row["side"] in (1, -1) and 0 < row["quantity"] <= SPEC.max_quantity
    return row["kind"] in orders and fits and priced and 0 <= row["owner"] < N_OWNERS


def without_repeats(columns, at_rest):
    """The rule on ids, in plain Python: an order whose id rests at the start or came before in the table is dropped."""
    kind, n_dropped = columns["kind"].copy(), np.zeros(N_BOOKS, int)
    for lane in range(N_BOOKS):
        seen = set(at_rest[lane])
        for i in range(N_ROWS):
            row = {name: int(columns[name][lane, i]) for name in FIELDS}
            if is_sound(row) and row["order_id"] in seen:
                kind[lane, i], n_dropped[lane] = MessageKind.NONE, n_dropped[lane] + 1
            if is_sound(row):
                seen.add(row["order_id"])
    return columns | {"kind": kind}, n_dropped


def check_table(before, columns):
    """One table on every book; the books after it."""
    at_once, one_by_one = engines()
    at_rest = [[order[2] for side in resting(lane_of(before, lane)) for order in side] for lane in range(N_BOOKS)]
    plain, n_dropped = without_repeats(columns, at_rest)
    books, report = jax.tree.map(np.asarray, at_once(before, message(columns)))
    roomy, executions = jax.tree.map(np.asarray, one_by_one(before, message(plain)))
    side = columns["side"]
    for name in ("filled", "notional", "rested", "cancelled", "marketable"):
        np.testing.assert_array_equal(getattr(report.outcome, name), getattr(executions, name), err_msg=name)
    for row, aggressor in ((0, -1), (1, 1)):
        hit = (side == aggressor)[:, :, None]
        for name in ("owner_quantity", "owner_notional"):
            np.testing.assert_array_equal(getattr(report, name)[:, row], (getattr(executions, name) * hit).sum(1), name)
    for lane in range(N_BOOKS):
        book, wide = lane_of(books, lane), lane_of(roomy, lane)
        kept = [orders[:CAPACITY] for orders in resting(wide)]
        assert resting(book) == kept, lane
        evicted = [order for orders in resting(wide) for order in orders[CAPACITY:]]
        expected = counters(wide)
        expected["duplicate"] += n_dropped[lane]
        expected["evicted"] += len(evicted)
        expected["evicted_lots"] += sum(order[1] for order in evicted)
        assert counters(book) == expected, lane
        assert (book.first == 0).all()
        check_fates(
            before, lane, {name: column[lane] for name, column in plain.items()}, wide, lane_of(report.fate, lane)
        )
    return books, executions


def check_fates(before, lane, columns, wide, fate):
    """Every order at rest before and every limit order of the table is found by its id where its fate says."""
    found = {order[2]: (order[1], i) for orders in resting(wide) for i, order in enumerate(orders)}
    side_of = {order[2]: side for side, orders in enumerate(resting(wide)) for order in orders}

    def expected(order_id):
        lots, rank = found.get(order_id, (0, 0))
        return lots, side_of[order_id] * CAPACITY + rank if lots and rank < CAPACITY else -1

    ids = [None] * (2 * CAPACITY + N_ROWS)
    for side, orders in enumerate(resting(lane_of(before, lane))):
        for i, order in enumerate(orders):
            ids[side * CAPACITY + i] = order[2]
    for i in range(N_ROWS):
        row = {name: int(column[i]) for name, column in columns.items()}
        comes = row["kind"] == MessageKind.LIMIT and is_sound(row)
        ids[2 * CAPACITY + i] = row["order_id"] if comes else None
    wanted = [(0, -1) if order_id is None else expected(order_id) for order_id in ids]
    assert list(zip(fate.lots.tolist(), fate.slot.tolist(), strict=True)) == wanted, lane


@pytest.mark.parametrize("seed", [1, 2])
def test_a_table_is_its_messages_one_by_one(seed):
    """Fills, money, owners, the book in priority order and all counters, over streams that cross and overflow."""
    books = jax.tree.map(lambda x: np.broadcast_to(x, (N_BOOKS, *x.shape)), empty_book(SPEC))
    columns, n_filled = streams(seed), 0
    for table in range(N_TABLES):
        rows = slice(table * N_ROWS, (table + 1) * N_ROWS)
        books, executions = check_table(books, {name: column[:, rows] for name, column in columns.items()})
        n_filled += int((executions.filled > 0).sum())
    total = {name: int(getattr(books.counters, name).sum()) for name in ("evicted", "duplicate", "unknown_cancel")}
    assert n_filled > 1000, n_filled
    assert min(total.values()) > 100, total


def test_a_table_refuses_a_self_trade_policy_it_does_not_know():
    spec = BookSpec(capacity=CAPACITY, n_owners=N_OWNERS, self_trade=SelfTrade.CANCEL_RESTING)
    none = Message(*(jnp.zeros(3, jnp.int32) for _ in FIELDS))
    with pytest.raises(ValueError, match="self_trade ALLOW only"):
        apply_table(empty_book(spec), none, spec)


def test_what_a_gpu_does_without_loops_is_what_a_cpu_does_with_them(monkeypatch):
    """Tables one after the other: all that is in the books, and in the reports, is equal."""
    columns = streams(seed=5)
    tables = [message({name: x[::12, 8 * i : 8 * (i + 1)] for name, x in columns.items()}) for i in range(12)]
    played = {}
    for platform in ("cpu", "cuda"):
        with monkeypatch.context() as patch:
            patch.setattr(jax.lax, "platform_dependent", as_on(platform))
            play = jax.jit(jax.vmap(lambda book, rows: apply_table(book, rows, SPEC)))
            books = jax.tree.map(lambda x: jnp.broadcast_to(x, (8, *x.shape)), empty_book(SPEC))
            reports = []
            for table in tables:
                books, report = play(books, table)
                reports.append(report)
            played[platform] = (books, reports)
    chex.assert_trees_all_equal(*played.values())
    n_trades = sum(int(jnp.sum(report.outcome.filled > 0)) for report in played["cuda"][1])
    assert n_trades > 50, "the streams trade"


@pytest.mark.parametrize(("platform", "n_loops"), [("cpu", 2), ("cuda", 0), ("tpu", 1)])
def test_each_platform_is_given_its_own_form(platform, n_loops):
    """A scan over messages and a bisection on a CPU, neither on a GPU, the scan alone on a TPU."""
    play = jax.jit(lambda book, rows: apply_table(book, rows, SPEC))
    rows = Message(**{name: jnp.zeros(N_ROWS, jnp.int32) for name in FIELDS})
    text = play.trace(empty_book(SPEC), rows).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.while") == n_loops
