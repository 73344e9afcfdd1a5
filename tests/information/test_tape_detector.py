"""A detector of tapes: most of what a law of known information holds, nothing where there is none, held out always."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.information.tape_detector import TapeDetectorSpec, cross_fit_tapes, detect_tapes, plan_tapes
from amarl_jax.types import Tape

T, K, RATE, CHANCE, LOTS = 10, 9, 2.0, 0.25, 10
SPEC = TapeDetectorSpec(n_folds=2, hidden=(16,), n_epochs=8)
SMALL = TapeDetectorSpec(n_folds=2, hidden=(4,), n_epochs=1, min_steps=10, n_checks=2, batch_size=8)


def episodes(seed, n, chance=CHANCE):
    """Tapes of n episodes, their labels and the exact log-ratio.

    Noise is a Poisson number of orders in each step, of 1 to 10 lots and either side alike. At z = 1 one more of
    4 lots along a side drawn for the episode comes with the given chance, and stands anywhere among them.
    """
    rng = np.random.default_rng(seed)
    z, u = np.arange(n) % 2, rng.choice([-1, 1], n)
    count = np.minimum(rng.poisson(RATE, (n, T)), K - 1)
    side, lots = rng.choice([-1, 1], (n, T, K)), rng.integers(1, LOTS + 1, (n, T, K))
    sends = (z[:, None] == 1) & (rng.random((n, T)) < chance)
    row = rng.integers(0, 1 + count)
    here = sends[..., None] & (np.arange(K) == row[..., None])
    side, lots = np.where(here, u[:, None, None], side), np.where(here, 4, lots)
    live = np.arange(K) < (count + sends)[..., None]
    side, lots = side * live, lots * live
    tape = Tape(
        side=side.astype(np.int8),
        price_ticks=-side.astype(np.int8),
        size_lots=lots.astype(np.int8),
        marketable=np.zeros((n, T, K), np.int8),
        time_256=np.ones((n, T, K), np.uint8),
        removals=np.zeros((n, T, 2), np.int8),
        value_gap_16=np.zeros((n, T), np.int16),
        spread_ticks=np.zeros((n, T), np.int16),
    )
    ratio = [np.log(1 - chance + chance * 2 * LOTS / RATE * np.sum((lots == 4) & (side == s), axis=2)) for s in (1, -1)]
    return tape, z, np.logaddexp(*(part.sum(axis=1) for part in ratio)) - math.log(2.0)


def bound(log_ratio, z):
    """What a log-ratio says of z, nats per episode."""
    return math.log(2.0) - np.logaddexp(0.0, np.where(z == 1, -log_ratio, log_ratio))


@pytest.fixture(scope="module")
def key():
    return jax.random.key(5)


def test_most_of_a_known_information_is_found(key):
    tapes, z, log_ratio = episodes(0, 4096)
    exact = bound(log_ratio, z)
    assert np.exp(log_ratio[z == 0]).mean() == pytest.approx(1.0, abs=0.1), "it is a ratio of densities"
    detection = detect_tapes(key, tapes, z, spec=SPEC)
    assert float(detection.mi) > 0.9 * exact.mean() > 0.1
    assert float(detection.mi) < exact.mean() + 2 * exact.std() / 64, "nobody finds more than there is"


def test_nothing_is_found_where_labels_say_nothing(key):
    tapes, z, _ = episodes(1, 2048, chance=0.0)
    detection = detect_tapes(jax.random.clone(key), tapes, z, spec=SPEC)
    assert abs(float(detection.mi)) < 0.005


@pytest.fixture(scope="module")
def few(key):
    tapes, z, _ = episodes(2, 64)
    return plan_tapes(jax.random.clone(key), z, T, K, SMALL), jax.tree.map(jnp.asarray, tapes), z


def test_an_episode_has_no_part_in_the_model_that_scores_it(few):
    design, tapes, z = few
    folds = [np.unique(fold) for fold in np.asarray(design.held_out)]
    assert sorted(np.concatenate(folds)) == list(range(64)), "every episode is held out once"
    for fold, rows, validation in zip(folds, design.rows, design.validation, strict=True):
        assert not set(fold) & (set(np.asarray(rows).reshape(-1)) | set(np.asarray(validation)))
        assert not set(np.asarray(rows).reshape(-1)) & set(np.asarray(validation))
        assert abs(z[fold].mean() - 0.5) < 0.05
    before = np.asarray(cross_fit_tapes(design, tapes, jnp.asarray(z), jnp.float32(0.5), SMALL))
    turned = z.copy()
    turned[folds[0]] = 1 - z[folds[0]]
    after = np.asarray(cross_fit_tapes(design, tapes, jnp.asarray(turned), jnp.float32(0.5), SMALL))
    np.testing.assert_array_equal(before[folds[0]], after[folds[0]])
    assert not np.array_equal(before[folds[1]], after[folds[1]])


def test_the_program_is_traced_once(few):
    design, tapes, z = few
    cross_fit_tapes(design, tapes, jnp.asarray(z), jnp.float32(0.5), SMALL)
    n_traces = cross_fit_tapes._cache_size()
    other = plan_tapes(jax.random.key(6), z, T, K, SMALL)
    cross_fit_tapes(other, tapes, jnp.asarray(1 - z), jnp.float32(0.3), SMALL)
    assert cross_fit_tapes._cache_size() == n_traces


def test_too_few_episodes_of_a_class_are_an_error():
    tapes, _, _ = episodes(3, 16)
    with pytest.raises(ValueError, match="2 folds need at least 4 episodes of each class"):
        detect_tapes(jax.random.key(0), tapes, np.arange(16) < 3, spec=SMALL)
