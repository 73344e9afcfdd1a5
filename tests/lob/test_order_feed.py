"""Order-by-order files: one day by hand in two vendors' words, beside the LOBSTER rows that say the same."""

import gzip
import json

import numpy as np
import pytest

from amarl_jax.lob.feed_columns import MAPPINGS, Columns, read_columns_file
from amarl_jax.lob.order_feed import read_order_feed
from amarl_jax.lob.recording import Event

NOON = 1_340_294_400  # 2012-06-21, 12:00 in New York
NS = 1_000_000_000
HEADER = "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,channel_id,order_id,flags"
DATABENTO = [  # seconds after noon, action, side, price, size, order id
    (0, "R", "N", "", 0, 0),
    (0, "A", "B", "10.00", 100, 1),
    (1, "A", "A", "10.02", 50, 2),
    (2, "A", "B", "9.99", 40, 3),
    (3, "T", "A", "10.00", 30, 0),
    (3, "F", "B", "10.00", 30, 1),
    (3, "C", "B", "10.00", 30, 1),
    (4, "M", "B", "9.99", 25, 3),  # less: it keeps its place
    (5, "M", "B", "10.00", 60, 3),  # another price
    (6, "C", "A", "10.02", 50, 2),
    (7, "C", "B", "10.00", 70, 99),  # of an order that was there before the file begins
    (8, "F", "B", "10.00", 70, 1),
    (8, "C", "B", "10.00", 70, 1),
]
ITCH = [  # the same: seconds, type, order id, side, shares, price in 1e-4 dollars, new id
    (0, "A", 1, "B", 100, 100_000, ""),
    (1, "F", 2, "S", 50, 100_200, ""),
    (2, "A", 3, "B", 40, 99_900, ""),
    (3, "E", 1, "", 30, "", ""),
    (4, "X", 3, "", 15, "", ""),
    (5, "U", 3, "", 60, 100_000, 4),
    (6, "D", 2, "", "", "", ""),
    (7, "D", 99, "", "", "", ""),
    (8, "E", 1, "", 70, "", ""),
]
S, C, D, E = Event.SUBMISSION, Event.CANCELLATION, Event.DELETION, Event.EXECUTION
EXPECTED = [  # type, id, size, price, direction, and the best two levels of both sides
    (S, 1, 100, 100_000, 1, [[100_000, 100], [0, 0]], [[0, 0], [0, 0]]),
    (S, 2, 50, 100_200, -1, [[100_000, 100], [0, 0]], [[100_200, 50], [0, 0]]),
    (S, 3, 40, 99_900, 1, [[100_000, 100], [99_900, 40]], [[100_200, 50], [0, 0]]),
    (E, 1, 30, 100_000, 1, [[100_000, 70], [99_900, 40]], [[100_200, 50], [0, 0]]),
    (C, 3, 15, 99_900, 1, [[100_000, 70], [99_900, 25]], [[100_200, 50], [0, 0]]),
    (D, 3, 25, 99_900, 1, [[100_000, 70], [0, 0]], [[100_200, 50], [0, 0]]),
    (S, 3, 60, 100_000, 1, [[100_000, 130], [0, 0]], [[100_200, 50], [0, 0]]),
    (D, 2, 50, 100_200, -1, [[100_000, 130], [0, 0]], [[0, 0], [0, 0]]),
    (E, 1, 70, 100_000, 1, [[100_000, 60], [0, 0]], [[0, 0], [0, 0]]),
]


def databento(rows, stamp=lambda s: str((NOON + s) * NS + 250), price=lambda p: p):
    lines = [
        f"{stamp(s)},{stamp(s)},160,2,77,{action},{side},{price(p)},{size},0,{order_id},128"
        for s, action, side, p, size, order_id in rows
    ]
    return "\n".join([HEADER, *lines]) + "\n"


def in_words(seconds):
    return f"2012-06-21T16:00:{seconds:02d}.000000250Z"


def check(recording, new_id=3):
    assert [recording.time[i] - 43_200 for i in (0, -1)] == pytest.approx([250e-9, 8 + 250e-9], abs=1e-8)
    for row, (event, order_id, size, price, direction, bids, asks) in enumerate(EXPECTED):
        found = [getattr(recording, name)[row] for name in ("event", "order_id", "size", "price", "direction")]
        order_id = new_id if (row, order_id) == (6, 3) else order_id
        assert found == [event, order_id, size, price, direction]
        assert recording.levels[row].tolist() == [bids, asks]
    assert len(recording) == len(EXPECTED)


