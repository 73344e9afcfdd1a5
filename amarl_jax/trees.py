"""Small helpers over pytrees."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.types import Array, PyTree

Bag = TypeVar("Bag")


@struct.dataclass
class Packed:
    """A tree whose leaves lie side by side, in one array for each dtype.

    Compile time grows with the number of kernels, and a loop reads and writes each array with its own kernels.
    vmap, scan and indexing over leading axes keep the packing.
    """

    columns: tuple[Array, ...]  # [..., n], one array for each of `dtypes`
    dtypes: tuple[Any, ...] = struct.field(pytree_node=False)  # in the order of their first leaf
    leaves: tuple[jax.ShapeDtypeStruct, ...] = struct.field(pytree_node=False)  # without the leading axes
    treedef: Any = struct.field(pytree_node=False)

    def take(self, rows: Array | slice) -> PyTree:
        """The tree of these rows of the first axis."""
        return unpack(jax.tree.map(lambda x: x[rows], self))


def pack(tree: PyTree, n_lead: int = 0) -> Packed:
    """Pack a tree of arrays that share their first ``n_lead`` axes."""
    leaves, treedef = jax.tree.flatten(tree)
    dtypes = tuple(dict.fromkeys(leaf.dtype for leaf in leaves))
    flat = {dtype: [x.reshape(*x.shape[:n_lead], -1) for x in leaves if x.dtype == dtype] for dtype in dtypes}
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape[n_lead:], leaf.dtype) for leaf in leaves)
    return Packed(tuple(jnp.concatenate(same, axis=-1) for same in flat.values()), dtypes, shapes, treedef)


def unpack(packed: Packed) -> PyTree:
    """The tree that was packed, with its present leading axes."""
    found: list[Array | None] = [None] * len(packed.leaves)
    for dtype, columns in zip(packed.dtypes, packed.columns, strict=True):
        mine = [i for i, leaf in enumerate(packed.leaves) if leaf.dtype == dtype]
        ends = itertools.accumulate(math.prod(packed.leaves[i].shape) for i in mine)
        for i, end in zip(mine, ends, strict=True):
            shape = packed.leaves[i].shape
            found[i] = columns[..., end - math.prod(shape) : end].reshape(*columns.shape[:-1], *shape)
    return jax.tree.unflatten(packed.treedef, found)


def as_arrays(bag: Bag) -> Bag:
    """A dataclass of numbers with every leaf a strongly typed array, so that all such bags share one trace.

    int32 where the field's default is an integer, float32 elsewhere; a tree in a field without a default value is
    float32 throughout.
    """
    defaults: Any = type(bag)()

    def typed(name: str) -> PyTree:
        kind = jnp.int32 if isinstance(getattr(defaults, name), int) else jnp.float32
        value = getattr(bag, name)
        if getattr(defaults, name) is None:
            return jax.tree.map(lambda x: jnp.asarray(x, kind), value)
        return jnp.asarray(value, kind)

    return type(bag)(**{field.name: typed(field.name) for field in dataclasses.fields(defaults)})


def count_parameters(tree: PyTree) -> int:
    """Number of scalars in a pytree of arrays."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def select(predicate: Array, on_true: PyTree, on_false: PyTree) -> PyTree:
    """Leafwise ``where`` with a scalar predicate."""
    return jax.tree.map(lambda a, b: jnp.where(predicate, a, b), on_true, on_false)


def all_finite(trees: Sequence[PyTree]) -> Array:
    """Flags [n] of trees whose floating leaves are all finite, in one comparison for n trees."""
    none = jnp.zeros(0, jnp.float32)
    leaves = [[x.reshape(-1) for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)] for tree in trees]
    rows = [jnp.concatenate([none, *of_tree]) for of_tree in leaves]
    longest = max(row.size for row in rows)
    return jnp.all(jnp.isfinite(jnp.stack([jnp.pad(row, (0, longest - row.size)) for row in rows])), axis=1)
