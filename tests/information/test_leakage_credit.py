"""The gradient of the information, exactly, on a sender small enough to enumerate.

T = 6 binary symbols. At z = 0 each is a fair coin; at z = 1 a sender with an order of two emits 1 with log-odds theta
until two are out, and is a fair coin from then on, so that what it emits now decides what is left to leak later. The
posterior is Bayes', I(z; F) a finite sum, its derivative automatic differentiation: 0.1186 nats at p_z = 0.5, 0.0943 at
0.3. The estimate runs through the very functions training calls, ``leakage_increments``, ``gae`` and
``clipped_surrogate``, with every z = 1 sequence weighted by its probability, hence without Monte Carlo error.
Tolerances of 1e-5 are float32 rounding of sums over 64 sequences.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.information.mine import POSTERIOR_MAX, POSTERIOR_MIN, leakage_increments, leakage_levels
from amarl_jax.learn.losses import clipped_surrogate
from amarl_jax.learn.returns import gae

T = 6
ORDER = 2
THETA = 0.8
SEQUENCES = jnp.array(list(itertools.product((0.0, 1.0), repeat=T)))  # [64, T]
LOG_NOISE = T * np.log(0.5)


def log_probs(theta):
    """log P(x_t | past, z = 1) of every symbol of every sequence, [64, T]."""
    emitted = jnp.cumsum(SEQUENCES, axis=1) - SEQUENCES
    return jax.nn.log_sigmoid((2 * SEQUENCES - 1) * jnp.where(emitted < ORDER, theta, 0.0))


@jax.jit
def information(theta, prior):
    """I(z; F) in nats, summed over all sequences."""
    log_one = jnp.sum(log_probs(theta), axis=1)
    log_f = jnp.logaddexp(jnp.log(prior) + log_one, jnp.log(1 - prior) + LOG_NOISE)
    return jnp.sum(prior * jnp.exp(log_one) * (log_one - log_f) + (1 - prior) * 2.0**-T * (LOG_NOISE - log_f))


def log_posterior_one(theta, prior):
    """Bayes' log P(z = 1 | x_<=t), [64, T]."""
    log_one = jnp.log(prior) + jnp.cumsum(log_probs(theta), axis=1)
    log_zero = jnp.log(1 - prior) + jnp.log(0.5) * jnp.arange(1, T + 1)
    return log_one - jnp.logaddexp(log_one, jnp.broadcast_to(log_zero[None, :], log_one.shape))


exact_gradient = jax.jit(jax.grad(information))


@jax.jit
def estimated_gradient(reward, discount=1.0):
    """Minus the gradient of training's loss at theta on z = 1 sequences, for rewards [64, T], without baseline."""
    advantage, _ = jax.vmap(lambda r: gae(r, jnp.zeros(T), discount, 1.0))(reward)
    old = log_probs(THETA)
    weight = jnp.exp(jnp.sum(old, axis=1, keepdims=True)) * jnp.ones((1, T))

    def objective(theta):
        return -T * clipped_surrogate(log_probs(theta), old, advantage, weight, 0.2)[0]  # a sum over steps, not a mean

    return jax.grad(objective)(THETA)


@functools.partial(jax.jit, static_argnames="credit")
def leakage(prior, credit=leakage_increments):
    return jax.vmap(credit, in_axes=(0, None))(log_posterior_one(THETA, prior), prior)


@pytest.mark.parametrize(("prior", "gradient"), [(0.5, 0.1186), (0.3, 0.0943)])
def test_increments_pay_the_gradient_of_the_information(prior, gradient):
    posterior = np.exp(log_posterior_one(THETA, prior))
    assert posterior.min() > POSTERIOR_MIN
    assert posterior.max() < POSTERIOR_MAX  # clipping is inactive, the identity is exact
    exact = float(exact_gradient(THETA, prior))
    assert abs(exact - gradient) < 1e-4  # the figure above, to its digits
    assert abs(estimated_gradient(leakage(prior)) - exact) < 1e-5


@pytest.mark.parametrize("prior", [0.5, 0.3])
def test_a_step_that_answers_for_itself_alone_gets_the_gradient_wrong(prior):
    exact = float(exact_gradient(THETA, prior))
    assert abs(estimated_gradient(leakage(prior), discount=0.0) / exact - 1) > 0.1


def test_levels_pay_the_gradient_of_the_information_averaged_over_prefixes():
    def information_of_prefixes(theta):
        t = jnp.arange(1.0, T + 1)[None, :]
        log_one, log_zero = jnp.cumsum(log_probs(theta), axis=1), jnp.log(0.5) * t * jnp.ones((64, 1))
        log_f = jnp.logaddexp(log_one, log_zero) - jnp.log(2.0)
        terms = 0.5 * (jnp.exp(log_one) * (log_one - log_f) + jnp.exp(log_zero) * (log_zero - log_f))
        return jnp.sum(terms / 2.0 ** (T - t)) / T  # each prefix appears once per ending

    exact = jax.jit(jax.grad(information_of_prefixes))(THETA)
    assert abs(estimated_gradient(leakage(0.5, leakage_levels)) - exact) < 1e-5


@pytest.mark.parametrize("prior", [0.5, 0.3])
def test_a_number_common_to_the_batch_pays_nothing(prior):
    scalar = jnp.full((64, T), information(THETA, prior) / T)
    assert abs(estimated_gradient(scalar)) < 1e-6
    assert abs(estimated_gradient(scalar - 0.3)) < 1e-6  # nor with a baseline


def test_sampled_episodes_agree(key):
    exact = float(exact_gradient(THETA, 0.5))
    n = 20_000
    probability = jnp.exp(jnp.sum(log_probs(THETA), axis=1))
    rows = jax.random.choice(key, 64, (n,), p=probability)
    to_go = jax.vmap(lambda r: gae(r, jnp.zeros(T), 1.0, 1.0)[0])(leakage(0.5))
    score = jax.jacfwd(log_probs)(THETA)
    episodes = np.asarray(jnp.sum(score * to_go, axis=1)[rows])
    assert abs(episodes.mean() - exact) < 4 * episodes.std() / np.sqrt(n)  # four standard errors
