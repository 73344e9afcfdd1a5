"""What users hand in: offset and unit of their arrays mean nothing, and what is no array of numbers is one line."""

import contextlib
import dataclasses
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from amarl_jax.information import EstimateSpec, arrays, estimate, estimators
from amarl_jax.information.detector import detect, prepare
from amarl_jax.information.detector_fit import DetectorSpec, _standardised
from amarl_jax.information.divergence import bootstrap, histogram, trajectory_divergence
from amarl_jax.information.scaling import robustly_standardised
from amarl_jax.information.significance import compare, permutation_test

QUICK = EstimateSpec(n_folds=2, hidden=(16,), n_steps=100, n_checks=5, batch_size=128)
LIGHT = DetectorSpec(n_folds=2, hidden=(4,), n_steps=20, n_checks=2, batch_size=64)
N = 2000
EXACT = 0.111  # nats of unit noise and a shift of one
TOLERANCE = 0.01  # nats; rounding to an eighth of the middle half adds 0.3% to the variance of the noise
RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.arange(N) % 2)
VALUES = (LABELS + RNG.normal(size=N))[:, None]

offsets = st.floats(-1e15, 1e15) | st.sampled_from([0.0, 1e9, -1e12, 1e15, 43_200.0])
units = st.floats(-9, 9).map(lambda exponent: 10.0**exponent) | st.sampled_from([1e-9, -1.0, 1e9])
same_examples = settings(
    deadline=None, database=None, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
)


