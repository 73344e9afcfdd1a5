"""With few particles: unbiased likelihoods, unbiased inverses given a path of the posterior, no trace of a mimic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.posterior.assignments import CUT, FIRST_ROW, SILENT, Hidden
from amarl_jax.posterior.filter import BUYS, NOISE, SELLS, Truth, log_ratio
from amarl_jax.posterior.particles import Particles, advance
from tests.information.brute_force import histories_after, noise_law, on_host
from tests.information.test_brute_force import REACTIVE, SIGNS, SPEC
from tests.posterior import games
from tests.posterior.test_exact_likelihoods import overflow

N_RECORDS, N_DRAWS = 8, 1500


def assert_mean(x, expected, sigmas=4.5):
    """The mean over the last axis is the expected one within its standard error, which is small enough to tell."""
    error = x.std(-1) / np.sqrt(x.shape[-1])
    assert (error < 0.05 * np.abs(expected)).all(), error / expected
    assert (np.abs(x.mean(-1) - expected) <= sigmas * error + 1e-4 * np.abs(expected)).all(), (
        x.mean(-1),
        expected,
        error,
    )


@pytest.fixture(scope="module")
def chosen():
    """Numbers of the records with the most orders, of which few particles lose most."""
    episodes, _ = games.enumerated("reactive", 160)
    n_rows = [sum(len(step.rows) for step in episode.steps) for episode in episodes]
    return np.argsort(n_rows, kind="stable")[-N_RECORDS:]


@pytest.fixture(scope="module")
def exact(chosen):
    """Likelihoods [N_RECORDS, hypothesis] of the whole records, in the filter's unit."""
    episodes, found = games.enumerated("reactive", 160)
    params = games.settings("reactive")
    rows = [np.append(found[i].log_z_by_direction[-1], found[i].log_z0[-1]) for i in chosen]
    return np.exp(np.array(rows) + [[overflow(episodes[i], params)[-1]] for i in chosen])


def repeated(chosen):
    record, _, _ = games.played("reactive")
    return jax.tree.map(lambda x: jnp.repeat(x[chosen], N_DRAWS, axis=0), record)


def by_record(of_orders):
    """[N_RECORDS, N_DRAWS, ...] at the horizon."""
    return np.asarray(of_orders[:, -1], np.float64).reshape(N_RECORDS, N_DRAWS, -1)


def test_few_particles_estimate_every_likelihood_without_bias(chosen, exact):
    keys = jax.random.split(jax.random.key(2), N_RECORDS * N_DRAWS)
    found = games.likelihoods(games.FEW)(keys, repeated(chosen), games.settings("reactive"))
    estimates = np.exp(by_record(found.of_orders))
    assert (estimates.std(1) / exact > 0.01).mean() > 0.5, "lots were drawn"
    assert_mean(estimates.swapaxes(1, 2), exact)


def drawn_paths(rng, episode, hypothesis):
    """Options [N_DRAWS, T] and private numbers [N_DRAWS] drawn from their posterior under one hypothesis."""
    params = on_host(games.settings("reactive"))
    direction = {BUYS: 1, SELLS: -1, NOISE: 1}[hypothesis]

    def at_z0(view):
        tilt = np.clip(params.tilt_per_tick * float(view.public.news_gap), -params.tilt_max, params.tilt_max)
        return {**noise_law(params, SPEC), "gate": params.slot_rate, "p_buy": 0.5 + tilt}

    law = at_z0 if hypothesis == NOISE else REACTIVE
    paths = [(weight, (), None, 0, private) for private, weight in SIGNS]
    for t, step in enumerate(episode.steps):
        numbers = [row.number for row in step.rows]
        paths = [
            (weight * w, (*options, _option(choice, numbers)), then, after, private)
            for weight, options, child, position, private in paths
            for choice, w, then, after in histories_after(
                step, t, child, position, law, params, SPEC, direction, private
            )
            if w > 0
        ]
    weights = np.array([path[0] for path in paths])
    picked = [paths[i] for i in rng.choice(len(paths), N_DRAWS, p=weights / weights.sum())]
    return np.array([path[1] for path in picked]), np.array([path[4] for path in picked], np.float32)


def _option(choice, numbers):
    return {"silent": SILENT, "cut": CUT}[choice] if isinstance(choice, str) else FIRST_ROW + numbers.index(choice)


@pytest.mark.parametrize("hypothesis", [BUYS, NOISE])
def test_given_a_path_of_the_posterior_the_inverse_has_no_bias(hypothesis, chosen, exact):
    episodes, _ = games.enumerated("reactive", 160)
    rng = np.random.default_rng(5)
    options, privates = zip(*(drawn_paths(rng, episodes[i], hypothesis) for i in chosen), strict=True)
    n = N_RECORDS * N_DRAWS
    sizes = np.abs(rng.standard_normal(n)).astype(np.float32)  # Reactive reads the sign alone
    truth = Truth(
        option=jnp.asarray(np.concatenate(options), jnp.int32),
        hypothesis=jnp.full(n, hypothesis, jnp.int32),
        private=jnp.asarray(np.concatenate(privates) * sizes),
    )
    keys = jax.random.split(jax.random.key(3), n)
    found = games.likelihoods_given(games.FEW)(keys, repeated(chosen), games.settings("reactive"), truth)
    assert (np.asarray(found.kept_weight) > 0).all()
    inverse = np.exp(-by_record(found.of_orders)[..., hypothesis])
    assert_mean(inverse, 1.0 / exact[:, hypothesis])
    free = [h for h in (BUYS, SELLS, NOISE) if h != hypothesis]
    estimates = np.exp(by_record(found.of_orders)[..., free])
    assert_mean(estimates.swapaxes(1, 2), exact[:, free])


