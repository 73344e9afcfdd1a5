"""Lanes of a sweep: learners that differ in traced numbers alone, in one compiled program over all devices."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from amarl_jax.learn.metrics import Metrics
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState, init_state
from amarl_jax.learn.update import update
from amarl_jax.types import Array, PyTree

AXIS = "lane"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Placement of lanes: equal shares on every device, each share in rounds of ``at_once`` lanes.

    Lanes are padded to fill the last round of every device; results of the padding are discarded.
    """

    n_lanes: int  # lanes wanted
    devices: tuple[jax.Device, ...]
    at_once: int  # lanes that a device computes together

    @property
    def rounds(self) -> int:
        """Number of rounds on each device."""
        return -(-self.n_lanes // (len(self.devices) * self.at_once))

    @property
    def n_padded(self) -> int:
        """Number of lanes computed, padding included."""
        return len(self.devices) * self.rounds * self.at_once

    @property
    def mesh(self) -> Mesh:
        """One-dimensional mesh of all devices."""
        return Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))

    @property
    def sharding(self) -> NamedSharding:
        """Sharding that splits the leading axis over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def place(self, lanes: PyTree) -> PyTree:
        """Put a tree with a leading axis of ``n_lanes`` on the devices, the last lane repeated as padding.

        With several processes each passes the whole tree and places the part of its own devices.
        """
        take = np.minimum(np.arange(self.n_padded), self.n_lanes - 1)
        return jax.tree.map(lambda leaf: self._placed(leaf, take), lanes)

    def _placed(self, leaf: Any, take: np.ndarray) -> Array:
        rows = np.asarray(_raw(leaf))[take]
        placed = jax.make_array_from_callback(rows.shape, self.sharding, lambda index: rows[index])
        return jax.random.wrap_key_data(placed) if _is_key(leaf) else placed

    def take_back(self, lanes: PyTree) -> PyTree:
        """The ``n_lanes`` lanes of a placed tree on the host, on every host, padding cut off; keys stay keys."""
        raw = jax.tree.map(_raw, lanes)
        if not self.sharding.is_fully_addressable:
            raw = _everywhere(NamedSharding(self.mesh, PartitionSpec()))(raw)
        return jax.tree.map(lambda leaf, like: _on_host(leaf, like, self.n_lanes), raw, lanes)


def lay_out(n_lanes: int, devices: tuple[jax.Device, ...], at_most: int = 0) -> Layout:
    """The layout with the fewest rounds of at most ``at_most`` lanes per device (0: any number), evenly filled."""
    devices = devices[:n_lanes]
    share = -(-n_lanes // len(devices))
    rounds = -(-share // at_most) if at_most else 1
    return Layout(n_lanes, devices, -(-share // rounds))


def over_lanes(one: Callable[..., Any], layout: Layout) -> Callable[..., Any]:
    """``one`` mapped over the leading axis of all its arguments; devices do not communicate."""

    def share(*lanes: PyTree) -> Any:
        if layout.rounds == 1:
            return jax.vmap(one)(*lanes)
        return _rounds(jax.vmap(one), lanes, layout)

    split = PartitionSpec(AXIS)
    return jax.shard_map(share, mesh=layout.mesh, in_specs=split, out_specs=split, check_vma=False)


def _rounds(together: Callable[..., Any], lanes: tuple[PyTree, ...], layout: Layout) -> Any:
    """Run ``together`` on ``at_once`` lanes at a time; keys enter and leave the loop as plain data."""
    split = lambda x: x.reshape(layout.rounds, layout.at_once, *x.shape[1:])  # noqa: E731
    is_key = jax.tree.map(_is_key, lanes)
    makes_key: list[PyTree] = []  # filled while the loop is traced, once

    def one_round(_: None, raw: PyTree) -> tuple[None, PyTree]:
        given = jax.tree.map(lambda x, key: jax.random.wrap_key_data(x) if key else x, raw, is_key)
        made = together(*given)
        makes_key.append(jax.tree.map(_is_key, made))
        return None, jax.tree.map(_raw, made)

    raw = jax.lax.scan(one_round, None, jax.tree.map(lambda x: split(_raw(x)), lanes))[1]
    joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), raw)
    return jax.tree.map(lambda x, key: jax.random.wrap_key_data(x) if key else x, joined, makes_key[-1])


@functools.partial(jax.jit, static_argnames=("layout",))
def begin_lanes(keys: Array, setups: Setup, layout: Layout) -> TrainState:
    """Fresh learners, leading [n_padded], one for each key and setup."""
    return over_lanes(init_state, layout)(keys, setups)


@functools.partial(jax.jit, static_argnames=("layout",), donate_argnames=("state",))
def advance_lanes(state: TrainState, setups: Setup, layout: Layout) -> tuple[TrainState, Metrics]:
    """One update of every lane; the given states are donated. Metrics are [n_padded] each."""
    return over_lanes(lambda state, setup: update(state, setup), layout)(state, setups)


def _is_key(leaf: Any) -> bool:
    return bool(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


@functools.cache
def _everywhere(replicated: NamedSharding) -> Callable[[PyTree], PyTree]:
    """Program that copies a tree to all devices of all processes; the only one here that communicates."""
    return jax.jit(lambda tree: tree, out_shardings=replicated)


def _on_host(raw: Array, like: Any, n_lanes: int) -> Any:
    host = np.asarray(raw)[:n_lanes]
    return jax.random.wrap_key_data(jnp.asarray(host)) if _is_key(like) else host
