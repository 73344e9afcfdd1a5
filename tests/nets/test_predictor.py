"""The GRU predicts from the past alone, and finds what an autoregression leaves to be found."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from amarl_jax.nets.predictor import GRUPredictor, predictability


def test_predictions_see_the_past_alone(random_parameters):
    series = jnp.sin(jnp.arange(12.0)).reshape(6, 2)
    network = GRUPredictor(5)
    parameters = random_parameters(network, series)
    mean, log_std = jax.jit(network.apply)(parameters, series)
    chex.assert_shape([mean, log_std], (6, 2))
    jacobian = jax.jit(jax.jacrev(lambda x: sum(network.apply(parameters, x)).sum(axis=1)))(series)  # [t, s, D]
    dependence = np.abs(jacobian).sum(axis=2)
    np.testing.assert_array_equal(dependence > 0, np.tri(6, k=-1, dtype=bool))


def test_gain_is_zero_for_the_unconditional_law():
    series = jnp.sin(jnp.arange(21.0)).reshape(7, 3)
    base_mean, base_std = jnp.array([0.1, -0.2, 3.0]), jnp.array([0.5, 1.0, 2.0])
    mean, log_std = (jnp.broadcast_to(x[None], series.shape) for x in (base_mean, jnp.log(base_std)))
    gain = predictability(series, mean, log_std, base_mean, base_std)
    chex.assert_shape(gain, (7,))
    np.testing.assert_allclose(gain, 0.0, atol=1e-5)  # float32


def test_gain_by_hand():
    """x = 1, predicted N(1, 1/2), unconditional N(0, 1): log 2 + 1/2 per dimension."""
    one = jnp.ones((1, 2))
    gain = predictability(one, one, jnp.log(0.5) * one, jnp.zeros(2), jnp.ones(2))
    assert float(gain[0]) == pytest.approx(2 * (np.log(2) + 0.5), abs=1e-5)


def test_gain_on_an_autoregression_approaches_its_information(random_parameters):
    """AR(1) with coefficient r: the past has -1/2 log(1 - r^2) nats on the next value, and no predictor has more."""
    r, n_steps = 0.9, 40
    noise = np.random.default_rng(0).standard_normal((n_steps, 64)).astype(np.float32)
    series = [noise[0]]
    for eps in noise[1:]:
        series.append(r * series[-1] + np.sqrt(1 - r**2) * eps)
    train, test = np.split(np.stack(series, axis=1)[..., None], 2)  # [32, T, 1] each, unit variance
    network, optimiser = GRUPredictor(8), optax.adam(2e-2)

    def gain(parameters, batch):
        def one(x):
            return predictability(x, *network.apply(parameters, x), jnp.zeros(1), jnp.ones(1))

        return jnp.mean(jax.vmap(one)(batch))

    @jax.jit
    def fit(parameters):
        def step(carry, _):
            parameters, state = carry
            gradient = jax.grad(lambda p: -gain(p, train))(parameters)
            updates, state = optimiser.update(gradient, state)
            return (optax.apply_updates(parameters, updates), state), None

        return jax.lax.scan(step, (parameters, optimiser.init(parameters)), length=100)[0][0]

    parameters = random_parameters(network, train[0], scale=0.1)
    information = -0.5 * np.log(1 - r**2)
    held_out = float(gain(fit(parameters), test))
    assert 0.5 * information < held_out < 1.15 * information  # sampling error of 1280 steps is about 0.04 nats
    assert abs(float(gain(parameters, test))) < 0.1  # untrained: next to nothing
