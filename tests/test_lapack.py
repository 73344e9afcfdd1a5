"""Factorisations of many matrices, which on few cores wait for each other if LAPACK is left to share them out."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from amarl_jax.lapack import one_at_a_time
from amarl_jax.nets.orthogonal import orthogonal

TWO_NETWORKS = """
import jax
from {home} import orthogonal

draw = lambda key: [orthogonal()(one, (64, 64)) for one in jax.random.split(key, 12)]
many = jax.jit(jax.vmap(draw))
for seed in range(20):
    jax.block_until_ready(many(jax.random.split(jax.random.key(seed), 8)))
"""


def ends(home, seconds):
    """True if two orthogonal networks are drawn for eight lanes on two cores, again and again, before long."""
    ours = ("taskset", "-c", "0,1") if sys.platform == "linux" else ()
    line = [*ours, sys.executable, "-c", TWO_NETWORKS.format(home=home)]
    try:
        done = subprocess.run(line, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def test_networks_of_many_lanes_are_drawn_without_waiting_for_each_other():
    """With flax's own initialiser in place of ours this does not end (jaxlib 0.10.2)."""
    assert ends("amarl_jax.nets.orthogonal", 300)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey], ids=["typed", "plain"])
@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_the_weights_are_those_of_flax(make, shape):
    ours, theirs = orthogonal(1.3), nn.initializers.orthogonal(1.3)
    np.testing.assert_array_equal(ours(make(3), shape), theirs(make(3), shape))
    expected = np.stack([theirs(make(seed), shape) for seed in range(6)])
    many = jax.jit(jax.vmap(lambda seed: ours(make(seed), shape)))
    np.testing.assert_allclose(many(jnp.arange(6)), expected, atol=1e-6)


def test_batches_of_batches_are_taken_in_turn_too():
    matrices = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4, 4)), jnp.float32)
    inverse = jax.jit(jax.vmap(jax.vmap(one_at_a_time(jnp.linalg.inv))))
    np.testing.assert_array_equal(inverse(matrices), [[jnp.linalg.inv(one) for one in row] for row in matrices])
    calls = re.findall(r"custom_call @lapack_sgetrf_ffi.*", inverse.lower(matrices).as_text())
    assert len(calls) == 1
    assert "(tensor<4x4xf32>) ->" in calls[0]