def test_offspring_are_selected_without_bias():
    """An offspring's mean weight is its share of all, and a kept one of the posterior is always there."""
    rng = np.random.default_rng(6)
    n_options, n_particles, n = 5, 4, 40_000
    weights = rng.gamma(0.4, size=(n_options, n_particles)).astype(np.float32)
    share = np.array([0.4, 0.3, 0.3, 0.0], np.float32)
    joint = share * weights / (share * weights).sum()
    hidden = Hidden(child=jnp.arange(n_particles), position=jnp.arange(n_particles))
    flat = rng.choice(joint.size, n, p=(joint / joint.sum()).ravel())

    def select(uniform, parent, option):
        start = Particles(hidden, jnp.zeros(n_particles, jnp.int32), jnp.asarray(share), jnp.float32(0.0), parent)
        return advance(uniform, start, jnp.asarray(weights), option)

    uniform = jnp.asarray(rng.random((n, 2)), jnp.float32)
    parents, options = (jnp.asarray(x, jnp.int32) for x in (flat % n_particles, flat // n_particles))
    for kept in (jnp.full(n, -1, jnp.int32), options):
        after, chosen = jax.tree.map(np.asarray, jax.jit(jax.vmap(select))(uniform, parents, kept))
        np.testing.assert_allclose(after.log_likelihood, np.log((share * weights).sum()), rtol=1e-5)
        if kept is options:
            own = np.arange(n), after.kept
            np.testing.assert_array_equal(after.hidden.child[own], parents)
            np.testing.assert_array_equal(chosen[own], options)
            assert (after.share[own] > 0).all()
            continue
        for option in range(n_options):
            for parent in range(n_particles):
                is_it = (chosen == option) & (after.hidden.child == parent)
                total = (after.share * is_it).sum(1)
                error = total.std() / np.sqrt(n)
                assert abs(total.mean() - joint[option, parent]) < 4.5 * error + 1e-5


@pytest.mark.parametrize("n_particles", [games.FEW, games.ENOUGH])
def test_the_mimic_gives_nothing_away(n_particles):
    """At no prefix of any episode, however few the particles; the arbitrageur, who knows V, trades."""
    record, _, _ = games.played("mimic")
    keys = jax.random.split(jax.random.key(4), len(games.labels()))
    found = games.likelihoods(n_particles, 1)(keys, record, games.settings("mimic"))
    ratios = np.asarray(jax.vmap(log_ratio)(found))
    np.testing.assert_allclose(ratios, 0.0, atol=1e-6)
    assert np.ptp(np.asarray(found.of_orders)[:, -1, NOISE]) > 1.0
    assert float(np.asarray(record.public.mid).std()) > 0.3, "prices move"


def test_the_ratio_averages_to_one_over_the_class_below_it():
    record, _, _ = games.played("reactive")
    keys = jax.random.split(jax.random.key(5), len(games.labels()))
    found = games.likelihoods(games.ENOUGH)(keys, record, games.settings("reactive"))
    ratio, z = np.asarray(jax.vmap(log_ratio)(found), np.float64)[:, -1], games.labels()
    assert ratio.std() > 0.2
    for x in (np.exp(ratio[z == 0]), np.exp(-ratio[z == 1])):
        error = x.std() / np.sqrt(len(x))
        assert error < 0.1
        assert abs(x.mean() - 1.0) < 4.0 * error


def test_a_reader_that_is_not_told_who_leaves_loses_what_the_two_posteriors_are_apart():
    """The old order of a slot that acts leaves at once: where orders live long, which of them leave gives it away."""
    changes = (("lifetime_steps", 500.0),)
    record, _, _ = games.played("reactive", changes)
    params, z = games.settings("reactive", **dict(changes)), games.labels()
    keys = (jax.random.split(jax.random.key(5), len(z)) for _ in range(2))
    readers = games.likelihoods(games.ENOUGH), games.likelihoods_untold(games.ENOUGH)
    found = [jax.vmap(log_ratio)(read(next(keys), record, params))[:, -1] for read in readers]
    told, untold = np.asarray(found, np.float64)
    for x in (np.exp(untold[z == 0]), np.exp(-untold[z == 1])):
        assert abs(x.mean() - 1.0) < 4.0 * x.std() / np.sqrt(len(x)) < 0.4
    lost = np.logaddexp(0.0, np.where(z == 1, -untold, untold)) - np.logaddexp(0.0, np.where(z == 1, -told, told))
    one = 1.0 / (1.0 + np.exp(-told))
    apart = np.logaddexp(0.0, untold) - np.logaddexp(0.0, told) + one * (told - untold)
    assert apart.mean() > 0.005
    assert abs(lost.mean() - apart.mean()) < 3.0 * (lost - apart).std() / np.sqrt(len(z)) < 0.02
