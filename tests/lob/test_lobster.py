from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from amarl_jax.lob.lobster import Event, follow, read_recording
from amarl_jax.lob.window import seed_and_messages

FIXTURE = Path(__file__).parents[1] / "fixtures" / "lobster"
STEM = "SYNTHETIC_34200000_57600000"
NONE = "9999999999,0,-9999999999,0"

# Two levels of a book that has a third one: 300 shares bid at 9.97 and, from row 5 on, 80 asked at 10.04.
BY_HAND = [
    ("34200.0,1,11,100,100000,1", "100200,50,100000,100,100300,60,99900,200"),  # the seed row
    ("34200.5,1,12,40,99900,1", "100200,50,100000,100,100300,60,99900,240"),
    ("34201.0,4,7,20,100200,-1", "100200,30,100000,100,100300,60,99900,240"),  # of the older order asked at 10.02
    ("34201.0,2,12,15,99900,1", "100200,30,100000,100,100300,60,99900,225"),
    ("34202.0,5,0,500,100150,1", "100200,30,100000,100,100300,60,99900,225"),  # hidden
    ("34202.5,7,0,0,-1,-1", "100200,30,100000,100,100300,60,99900,225"),  # halt
    ("34203.0,3,7,30,100200,-1", "100300,60,100000,100,100400,80,99900,225"),  # the third ask comes into view
    ("34204.0,4,11,100,100000,1", "100300,60,99900,225,100400,80,99700,300"),  # and so does the third bid
    ("34205.0,1,13,10,100100,1,null", "100300,60,100100,10,100400,80,99900,225"),
]


def changed(row, message=None, levels=None):
    rows = list(BY_HAND)
    rows[row] = (rows[row][0] if message is None else message, rows[row][1] if levels is None else levels)
    return rows


@pytest.fixture
def write(tmp_path):
    """Rows (message, levels) as a pair of files."""

    def write(rows):
        paths = tmp_path / "m.csv", tmp_path / "b.csv"
        for path, lines in zip(paths, zip(*rows, strict=True), strict=True):
            path.write_text("\n".join(lines) + "\n")
        return paths

    return write


@pytest.fixture(scope="module")
def fixture():
    return read_recording(FIXTURE / f"{STEM}_message_10.csv", FIXTURE / f"{STEM}_orderbook_10.csv")


def test_rows_by_hand(write):
    followed = follow(read_recording(*write(BY_HAND)), capacity=16)
    assert followed.seconds.tolist() == [0.5, 1, 1, 2, 2.5, 3, 4, 5]
    unseen = np.zeros((8, 2, 2), bool)
    unseen[5:, 1, 1] = True  # second ask level of the last three rows
    unseen[6, 0, 1] = True  # second bid level of the last but one
    np.testing.assert_array_equal(followed.agreeing, ~unseen)
    assert (followed.executions, followed.executions_as_recorded) == (2, 2)
    assert set(followed.counters.values()) == {0}


def test_messages_by_hand(write):
    window = seed_and_messages(read_recording(*write(BY_HAND)), 0, np.arange(1, 9))
    assert window.prices.tolist() == [0, 99_900, 100_000, 100_100, 100_200, 100_300]
    assert window.price_of(np.arange(-3, 3)).tolist() == window.prices.tolist()
    assert window.bids.tolist() == [[-1, 100, -1, 0], [-2, 200, -2, 0]]
    assert window.asks.tolist() == [[1, 50, -3, 0], [2, 60, -4, 0]]
    assert window.messages["kind"].tolist() == [1, 3, 4, 0, 0, 4, 3, 1]
    assert window.messages["side"].tolist() == [1, 1, 1, 0, 0, -1, -1, 1]
    assert window.messages["price"].tolist() == [-2, 1, -2, 0, 0, 1, -1, 0]
    assert window.messages["quantity"].tolist() == [40, 20, 15, 0, 0, 30, 100, 10]
    assert window.maker.tolist()[:3] == [12, -3, 12]
    assert window.messages["order_id"].tolist()[1] == -6


@pytest.mark.parametrize(
    ("event", "as_recorded"), [("4,21,10,99900,1", 0), ("4,2,200,99900,1", 1), ("4,2,10,99900,1", 1)]
)
def test_an_execution_out_of_turn_is_seen(event, as_recorded, write):
    rows = [("1.0,3,9,5,99800,1", "100200,50,99900,200"), ("2.0,1,21,10,99900,1", "100200,50,99900,210")]
    followed = follow(read_recording(*write([*rows, (f"3.0,{event}", rows[0][1])])), capacity=16)
    assert (followed.executions, followed.executions_as_recorded) == (1, as_recorded)


