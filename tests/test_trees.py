"""Packed trees against the trees they were made of, in loops, maps and by index."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.trees import Packed, all_finite, pack, unpack

N, T = 4, 3


@pytest.fixture
def tree():
    """Leaves of three types, of several ranks, that lead with [N, T]; no two entries of a type are alike."""
    shapes = {"a": ((), jnp.float32), "b": ((2, 3), jnp.int32), "c": {"d": ((5,), jnp.float32), "e": ((), jnp.int8)}}
    count = iter(range(0, 10_000, 1000))

    def leaf(shape, dtype):
        size = N * T * int(np.prod(shape))
        return (jnp.arange(size) % 120 + (0 if dtype == jnp.int8 else next(count))).astype(dtype).reshape(N, T, *shape)

    return jax.tree.map(lambda x: leaf(*x), shapes, is_leaf=lambda x: isinstance(x, tuple))


@pytest.mark.parametrize("n_lead", [0, 1, 2])
def test_unpacked_is_what_was_packed(tree, n_lead):
    packed = pack(tree, n_lead)
    assert len(packed.columns) == 3, "one array for each type"
    chex.assert_trees_all_equal_shapes_and_dtypes(unpack(packed), tree)
    chex.assert_trees_all_equal(unpack(packed), tree)


def test_rows_taken_of_a_packed_tree_are_those_of_its_leaves(tree):
    rows = jnp.array([2, 0, 2])
    taken = jax.tree.map(lambda x: x[rows], pack(tree, n_lead=1))
    chex.assert_trees_all_equal(unpack(taken), jax.tree.map(lambda x: x[rows], tree))
    chex.assert_trees_all_equal(pack(tree, n_lead=1).take(rows), jax.tree.map(lambda x: x[rows], tree))


def test_a_packed_tree_passes_through_a_loop_and_a_map(tree):
    def play(_, row: Packed):
        doubled = jax.tree.map(lambda x: (2 * x).astype(x.dtype), unpack(row))
        return None, pack(doubled)

    looped = jax.jit(jax.vmap(lambda row: jax.lax.scan(play, None, row)[1]))(pack(tree, n_lead=2))
    chex.assert_trees_all_equal(unpack(looped), jax.tree.map(lambda x: (2 * x).astype(x.dtype), tree))


def test_a_tree_is_finite_if_all_of_its_leaves_are():
    sound, wide = {"x": jnp.ones(2), "n": jnp.int32(7)}, (jnp.zeros((3, 4)), jnp.ones(()))
    torn = (jnp.zeros(3), jnp.array([1.0, -jnp.inf]))
    np.testing.assert_array_equal(
        all_finite([sound, torn, wide, ((), jnp.int32(1)), jnp.array(jnp.nan)]), [1, 0, 1, 1, 0]
    )
