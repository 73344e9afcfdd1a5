import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from amarl_jax.ground_truth.laws import TRUTH
from amarl_jax.information import estimators
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import LearnSpec
from amarl_jax.market.params import MarketSpec
from amarl_jax.nets.spec import NetworkSpec


def sample(case, rng, n):
    """n episodes of a fixture's law, as many of either class: features [n, 1], labels [n]."""
    labels = np.arange(n) % 2
    if case["family"] == "binary_poisson":
        features = rng.poisson(np.where(labels == 1, case["lam1"], case["lam0"])) - 3.0
    else:
        features = rng.normal(size=n) + case["dprime"] * labels
    return jnp.asarray(features, jnp.float32)[:, None], jnp.asarray(labels)


def network(parameters, features):
    """A critic with z as an input, evaluated at both values: [B, 2]."""

    def one(z):
        inputs = jnp.concatenate([features, jnp.full((features.shape[0], 1), z)], axis=1)
        hidden = jnp.tanh(inputs @ parameters["w1"] + parameters["b1"][None, :])
        return (hidden @ parameters["w2"])[:, 0]

    return jnp.stack([one(-1.0), one(1.0)], axis=-1)


def init_network(key, width=16):
    key_1, key_2 = jax.random.split(key)
    return {
        "w1": jax.random.normal(key_1, (2, width)),
        "b1": jnp.zeros(width),
        "w2": 0.1 * jax.random.normal(key_2, (width, 1)),
    }


@functools.partial(jax.jit, static_argnames="estimator")
def train(key, features, labels, prior, estimator, n_steps=300):
    """A critic after full-batch Adam."""
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, n_steps))
    parameters = init_network(key)

    def step(carry, _):
        parameters, moments, state = carry
        gradient, state = jax.grad(
            lambda p: estimator.loss(network(p, features), labels, prior, state, 0.99), has_aux=True
        )(parameters)
        updates, moments = optimiser.update(gradient, moments)
        return (optax.apply_updates(parameters, updates), moments, state), None

    carry = (parameters, optimiser.init(parameters), estimator.init())
    return jax.lax.scan(step, carry, length=n_steps)[0][0]


def held_out(name, case, key):
    """The estimate on 20,000 episodes that trained nothing; its own sampling error is 0.003 nats or less."""
    rng = np.random.default_rng(3)
    prior = case["pi"]
    parameters = train(key, *sample(case, rng, 4000), prior, estimators.get(name))
    features, labels = sample(case, rng, 20_000)
    return float(estimators.get(name).bound(network(parameters, features), labels, prior))


@pytest.mark.parametrize("name", ["mine", "nwj", "barber_agakov", "smile"])
def test_gaussian_information_is_found(name, key):
    case = TRUTH["bin_gauss_d1.0"]
    estimate = held_out(name, case, key)
    assert abs(estimate - case["mi"]) < 0.02
    assert estimate < case["mi"] + 0.01  # three sampling errors: not above the truth


@pytest.mark.parametrize("fixture", ["bin_gauss_d0", "poisson_3.0_3.0"])
def test_nothing_is_found_where_there_is_nothing(fixture, key):
    assert abs(held_out("mine", TRUTH[fixture], key)) < 0.01


def test_the_prior_is_the_estimands_not_the_samples(key):
    case = TRUTH["bin_gauss_d1.0_pi0.2"]
    assert abs(held_out("mine", case, key) - case["mi"]) < 0.02
    assert abs(case["mi"] - TRUTH["bin_gauss_d1.0"]["mi"]) > 0.03  # the equal-prior value would fail above


def discrete_law():
    """F in {0, 1, 2} with laws (1, 2, 5)/8 and (4, 3, 1)/8: one episode per atom, so the sample is the law."""
    laws = np.array([[1, 2, 5], [4, 3, 1]])
    atoms = [(f, z) for z in (0, 1) for f in range(3) for _ in range(laws[z, f])]
    mixture = laws.sum(0) / 16
    truth = sum(0.5 * laws[z, f] / 8 * np.log(laws[z, f] / 8 / mixture[f]) for z in (0, 1) for f in range(3))
    return np.array([f for f, _ in atoms]), jnp.array([z for _, z in atoms]), truth, laws / 8