def carried(values):
    """Whether float64 carries them: the middle half spans eight of its steps, below which a warning is due."""
    low, high = np.sort(values[:, 0])[[N // 4, 3 * N // 4]]
    return high - low >= 8 * np.spacing(max(abs(low), abs(high)))


def warned(values):
    return contextlib.nullcontext() if carried(values) else pytest.warns(UserWarning, match="rounding took part")


@settings(same_examples, max_examples=300)
@given(offsets, units)
def test_offset_and_unit_leave_a_detectors_features_as_they_are(offset, unit):
    values = offset + unit * VALUES
    if np.unique(values).size == 1:
        with pytest.raises(ValueError, match="one value only"):
            arrays.check_varies("y", arrays.deviations("y", values))
        return
    with warned(values):
        features, _ = prepare(values, LABELS, LIGHT)
    plain, _ = prepare(VALUES, LABELS, LIGHT)
    rounding = np.spacing(abs(offset) + 5 * abs(unit)) / abs(unit)
    if rounding < 0.2:
        moved = np.sign(unit) * (features - features[0])
        np.testing.assert_allclose(moved, plain - plain[0], rtol=1e-5, atol=12 * rounding + 1e-5)


@pytest.fixture(scope="module")
def plain():
    return estimate(LABELS, VALUES, key=jax.random.key(1), spec=QUICK), detect(
        jax.random.key(2), VALUES, LABELS, spec=LIGHT
    )


@settings(same_examples, max_examples=12)
@given(offsets, units)
def test_offset_and_unit_leave_the_estimates(plain, offset, unit):
    values = offset + unit * VALUES
    if not carried(values):
        return  # said so, by the test above
    assert_estimates(plain, values)


def assert_estimates(plain, values):
    found = estimate(LABELS, values, key=jax.random.key(1), spec=QUICK)
    detection = detect(jax.random.key(2), values, LABELS, spec=LIGHT)
    assert found.value == pytest.approx(plain[0].value, abs=TOLERANCE)
    assert float(detection.mi) == pytest.approx(float(plain[1].mi), abs=TOLERANCE)
    assert found.value == pytest.approx(EXACT, abs=3 * found.stderr)
    assert float(detection.mi) == pytest.approx(EXACT, abs=3 * float(detection.mi_stderr))


STAMPS = np.int64(1_700_000_000_000_000_000) + np.rint(1000 * VALUES).astype(np.int64)


@pytest.mark.parametrize(
    "values",
    [
        1e9 + VALUES,
        STAMPS,
        STAMPS.view("datetime64[ns]"),
        STAMPS.astype(np.uint64) + np.uint64(2**63),
        43_200.0 + 1e-4 * VALUES,
        1e300 * VALUES,
        1e-300 * VALUES,
        (100 * VALUES).astype(ml_dtypes.bfloat16),
    ],
    ids=["1e9", "ns", "date", "uint64", "seconds", "huge", "tiny", "bfloat16"],
)
def test_stamps_and_units_that_float32_cannot_carry(plain, values):
    assert_estimates(plain, values)


def test_other_instruments_on_an_offset(key):
    keys = jax.random.split(key, 4)
    far = 1e9 + VALUES
    apart = trajectory_divergence(keys[0], far, LABELS, n_bootstrap=50, spec=LIGHT)
    assert 0.3 < apart.kl_nats.value < 0.7  # 0.5
    assert permutation_test(keys[1], far[:400], LABELS[:400], n_permutations=19, spec=LIGHT) == pytest.approx(0.05)
    verdict = compare(keys[2], far[:400], LABELS[:400], n_permutations=19, n_planted=2, spec=LIGHT)
    assert verdict.p_value == pytest.approx(0.05)
    x = np.random.default_rng(3).normal(size=(N, 1))
    y = 0.8 * x + 0.6 * np.random.default_rng(4).normal(size=(N, 1))
    found = estimate(1e12 + 1e3 * x, y - 1e9, key=keys[3], spec=QUICK)
    assert found.value == pytest.approx(-0.5 * np.log(1 - 0.64), abs=max(0.1, 3 * found.stderr))


def test_every_step_of_a_sequence_has_an_offset_of_its_own(key):
    """Six stamps an hour apart, each shifted by half of its noise: d'^2 = 6 / 4, 0.1589 nats by quadrature."""
    rng = np.random.default_rng(5)
    hours = 3600.0 * np.arange(6)[None, :, None]
    y = 1.7e9 + hours + 1e-3 * (rng.normal(size=(N, 6, 1)) + 0.5 * LABELS[:, None, None])
    found = estimate(LABELS, y, key=key, spec=QUICK)
    assert found.value == pytest.approx(0.1589, abs=max(0.03, 3 * found.stderr))


def test_steps_of_coins_keep_their_two_values():
    """A median would be 0 at one step and 1 at the next, and turn what the steps have in common around."""
    coins = (np.random.default_rng(6).random((N, 40, 1)) < 0.5).astype(float)
    moved = arrays.deviations("y", coins)
    assert np.ptp(moved[coins == 0]) < 0.2
    assert np.ptp(moved[coins == 1]) < 0.2
    assert moved[coins == 1].min() - moved[coins == 0].max() > 0.8


@pytest.mark.parametrize("outlier", [1e6, 1e12])
def test_one_outlier_leaves_the_detector_its_column(plain, outlier):
    values = VALUES.copy()
    values[5] = outlier
    found = float(detect(jax.random.key(2), values, LABELS, spec=LIGHT).mi)
    assert found == pytest.approx(float(plain[1].mi), abs=0.02)


def test_differences_of_integers_are_exact():
    values = [[-(2**63)], [2**63 - 1], [7], [2**62 + 1], [2**62 + 2]]
    middle = sorted(values)[2][0]
    exact = [value - middle for (value,) in values]
    found = arrays.deviations("y", np.array(values, np.int64))[:, 0]
    largest = max(map(abs, exact))
    np.testing.assert_array_equal(found, [float(value) / float(largest) for value in exact])
    close = np.array([[2**62 + i] for i in range(5)], np.int64)
    np.testing.assert_array_equal(arrays.deviations("y", close)[:, 0], [-1.0, -0.5, 0.0, 0.5, 1.0])


def test_a_constant_is_that_whose_smallest_value_is_its_largest():
    """Its deviation is not: float32 makes it 1e-9 of 0.1, and by that the one row that differs would be scaled."""
    values = np.full((1000, 1), 0.1)
    values[-1] = 0.7
    rows = np.arange(999)
    assert np.abs(np.asarray(_standardised(jnp.asarray(values, jnp.float32), rows))).max() == 0.0
    assert np.abs(robustly_standardised(values, rows)).max() == 0.0
    assert arrays.deviations("y", np.full((7, 2), 0.1)).any() == 0


def test_what_was_rounded_before_it_came_is_said(key):
    rounded = (1e9 + 30 * VALUES).astype(np.float32)  # float32 steps by 64 there
    with pytest.warns(UserWarning, match=r"y has 1 columns, the first at \(0,\), .* 8 steps of float32 around 1e\+09"):
        estimate(LABELS, rounded, key=key, spec=QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for column in (np.arange(N) % 2, np.where(np.arange(N) % 50, 0.0, 0.1), np.round(VALUES[:, 0], 1)):
            arrays.deviations("y", column.astype(np.float32)[:, None])
            arrays.deviations("y", np.asarray(column, float)[:, None])


WORDS = np.array(["a", "b"])[LABELS]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y": VALUES + 1j}, "y must be real numbers, got an array of complex128"),
        ({"x": VALUES + 1j}, "x must be real numbers"),
        ({"x": WORDS}, "x must be real numbers, got an array of <U1"),
        ({"x": WORDS.astype(object)}, "x must be real numbers, got an array of object"),
        ({"y": VALUES.astype(str)}, "y must be real numbers"),
        ({"y": [[1.0], [2.0, 3.0]]}, "y cannot be read as an array of numbers"),
        ({"y": np.ma.masked_greater(VALUES, 2)}, "y has masked entries"),
        ({"y": np.full((N, 1), "NaT", "datetime64[s]")}, "y must be finite"),
        ({"y": np.ones((N, 2))}, "y takes one value only"),
        ({"key": 0}, "key must be one typed key, as jax.random.key"),
        ({"key": np.zeros(2, np.uint32)}, "key must be one typed key"),
        ({"key": jax.random.split(jax.random.key(0))}, "key must be one typed key"),
        ({"estimator": 3}, "estimator must be a name or an MIEstimator, got 3"),
        ({"prior": "half"}, "the prior must be real numbers"),
        ({"prior": np.nan}, "the prior must be finite"),
        ({"groups": np.arange(3)}, r"expected groups \[2000\]"),
        ({"groups": np.zeros(N)}, "groups must be at least 2, got 1"),
        ({"groups": np.where(LABELS, np.nan, 1.0)}, "missing entries"),
        ({"groups": np.arange(N) % 7}, "7 groups are too few: each of 2 folds must hold out 4, and 2 of each label"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 2, got 0"),
        ({"batch_size": 1}, "batch_size must be"),
        ({"n_checks": 0}, "n_checks must be an integer of at least 1, got 0"),
        ({"n_checks": 101}, "n_checks must be at most n_steps, 100, got 101: nothing would be trained"),
        ({"n_steps": 0}, "n_steps must be"),
        ({"n_steps": 100.0}, "n_steps must be"),
        ({"n_folds": True}, "n_folds must be"),
        ({"hidden": [32]}, "hidden must be a tuple of positive integers"),
        ({"hidden": (32, 0)}, "each of hidden must be"),
        ({"window": 0}, "window must be"),
        ({"n_embedding": 0}, "n_embedding must be"),
        ({"learning_rate": np.nan}, r"learning_rate must be a finite number in \(0, 1\], got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"linear_learning_rate": -1.0}, "linear_learning_rate must be"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"ema_decay": 1.0}, r"ema_decay must be a finite number in \[0, 1\)"),
        ({"linear_fraction": 1.5}, "linear_fraction must be"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
    ],
)
def test_an_estimates_bad_input_is_one_line(changed, message):
    given = {"x": LABELS, "y": VALUES, "key": jax.random.key(0), "spec": QUICK} | changed
    with pytest.raises(ValueError, match=message) as raised:
        estimate(given.pop("x"), given.pop("y"), **given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: detect(key, VALUES + 1j, LABELS), "features must be real numbers"),
        (lambda key: detect(key, VALUES, WORDS), "labels must be real numbers, got an array of <U1"),
        (lambda key: detect(key, VALUES, LABELS.astype(object)), "labels must be real numbers"),
        (lambda key: detect(key, VALUES, LABELS + 0j), "labels must be real numbers"),
        (lambda key: detect(key, np.ones((N, 2)), LABELS), "features takes one value only"),
        (lambda key: detect(0, VALUES, LABELS), "key must be one typed key"),
        (lambda key: detect(key, VALUES, LABELS, prior=1.0), "prior must be a number between 0 and 1, got 1.0"),
        (lambda key: detect(key, VALUES, LABELS, batch_size=0), "batch_size must be"),
        (lambda key: detect(key, VALUES, LABELS, n_checks=0), "n_checks must be"),
        (lambda key: detect(key, VALUES, LABELS, n_checks=1000), "nothing would be trained"),
        (lambda key: detect(key, VALUES, LABELS, n_folds=1), "n_folds must be"),
        (lambda key: detect(key, VALUES, LABELS, hidden=(0,)), "each of hidden"),
        (lambda key: detect(key, VALUES, LABELS, ridges=()), "ridges must be"),
        (lambda key: detect(key, VALUES, LABELS, ridges=(-1.0,)), "ridges must be"),
        (lambda key: detect(key, VALUES, LABELS, training_share=0.0), "training_share must be"),
        (lambda key: detect(key, VALUES, LABELS, training_share=1e-4), "too few"),
        (lambda key: permutation_test(key, VALUES, LABELS, n_permutations=0), "n_permutations must be"),
        (lambda key: permutation_test(key, np.ones((N, 1)), LABELS), "features takes one value only"),
        (lambda key: permutation_test(key, 1e9 + VALUES, LABELS, statistic=jnp.mean), "varies by too little around 1e"),
        (lambda key: compare(key, VALUES, LABELS, n_planted=1), "n_planted must be an integer of at least 2"),
        (lambda key: compare(key, VALUES, LABELS, planted_nats=0.0), "planted_nats must be positive"),
        (lambda key: compare(key, VALUES, LABELS, prior="1"), "prior must be real numbers"),
        (lambda key: bootstrap(key, np.where(LABELS, -np.inf, 0.0), LABELS), "log_ratio must be finite"),
        (lambda key: bootstrap(key, VALUES[:, 0], LABELS, n_bootstrap=0), "n_bootstrap must be"),
        (lambda key: bootstrap(key, VALUES[:, 0], LABELS, confidence=95), "confidence must be a number between 0 and"),
        (lambda key: bootstrap(key, VALUES[:, 0], LABELS, on_half=VALUES[:9, 0]), "expected log-ratios"),
        (lambda key: histogram(VALUES + 1j, [[0.0]]), "orders must be real numbers"),
        (lambda key: histogram(VALUES, [[1.0, 0.0]]), r"edges\[0\] must be a vector that rises"),
    ],
)
def test_bad_input_of_the_other_instruments_is_one_line(call, message, key):
    with pytest.raises(ValueError, match=message) as raised:
        call(key)
    assert "\n" not in str(raised.value)


@dataclasses.dataclass(frozen=True)
class Diverging(estimators.BarberAgakov):
    name: str = "diverging"

    def bound(self, scores, labels, prior):
        return super().bound(scores, labels, prior) * jnp.nan


class Unhashable(estimators.BarberAgakov):
    __hash__ = None


def test_training_that_diverged_is_not_zero_nats(key):
    """Its best parameters are the first ones, which claim exactly 0."""
    spec = dataclasses.replace(QUICK, n_steps=5, n_checks=1)
    with pytest.raises(ValueError, match="training diverged"):
        estimate(LABELS, VALUES, key=key, spec=spec, estimator=Diverging())
    with pytest.raises(ValueError, match="estimator must have a hash"):
        estimate(LABELS, VALUES, key=jax.random.key(0), spec=spec, estimator=Unhashable())


def test_results_are_printed_in_one_line(plain, key):
    found, detection = plain
    assert repr(found) == str(found)
    assert repr(found) == f"Estimate({found.value:.4f} +- {found.stderr:.4f} nats, ceiling 0.6931, n 2000, mine)"
    assert repr(detection).startswith(f"Detection({float(detection.mi):.4f} +- ")
    assert repr(detection).endswith("n 2000)")
    assert len(repr(detection)) < 120
    apart = bootstrap(key, np.asarray(detection.log_ratio), LABELS, n_bootstrap=10)
    assert f"KL {apart.kl_nats.value:.4f} [{apart.kl_nats.lower:.4f}, " in repr(apart)
    assert len(repr(apart)) < 200
    assert "2" in repr(jax.vmap(lambda one: one)(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), detection)))
