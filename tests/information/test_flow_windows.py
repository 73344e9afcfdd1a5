"""Windows of a tape: bursts are found where they are, as soon as they are past, and buying mirrors selling."""

import jax
import numpy as np
import pytest

from amarl_jax.information.flow_features import feature_names, flow_features
from amarl_jax.information.flow_windows import window_features
from tests.information.test_flow_features import mirrored, quiet_tape, random_tape

T = 64  # windows of 1, 2 and 8 steps
N_MARKS = 17  # 6 sums, 6 sizes, 5 depths
features_of = jax.jit(window_features)
running_of_many = jax.jit(jax.vmap(flow_features))
ORDERS, TAKERS, VOLUME, TAKER_VOLUME, _, REMOVALS = range(6)
OPENING, OPENING_ALONG, DENSEST, DENSEST_SIDE = range(4)


def parts(tape, step=T - 1):
    """The along-value sums of the episode up to a step [M], and the windows' sums [3, 4, M]."""
    row = np.asarray(features_of(tape), np.float64)[step]
    return row[:N_MARKS], row[N_MARKS:].reshape(3, 4, N_MARKS)


def place(tape, step, row, side, lots, marketable=1):
    tape.side[step, row], tape.size_lots[step, row], tape.marketable[step, row] = side, lots, marketable


def test_sums_over_windows_by_hand():
    """Value lies above. Buys of 5 lots in steps 1 and 20, sells of 10 in steps 20 and 21, at rest; 3 bids go at 1."""
    tape = quiet_tape(T)
    tape.value_gap_16[:] = 320
    place(tape, 1, 0, 1, 5)
    place(tape, 20, 0, 1, 5)
    place(tape, 20, 1, -1, 10, marketable=0)
    place(tape, 21, 3, -1, 10, marketable=0)
    tape.removals[1, 0] = 3
    whole, windows = parts(tape)
    whole, windows = whole * np.sqrt(T), windows * np.sqrt([1, 2, 8])[:, None, None]
    assert whole[VOLUME] == pytest.approx(1 + 1 - 2 - 2, abs=1e-4)
    assert whole[TAKER_VOLUME] == pytest.approx(2, abs=1e-4)
    assert whole[ORDERS] == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(windows[:, OPENING, TAKERS], [0, 1, 1], atol=1e-5)
    np.testing.assert_allclose(windows[:, OPENING_ALONG, VOLUME], [0, 1, 1], atol=1e-5)
    np.testing.assert_allclose(windows[:, OPENING, REMOVALS], [0, 3, 3], atol=1e-5)
    np.testing.assert_allclose(windows[:, DENSEST, VOLUME], [3, 5, 5], atol=1e-5)
    np.testing.assert_allclose(windows[:, DENSEST_SIDE, VOLUME], [2, 4, 4], atol=1e-5)
    sizes, depths = windows[:, :, 6:12], windows[:, :, 12:]
    np.testing.assert_allclose(sizes[2, DENSEST_SIDE], [0, 0, 1, 0, 0, 0], atol=1e-5)  # a taker of 5 or 6 lots
    np.testing.assert_allclose(depths[2, DENSEST_SIDE], [0, 2, 0, 0, 0], atol=1e-5)  # two at mid


@pytest.mark.parametrize("t", [0, 2, 20])
def test_a_step_knows_what_an_episode_that_ended_there_would(t):
    """But for the lengths of its windows, which belong to the horizon: orders after t are taken off the tape."""
    tape = random_tape(np.random.default_rng(1), T)
    stopped = jax.tree.map(lambda x: np.where(np.arange(T).reshape(-1, *[1] * (x.ndim - 1)) <= t, x, 0), tape)
    np.testing.assert_allclose(features_of(tape)[t], features_of(stopped)[-1], rtol=1e-5, atol=1e-5)  # float32 sums


def test_windows_close_the_features_that_mine_reads():
    tape = random_tape(np.random.default_rng(1), T)
    features = np.asarray(jax.jit(flow_features)(tape))
    assert features.shape == (T, len(feature_names()) + 13 * N_MARKS)
    np.testing.assert_allclose(features[:, len(feature_names()) :], np.arcsinh(features_of(tape)), rtol=1e-5, atol=1e-6)


def test_windows_are_the_same_for_a_buyer_and_a_seller():
    tape = random_tape(np.random.default_rng(2), T)
    plain, turned = features_of(tape), features_of(mirrored(tape))
    np.testing.assert_allclose(plain, turned, atol=1e-5)
    other = features_of(tape.replace(side=-tape.side))
    assert np.abs(plain - other).max() > 0.1  # the side matters where value does not turn with it


@pytest.mark.parametrize("extreme", ["min", "max"])
def test_extreme_tapes_stay_finite(extreme):
    tape = jax.tree.map(lambda x: np.full_like(x, getattr(np.iinfo(x.dtype), extreme)), quiet_tape(T))
    assert np.isfinite(features_of(tape)).all()


@pytest.mark.parametrize("start", [0, 40])
def test_a_burst_that_drowns_in_the_days_sums_stands_out_in_its_window(start):
    """Four takers of one side and size among five random orders a step, at the opening or at an unknown time."""
    rng = np.random.default_rng(3)
    labels = np.arange(200) % 2
    tapes = [random_tape(rng, T) for _ in labels]
    for tape, label in zip(tapes, labels, strict=True):
        if label:
            shift = start and rng.integers(-20, 16)
            place(tape, slice(start + shift, start + shift + 4), 0, rng.choice([-1, 1]), 5)
    features = np.asarray(running_of_many(jax.tree.map(lambda *x: np.stack(x), *tapes)))[:, -1]
    gap = np.abs(features[labels == 1].mean(0) - features[labels == 0].mean(0)) / (features[labels == 0].std(0) + 0.05)
    assert gap[: len(feature_names())].max() < 0.8
    assert gap[len(feature_names()) :].max() > 1.4
