"""Blocked and ring attention against a dense masked softmax in numpy."""

import jax
import numpy as np
import pytest

from amarl_jax.nets.attention import banded_attention, ring_attention


def dense_attention(query, key, value, window):
    n_steps, n_heads, d_head = query.shape
    output = np.zeros_like(query)
    for t in range(n_steps):
        seen = slice(max(0, t - window + 1), t + 1)
        for h in range(n_heads):
            scores = key[seen, h] @ query[t, h] / np.sqrt(d_head)
            weights = np.exp(scores - scores.max())
            output[t, h] = weights @ value[seen, h] / weights.sum()
    return output


def random_inputs(n_steps):
    return np.random.default_rng(n_steps).standard_normal((3, n_steps, 2, 4)).astype(np.float32)


@pytest.mark.parametrize(("n_steps", "window"), [(20, 6), (18, 6), (5, 6), (3, 1)])
def test_banded_attention_equals_the_dense_one(n_steps, window):
    query_key_value = random_inputs(n_steps)
    actual = jax.jit(banded_attention, static_argnums=1)(query_key_value.swapaxes(0, 1), window)
    np.testing.assert_allclose(actual, dense_attention(*query_key_value, window), atol=1e-5)  # float32


@pytest.mark.parametrize("t", [0, 3, 5, 6, 16])
def test_ring_attention_equals_the_dense_one(t):
    window = 6
    query, keys, values = random_inputs(20)
    ring_keys, ring_values = np.full((2, window, 2, 4), 7.0, np.float32)  # an empty slot must not be read
    for s in range(max(0, t - window + 1), t + 1):
        ring_keys[s % window], ring_values[s % window] = keys[s], values[s]
    actual = jax.jit(ring_attention)(query[t], ring_keys.swapaxes(0, 1), ring_values.swapaxes(0, 1), t)
    np.testing.assert_allclose(actual, dense_attention(query, keys, values, window)[t], atol=1e-5)  # float32
