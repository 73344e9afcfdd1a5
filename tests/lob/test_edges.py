import dataclasses

import chex
import numpy as np
import pytest

from amarl_jax.ground_truth.message_streams import INT32, N_OWNERS
from amarl_jax.lob.book import BookSpec, MessageKind, SelfTrade, Side, vwap
from tests.lob.streams import CAPACITY, counters, fills, play, resting

NONE, LIMIT, MARKET, IOC, CANCEL = MessageKind
BUY, SELL = 1, -1


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