def test_bounds_are_ordered_for_one_critic_and_below_the_information(key):
    f, labels, truth, _ = discrete_law()
    tables = jnp.array([0.1, 1.0, 3.0])[:, None, None, None] * jax.random.normal(key, (3, 20, 3, 2))
    scores = jnp.moveaxis(tables[:, :, f], 2, 0)  # 60 critics side by side
    nwj, dv, ba = (
        np.asarray(jax.jit(estimators.get(name).bound)(scores, labels, 0.5))
        for name in ("nwj", "mine", "barber_agakov")
    )
    assert (nwj <= dv + 1e-5).all()
    assert (dv <= ba + 1e-5).all()
    assert (ba <= truth + 1e-5).all()


def test_all_bounds_meet_the_information_at_the_true_ratio():
    f, labels, truth, laws = discrete_law()
    table = jnp.asarray(np.log(laws / laws.mean(0)).T, jnp.float32)
    for name, shift in (("nwj", 1.0), ("mine", 7.0), ("barber_agakov", 7.0), ("smile", 0.0)):
        np.testing.assert_allclose(estimators.get(name).bound(table[f] + shift, labels, 0.5), truth, atol=1e-5)


def test_what_depends_on_f_alone_leaves_barber_agakov_unchanged(key):
    f, labels, _, _ = discrete_law()
    key_scores, key_shift = jax.random.split(key)
    table, shift = jax.random.normal(key_scores, (3, 2)), 3.0 * jax.random.normal(key_shift, (3, 1))
    before, after = (
        {name: float(estimators.get(name).bound(t[f], labels, 0.5)) for name in ("barber_agakov", "mine")}
        for t in (table, table + shift)
    )
    assert abs(before["barber_agakov"] - after["barber_agakov"]) < 1e-5
    assert abs(before["mine"] - after["mine"]) > 1e-2


def test_pairs_of_continuous_x_are_many_labels(key):
    """Scores of all pairs T(x_j, y_i), labels i and a uniform prior over j: Barber-Agakov is then InfoNCE."""
    scores = jax.random.normal(key, (5, 5))
    ba = estimators.get("barber_agakov").bound(scores, jnp.arange(5), jnp.full(5, 0.2))
    info_nce = np.mean(np.diag(scores) - np.log(np.mean(np.exp(np.asarray(scores)), axis=1)))
    np.testing.assert_allclose(ba, info_nce, atol=1e-5)


def test_smile_survives_what_explodes_the_others():
    scores = jnp.array([[0.0, 200.0], [0.0, 1.0]])
    smile = estimators.get("smile").bound(scores, jnp.array([0, 1]), 0.5)
    assert np.isfinite(smile)
    assert abs(float(smile)) < 10
    assert not np.isfinite(estimators.get("nwj").bound(scores, jnp.array([0, 1]), 0.5))


def test_every_estimator_has_a_state_that_scans(key):
    scores = jax.random.normal(key, (6, 3, 2))
    for name, estimator in estimators.REGISTRY.items():
        assert estimator.name == name
        state = estimator.init((3,))
        loss, after = jax.jit(estimator.loss)(scores, jnp.arange(6) % 2, 0.5, state, 0.99)
        assert loss.shape == ()
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
        assert jax.eval_shape(estimator.bound, scores, jnp.arange(6) % 2, 0.5).shape == (3,)


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match=r"'mime'.*barber_agakov.*mine"):
        estimators.get("mime")


def test_training_and_estimates_share_their_objects():
    for name, estimator in estimators.REGISTRY.items():
        game = Game(MarketSpec(), NetworkSpec(), LearnSpec(mi_estimator=name))
        assert game.estimator is estimator is estimators.get(name)
