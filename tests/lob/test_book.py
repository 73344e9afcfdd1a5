from itertools import zip_longest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.message_streams import FIELDS, N_OWNERS
from amarl_jax.ground_truth.reference_book import COUNTERS, ReferenceBook
from amarl_jax.lob.book import (
    NEVER,
    BookSpec,
    Message,
    MessageKind,
    SelfTrade,
    Side,
    apply,
    best_quotes,
    empty_book,
    live,
    owner_depth,
    remove,
    sizes,
)
from tests.lob.streams import (
    CAPACITY,
    N_MESSAGES,
    N_STREAMS,
    book_spec,
    counters,
    lane_of,
    random_streams,
    replay,
    resting,
)

NONE, LIMIT, MARKET, IOC, CANCEL = MessageKind
BUY, SELL = 1, -1
SCALARS = ("rested", "refused", "cancelled", "self_cancelled", "accepted", "marketable")


def reference(self_trade=SelfTrade.ALLOW):
    spec = book_spec(self_trade)
    return ReferenceBook(spec.capacity, spec.n_owners, self_trade.value, spec.max_price, spec.max_quantity)


def expected_record(report):
    """The reference's report in the scalar fields of an execution, by-owner ones spelt out."""
    by_owner = [[0] * N_OWNERS, [0] * N_OWNERS]
    for price, lots, _, owner in report.fills:
        by_owner[0][owner] += lots
        by_owner[1][owner] += price * lots
    evicted = report.evicted or (0, 0, 0)
    totals = (sum(by_owner[0]), sum(by_owner[1]))
    return (*by_owner[0], *by_owner[1], *totals, *evicted, *(getattr(report, name) for name in SCALARS))


def records(executions):
    """One lane's executions [E] in the columns of :func:`expected_record`."""
    pushed_out = executions.evicted > 0
    columns = (
        *executions.owner_quantity.T,
        *executions.owner_notional.T,
        executions.filled,
        executions.notional,
        executions.evicted,
        np.where(pushed_out, executions.evicted_id, 0),
        np.where(pushed_out, executions.evicted_owner, 0),
        *(getattr(executions, name) for name in SCALARS),
    )
    return np.stack(columns, axis=1)


def assert_lane_equals(columns, books, executions, ledger, lane):
    """Every report of one lane, first difference first, then the book it leaves."""
    messages = np.stack([columns[name][lane] for name in FIELDS], axis=1).tolist()
    reports = [ledger.process(*message) for message in messages]
    lane_executions = lane_of(executions, lane)
    where, slot = np.nonzero(lane_executions.quantity)
    fields = ("price", "quantity", "order_id", "owner")
    trades = zip(where, *(getattr(lane_executions, name)[where, slot] for name in fields), strict=True)
    expected_trades = [(i, *fill) for i, report in enumerate(reports) for fill in report.fills]
    for trade, expected in zip_longest(trades, expected_trades):
        assert trade == expected, f"lane {lane}, message {messages[min(trade or expected, expected or trade)[0]]}"
    differs = (records(lane_executions) != np.array([expected_record(report) for report in reports])).any(-1)
    assert not differs.any(), f"lane {lane}, message {np.argmax(differs)}: {messages[np.argmax(differs)]}"
    assert resting(lane_of(books, lane)) == [ledger.resting(BUY), ledger.resting(SELL)]
    assert counters(lane_of(books, lane)) == ledger.counters


@pytest.mark.parametrize("self_trade", SelfTrade)
def test_random_streams_equal_the_reference_book(self_trade):
    never_happened = set(COUNTERS)
    for seed in range(3):
        columns = random_streams(seed)
        books, executions = replay(columns, self_trade)
        for lane in range(N_STREAMS):
            ledger = reference(self_trade)
            assert_lane_equals(columns, books, executions, ledger, lane)
            never_happened -= {name for name, n in ledger.counters.items() if n}
    assert never_happened == ({"self_trade", "self_trade_lots"} if self_trade is SelfTrade.ALLOW else set())


