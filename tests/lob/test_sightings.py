"""A book that is told what comes into view agrees with the recording; one that is not, where it could not know."""

import numpy as np
import pytest

from amarl_jax.lob.lobster import follow, read_recording
from tests.lob.test_lobster import BY_HAND, fixture, write

__all__ = ["fixture", "write"]

BEHIND = [  # one level, and what happens behind it: 30 of 100 bid at 10.00 leave, then the rest, and 40 come at 9.99
    ("1.0,7,0,0,-1,-1", "100200,50,100000,100"),
    ("2.0,1,7,10,100100,1", "100200,50,100100,10"),
    ("3.0,3,7,10,100100,1", "100200,50,100000,70"),
    ("4.0,2,5,20,100000,1", "100200,50,100000,50"),
    ("5.0,1,8,10,100100,1", "100200,50,100100,10"),
    ("6.0,3,8,10,100100,1", "100200,50,99900,40"),
    ("7.0,4,6,15,99900,1", "100200,50,99900,25"),
    ("8.0,3,6,25,99900,1", "100200,50,99800,5"),
]


@pytest.mark.parametrize(
    ("rows", "taken_in", "taken_out", "agreeing"), [(BY_HAND, 2, 0, 28 / 32), (BEHIND, 2, 2, 9 / 14)]
)
def test_levels_that_come_into_view_by_hand(rows, taken_in, taken_out, agreeing, write):
    recording = read_recording(*write(rows))
    alone, told = (follow(recording, capacity=16, take_in=take_in) for take_in in (False, True))
    assert alone.agreeing.mean() == pytest.approx(agreeing)
    assert (alone.taken_in, alone.taken_out) == (0, 0)
    assert told.agreeing.all()
    assert (told.taken_in, told.taken_out) == (taken_in, taken_out)
    assert told.executions_as_recorded == told.executions
    assert set(told.counters.values()) == {0}


def test_a_day_is_followed_to_its_end(fixture):
    alone, told = (follow(fixture, take_in=take_in) for take_in in (False, True))
    assert alone.agreeing[-100:].mean() < 0.95
    assert told.agreeing.all()
    assert told.executions_as_recorded >= alone.executions_as_recorded
    assert told.counters["refused"] == told.counters["invalid"] == 0
    assert told.taken_in >= 5


def test_what_disagrees_at_a_price_that_was_always_shown_is_no_unseen_order(fixture, write):
    by_hand = follow(read_recording(*write(BY_HAND)), capacity=16)
    np.testing.assert_array_equal(by_hand.agreeing, by_hand.always_in_view)
    day = follow(fixture)
    assert day.agreeing[day.always_in_view].all()
    assert not day.agreeing[~day.always_in_view].all()
    np.testing.assert_array_equal(follow(fixture, n_levels=3).always_in_view, day.always_in_view[:, :, :3])


def test_an_order_that_took_the_place_of_one_that_left_unseen_is_followed(write):
    """While 10.00 was out of view 5 left and 9 of the same size came: the level says nothing, until 9 is named."""
    rows = [
        ("1.0,7,0,0,-1,-1", "100200,50,99900,40"),
        ("2.0,1,5,10,100000,1", "100200,50,100000,10"),
        ("3.0,1,7,10,100100,1", "100200,50,100100,10"),
        ("4.0,3,7,10,100100,1", "100200,50,100000,10"),
        ("5.0,1,8,20,100000,1", "100200,50,100000,30"),
        ("6.0,3,9,10,100000,1", "100200,50,100000,20"),
        ("7.0,4,8,5,100000,1", "100200,50,100000,15"),
    ]
    told = follow(read_recording(*write(rows)), capacity=16, take_in=True)
    assert told.agreeing.all()
    assert (told.taken_in, told.taken_out, told.counters["unknown_cancel"]) == (0, 0, 0)
