"""One optimiser for every network: clipped, decayed Adam whose numbers are traced leaves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from amarl_jax.learn.hypers import Hypers
from amarl_jax.types import Array, PyTree


@struct.dataclass
class Network:
    """A network's parameters and its optimiser's state; arrays only, so rebuilding the optimiser never retraces."""

    params: PyTree
    opt_state: PyTree


class Agents(NamedTuple):
    """The three policies, in the order of :class:`amarl_jax.types.Agent`."""

    execution: Network
    maker: Network
    arbitrageur: Network


def optimiser(hypers: Hypers) -> optax.GradientTransformation:
    """Global-norm clip, Adam and decoupled weight decay; the learning rate is applied by :func:`descend`.

    Flattened, because compile time grows with the number of kernels: one set per network instead of one per leaf.
    """
    return optax.flatten(
        optax.chain(
            optax.clip_by_global_norm(hypers.max_grad_norm),
            optax.scale_by_adam(eps=1e-5),
            optax.add_decayed_weights(hypers.weight_decay),
        )
    )


def untrained(params: PyTree, hypers: Hypers) -> Network:
    """A network at the start of its training."""
    return Network(params=params, opt_state=optimiser(hypers).init(params))


def scheduled(learning_rate: Array | float, update: Array, hypers: Hypers) -> Array:
    """Linear schedule from ``learning_rate`` to ``lr_final_fraction`` of it over ``n_updates`` updates. []."""
    progress = jnp.clip(update.astype(jnp.float32) / hypers.n_updates, 0.0, 1.0)
    return learning_rate * (1.0 - (1.0 - hypers.lr_final_fraction) * progress)


def descend(network: Network, gradient: PyTree, learning_rate: Array, hypers: Hypers) -> Network:
    """Take one step down the gradient."""
    step, opt_state = optimiser(hypers).update(gradient, network.opt_state, network.params)
    params = jax.tree.map(lambda p, s: p - learning_rate * s, network.params, step)
    return Network(params=params, opt_state=opt_state)