def test_a_deletion_takes_all_of_a_known_order_whatever_its_size_says(write):
    rows = [*BY_HAND[:2], ("34201.0,3,12,1,99900,1", BY_HAND[0][1])]
    assert follow(read_recording(*write(rows)), capacity=16).agreeing.all()


def test_a_cancel_of_an_order_that_was_never_in_view_is_counted(write):
    rows = [*BY_HAND[:2], ("34201.0,3,99,70,99500,1", BY_HAND[1][1])]
    followed = follow(read_recording(*write(rows)), capacity=16)
    assert followed.counters["unknown_cancel"] == 1
    assert followed.agreeing.all()


def test_sides_may_be_empty(write):
    rows = [("1.0,7,0,0,0,-1", NONE), ("1.5,1,5,10,70000,-1", "70000,10,-9999999999,0")]
    rows += [("2.0,1,6,10,69900,1", "70000,10,69900,10")]
    rows[0] = (rows[0][0], rows[0][1])
    followed = follow(read_recording(*write(rows)), capacity=16)
    assert followed.agreeing.all()
    assert set(followed.counters.values()) == {0}


def test_the_synthetic_day_agrees_at_first_and_then_less(fixture):
    followed = follow(fixture)
    share = followed.agreeing.mean((1, 2))
    assert share[:5].tolist() == [1.0] * 5
    assert 0.3 < share[-100:].mean() < 0.95
    assert followed.agreeing[:, :, 0].mean() > followed.agreeing[:, :, 9].mean() + 0.2  # the far levels go first
    assert followed.executions > 80
    assert followed.executions_as_recorded > 0.9 * followed.executions


@pytest.mark.parametrize("seed_row", [0, 50, 300])
def test_what_never_left_the_view_since_seeding_agrees_for_good(seed_row, fixture):
    """Nothing that the files show is lost: only levels that were out of view for a while may disagree."""
    assert (fixture.levels[..., 1] > 0).all()  # ten levels in every row, so the tenth bounds the view
    farthest = np.array([-1, 1]) * fixture.levels[seed_row:, :, -1, 0]  # [n, 2], outwards
    outwards = np.array([[-1], [1]]) * fixture.levels[seed_row + 1 :, ..., 0]
    always_seen = outwards <= np.minimum.accumulate(farthest)[1:, :, None]
    agreeing = follow(fixture, seed_row).agreeing
    assert agreeing[always_seen].all()
    assert always_seen.mean() > 0.6
    assert not agreeing[~always_seen].all()


def test_a_wrong_size_or_price_in_the_recording_is_seen(fixture):
    levels = fixture.levels.copy()
    levels[7, 1, 2, 1] += 10
    levels[9, 0, 0, 0] += 100
    before, after = (follow(replace(fixture, levels=x), n_rows=20).agreeing for x in (fixture.levels, levels))
    assert np.argwhere(before != after).tolist() == [[6, 1, 2], [8, 0, 0]]


def test_hidden_executions_crosses_and_halts_leave_the_book_alone(fixture):
    aside = np.isin(fixture.event, (Event.HIDDEN_EXECUTION, Event.CROSS, Event.HALT))
    assert aside.sum() == 7
    names = ("time", "event", "order_id", "size", "price", "direction", "levels")
    without = replace(fixture, **{name: getattr(fixture, name)[~aside] for name in names})
    followed, quiet = follow(fixture), follow(without)
    np.testing.assert_array_equal(followed.agreeing[~aside[1:]], quiet.agreeing)
    assert followed.counters == quiet.counters


def test_bounds_are_those_of_the_rows_that_are_replayed(write):
    """Not of those in front of the seed, behind the last row, or that a book does not see."""
    huge = ["6,-1,2000000000,100100,1", f"5,0,{2**62},100150,1", f"7,0,{2**62},{-(2**62)},-1"]
    stub = "100200,50,100000,100,1999999900,900000000,99900,200"
    before = [(f"34200.0,{event}", stub) for event in huge]
    between = [(f"34200.5,{event}", BY_HAND[1][1]) for event in huge]
    last = ("34205.5,1,14,900000000,1999999900,-1", stub)
    rows = [*before, *BY_HAND[:2], *between, *BY_HAND[2:], last]
    followed = follow(read_recording(*write(rows)), 3, len(rows) - 5, capacity=16)
    alone = follow(read_recording(*write(BY_HAND)), capacity=16)
    np.testing.assert_array_equal(np.delete(followed.agreeing, [1, 2, 3], axis=0), alone.agreeing)
    assert (followed.executions, followed.executions_as_recorded) == (2, 2)
    assert set(followed.counters.values()) == {0}


