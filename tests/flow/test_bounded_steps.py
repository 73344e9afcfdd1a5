"""A stream in steps of at most so many orders: all of them, in order, on a clock that runs slower where it is busy."""

import numpy as np
import pytest

from amarl_jax.flow.bounded_steps import in_bounded_steps, pieces
from amarl_jax.flow.stream import TIME_UNITS, Stream, orders_by_step, steps_at_rest

HALF = TIME_UNITS // 2


def stream(counts, time, lifetime, is_limit=True):
    """Orders of these numbers a step, times and lifetimes in steps, told apart by their lots."""
    n = int(np.sum(counts))
    return Stream(
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        time=np.floor(np.broadcast_to(time, n) * TIME_UNITS).astype(np.uint16),
        side=np.ones(n, np.int8),
        is_limit=np.broadcast_to(is_limit, n),
        lots=(1 + np.arange(n) % 127).astype(np.uint8),
        offset=np.zeros(n, np.int8),
        lifetime=np.floor(np.broadcast_to(lifetime, n) * TIME_UNITS).astype(np.uint32),
    )


def test_a_busy_step_by_hand():
    """Of 1, 5 and 1 orders the five are played as three and two, to 5/16 and from there on."""
    at = np.array([0.5, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75])
    found = in_bounded_steps(stream([1, 5, 1], at, [1.0, 0.125, 0.125, 1.0, 2.0, 0.25, 5.0]), 3)
    assert found.first.tolist() == [0, 1, 4, 6, 7]
    at = [0.5, 0.4, 0.6, 0.8, 1 / 11, 3 / 11, 0.75]
    np.testing.assert_allclose(found.time / TIME_UNITS, at, atol=2e-5)
    begins = [0.0, 1.0, 1.3125, 2.0, 3.0]
    clock = lambda x: np.interp(x, begins, range(5)) + np.maximum(np.asarray(x) - 3, 0)  # noqa: E731
    arrived = np.array([0.5, 1.125, 1.1875, 1.25, 1.375, 1.5, 2.75])
    life = np.array([1.0, 0.125, 0.125, 1.0, 2.0, 0.25, 5.0])
    rests = clock(arrived + life) - clock(arrived)
    np.testing.assert_allclose(found.lifetime / TIME_UNITS, rests, atol=2e-5)
    assert rests[0] == pytest.approx(1.5 + 3 / 11), "through the first part, into the second"
    assert steps_at_rest(found).tolist() == [2, 1, 1, 2, 2, 1, 6]


def test_pieces_hold_all_orders_of_a_step():
    assert pieces(np.array([0, 1, 3, 4, 6, 7]), 3).tolist() == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("bound", [1, 4, 9])
def test_every_order_is_played_once_and_in_order(bound):
    rng = np.random.default_rng(bound)
    counts = np.where(rng.random(300) < 0.1, rng.integers(10, 40, 300), rng.poisson(2, 300))
    n = counts.sum()
    step, time = np.repeat(np.arange(300), counts), rng.random(n)
    time = np.where(rng.random(n) < 0.3, 0.25, time)  # many at one time
    whole = stream(counts, time[np.lexsort((time, step))], rng.exponential(1.0, n))
    found = in_bounded_steps(whole, bound)
    assert orders_by_step(found).max() <= bound
    assert found.n_steps == pieces(counts, bound).sum()
    for name in ("side", "is_limit", "lots", "offset"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    played = np.repeat(np.arange(found.n_steps), orders_by_step(found)) + found.time / TIME_UNITS
    recorded = step + whole.time / TIME_UNITS
    assert (np.diff(played) >= 0).all()
    ends, left = played + found.lifetime / TIME_UNITS, recorded + whole.lifetime / TIME_UNITS
    order = np.argsort(left)
    assert (np.diff(ends[order]) >= -1e-3).all(), "who left first leaves first"
    alone = (counts <= bound)[step]
    np.testing.assert_array_equal(found.time[alone], whole.time[alone])
    within = alone & (left < np.ceil(recorded + 1e-9))
    np.testing.assert_allclose(found.lifetime[within], whole.lifetime[within], atol=1)
    assert within.sum() > 10


def test_a_quiet_stream_is_left_alone():
    quiet = stream([1, 0, 3], 0.5, 1.0)
    assert in_bounded_steps(quiet, 3) is quiet
