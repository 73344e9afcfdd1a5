import numpy as np
import pytest

from amarl_jax.ground_truth.book_comparison import difference, disagreement, expectation
from amarl_jax.ground_truth.message_streams import Mix, random_stream
from amarl_jax.lob import replay as replay_module
from amarl_jax.lob.replay import FIELDS, MessageKind, SelfTrade, replay, replay_batch

LIMIT, MARKET, IOC, CANCEL = list(MessageKind)[1:]
BUY, SELL = 1, -1
BUSY = Mix((0.02, 0.6, 0.1, 0.06, 0.2, 0.01, 0.01), width=4, improvement=0, buys=0.5, largest=10, odd=0.04, reach=12)


def columns_of(rows):
    return {name: [row[i] for row in rows] for i, name in enumerate(FIELDS)}


def busy_streams(seed, shape):
    columns = random_stream(np.random.default_rng(seed), BUSY, shape)
    return {name: columns[name] for name in FIELDS}


SWEEP = [
    (LIMIT, SELL, 7, 3, 1, 10),
    (LIMIT, SELL, 5, 2, 2, 20),
    (LIMIT, SELL, 5, 4, 3, 10),
    (LIMIT, BUY, 1, 6, 4, 30),
    (LIMIT, BUY, 7, 8, 5, 40),  # takes 2 and 4 at 5, then 2 of 3 at 7
    (CANCEL, 0, 0, 5, 4, 0),
    (IOC, SELL, 0, 9, 6, 50),  # takes the last lot of order 4
]


def test_a_sweep_by_hand():
    result = replay(columns_of(SWEEP), capacity=4)
    trades = [(5, 2, 2, 5, 20, 40), (5, 4, 3, 5, 10, 40), (7, 2, 1, 5, 10, 40), (1, 1, 4, 6, 30, 50)]
    assert result.trades.tolist() == [list(trade) for trade in trades]
    assert result.bids.shape == (0, 4)
    assert result.asks.tolist() == [[7, 1, 1, 10]]
    assert set(result.counters.values()) == {0}


def test_levels_after_every_message_by_hand():
    levels = replay(columns_of(SWEEP), capacity=4, n_levels=2).levels
    assert levels[2].tolist() == [[[0, 0], [0, 0]], [[5, 6], [7, 3]]]
    assert levels[3].tolist() == [[[1, 6], [0, 0]], [[5, 6], [7, 3]]]
    assert levels[4].tolist() == [[[1, 6], [0, 0]], [[7, 1], [0, 0]]]
    assert levels[6].tolist() == [[[0, 0], [0, 0]], [[7, 1], [0, 0]]]


def test_owners_and_ids_are_any_integers_of_64_bits():
    rows = [
        (LIMIT, SELL, 5, 2, 2**40, -1),
        (LIMIT, SELL, 5, 2, -(2**62), 2**50),
        (LIMIT, SELL, 5, 2, -1, -7),
        (CANCEL, 0, 0, 0, 2**40 + 2**32, 0),  # the same low 32 bits as the first id
        (MARKET, BUY, 0, 5, 0, -1),
    ]
    result = replay(columns_of(rows), capacity=4)
    makers = [(2**40, -1), (-(2**62), 2**50), (-1, -7)]
    assert result.trades[:, [2, 4]].tolist() == [list(maker) for maker in makers]
    assert result.asks.tolist() == [[5, 1, -1, -7]]
    assert {name for name, n in result.counters.items() if n} == {"unknown_cancel"}


@pytest.mark.parametrize("far", [2**15 + 1, 2**31, 2**32, 2**32 + 5, -(2**31) - 1, -(2**33), 2**62, -(2**63)])
def test_what_is_out_of_bounds_is_invalid_however_far(far):
    rows = [(LIMIT, BUY, 5, 2, 1, 0), (LIMIT, SELL, far, 2, 2, 0), (IOC, SELL, far, 2, 3, 0)]
    rows += [(LIMIT, SELL, 0, far, 4, 0), (far, SELL, 0, 1, 5, 0), (LIMIT, far, 0, 1, 6, 0)]
    result = replay(columns_of(rows), capacity=4)
    assert result.bids.tolist() == [[5, 2, 1, 0]]
    assert result.counters["invalid"] == 5
    result = replay(columns_of([rows[0], (MARKET, SELL, far, 1, 2, 0)]), capacity=4)
    assert result.trades.tolist() == [[5, 1, 1, 2, 0, 0]]  # a market order's price is not read


def test_n_owners_makes_other_owners_invalid():
    rows = [(LIMIT, BUY, 5, 2, 1, owner) for owner in (-1, 2, 2**40)]
    assert replay(columns_of(rows), capacity=4, n_owners=2).counters["invalid"] == 3
    assert replay(columns_of(rows), capacity=4).counters["invalid"] == 0


