"""Statistics network of the mutual-information estimators."""

import chex
import flax.linen as nn
import jax.numpy as jnp

from amarl_jax.nets.mlp import MLP
from amarl_jax.types import Array


class StatisticsNetwork(nn.Module):
    """Scores ``T(z, f)`` of one feature vector with both labels; the label is a network input (one-hot).

    The last layer starts small, so an untrained critic reads the prior: ``p(z) e^T`` is nearly ``p(z)``.
    """

    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Features [D], heavy tails already compressed, to scores [2]: ``T(0, f)``, ``T(1, f)``, nats."""
        chex.assert_rank(features, 1)
        rows = jnp.broadcast_to(features[None], (2, features.shape[0]))
        return MLP(self.hidden, 1, nn.relu, output_scale=0.01)(
            jnp.concatenate([jnp.eye(2, dtype=jnp.float32), rows], axis=1)
        )[:, 0]
