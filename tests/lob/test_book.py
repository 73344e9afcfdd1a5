import dataclasses
from itertools import zip_longest

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    vwap,
)
from tests.lob.reference_book import COUNTERS, ReferenceBook
from tests.lob.streams import (
    CAPACITY,
    FIELDS,
    INT32,
    N_MESSAGES,
    N_OWNERS,
    N_STREAMS,
    book_spec,
    counters,
    fills,
    lane_of,
    play,
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


def test_priority_at_equal_prices_is_the_order_of_arrival():
    # Ids descend, sizes and owners mix, and a better price arrives last.
    rows = [(LIMIT, SELL, 5, 2, 30, 0), (LIMIT, SELL, 5, 2, 20, 1), (LIMIT, SELL, 5, 2, 10, 0)]
    rows += [(LIMIT, SELL, 4, 1, 5, 2), (MARKET, BUY, 0, 6, 99, 1)]
    _, executions = play(rows)
    assert fills(executions[-1]) == [(4, 1, 5, 2), (5, 2, 30, 0), (5, 2, 20, 1), (5, 1, 10, 0)]


def test_vwap_of_a_sweep_over_three_levels():
    rows = [(LIMIT, SELL, 1, 3, 1, 0), (LIMIT, SELL, 2, 4, 2, 1), (LIMIT, SELL, 7, 5, 3, 0)]
    book, executions = play([*rows, (LIMIT, BUY, 7, 9, 4, 2), (MARKET, SELL, 0, 1, 5, 2)])
    sweep = executions[3]
    assert fills(sweep) == [(1, 3, 1, 0), (2, 4, 2, 1), (7, 2, 3, 0)]
    assert (sweep.filled, sweep.notional, sweep.rested) == (9, 3 + 8 + 14, 0)
    assert sweep.owner_quantity.tolist() == [5, 4, 0]
    assert sweep.owner_notional.tolist() == [17, 8, 0]
    assert float(vwap(sweep)) == pytest.approx(25 / 9, rel=1e-6)  # float32
    assert float(vwap(executions[4])) == 0.0  # no bids: nothing filled
    assert resting(book)[Side.ASK] == [(7, 3, 3, 0, 102)]


def test_limit_order_trades_then_rests_its_remainder():
    book, executions = play([(LIMIT, BUY, 3, 2, 1, 0), (LIMIT, SELL, 3, 5, 2, 1)])
    assert executions[0].marketable.item() is False
    assert executions[1].marketable.item() is True
    assert (executions[1].filled, executions[1].rested) == (2, 3)
    assert resting(book) == [[], [(3, 3, 2, 1, 101)]]


def test_immediate_or_cancel_and_market_orders_rest_nothing():
    rows = [
        (LIMIT, BUY, 3, 2, 1, 0),
        (LIMIT, BUY, 1, 2, 2, 0),
        (IOC, SELL, 2, 5, 3, 1),
        (MARKET, SELL, INT32.max, 9, 4, 1),
    ]
    book, executions = play(rows)
    assert fills(executions[2]) == [(3, 2, 1, 0)]
    assert fills(executions[3]) == [(1, 2, 2, 0)]  # a market order's price is not read
    assert resting(book) == [[], []]


def test_market_order_on_an_empty_book_does_nothing():
    book, executions = play([(MARKET, BUY, 0, 5, 1, 0)])
    assert resting(book) == [[], []]
    assert set(counters(book).values()) == {0}
    assert executions[0].filled == 0
    assert executions[0].accepted.item() is True
    assert executions[0].marketable.item() is False


def test_full_side_refuses_a_newcomer_that_is_not_strictly_better():
    rows = [(LIMIT, BUY, 10 + i, 2, i, 0) for i in range(CAPACITY)]
    rows += [(LIMIT, BUY, 10, 3, 50, 1), (LIMIT, BUY, 4, 5, 51, 1), (LIMIT, SELL, 90, 1, 52, 1)]
    book, executions = play(rows)
    assert [o[2] for o in resting(book)[Side.BID]] == list(reversed(range(CAPACITY)))
    assert [executions[-3].refused, executions[-2].refused, executions[-1].rested] == [3, 5, 1]
    assert {k: v for k, v in counters(book).items() if v} == {"refused": 2, "refused_lots": 8}


def test_full_side_evicts_its_worst_and_youngest_order_for_a_better_one():
    rows = [(LIMIT, SELL, 10, 2, 1, 0), (LIMIT, SELL, 10, 7, 2, 2)]
    rows += [(LIMIT, SELL, 9, 1, 10 + i, 0) for i in range(CAPACITY - 2)]
    book, executions = play([*rows, (LIMIT, SELL, 9, 4, 50, 1)])
    last = executions[-1]
    assert (last.rested, last.evicted, last.evicted_id, last.evicted_owner) == (4, 7, 2, 2)
    assert [o[:3] for o in resting(book)[Side.ASK][-2:]] == [(9, 4, 50), (10, 2, 1)]
    assert {k: v for k, v in counters(book).items() if v} == {"evicted": 1, "evicted_lots": 7}


def test_newcomer_on_a_full_side_still_trades_before_its_remainder_is_refused():
    rows = [(LIMIT, BUY, 5, 1, i, 0) for i in range(CAPACITY)]
    book, executions = play([*rows, (LIMIT, SELL, 6, 2, 60, 1), (LIMIT, BUY, 5, 3, 61, 1), (LIMIT, BUY, 6, 3, 62, 2)])
    assert (executions[-2].filled, executions[-2].refused) == (0, 3)
    assert (executions[-1].filled, executions[-1].rested, executions[-1].evicted_id) == (2, 1, CAPACITY - 1)
    assert resting(book)[Side.ASK] == []


def test_unknown_and_filled_ids_cancel_nothing():
    rows = [(LIMIT, BUY, 5, 2, 1, 0), (LIMIT, BUY, 4, 2, 2, 0), (MARKET, SELL, 0, 2, 3, 1)]
    rows += [(CANCEL, 0, 0, 0, 1, 0), (CANCEL, BUY, 5, 0, 77, 0), (CANCEL, 0, 0, 0, 0, 0)]  # 0: what empty slots hold
    book, executions = play(rows)
    assert resting(book)[Side.BID] == [(4, 2, 2, 0, 101)]
    assert [e.cancelled for e in executions[3:]] == [0, 0, 0]
    assert {k: v for k, v in counters(book).items() if v} == {"unknown_cancel": 3}


def test_partial_cancel_keeps_priority_and_a_full_one_does_not_need_the_size():
    rows = [(LIMIT, BUY, 5, 4, 1, 0), (LIMIT, BUY, 5, 4, 2, 1), (LIMIT, BUY, 5, 4, 3, 2)]
    rows += [(CANCEL, 0, 0, 3, 1, 0), (CANCEL, 0, 0, 99, 2, 0), (CANCEL, 0, 0, 0, 3, 0)]
    book, executions = play(rows[:4])
    assert resting(book)[Side.BID] == [(5, 1, 1, 0, 100), (5, 4, 2, 1, 101), (5, 4, 3, 2, 102)]
    book, executions = play(rows)
    assert [e.cancelled for e in executions[3:]] == [3, 4, 4]
    assert resting(book)[Side.BID] == [(5, 1, 1, 0, 100)]


INVALID = [
    (9, BUY, 0, 1, 9, 0),
    (-1, BUY, 0, 1, 9, 0),
    (LIMIT, 0, 0, 1, 9, 0),
    (LIMIT, 2, 0, 1, 9, 0),
    (LIMIT, BUY, 0, 0, 9, 0),
    (LIMIT, BUY, 0, -1, 9, 0),
    (LIMIT, BUY, 0, (1 << 15) + 1, 9, 0),
    (MARKET, SELL, 0, INT32.min, 9, 0),
    (LIMIT, BUY, (1 << 15) + 1, 1, 9, 0),
    (IOC, SELL, -(1 << 15) - 1, 1, 9, 0),
    (LIMIT, SELL, INT32.min, 1, 9, 0),
    (IOC, INT32.min, INT32.min, INT32.max, 9, 0),
    (LIMIT, BUY, 0, 1, 9, -1),
    (LIMIT, BUY, 0, 1, 9, N_OWNERS),
    (CANCEL, BUY, 0, -1, 1, 0),
]


def test_invalid_messages_are_counted_and_leave_the_book_untouched():
    setup = [(LIMIT, BUY, -2, 3, 1, 0), (LIMIT, SELL, 2, 3, 2, 1)]
    before, _ = play(setup)
    after, executions = play([*setup, *INVALID])
    chex.assert_trees_all_equal(after.replace(counters=None), before.replace(counters=None))
    assert {k: v for k, v in counters(after).items() if v} == {"invalid": len(INVALID)}
    assert not any(e.accepted or e.filled or e.rested or e.cancelled for e in executions[2:])


def test_live_duplicate_ids_are_rejected_for_every_kind_of_order_and_dead_ids_may_return():
    rows = [(LIMIT, BUY, 5, 3, 1, 0), (LIMIT, SELL, 9, 3, 2, 1)]
    rows += [(LIMIT, SELL, 5, 1, 1, 1), (MARKET, SELL, 0, 1, 1, 1), (IOC, SELL, 5, 1, 2, 1)]
    book, executions = play(rows)
    assert not any(e.accepted or e.filled or e.rested for e in executions[2:])
    assert {k: v for k, v in counters(book).items() if v} == {"duplicate": 3}
    book, _ = play([(LIMIT, BUY, 5, 3, 1, 0), (CANCEL, 0, 0, 0, 1, 0), (LIMIT, BUY, 6, 2, 1, 1)])
    assert resting(book)[Side.BID] == [(6, 2, 1, 1, 102)]


OWN_IN_THE_MIDDLE = [
    (LIMIT, SELL, 1, 2, 1, 0),
    (LIMIT, SELL, 2, 3, 2, 1),
    (LIMIT, SELL, 3, 4, 3, 2),
    (LIMIT, SELL, 3, 5, 4, 1),
]


def test_self_trade_allowed_trades():
    book, executions = play([*OWN_IN_THE_MIDDLE, (LIMIT, BUY, 9, 6, 9, 1)])
    assert fills(executions[-1]) == [(1, 2, 1, 0), (2, 3, 2, 1), (3, 1, 3, 2)]
    assert set(counters(book).values()) == {0}


def test_self_trade_cancels_the_resting_orders_that_are_reached():
    book, executions = play([*OWN_IN_THE_MIDDLE, (LIMIT, BUY, 9, 6, 9, 1)], SelfTrade.CANCEL_RESTING)
    assert fills(executions[-1]) == [(1, 2, 1, 0), (3, 4, 3, 2)]  # exhausted there: the own order behind stays
    assert executions[-1].self_cancelled == 3
    assert resting(book) == [[], [(3, 5, 4, 1, 103)]]
    book, executions = play([*OWN_IN_THE_MIDDLE, (LIMIT, BUY, 9, 7, 9, 1)], SelfTrade.CANCEL_RESTING)
    assert (executions[-1].filled, executions[-1].self_cancelled, executions[-1].rested) == (6, 8, 1)
    assert {k: v for k, v in counters(book).items() if v} == {"self_trade": 2, "self_trade_lots": 8}


def test_self_trade_cancels_the_incoming_remainder_at_the_first_own_order():
    book, executions = play([*OWN_IN_THE_MIDDLE, (LIMIT, BUY, 9, 6, 9, 1)], SelfTrade.CANCEL_INCOMING)
    assert fills(executions[-1]) == [(1, 2, 1, 0)]
    assert (executions[-1].self_cancelled, executions[-1].rested) == (4, 0)
    assert [o[2] for o in resting(book)[Side.ASK]] == [2, 3, 4]
    assert {k: v for k, v in counters(book).items() if v} == {"self_trade": 1, "self_trade_lots": 4}
    book, _ = play([*OWN_IN_THE_MIDDLE, (LIMIT, BUY, 9, 2, 9, 1)], SelfTrade.CANCEL_INCOMING)
    assert set(counters(book).values()) == {0}  # done before it meets itself


def test_padding_changes_nothing():
    rows = [(LIMIT, BUY, -2, 3, 1, 0), (LIMIT, SELL, 2, 3, 2, 1), (MARKET, BUY, 0, 1, 3, 2)]
    padding = [(NONE, BUY, 5, 3, 1, 0), (NONE, 0, INT32.min, INT32.min, 1, 99)]
    plain, _ = play(rows)
    padded, executions = play([*rows, *padding])
    chex.assert_trees_all_equal(padded, plain)
    assert not any(np.any(x) for e in executions[3:] for x in (e.quantity, e.rested, e.accepted, e.marketable))


def test_largest_price_and_quantity_stay_inside_int32():
    top = 1 << 15
    rows = [(LIMIT, SELL, top, top, i, 0) for i in range(CAPACITY)] + [(LIMIT, BUY, top, top, 90, 1)]
    book, executions = play(rows)
    assert executions[-1].notional == top * top
    assert executions[-1].owner_notional.tolist() == [top * top, 0, 0]
    assert sum(o[1] for o in resting(book)[Side.ASK]) == (CAPACITY - 1) * top


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_price": 1 << 16}, "max_price \\* max_quantity"),
        ({"capacity": 1 << 16}, "capacity \\+ 1"),
        ({"capacity": 0}, "capacity must be"),
        ({"n_owners": -1}, "n_owners must be"),
        ({"max_quantity": 0}, "max_quantity must be"),
    ],
)
def test_spec_refuses_sizes_that_could_leave_int32(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(BookSpec(capacity=8, n_owners=2), **changes)


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