def test_every_prefix_leaves_sound_books_and_conserves_lots():
    columns = random_streams(seed=5)
    _, executions = replay(columns)
    into = executions.rested
    out = executions.filled + executions.cancelled + executions.evicted
    total = np.cumsum(into - out, axis=1)  # [streams, messages] lots at rest
    inspect = jax.jit(jax.vmap(lambda book: (sizes(book), live(book), best_quotes(book))))
    for n in range(1, N_MESSAGES, 16):
        kept = np.arange(N_MESSAGES) < n
        books, _ = replay(columns | {"kind": np.where(kept, columns["kind"], NONE)})
        size, alive, (price, exists) = jax.tree.map(np.asarray, inspect(books))
        assert (size[alive] > 0).all()
        assert (size[~alive] == 0).all()
        np.testing.assert_array_equal(alive.sum(-1), books.count)
        np.testing.assert_array_equal(size.sum((1, 2)), total[:, n - 1])
        in_order = (np.diff(books.key, axis=-1) >= 0) | ~(alive[..., 1:] & alive[..., :-1])
        assert in_order.all()
        for lane in range(N_STREAMS):
            ids = books.order_id[lane][alive[lane]]
            assert len(set(ids.tolist())) == len(ids)
        assert (price[:, Side.BID] < price[:, Side.ASK])[exists.all(-1)].all()


def test_bulk_removal_keeps_priority_and_the_book_goes_on():
    books, _ = replay(random_streams(seed=2))
    rng = np.random.default_rng(3)
    mask = rng.random((N_STREAMS, 2, CAPACITY)) < rng.choice([0.2, 0.6, 1.0], (N_STREAMS, 1, 1))
    jaxed = jax.tree.map(jnp.asarray, books)
    removal = jax.jit(jax.vmap(remove))(jaxed, jnp.asarray(mask))
    left, n_removed, lots_removed = jax.tree.map(np.asarray, removal)
    leaving = mask & np.asarray(jax.vmap(live)(jaxed))
    np.testing.assert_array_equal(n_removed, leaving.sum(-1))
    np.testing.assert_array_equal(lots_removed, np.where(leaving, jax.vmap(sizes)(jaxed), 0).sum(-1))
    columns = random_streams(seed=4, first_id=10_000)
    books_after, executions = replay(columns, books=left)
    for lane in range(N_STREAMS):
        lane_book = lane_of(books, lane)
        gone = set(books.order_id[lane][leaving[lane]].tolist())
        expected = [[order for order in row if order[2] not in gone] for row in resting(lane_book)]
        assert resting(lane_of(left, lane)) == expected
        ledger = reference()
        for side, row in zip((BUY, SELL), expected, strict=True):
            for price, quantity, order_id, owner, expiry in row:
                ledger.process(LIMIT, side, price, quantity, order_id, owner, expiry)
        ledger.counters = counters(lane_book)
        assert_lane_equals(columns, books_after, executions, ledger, lane)


def test_one_book_alone_needs_no_batch():
    spec = BookSpec(capacity=4, n_owners=2)
    step = jax.jit(lambda book, message: apply(book, message, spec))
    book = empty_book(spec)
    assert best_quotes(book)[1].tolist() == [False, False]
    for row in [
        (LIMIT, BUY, -3, 2, 1, 0),
        (LIMIT, BUY, -1, 4, 2, 1),
        (LIMIT, BUY, -2, 8, 3, 0),
        (LIMIT, SELL, 6, 1, 4, 0),
    ]:
        book, _ = step(book, Message(*(jnp.int32(x) for x in (*row, NEVER))))
    price, exists = best_quotes(book)
    assert price.tolist() == [-1, 6]
    assert exists.tolist() == [True, True]
    price, lots = owner_depth(book, 0)
    assert (price.tolist(), lots.tolist()) == ([-2, 6], [10, 1])
