"""Parameters without compiling an initialiser, and well away from the initial ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(scope="package")
def random_parameters():
    """``random_parameters(module, *inputs, scale)``: normal numbers in the shapes of ``module.init``."""

    def draw(module, *inputs, scale=0.5):
        rng = np.random.default_rng(1)
        shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return jax.tree.map(lambda x: jnp.asarray(scale * rng.standard_normal(x.shape), x.dtype), shapes)

    return draw
