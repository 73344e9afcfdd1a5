"""Rows that belong together stay together: in folds, in permutations, in what is drawn again, in standard errors."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.information import EstimateSpec, divergence, estimate, groups, planting
from amarl_jax.information.detector import detect, summarise
from amarl_jax.information.detector_fit import DetectorSpec, plan
from amarl_jax.information.parts import divide
from amarl_jax.information.significance import compare, permutation_test

QUICK = EstimateSpec(n_folds=2, hidden=(64,), n_steps=300, n_checks=5, batch_size=128)
SMALL = DetectorSpec(n_folds=2, hidden=(4,), n_steps=20, n_checks=2, batch_size=32)


@pytest.fixture
def uneven():
    """600 rows in 60 groups of 1 to 19, of one label each; every third group informed."""
    rng = np.random.default_rng(1)
    codes = rng.permutation(np.repeat(np.arange(60), rng.permutation(np.tile([1, 5, 9, 11, 15, 19], 10))))
    return codes, (codes % 3 == 0).astype(int)


@pytest.fixture(scope="module")
def copies():
    """200 rows of nothing, repeated 20 times."""
    rng = np.random.default_rng(2)
    which = rng.permutation(np.tile(np.arange(200), 20))
    return rng.normal(size=(200, 5))[which], rng.permutation(np.arange(200) % 2)[which], which


def separation(features, labels):
    ones = labels.astype(features.dtype)
    return jnp.abs(ones @ features[:, 0] / ones.sum() - (1 - ones) @ features[:, 0] / (1 - ones).sum())


def test_repeated_rows_are_said_and_groups_undo_them(copies, key):
    """What a critic remembers of a copy it takes for information: 0 is there."""
    y, z, which = copies
    keys = jax.random.split(key, 4)
    with pytest.warns(UserWarning, match="4000 of 4000 rows occur more than once, with the same x: .* groups="):
        claimed = estimate(z, y, key=keys[0], spec=QUICK)
    assert claimed.value > 0.03 + 3 * claimed.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        honest = estimate(z, y, key=keys[2], spec=QUICK, groups=which)
        named = detect(keys[1], y, z, spec=SMALL, groups=np.array([f"row {i}" for i in which]))
    assert abs(honest.value) < 0.01 + 3 * honest.stderr
    assert float(named.mi) < 3 * float(named.mi_stderr)
    with pytest.warns(UserWarning, match="with the same label"):
        alone = detect(keys[3], y, z, spec=SMALL)
    assert float(alone.mi) > 3 * float(alone.mi_stderr)


def test_coarse_laws_repeat_rows_and_are_not_warned_of(copies):
    rng = np.random.default_rng(3)
    z = np.arange(4000) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y in (
            rng.normal(size=4000),
            rng.poisson(6 + 2 * z),
            rng.poisson(1000 + 5 * z),
            z,
            np.maximum(rng.normal(size=4000), 0.0),
            np.round(rng.normal(size=4000), 2),
            np.log1p(rng.poisson(20, 4000)),
        ):
            groups.warn_of_repeats(z[:, None], y[:, None], None)
        groups.warn_of_repeats(copies[1][:, None], copies[0], copies[2])
        paired = rng.normal(size=(2000, 2))  # the same noise with and without the order
        groups.warn_of_repeats(z[:, None], np.repeat(paired, 2, axis=0), None)
    twice = rng.normal(size=(2000, 2))
    with pytest.warns(UserWarning, match="4000 of 4000"):
        groups.warn_of_repeats(rng.normal(size=(2000, 1))[np.arange(4000) % 2000], np.tile(twice, (2, 1)), None)


def test_names_become_codes():
    names = np.array(["tue", "mon", "tue", "wed"])
    np.testing.assert_array_equal(groups.group_codes(names, 4), [1, 0, 1, 2])
    np.testing.assert_array_equal(groups.group_codes(names.astype(object), 4), [1, 0, 1, 2])
    assert groups.group_codes(None, 4) is None
    with pytest.raises(ValueError, match="of one kind"):
        groups.group_codes(np.array(["a", 1, "b", 2], object), 4)


def test_groups_are_dealt_whole_and_labels_evenly(uneven):
    codes, labels = uneven
    part = groups.deal(np.random.default_rng(4), codes, labels, np.ones(5))
    assert all(np.unique(part[codes == group]).size == 1 for group in range(60))
    for label in (0, 1):
        share = np.bincount(part[labels == label], minlength=5) / np.sum(labels == label)
        assert np.abs(share - 0.2).max() < 0.03
    stops = groups.deal(np.random.default_rng(5), codes, labels, (0.2, 0.8)) == 0
    assert abs(stops.mean() - 0.2) < 0.06


def test_no_group_is_in_two_parts_of_a_fold(uneven, key):
    codes, labels = uneven
    keys = jax.random.split(key, 3)
    spec = dataclasses.replace(QUICK, n_folds=3)
    held_out = []
    for of_labels in (labels, None):
        folds, n_blocks = divide(keys[0 if of_labels is None else 1], of_labels, codes.size, spec, codes)
        for parts in folds:
            of_part = [set(codes[np.asarray(rows)]) for rows in (parts.fitting, parts.validation, parts.held_out)]
            assert sum(map(len, of_part)) == len(set.union(*of_part))
            assert np.isin(parts.training, parts.fitting).all()
            blocks = np.asarray(parts.held_out).reshape(n_blocks, -1)
            assert sum(len(set(codes[block])) for block in blocks) == len(set(codes[blocks.ravel()]))
        held_out.append(np.concatenate([parts.held_out for parts in folds]))
    assert all(np.unique(rows).size == rows.size > 0.8 * codes.size for rows in held_out)
    design = plan(keys[2], labels, 2, dataclasses.replace(SMALL, n_folds=3, training_share=0.8), codes)
    fold = np.asarray(design.fold)
    assert all(np.unique(fold[codes == group]).size == 1 for group in range(60))
    for i in range(3):
        of_part = [
            set(codes[rows]) for rows in (fold == i, np.asarray(design.validation[i]), np.asarray(design.fitting[i]))
        ]
        assert sum(map(len, of_part)) == len(set.union(*of_part))
        assert np.isin(design.rows[i], design.fitting[i]).all()
    with pytest.raises(ValueError, match="groups are too few, or too uneven"):
        plan(jax.random.key(1), labels, 2, SMALL, np.where(labels == 1, 0, 1 + codes % 3).astype(np.int32))


def test_labels_are_exchanged_between_groups_of_one_and_inside_groups_of_two():
    codes = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3])
    labels = np.array([1, 1, 1, 0, 0, 0, 1, 0, 0, 0])
    seen = set()
    for i in range(200):
        permuted = groups.permuted_labels(np.random.default_rng(i), labels, codes)
        assert permuted[6:].sum() == 1
        assert all(np.unique(permuted[codes == group]).size == 1 for group in range(3))
        assert sum(permuted[np.array([0, 3, 5])]) == 1
        seen.add(tuple(permuted))
    assert len(seen) == 12  # three groups can hold the one label, four rows the one of the mixed group


def test_permuting_rows_of_a_day_rejects_true_nulls_and_permuting_days_does_not(key):
    """20 days of 10 rows which share the day's level; labels belong to days. 60 tests at 5%.

    Days: above 9 is a chance of 1e-3. Rows: the mean's variance is 5.5 times what they claim, so 40% reject a true
    null, and fewer than 12 is a chance of 1e-3.
    """
    rng = np.random.default_rng(6)
    days = np.repeat(np.arange(20), 10)
    rejected = np.zeros(2)
    for one in jax.random.split(key, 60):
        x = (rng.normal(size=20)[days] + rng.normal(size=200))[:, None]
        for i, together in enumerate((days, None)):
            options = {"statistic": separation, "n_permutations": 99, "groups": together, "spec": SMALL}
            rejected[i] += permutation_test(jax.random.clone(one), x, days % 2, **options) <= 0.05
    assert rejected[0] <= 9
    assert rejected[1] >= 12


def test_errors_over_groups_are_those_of_the_rows_that_are_copied():
    rng = np.random.default_rng(7)
    log_ratio, labels = rng.normal(size=100).astype(np.float32), np.arange(100) % 2
    which = np.repeat(np.arange(100), 7)
    once = summarise(jnp.asarray(log_ratio), jnp.asarray(labels), 0.3)
    alone, together = (
        summarise(jnp.asarray(log_ratio[which]), jnp.asarray(labels[which]), 0.3, codes)
        for codes in (None, jnp.asarray(which))
    )
    np.testing.assert_allclose([together.mi, together.accuracy], [once.mi, once.accuracy], rtol=1e-5)
    np.testing.assert_allclose(together.mi_stderr, once.mi_stderr, rtol=0.02)  # G / (G - 1), not by class
    np.testing.assert_allclose(together.accuracy_stderr, once.accuracy_stderr, rtol=0.02)
    assert float(alone.mi_stderr) < 0.5 * float(once.mi_stderr)


def test_groups_are_drawn_again_whole(key):
    """Intervals of rows copied five times are those of the rows, and what copies weigh is what they are."""
    rng = np.random.default_rng(8)
    labels = np.arange(200) % 2
    log_ratio = rng.normal(labels - 0.5)
    which = np.repeat(np.arange(200), 5)
    keys = jax.random.split(key, 3)
    once = divergence.bootstrap(keys[0], log_ratio, labels, n_bootstrap=600).kl_nats
    alone, together = (
        divergence.bootstrap(k, log_ratio[which], labels[which], n_bootstrap=600, groups=codes).kl_nats
        for k, codes in ((keys[1], None), (keys[2], which))
    )
    assert together.value == pytest.approx(once.value, rel=1e-4)
    assert together.upper - together.lower == pytest.approx(once.upper - once.lower, rel=0.2)
    assert alone.upper - alone.lower < 0.6 * (once.upper - once.lower)
    copies = rng.integers(0, 4, 200)
    rows = np.repeat(np.arange(200), copies)
    drawn = jnp.asarray(log_ratio[rows], jnp.float32)
    np.testing.assert_allclose(
        divergence._weighted_measures(log_ratio, labels, copies),
        divergence._measures(drawn[labels[rows] == 0], drawn[labels[rows] == 1]),
        rtol=1e-4,
    )


def test_what_is_planted_by_group_is_what_a_row_of_it_tells():
    """Information of the column about its group's planted label, from a fine histogram."""
    rng = np.random.default_rng(9)
    codes = np.repeat(np.arange(20_000), 10)
    column = rng.normal(size=20_000)[codes] + rng.normal(size=200_000)
    labels = (codes % 2).astype(np.int32)
    planted = planting.planted_groups(rng, column, labels, codes, 0.02, 0.5)
    assert groups.constant_in_groups(planted, codes).all()
    assert planted.sum() == labels.sum()
    bins = np.searchsorted(np.quantile(column, np.arange(1, 40) / 40), column)
    laws = np.stack([np.bincount(bins[planted == z], minlength=40) / np.sum(planted == z) for z in (0, 1)])
    mixture = laws.mean(axis=0)
    assert np.mean(np.sum(laws * np.log(laws / mixture), axis=1)) == pytest.approx(0.02, abs=0.0025)
    with pytest.raises(ValueError, match="varies little between groups"):
        planting.planted_groups(rng, np.tile(np.arange(10.0), 20_000), labels, codes, 0.02, 0.5)


def test_days_that_say_nothing_are_not_called_indistinguishable_for_their_many_rows(key):
    """40 days of 25 equal rows: 1,000 rows would bound the information, 40 days cannot."""
    rng = np.random.default_rng(10)
    days = np.repeat(np.arange(40), 25)
    x = rng.normal(size=(40, 1))[days] + 1e-3 * rng.normal(size=(1000, 1))
    verdict = compare(key, x, days % 2, n_permutations=19, n_planted=6, groups=days, spec=SMALL)
    assert verdict.not_rejected
    assert not verdict.powered
    assert not verdict.indistinguishable
    assert repr(verdict).startswith("Verdict(undecided: p = ")
