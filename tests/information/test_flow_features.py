import jax
import numpy as np
import pytest

from amarl_jax.information.flow_features import feature_names, flow_features, flow_series
from amarl_jax.marks import STATISTICS, step_statistics
from amarl_jax.types import Tape

T, K = 12, 5
features_of = jax.jit(flow_features)
features_of_many = jax.jit(jax.vmap(flow_features))


def quiet_tape(horizon=T):
    def zeros(dtype, *axes):
        return np.zeros((horizon, *axes), dtype)

    return Tape(
        side=zeros(np.int8, K),
        price_ticks=zeros(np.int8, K),
        size_lots=zeros(np.int8, K),
        marketable=zeros(np.int8, K),
        time_256=zeros(np.uint8, K),
        removals=zeros(np.int8, 2),
        value_gap_16=zeros(np.int16),
        spread_ticks=zeros(np.int16),
    )


def random_tape(rng, horizon=T):
    def draw(low, high, dtype, *axes):
        return rng.integers(low, high, (horizon, *axes)).astype(dtype)

    return Tape(
        side=draw(-1, 2, np.int8, K),
        price_ticks=draw(-6, 6, np.int8, K),
        size_lots=draw(1, 20, np.int8, K),
        marketable=draw(0, 2, np.int8, K),
        time_256=draw(0, 256, np.uint8, K),
        removals=draw(0, 4, np.int8, 2),
        value_gap_16=draw(-200, 200, np.int16),
        spread_ticks=draw(0, 9, np.int16),
    )


def mirrored(tape):
    """The same with buying and selling exchanged, and value on the other side."""
    return tape.replace(
        side=-tape.side,
        price_ticks=-tape.price_ticks,
        removals=tape.removals[:, ::-1],
        value_gap_16=-tape.value_gap_16,
    )


def statistics_of(tape):
    """Each column of the statistics of the steps by its name."""
    columns = np.asarray(step_statistics(tape)).T
    return dict(zip(STATISTICS, columns, strict=True))


def column(features, name):
    return np.asarray(features)[:, feature_names().index(name)]


def test_names_are_the_columns_before_the_windows():
    features = features_of(quiet_tape())
    assert features.shape[0] == T
    assert len(set(feature_names())) == len(feature_names()) < features.shape[1]


def test_an_empty_tape_reads_zero_but_for_the_clock():
    features = np.asarray(features_of(quiet_tape()))
    np.testing.assert_allclose(column(features, "time"), np.arcsinh(np.arange(1, T + 1) / T), rtol=1e-6)
    np.testing.assert_array_equal(np.delete(features, feature_names().index("time"), axis=1), 0.0)


def test_cumulative_signed_volume_by_hand():
    tape = quiet_tape()
    tape.side[0, :2], tape.size_lots[0, :2] = (1, -1), (7, 3)
    tape.side[3, 1], tape.size_lots[3, 1] = -1, 10
    tape.size_lots[5, 4] = 9  # a row without an event
    lots = np.array([4] * 3 + [-6] * (T - 3)) / 5.0  # units of 5 lots
    np.testing.assert_allclose(
        column(features_of(tape), "past_signed_volume"), np.arcsinh(lots / np.sqrt(T)), rtol=1e-5
    )
    volume = np.array([10] * 3 + [20] * (T - 3)) / 5.0
    np.testing.assert_allclose(column(features_of(tape), "past_volume"), np.arcsinh(volume / np.sqrt(T)), rtol=1e-5)
    np.testing.assert_allclose(flow_series(tape)[:4, 0], np.arcsinh([0.8, 0, 0, -2.0]), rtol=1e-5)
    np.testing.assert_allclose(flow_series(tape)[:4, 1], np.arcsinh([2.0, 0, 0, 1.0]), rtol=1e-5)


def test_exponential_average_by_hand():
    tape = quiet_tape()
    tape.side[2, 0], tape.size_lots[2, 0] = 1, 5
    expected = np.where(np.arange(T) < 2, 0.0, (7 / 8) ** (np.arange(T) - 2.0) / np.sqrt(8))
    np.testing.assert_allclose(column(features_of(tape), "recent_8_signed_volume"), np.arcsinh(expected), rtol=1e-5)


