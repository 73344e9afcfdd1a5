import numpy as np

from amarl_jax.information.scaling import robustly_standardised


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
