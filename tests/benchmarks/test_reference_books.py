"""The two frozen reference books are right, or being faster than they are would mean nothing."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.reference_book import ReferenceBook
from amarl_jax.lob.book import BookSpec, MessageKind

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))
import book as benchmark
import native_book

N_BOOKS, N_MESSAGES, CAPACITY = 12, 128, 64
SPEC = BookSpec(capacity=CAPACITY, n_owners=benchmark.N_OWNERS)


@pytest.fixture(scope="module")
def stream():
    return benchmark.mixed_stream(np.random.default_rng(3), N_BOOKS, N_MESSAGES, 32)


@pytest.fixture(scope="module")
def expected(stream):
    """Lots, money [B, E] and the resting orders of the plain-Python book."""
    lots, books = np.zeros((2, N_BOOKS, N_MESSAGES), int), []
    for lane in range(N_BOOKS):
        ledger = ReferenceBook(CAPACITY, benchmark.N_OWNERS, "allow", 1 << 15, 1 << 15)
        for i in range(N_MESSAGES):
            fields = ("kind", "side", "price", "quantity", "order_id", "owner", "expiry")
            report = ledger.process(*(int(getattr(stream, name)[lane, i]) for name in fields))
            lots[0, lane, i] = sum(fill[1] for fill in report.fills)
            lots[1, lane, i] = sum(fill[0] * fill[1] for fill in report.fills)
        books.append([sorted(order[:4] for order in ledger.resting(side)) for side in (1, -1)])
    return lots[0], lots[1], books


def at_rest(engine, book):
    """Sorted (price, quantity, id, owner) of both sides."""
    if engine == "naive":
        rows = [np.asarray(side)[:, [0, 1, 2, 3]] for side in (book.bids, book.asks)]
    else:
        sign = np.array([[-1], [1]])
        columns = (sign * np.asarray(book.key), book.quantity, book.order_id, book.owner)
        rows = [np.stack([np.asarray(column)[side] for column in columns], axis=1) for side in range(2)]
    return [sorted(tuple(row.tolist()) for row in side if row[1] > 0) for side in rows]


@pytest.mark.parametrize("engine", ["naive", "tidied", "apply", "table"])
def test_every_engine_of_the_benchmark_trades_what_the_plain_book_trades(engine, stream, expected):
    messages = jax.tree.map(lambda x: jnp.asarray(x, jnp.int32), stream)
    play = benchmark.in_blocks(benchmark.player(engine, SPEC, 32), block=None)
    books = jax.tree.map(lambda x: jnp.broadcast_to(x, (N_BOOKS, *x.shape)), benchmark.empty(engine, SPEC))
    books, lots, money = play(books, messages)
    np.testing.assert_array_equal(lots, expected[0])
    np.testing.assert_array_equal(money, expected[1])
    assert (np.asarray(lots) > 0).sum() > 100, "the stream trades"
    if engine in ("naive", "tidied"):
        for lane in range(N_BOOKS):
            assert at_rest(engine, jax.tree.map(lambda x, lane=lane: x[lane], books)) == expected[2][lane]


def test_the_native_book_trades_and_keeps_what_the_plain_book_does(stream, expected):
    if native_book.compiler() is None:
        pytest.skip("no C++ compiler")
    resting, lots, money = native_book.player(stream, SPEC)()
    np.testing.assert_array_equal(lots, expected[0])
    np.testing.assert_array_equal(money, expected[1])
    for lane in range(N_BOOKS):
        own = native_book.Resting(*(x[lane] for x in resting))
        kept = [
            [(p, n, i, o) for p, n, i, o in zip(*(x[side][: own.count[side]] for x in own[1:]), strict=True)]
            for side in range(2)
        ]
        assert [sorted(orders) for orders in kept] == expected[2][lane]
        best_first = [[sign * order[0] for order in orders] for sign, orders in zip((-1, 1), kept, strict=True)]
        assert best_first == [sorted(orders) for orders in best_first]


def test_the_native_book_takes_what_no_book_takes_as_nothing():
    """A second order of a live id, a cancel of nobody, an order of no lots, a price and an owner out of bounds."""
    if native_book.compiler() is None:
        pytest.skip("no C++ compiler")
    rows = [  # kind, side, price, quantity, id, owner
        (MessageKind.LIMIT, 1, 5, 10, 0, 0),
        (MessageKind.LIMIT, 1, 6, 10, 0, 0),
        (MessageKind.CANCEL, 0, 0, 0, 3, 0),
        (MessageKind.LIMIT, -1, 9, 0, 3, 0),
        (MessageKind.LIMIT, -1, SPEC.max_price + 1, 5, 4, 0),
        (MessageKind.LIMIT, -1, 9, 5, 5, SPEC.n_owners),
        (MessageKind.CANCEL, 0, 0, 4, 0, 0),
        (MessageKind.IMMEDIATE_OR_CANCEL, -1, 5, 9, 7, 1),
        (MessageKind.MARKET, -1, 0, 9, 8, 1),
    ]
    kind, side, price, quantity, order_id, owner = (np.array([column]) for column in zip(*rows, strict=True))
    message = benchmark.Message(kind, side, price, quantity, order_id, owner, np.zeros_like(kind))
    resting, lots, money = native_book.player(message, SPEC)()
    assert lots.tolist() == [[0, 0, 0, 0, 0, 0, 0, 6, 0]]
    assert money.tolist() == [[0, 0, 0, 0, 0, 0, 0, 30, 0]]
    assert resting.count.tolist() == [[0, 0]]


def test_the_stream_is_the_mix_it_says():
    """60% limit orders of which a sixth meet the spread, 30% cancels, 10% market orders; 1% is five standard errors."""
    stream = benchmark.mixed_stream(np.random.default_rng(0), 64, 512, 64)
    limit = stream.kind == MessageKind.LIMIT
    assert abs(limit.mean() - 0.6) < 0.015
    assert abs((stream.kind == MessageKind.CANCEL).mean() - 0.3) < 0.015
    assert abs((limit & (stream.side * stream.price > 0)).mean() - 0.1) < 0.01