def test_orders_are_read_against_the_gap_they_could_react_to():
    tape = quiet_tape()
    tape.value_gap_16[2] = 32  # 2 ticks, one unit, at the end of step 2
    tape.side[2:4, 0], tape.size_lots[2:4, 0] = 1, 5
    statistics = statistics_of(tape)
    np.testing.assert_array_equal(statistics["gap"], np.eye(T)[3])
    np.testing.assert_allclose(statistics["gap_volume"], np.tanh(1.0) * np.eye(T)[3], rtol=1e-6)


def test_orders_fall_into_the_bins_of_their_size_and_depth():
    tape = quiet_tape()
    tape.side[0], tape.size_lots[0] = (1, 1, -1, -1, 0), (2, 3, 15, 4, 4)
    tape.price_ticks[0], tape.marketable[0] = (-1, 2, 4, 0, 0), (0, 1, 0, 1, 0)
    statistics = statistics_of(tape)
    sizes = [int(statistics[f"size_bin_{i}"][0]) for i in range(6)]
    depths = [int(statistics[f"depth_bin_{i}"][0]) for i in range(5)]
    assert sizes == [1, 2, 0, 0, 0, 1]  # 2 | 3, 4 | 15
    assert depths == [0, 0, 1, 0, 1]  # a bid 1 below mid, an ask 4 above it; takers are not at rest
    assert statistics["taking_count"][0] == 2


@pytest.mark.parametrize("t", [0, 5, T - 2])
def test_no_feature_sees_the_future(t):
    rng = np.random.default_rng(1)
    tape, other = random_tape(rng), random_tape(rng)
    spliced = jax.tree.map(lambda a, b: np.concatenate([a[: t + 1], b[t + 1 :]]), tape, other)
    whole, changed = np.asarray(features_of(tape)), np.asarray(features_of(spliced))
    np.testing.assert_array_equal(whole[: t + 1], changed[: t + 1])
    assert np.abs(whole[t + 1 :] - changed[t + 1 :]).max() > 0.1


@pytest.mark.parametrize("extreme", ["min", "max"])
def test_extreme_tapes_stay_finite(extreme):
    tape = jax.tree.map(lambda x: np.full_like(x, getattr(np.iinfo(x.dtype), extreme)), quiet_tape())
    assert np.isfinite(features_of(tape)).all()
    assert np.isfinite(flow_series(tape)).all()


def test_buying_and_selling_mirror_each_other():
    tape = random_tape(np.random.default_rng(2))
    plain, turned = features_of(tape), features_of(mirrored(tape))
    for name in feature_names():
        odd = "signed" in name or (name.endswith("_gap") and "absolute" not in name)
        if "est_" in name and "signed" in name:  # running extremes change places
            twin = name.replace("highest", "*").replace("lowest", "highest").replace("*", "lowest")
            np.testing.assert_allclose(column(plain, name), -column(turned, twin), atol=1e-5)
        else:
            sign = -1.0 if odd else 1.0
            np.testing.assert_allclose(column(plain, name), sign * column(turned, name), atol=1e-5, err_msg=name)


def larger(tape, when, rng):
    tape.size_lots[when, 0] = 18


def one_sided(tape, when, rng):
    tape.side[when, 0] = 1


def passive(tape, when, rng):
    tape.marketable[when, 0], tape.price_ticks[when, 0] = 0, -5 * tape.side[when, 0]


def more(tape, when, rng):
    tape.side[when, 1] = rng.choice([-1, 1], np.sum(when))


def early(tape, when, rng):
    sells = rng.permutation(np.flatnonzero(tape.side[:, 0] == -1))  # the same orders, the buys first
    tape.side[:, 0] = -1
    tape.side[: 40 - sells.size, 0] = 1


@pytest.mark.parametrize("tell", [larger, one_sided, passive, more, early], ids=lambda tell: tell.__name__)
def test_each_tell_moves_some_feature_by_a_standard_deviation(tell):
    """Forty steps of five orders; the slot is one of the five rows and acts in two steps of three."""
    rng = np.random.default_rng(4)
    labels = np.arange(200) % 2
    tapes = [random_tape(rng, horizon=40) for _ in labels]
    for tape, label in zip(tapes, labels, strict=True):
        if label:
            tell(tape, rng.random(40) < 0.7, rng)
    last = np.asarray(features_of_many(jax.tree.map(lambda *x: np.stack(x), *tapes)))[:, -1]
    gap = last[labels == 1].mean(0) - last[labels == 0].mean(0)
    assert np.max(np.abs(gap) / (last[labels == 0].std(0) + 1e-6)) > 1.0
