"""Draws of other laws from uniform numbers: each random call adds compile time, so a step makes one and divides it."""

import chex
import jax.numpy as jnp
import numpy as np

from amarl_jax.types import Array

N_PROPOSALS = 8  # per Gamma draw; all are rejected once in 3e10 draws, and then the first is used
UNIFORMS_PER_GAMMA = 2 * N_PROPOSALS + 1


def standard_normal(uniform: Array) -> Array:
    """N(0, 1) from as many numbers in [0, 1), [n, ...] of [n, ...], n even; finite for every one of them.

    Box and Muller 1958, "A note on the generation of random normal deviates". The inverse of the normal's cdf, which is
    a long polynomial, would compile again in every kernel that reads the draw.
    """
    chex.assert_is_divisible(uniform.shape[0], 2)
    for_radius, for_angle = jnp.split(uniform, 2)
    radius, angle = jnp.sqrt(-2.0 * jnp.log1p(-for_radius)), 2.0 * np.float32(np.pi) * for_angle
    return jnp.concatenate([radius * jnp.cos(angle), radius * jnp.sin(angle)])


def log_gamma(uniform: Array, shape: Array) -> Array:
    """Logarithms of Gamma(shape, 1) draws, in a fixed number of operations.

    Marsaglia and Tsang 2000, "A simple method for generating gamma variables": the first accepted of ``N_PROPOSALS``
    draws of Gamma(shape + 1), times ``U^(1 / shape)``.

    Args:
        uniform: [UNIFORMS_PER_GAMMA, ...] in [0, 1).
        shape: [...], positive.
    """
    chex.assert_shape(uniform, (UNIFORMS_PER_GAMMA, *shape.shape))
    log_uniform = jnp.log1p(-uniform[N_PROPOSALS:])
    normal = standard_normal(uniform[:N_PROPOSALS])
    d = (shape + 2.0 / 3.0)[None]
    root = 1.0 + normal / jnp.sqrt(9.0 * d)
    log_v = 3.0 * jnp.log(jnp.maximum(root, 1e-6))
    accepted = (root > 0.0) & (log_uniform[:-1] < 0.5 * normal**2 + d * (1.0 - root**3 + log_v))
    chosen = jnp.take_along_axis(log_v, jnp.argmax(accepted, axis=0)[None], axis=0)[0]
    return jnp.log(d[0]) + chosen + log_uniform[-1] / shape
