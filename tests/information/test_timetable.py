"""A sender that keeps a timetable: what its times give away is found, and nothing is found where there is none."""

import jax
import numpy as np
import pytest

from amarl_jax.information.crossfit import DetectorSpec
from amarl_jax.information.detector import detect
from amarl_jax.marks import DEPTH_EDGES_TICKS, SIZE_EDGES_LOTS, kind_counts
from tests.information.test_flow_features import random_tape

N, T, K = 2000, 20, 4
RATE = np.array([1.0, 0.5, 1.0, 0.3])  # orders per step by kind
TIMES, KIND, EXTRA = np.array([2, 7, 12, 17]), 1, 0.7  # when and of which kind informed orders come, per step
SPEC = DetectorSpec(hidden=(8,), n_steps=40)


def timetable(seed, extra):
    """Labels, Poisson counts [n, 1, T, K] in which a timetable adds ``extra`` orders on average, and the true ratio."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(N) % 2)
    rates = np.broadcast_to(RATE, (N, T, K)).copy()
    rates[:, TIMES, KIND] += extra * labels[:, None]
    counts = rng.poisson(rates)
    seen = counts[:, TIMES, KIND]
    log_ratio = (seen * np.log1p(extra / RATE[KIND]) - extra).sum(axis=1)
    return labels, counts[:, None], log_ratio


def information(log_ratio, labels):
    """Of the true ratio on these very episodes, nats, with its standard error: what the best detector would read."""
    pointwise = np.log(2) - np.logaddexp(0, np.where(labels == 1, -log_ratio, log_ratio))
    return pointwise.mean(), pointwise.std() / np.sqrt(N)


def test_a_timetable_is_found_where_sums_over_the_day_hide_it(key):
    labels, counts, log_ratio = timetable(0, EXTRA)
    truth, error = information(log_ratio, labels)
    sums = counts.sum(axis=(1, 2))
    blind = detect(jax.random.clone(key), sums, labels, spec=SPEC)
    seeing = detect(key, sums, labels, timed=counts, spec=SPEC)
    assert 0.15 < truth < 0.35
    assert float(blind.mi) < 0.5 * truth
    # 24 weights for 80 pairs of time and kind, estimated from 1,280 episodes, cost some information
    assert 0.8 * truth < float(seeing.mi) < truth + 3 * error
    assert np.corrcoef(seeing.log_ratio, log_ratio)[0, 1] > 0.9


def test_no_timetable_is_found_where_there_is_none(key):
    labels, counts, _ = timetable(1, 0.0)
    detection = detect(key, counts.sum(axis=(1, 2)), labels, timed=counts, spec=SPEC)
    assert abs(float(detection.mi)) < 0.01  # as of the other columns: two standard errors of a detector that knows none


def test_misshapen_counts_are_refused_in_one_line(key):
    labels, counts, _ = timetable(2, 0.0)
    sums = counts.sum(axis=(1, 2))
    with pytest.raises(ValueError, match=r"expected counts \[2000, G, T, K\], got \(2000, 20, 4\)"):
        detect(jax.random.clone(key), sums, labels, timed=counts[:, 0])
    with pytest.raises(ValueError, match="counts must be finite"):
        detect(key, sums, labels, timed=np.where(counts > 2, np.nan, counts))


def test_orders_by_kind_equal_loops_over_the_tape():
    tape = random_tape(np.random.default_rng(3), T)
    expected = np.zeros((T, 2, len(SIZE_EDGES_LOTS) + 1 + len(DEPTH_EDGES_TICKS) + 1 + 1), int)
    for t, side, size, price, taker in zip(
        *np.indices(tape.side.shape)[:1].reshape(1, -1),
        *(np.asarray(x).ravel() for x in (tape.side, tape.size_lots, tape.price_ticks, tape.marketable)),
        strict=True,
    ):
        if side == 0:
            continue
        if taker:
            kind = 1 + sum(size > edge for edge in SIZE_EDGES_LOTS)
        else:
            kind = 1 + len(SIZE_EDGES_LOTS) + 1 + sum(-side * price > edge for edge in DEPTH_EDGES_TICKS)
        expected[t, 0 if side > 0 else 1, kind] += 1
    expected[:, :, 0] = np.asarray(tape.removals)
    np.testing.assert_array_equal(kind_counts(tape), expected)
    assert expected[:, :, 1:].sum() > T