FORMS = {
    "numbers": databento(DATABENTO, price=lambda p: str(round(float(p) * 1e9)) if p else str(2**63 - 1)),
    "words": databento(DATABENTO, stamp=in_words),
    "two instruments": databento(DATABENTO).replace("\n", "\n1340294400000000250,0,160,2,78,A,B,5,1,0,1,0\n", 2)[:-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_databento_by_hand(form, tmp_path):
    path = tmp_path / "day.mbo.csv"
    path.write_bytes(gzip.compress(FORMS[form].encode(), mtime=0))
    recording = read_order_feed(path, MAPPINGS["databento"], n_levels=2, instrument="77")
    check(recording)
    if form != "two instruments":
        assert recording.message_line(3) == f"{path}, line 7"


def test_itch_and_a_mapping_of_ones_own(tmp_path):
    lines = [f"{(43_200 + s) * NS + 250},{kind},{','.join(map(str, rest))}" for s, kind, *rest in ITCH]
    path = tmp_path / "itch.csv"
    path.write_text("\n".join(["time,type,order_id,side,shares,price,new_order_id", *lines]))
    check(read_order_feed(path, MAPPINGS["itch"], n_levels=2), new_id=4)
    own = {"time": "t", "action": "a", "order_id": "o", "side": "s", "size": "q", "price": "p", "new_order_id": "n"}
    own |= {"price_unit": 1e-4, "actions": dict(MAPPINGS["itch"].actions), "sides": {"B": 1, "S": -1}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    path.write_text("\n".join(["t,a,o,s,q,p,n", *lines]))
    check(read_order_feed(path, read_columns_file(tmp_path / "own.json"), n_levels=2), new_id=4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("instrument_id,action", "instrument_id,act"), "line 1: no column 'action'; the header must have ts_recv,"),
        ((",A,B,10.00,", ",Z,B,10.00,"), "line 3: action 'Z' is none of A, C, M, R, F, T, N"),
        ((",A,B,10.00,", ",A,X,10.00,"), "line 3: side 'X' is none of"),
        ((",A,B,10.00,", ",A,N,10.00,"), "line 3: an order without a side is added"),
        ((",A,B,10.00,", ",A,B,ten,"), "line 3: price 'ten' is not a number"),
        ((",A,B,10.00,", ",A,B,10.00001,"), "line 3: price 10.00001 is not a multiple of 0.0001 dollars"),
        ((",A,B,10.00,", ",A,B,,"), "line 3: an order is added without a price"),
        ((",10.02,50,0,2,", ",10.02,5O,0,2,"), "line 4: size '5O' is not a whole number"),
        ((",9.99,40,0,3,", ",9.99,40,0,1,"), "line 5: order 1 is added a second time"),
        ((",F,B,10.00,30,", ",F,B,10.00,300,"), "line 7: size 300 trades of order 1, which has 100"),
        (("\n13402944020", "\n13402943990"), "line 5: time is before that of the row above"),
        (("\n13402944020", "\n13402944x20"), "line 5: time .* is not a time"),
        (("\n13402944020", "\n13602944020"), "line 5: time .* is not of the day of the first row"),
    ],
)
def test_what_cannot_be_read_is_one_line(change, says, tmp_path):
    path = tmp_path / "day.csv"
    path.write_text(databento(DATABENTO).replace(*change, 1))
    with pytest.raises(ValueError, match=rf"^{path}, {says}") as caught:
        read_order_feed(path, MAPPINGS["databento"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "must be an object"),
        ('{"tme": "t"}', "tme: no such field, must be one of time, action"),
        ('{"price_unit": "cent"}', "price_unit: must be a number"),
        ('{"actions": {"A": "ad"}}', "actions: 'ad' must be one of add, cancel"),
        ('{"time": "t"}', "actions: None must be one of"),
        ('{"actions": {"A": "add"}, "zone": "New York"}', "zone: 'New York' must be a time zone"),
        ('{"actions": {"A": "add"}, "price_unit": 0}', "price_unit: 0 must be a finite number > 0"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_one_line(text, says, tmp_path):
    path = tmp_path / "columns.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^{path}: {says}"):
        read_columns_file(path)


def test_a_cleared_book_is_empty(tmp_path):
    path = tmp_path / "day.csv"
    path.write_text(databento([*DATABENTO, (9, "R", "N", "", 0, 0)]))
    recording = read_order_feed(path, MAPPINGS["databento"], n_levels=1)
    assert recording.event[-1] == Event.DELETION
    assert np.all(recording.levels[-1] == 0)
    assert isinstance(MAPPINGS["databento"], Columns)