def test_bounds_and_policy_are_options():
    rows = [(LIMIT, SELL, 60_000, 20_000, 1, 3), (LIMIT, BUY, 60_000, 20_000, 2, 3)]
    assert replay(columns_of(rows), capacity=4).counters["invalid"] == 2
    result = replay(columns_of(rows), capacity=4, max_price=1 << 16, max_quantity=1 << 14)
    assert result.counters["invalid"] == 2
    result = replay(columns_of(rows), capacity=4, max_price=1 << 16, max_quantity=20_000)
    assert result.trades.tolist() == [[60_000, 20_000, 1, 2, 3, 3]]
    rows = [(LIMIT, SELL, 6, 2, 1, 3), (LIMIT, BUY, 6, 2, 2, 3)]
    for policy in (SelfTrade.CANCEL_RESTING, "cancel_resting"):
        result = replay(columns_of(rows), capacity=4, self_trade=policy)
        assert result.bids.tolist() == [[6, 2, 2, 3]]
        assert (result.counters["self_trade"], result.counters["self_trade_lots"]) == (1, 2)


@pytest.mark.parametrize("dtype", [list, np.int8, np.uint16, np.int64])
def test_columns_may_be_lists_or_any_width(dtype):
    rows = [(LIMIT, BUY, 5, 2, 1, 0), (LIMIT, BUY, 4, 2, 2, 0)]
    columns = columns_of(rows)
    if dtype is not list:
        columns = {name: np.array(column, dtype) for name, column in columns.items()}
    assert replay(columns, capacity=4).bids.tolist() == [[5, 2, 1, 0], [4, 2, 2, 0]]


def test_an_empty_stream_leaves_the_book_as_it_was():
    empty = {name: [] for name in FIELDS}
    result = replay(empty, capacity=2, asks=[[3, 1, 7, 0]], n_levels=2)
    assert (result.trades.shape, result.asks.tolist()) == ((0, 6), [[3, 1, 7, 0]])
    assert result.levels.shape == (0, 2, 2, 2)
    assert replay_batch({name: np.zeros((0, 5), int) for name in FIELDS}, capacity=2) == []


def test_chunks_change_nothing_and_lose_no_trade(monkeypatch):
    columns = busy_streams(3, (2, 700))
    whole = replay_batch(columns, capacity=16, n_levels=3)
    monkeypatch.setattr(replay_module, "_RECORD_BYTES", 64 * 2 * (16 * (16 + 3) + 9 * 4))
    assert replay_module._chunk_length(2, 700, replay_module.BookSpec(16, 3), 3) == 64
    chunked = replay_batch(columns, capacity=16, n_levels=3)
    for lane, (one, other) in enumerate(zip(whole, chunked, strict=True)):
        rows = np.stack([columns[name][lane] for name in FIELDS], axis=-1).tolist()
        assert len(one.trades) > 200
        np.testing.assert_array_equal(other.trades, one.trades)
        np.testing.assert_array_equal(other.levels, one.levels)
        assert (other.checksum, other.counters) == (one.checksum, one.counters)
        owners_in_range = np.isin(columns["owner"][lane], range(3))
        expected = expectation([r for r, kept in zip(rows, owners_in_range, strict=True) if kept], 16, SelfTrade.ALLOW)
        kept = {name: column[lane][owners_in_range] for name, column in columns.items()}
        assert difference(replay(kept, capacity=16, n_owners=3), expected) is None


def test_sizes_do_not_shorten_chunks():
    small, large = (replay_module.BookSpec(1024, 1, max_price=1, max_quantity=size) for size in (100, 2_000_000))
    lengths = {replay_module._chunk_length(1, 400_000, spec, 10) for spec in (small, large)}
    assert lengths == {1 << 10}  # 2**25 bytes hold 2,023 records of 16 (1024 + 10) + 36 bytes


def test_lots_are_counted_beyond_int32():
    n, lots = 1 << 17, 1 << 15  # 2**32 lots refused
    columns = {name: np.ones(n, int) for name in FIELDS}
    columns |= {"quantity": np.full(n, lots), "order_id": np.arange(n), "price": -np.arange(n) % 7}
    columns["price"][0] = 9
    counters = replay(columns, capacity=1).counters
    assert (counters["refused"], counters["refused_lots"]) == (n - 1, (n - 1) * lots)


