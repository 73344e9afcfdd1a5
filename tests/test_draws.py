"""Draws from uniform numbers against the laws they are of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from amarl_jax.draws import UNIFORMS_PER_GAMMA, log_gamma, standard_normal

N_DRAWS = 20_000
P_MIN = 1e-3  # the keys are fixed: a law that is right stays right


def test_normal_draws_are_standard_normal_and_finite_at_both_ends():
    draws = np.asarray(standard_normal(jax.random.uniform(jax.random.key(0), (N_DRAWS,))), np.float64)
    assert stats.kstest(draws, "norm").pvalue > P_MIN
    ends = jnp.array([0.0, 1.0 - 2.0**-24])
    assert np.isfinite(standard_normal(jnp.stack(jnp.meshgrid(ends, ends)).reshape(2, -1))).all()


def test_normal_draws_of_one_pair_of_numbers_are_independent():
    one, other = np.split(np.asarray(standard_normal(jax.random.uniform(jax.random.key(2), (N_DRAWS,))), np.float64), 2)
    assert stats.spearmanr(one, other).pvalue > P_MIN
    assert stats.spearmanr(one**2, other**2).pvalue > P_MIN, "nor are their sizes tied"


@pytest.mark.parametrize("shape", [0.05, 0.7, 1.0, 4.44, 100.0])
def test_gamma_draws_follow_their_law(shape):
    uniform = jax.random.uniform(jax.random.key(1), (UNIFORMS_PER_GAMMA, N_DRAWS))
    draws = np.asarray(jax.jit(log_gamma)(uniform, jnp.full(N_DRAWS, shape, jnp.float32)), np.float64)
    assert stats.kstest(draws, stats.loggamma(shape).cdf).pvalue > P_MIN


def test_gamma_draws_are_finite_whatever_the_numbers():
    extremes = jnp.stack([jnp.full(UNIFORMS_PER_GAMMA, u) for u in (0.0, 0.5, 1.0 - 2.0**-24)], axis=1)
    for shape in (0.05, 1.0, 100.0):
        assert np.isfinite(log_gamma(extremes, jnp.full(3, shape))).all()
