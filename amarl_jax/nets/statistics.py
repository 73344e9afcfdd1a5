"""Statistics network of the mutual-information estimators."""

import chex
import flax.linen as nn
import jax.numpy as jnp

from amarl_jax.nets.mlp import MLP
from amarl_jax.nets.order_flow import OrderFlow
from amarl_jax.nets.precision import products_in
from amarl_jax.types import Array, Tape


class StatisticsNetwork(nn.Module):
    """Scores ``T(z, f)`` of one feature vector with both labels; the label is a network input (one-hot).

    The last layer starts small, so an untrained critic reads the prior: ``p(z) e^T`` is nearly ``p(z)``.
    """

    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Features [..., D], heavy tails already compressed, to scores [..., 2]: ``T(0, f)``, ``T(1, f)``, nats."""
        lead = features.shape[:-1]
        label = jnp.broadcast_to(jnp.eye(2, dtype=jnp.float32), (*lead, 2, 2))
        rows = jnp.broadcast_to(features[..., None, :], (*lead, 2, features.shape[-1]))
        return MLP(self.hidden, 1, nn.relu, output_scale=0.01)(jnp.concatenate([label, rows], axis=-1))[..., 0]


class TapeStatistics(nn.Module):
    """Scores ``T(z, F_<=t)`` of every prefix of a tape with both labels.

    Half the log-ratio of a point process of its own (:class:`amarl_jax.nets.order_flow.OrderFlow`) for z = 1, minus
    half for z = 0, and what a :class:`StatisticsNetwork` adds: it reads the process's context, the state of the
    maker's belief, and the time.
    """

    horizon: int  # T, steps
    hidden: tuple[int, ...] = (256, 256)
    recurrence: str = "auto"  # of the point process, see amarl_jax.nets.recurrence
    products: str | None = None  # precision of the other part's matrix products, see amarl_jax.nets.precision

    def setup(self) -> None:
        """Build both parts, whose outputs start near 0."""
        self.flow = OrderFlow(self.horizon, recurrence=self.recurrence)
        self.statistics = StatisticsNetwork(self.hidden)

    def __call__(self, tape: Tape, beside: Array) -> Array:
        """Map an episode, leaves [T, ...], and what else is known at each step [T, D] to scores [T, 2], nats."""
        chex.assert_rank(beside, 2)
        log_ratio, context = self.flow.read(tape)
        time = jnp.linspace(-1.0, 1.0, beside.shape[0], dtype=jnp.float32)[:, None]
        rows = jnp.concatenate([context, beside, time], axis=1)
        with products_in(self.products):
            added = self.statistics(rows)
        return added + 0.5 * jnp.stack([-log_ratio, log_ratio], axis=1)