def test_a_stream_continues_from_the_book_another_one_left():
    columns = busy_streams(4, (3, 300))
    halves = [{name: column[:, part] for name, column in columns.items()} for part in (slice(150), slice(150, None))]
    first = replay_batch(halves[0], capacity=8, n_owners=3)
    sides = {"bids": [r.bids for r in first], "asks": [r.asks for r in first]}
    second = replay_batch(halves[1], capacity=8, n_owners=3, **sides)
    for one, other, whole in zip(first, second, replay_batch(columns, capacity=8, n_owners=3), strict=True):
        np.testing.assert_array_equal(np.concatenate([one.trades, other.trades]), whole.trades)
        np.testing.assert_array_equal(other.bids, whole.bids)
        np.testing.assert_array_equal(other.asks, whole.asks)


def test_padding_pads_streams_of_different_lengths():
    columns = busy_streams(5, (2, 200))
    columns["kind"][1, 90:] = MessageKind.NONE
    padded = replay_batch(columns, capacity=8)[1]
    alone = replay({name: column[1, :90] for name, column in columns.items()}, capacity=8)
    assert (padded.checksum, padded.counters) == (alone.checksum, alone.counters)
    np.testing.assert_array_equal(padded.trades, alone.trades)


def test_many_streams_and_a_large_book_equal_the_reference():
    columns = busy_streams(6, (300, 24))
    assert disagreement(columns, 128, SelfTrade.ALLOW) is None


ONE = columns_of([(LIMIT, BUY, 5, 2, 1, 0)])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"price": [1.5]}, {}, "^price: must be integers"),
        ({"price": ["a"]}, {}, "^price: must be integers"),
        ({"price": [2**70]}, {}, "^price: must be integers of at most 64 bits"),
        ({"price": np.array([2**63], np.uint64)}, {}, "^price: must fit int64"),
        ({"owner": [True]}, {}, "^owner: must be integers"),
        ({"quantity": [1, 2]}, {}, "^quantity: has shape"),
        ({"quantity": [[1], [1, 2]]}, {}, "^quantity: rows differ"),
        ({"kind": [[1]]}, {}, "^kind: needs 1 axes"),
        ({"side": None}, {}, "^side: missing"),
        ({"expiry": [3]}, {}, "^expiry: no such field"),
        ({}, {"capacity": 0}, "^capacity: must be at least 1"),
        ({}, {"capacity": 2.5}, "^capacity: must be an integer"),
        ({}, {"capacity": 2**63}, "^capacity: must be at most"),
        ({}, {"n_owners": 2**40}, "^n_owners: must be at most"),
        ({}, {"n_levels": -1}, "^n_levels: must be at least 0"),
        ({}, {"self_trade": "maybe"}, "maybe"),
        ({}, {"max_price": 1 << 17}, "max_price \\* max_quantity"),
        ({}, {"bids": [[1, 2, 3]]}, "^bids: needs shape"),
        ({}, {"bids": [[5, 0, 8, 0]]}, "^bids: prices must be within"),
        ({}, {"asks": [[2**16, 1, 8, 0]]}, "^asks: prices must be within"),
        ({}, {"asks": [[-(2**63), 1, 8, 0]]}, "^asks: prices must be within"),
        ({}, {"bids": [[-(2**63), 1, 8, 0]]}, "^bids: prices must be within"),
        ({}, {"bids": [[5, 1, 7, 0], [-(2**63), 1, 8, 0]]}, "^bids: prices must be within"),
        ({}, {"bids": [[5, -(2**63), 8, 0]]}, "^bids: prices must be within"),
        ({}, {"bids": [[5, 1, 8, 0], [6, 1, 9, 0]]}, "^bids: not in priority order"),
        ({}, {"asks": [[6, 1, 8, 0], [5, 1, 9, 0]]}, "^asks: not in priority order"),
        ({}, {"asks": [[5, 1, 8, 0]] * 5}, "^asks: 5 orders exceed"),
        ({}, {"asks": [[5, 1, 8, 0]], "bids": [[5, 1, 9, 0]]}, "cross: 5 bid, 5 asked"),
        ({}, {"asks": [[7, 1, 8, 0]], "bids": [[5, 1, 8, 0]]}, "ids must be unique"),
        ({}, {"asks": [[7, 1, 8, 3]], "n_owners": 3}, "^asks: owners must be in"),
    ],
)
def test_wrong_input_is_named(change, options, message):
    columns = {name: column for name, column in (ONE | change).items() if column is not None}
    with pytest.raises(ValueError, match=message):
        replay(columns, **{"capacity": 4, **options})


def test_a_batch_needs_one_start_per_stream():
    columns = {name: [column] for name, column in ONE.items()}
    with pytest.raises(ValueError, match=r"^asks: 2 given for 1 streams"):
        replay_batch(columns, capacity=4, asks=[[], []])
    with pytest.raises(ValueError, match=r"^kind: needs 2 axes"):
        replay_batch(ONE, capacity=4)