def test_a_stub_quote_rests_beside_a_large_order(write):
    stub, large = "1999999900,100", "34200.1,1,91,10000000,100000,1"
    rows = [("34200.0,7,0,0,0,-1", "100200,50,100000,100,100300,60,99900,200")]
    rows += [("34200.1,3,8,60,100300,-1", f"100200,50,100000,100,{NONE[:12]},99900,200")]
    rows += [("34200.1,1,90,100,1999999900,-1", f"100200,50,100000,100,{stub},99900,200")]
    rows += [(large, f"100200,50,100000,10000100,{stub},99900,200")]
    rows += [("34200.2,2,90,40,1999999900,-1", f"100200,50,100000,10000100,{stub[:-3]}60,99900,200")]
    followed = follow(read_recording(*write(rows)), capacity=16)
    assert followed.agreeing.all()
    assert set(followed.counters.values()) == {0}


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (changed(1, message="34200.5,1,12,200000000,99900,1"), "m.csv, line 2: size 200000000 is more than"),
        (changed(0, levels="100200,50,100000,100,100300,60,99900,200000000"), "b.csv, line 1: size 200000000 is more"),
    ],
)
def test_a_size_that_no_book_takes_is_named(rows, line, write):
    with pytest.raises(ValueError, match=rf"{line} .*126322567 that a book of capacity 16 takes"):
        follow(read_recording(*write(rows)), capacity=16)


def test_more_prices_and_sizes_than_one_book_takes_are_an_error(write):
    rows = [("34200.0,7,0,0,0,-1", "100200,50,100000,100,100300,60,99900,200")]
    rows += [(f"34200.1,1,{i},{100_000_000},{100_000 - 100 * i},1", rows[0][1]) for i in range(1, 60)]
    with pytest.raises(ValueError, match=r"m.csv, line 1: 63 prices and sizes up to 100000000 follow it"):
        follow(read_recording(*write(rows)), capacity=16)


CROSSED = "100000,50,100100,100,100300,60,99900,200"


def test_a_crossed_seed_row_is_passed_over_and_counted(write):
    rows = [("34199.0,7,0,0,-1,-1", CROSSED), ("34199.5,7,0,0,0,-1", CROSSED), *BY_HAND]
    followed, alone = (
        follow(read_recording(*write(rows)), capacity=16),
        follow(read_recording(*write(BY_HAND)), capacity=16),
    )
    assert (followed.seed_row, followed.crossed_rows, alone.crossed_rows) == (2, 2, 0)
    np.testing.assert_array_equal(followed.agreeing, alone.agreeing)
    np.testing.assert_array_equal(followed.seconds, alone.seconds)
    short = follow(read_recording(*write(rows)), 1, 3, capacity=16)
    assert (short.seed_row, short.crossed_rows, len(short.seconds)) == (2, 1, 2)
    with pytest.raises(ValueError, match=r"b.csv, line 1: bid and ask cross"):  # the first that does not is the last
        follow(read_recording(*write(rows)), 0, 2, capacity=16)


def test_an_order_that_crosses_while_trade_is_halted_is_counted(write):
    """The recorded book crosses, ours trades: that cannot be followed, but is said."""
    rows = [*BY_HAND[:2], ("34201.0,7,0,0,-1,-1", BY_HAND[1][1])]
    rows += [("34202.0,1,50,10,100200,1", "100200,50,100200,10,100300,60,100000,100")]
    rows += [("34203.0,7,0,0,1,-1", rows[-1][1]), ("34203.0,6,-1,10,100200,-1", rows[-1][1])]
    followed = follow(read_recording(*write(rows)), capacity=16)
    assert followed.submissions_traded == 1
    assert followed.agreeing.all((1, 2)).tolist() == [True, True, False, False, False]
    assert follow(read_recording(*write(BY_HAND)), capacity=16).submissions_traded == 0


