"""Orthogonal first weights."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from amarl_jax.lapack import one_at_a_time
from amarl_jax.types import Array


def orthogonal(scale: float = 1.0) -> Callable[..., Array]:
    """The initialiser ``flax.linen.initializers.orthogonal(scale)``, the same numbers, safe under ``vmap``."""
    draw = nn.initializers.orthogonal(scale)

    def initialise(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        if not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
            return one_at_a_time(lambda plain: draw(plain, shape, dtype))(key)
        kind = jax.random.key_impl(key)
        one = one_at_a_time(lambda plain: draw(jax.random.wrap_key_data(plain, impl=kind), shape, dtype))
        return one(jax.random.key_data(key))

    return initialise
