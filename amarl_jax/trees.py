"""Small helpers over pytrees."""

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.types import Array, PyTree


def count_parameters(tree: PyTree) -> int:
    """Number of scalars in a pytree of arrays."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def select(predicate: Array, on_true: PyTree, on_false: PyTree) -> PyTree:
    """Leafwise ``where`` with a scalar predicate."""
    return jax.tree.map(lambda a, b: jnp.where(predicate, a, b), on_true, on_false)


def all_finite(tree: PyTree) -> Array:
    """Whether every floating leaf is finite, a scalar bool."""
    leaves = [x.reshape(-1) for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.isfinite(jnp.concatenate(leaves))) if leaves else jnp.array(True)