@pytest.mark.parametrize("n_levels", [1, 50])
def test_levels_from_one_to_fifty(n_levels, write):
    """Every level of a full file is seeded, changed by a cancellation and seen to be right."""
    size = np.full((2, n_levels), 100)
    lines = []
    for order in range(2 * n_levels + 1):
        if order:
            size[(order - 1) // n_levels, (order - 1) % n_levels] -= order
        cells = [(100_100 + 100 * i, ask, 100_000 - 100 * i, bid) for i, (bid, ask) in enumerate(size.T)]
        side, level = divmod(max(order, 1) - 1, n_levels)
        price, sign = (100_100 + 100 * level, -1) if side else (100_000 - 100 * level, 1)
        event = f"{34_200 + order},{2 if order else 7},{7 + order},{order},{price},{sign}"
        lines.append((event, ",".join(str(cell) for level in cells for cell in level)))
    followed = follow(read_recording(*write(lines)), capacity=64)
    assert followed.agreeing.shape == (2 * n_levels, 2, n_levels)
    assert followed.agreeing.all()
    assert set(followed.counters.values()) == {0}


def test_an_orderbook_of_fewer_levels_than_the_messages_have(fixture):
    """Messages beyond the levels of the file add to the book; the levels that it has agree as before."""
    few = replace(fixture, levels=fixture.levels[:, :, :3])
    followed, whole = follow(few), follow(fixture, n_levels=3)
    assert followed.agreeing.shape == (599, 2, 3)
    assert followed.agreeing[:5].all()
    assert 0.5 < followed.agreeing.mean() <= whole.agreeing.mean()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"seed_row": 9}, "^seed_row: must be at most 8"),
        ({"seed_row": -1}, "^seed_row: must be at least 0"),
        ({"n_rows": -1}, "^n_rows: must be at least 0"),
        ({"n_levels": 3}, "^n_levels: must be at most 2"),
        ({"tick": 0}, "^tick: must be at least 1"),
        ({"tick": 2**63}, "^tick: must be at most"),
        ({"capacity": 2**31}, "^capacity: must be at most"),
    ],
)
def test_arguments_that_cannot_be_are_named(arguments, reason, write):
    with pytest.raises(ValueError, match=reason):
        follow(read_recording(*write(BY_HAND)), **arguments)


def test_prices_beyond_int32_are_followed(fixture):
    up = 6_000_000_000  # 600,000 dollars a share
    levels = fixture.levels.copy()
    levels[..., 0] += np.where(levels[..., 1] > 0, up, 0)
    high = replace(fixture, price=fixture.price + up, levels=levels)
    np.testing.assert_array_equal(follow(high).agreeing, follow(fixture).agreeing)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (changed(2, message="34201.0,4,7,20,100200"), "m.csv, line 3: 5 columns instead of 6"),
        (changed(2, message=""), "m.csv, line 3: is empty, with rows behind it"),
        (changed(2, message="34201.0,4,7,2x,100200,-1"), "m.csv, line 3: size '2x' is not an integer"),
        (changed(2, message="34201.0,4,7,20,1002.5,-1"), "m.csv, line 3: price '1002.5' is not an integer"),
        (changed(2, message="noon,4,7,20,100200,-1"), "m.csv, line 3: time 'noon' is not a number"),
        (changed(2, message="nan,4,7,20,100200,-1"), "m.csv, line 3: time 'nan' is not a number"),
        (changed(2, message="34100.0,4,7,20,100200,-1"), "m.csv, line 3: time 34100.0 is before"),
        (changed(2, message="34201.0,8,7,20,100200,-1"), "m.csv, line 3: type 8 is none of"),
        (changed(2, message="34201.0,4,7,0,100200,-1"), "m.csv, line 3: size 0 is not positive"),
        (changed(2, message="34201.0,4,7,20,-5,-1"), "m.csv, line 3: price -5 is not positive"),
        (changed(2, message="34201.0,4,0,20,5,-1"), "m.csv, line 3: order id 0 is not positive"),
        (changed(2, message="34201.0,4,7,20,100200,0"), "m.csv, line 3: direction 0"),
        (changed(2, message=f"34201.0,4,{2**70},20,100200,1"), "m.csv, line 3: a number does not fit 64"),
        (changed(2, message="34201.0,4,7,20,100250,-1"), "m.csv, line 3: price 100250 is not a multiple"),
        (changed(0, levels="1,2,3"), "b.csv, line 1: 3 columns, which is not four"),
        (changed(3, levels="1,2,3,4"), "b.csv, line 4: 4 columns instead of 8"),
        (changed(3, levels="100200,30,100000,x,100300,60,99900,240"), "b.csv, line 4: column 4 'x' is not"),
        (changed(3, levels="100200,30,100000,-1,100300,60,99900,240"), "b.csv, line 4: a size is negative"),
        (changed(3, levels="100200,30,99900,100,100300,60,100000,2"), "b.csv, line 4: levels are not ordered"),
        (changed(3, levels="100200,0,99900,100,100300,60,99800,2"), "b.csv, line 4: a level stands behind"),
        (changed(3, levels=f"100200,5,99900,100,{NONE[:10]},60,99800,2"), "b.csv, line 4: a level has a size but"),
        ([(m, "100200,50,100200,100,100300,60,99900,200") for m, _ in BY_HAND], "b.csv, line 1: bid and ask cross"),
        (changed(0, levels="100250,50,100200,100,100300,60,99900,200"), "b.csv, line 1: a price is not a multiple"),
    ],
)
def test_malformed_rows_are_named_by_file_line_and_reason(rows, reason, write):
    paths = write(rows)
    with pytest.raises(ValueError, match="line") as caught:
        follow(read_recording(*paths), capacity=16)
    assert str(caught.value).startswith(str(paths[0].parent)), caught.value
    assert reason in str(caught.value)
