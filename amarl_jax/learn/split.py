"""Parts of an update's environments, one for each of several devices, and what is summed over them."""

import dataclasses

import jax
import jax.numpy as jnp

from amarl_jax.types import Array, PyTree

AXIS = "device"  # that a program on several devices is mapped over


@dataclasses.dataclass(frozen=True)
class EnvSplit:
    """The E environments of an update in ``n`` equal parts, of which each device holds one.

    Only for use inside a program mapped over ``AXIS``. What has no environment axis is the same on all devices. With
    one part, every method returns what it is given and nothing is communicated.
    """

    n: int = 1

    def share(self, number: int) -> int:
        """One device's share of a number of episodes, rounded up."""
        return -(-number // self.n)

    def own(self, tree: PyTree) -> PyTree:
        """This device's part [E / n, ...] of arrays [E, ...] that all devices have."""
        if self.n == 1:
            return tree
        part = jax.lax.axis_index(AXIS)
        return jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, part * (x.shape[0] // self.n), x.shape[0] // self.n), tree
        )

    def own_key(self, key: Array) -> Array:
        """A key of this device alone, from one that all devices have."""
        return key if self.n == 1 else jax.random.fold_in(key, jax.lax.axis_index(AXIS))

    def everyones(self, part: Array) -> Array:
        """Parts [E / n, ...] of all devices side by side, [E, ...]; a gradient flows through this device's own alone.

        So the gradients that the devices find of one function of the whole are to be summed.
        """
        if self.n == 1:
            return part
        whole = jax.lax.all_gather(jax.lax.stop_gradient(part), AXIS, tiled=True)
        return jax.lax.dynamic_update_slice_in_dim(whole, part, jax.lax.axis_index(AXIS) * part.shape[0], axis=0)

    def sum(self, tree: PyTree) -> PyTree:
        """Sums over the devices."""
        return tree if self.n == 1 else jax.lax.psum(tree, AXIS)

    def mean(self, tree: PyTree) -> PyTree:
        """Means over the devices, whose parts are of equal size."""
        return tree if self.n == 1 else jax.lax.pmean(tree, AXIS)

    def least(self, x: Array) -> Array:
        """The least over the devices."""
        return x if self.n == 1 else jax.lax.pmin(x, AXIS)

    def moments(self, mean: Array, std: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the whole from those of the parts."""
        if self.n == 1:
            return mean, std
        center = self.mean(mean)
        return center, jnp.sqrt(self.mean(std**2 + (mean - center) ** 2))


WHOLE = EnvSplit()
