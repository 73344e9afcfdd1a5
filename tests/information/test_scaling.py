import jax.numpy as jnp
import numpy as np

from amarl_jax.information.scaling import init_scale, robustly_standardised, standardise, update_scale


def test_equal_batches_average_to_the_pooled_moments():
    rng = np.random.default_rng(0)
    batches = 100.0 + rng.normal(size=(5, 40, 2)) * np.array([1.0, 3.0])
    scale = init_scale((2,))
    for batch in batches:
        scale = update_scale(scale, jnp.asarray(batch, jnp.float32), 0.99)
    pooled = batches.reshape(-1, 2)
    np.testing.assert_allclose(scale.mean, pooled.mean(0), rtol=1e-5)
    np.testing.assert_allclose(scale.variance, pooled.var(0), rtol=1e-3)  # float32 around 100


def test_standardised_features_have_unit_scale_and_constants_vanish():
    features = jnp.stack([jnp.linspace(-2.0, 2.0, 50), jnp.full(50, 7.0)], axis=-1)
    scale = update_scale(init_scale((2,)), features, 0.9)
    point = standardise(scale, jnp.array([jnp.std(features[:, 0]), 7.0]))
    np.testing.assert_allclose(point, [np.arcsinh(1.0), 0.0], atol=1e-5)


def test_robust_scaling_is_linear_in_the_bulk_logarithmic_in_the_tail_and_stays_in_range():
    sample = np.random.default_rng(1).normal(5.0, 2.0, size=(4001, 1))
    values = np.concatenate([sample, [[3.0]], [[7.0]], [[1e6]], [[-1e6]]])
    scaled = robustly_standardised(values, np.arange(4001))[:, 0]
    np.testing.assert_allclose(scaled[4001:4003], [-1.0, 1.0], atol=0.1)  # sampling error of quartiles
    np.testing.assert_array_equal(scaled[4003:], [scaled[:4001].max(), scaled[:4001].min()])
    heavy = np.random.default_rng(2).standard_cauchy(size=(4001, 1))
    assert np.abs(robustly_standardised(heavy, np.arange(4001))).max() < 15
    constant = robustly_standardised(np.full((50, 1), 7.0), np.arange(50))
    np.testing.assert_array_equal(constant, 0.0)
