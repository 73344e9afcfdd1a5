"""Critics T(x, y) of :func:`amarl_jax.information.estimate`: one for discrete x, one for continuous x."""

import chex
import flax.linen as nn
import jax.numpy as jnp

from amarl_jax.nets.mlp import MLP
from amarl_jax.types import Array


class SequenceEncoder(nn.Module):
    """A sequence as running sums of a learned function of the last few steps, causal and of any length.

    ``h = sum_t phi(y[t-w+1 .. t], t / T) / sqrt(T)``. The log-ratio of two processes with memory of ``window - 1``
    steps is a sum of this form, so such a process needs nothing more; longer memory shows only as far as a function
    of these sums carries it.
    """

    window: int = 3
    hidden: tuple[int, ...] = (64,)
    n_outputs: int = 32

    @nn.compact
    def __call__(self, sequence: Array) -> Array:
        """Sequence [T, D] to features [n_outputs]."""
        chex.assert_rank(sequence, 2)
        horizon = sequence.shape[0]
        padded = jnp.concatenate([jnp.zeros((self.window - 1, sequence.shape[1])), sequence])
        lags = [padded[self.window - 1 - lag :][:horizon] for lag in range(self.window)]
        time = jnp.arange(1, horizon + 1, dtype=sequence.dtype)[:, None] / horizon
        steps = MLP(self.hidden, self.n_outputs, nn.relu)(jnp.concatenate([*lags, time], axis=1))
        return jnp.sum(steps, axis=0) / jnp.sqrt(float(horizon))


class LabelCritic(nn.Module):
    """Scores T(c, y) of all labels c at once, a linear map plus a network; zero at the start but for a small weight."""

    n_labels: int
    hidden: tuple[int, ...]
    window: int

    @nn.compact
    def __call__(self, y: Array) -> Array:
        """One episode's y, [D] or [T, D], to scores [n_labels]."""
        features = _encoded(y, self.window)
        linear = nn.Dense(self.n_labels, kernel_init=nn.initializers.zeros)(features)
        return linear + MLP(self.hidden, self.n_labels, nn.relu, output_scale=0.01)(features)


class PairCritic(nn.Module):
    """``T(x_j, y_i) = <g(x_j), h(y_i)> / sqrt(K) + a(x_j) + b(y_i)``: all pairs of a batch cost one matrix product."""

    hidden: tuple[int, ...]
    n_embedding: int
    window: int

    @nn.compact
    def __call__(self, x: Array, y: Array) -> tuple[Array, Array]:
        """One episode's x [dx] and y ([D] or [T, D]) to the embeddings of either, [K + 1] each."""
        features = _encoded(y, self.window)
        return self._embedding(x), self._embedding(features)

    @staticmethod
    def scores(embedding_x: Array, embedding_y: Array) -> Array:
        """Scores [B, B] from embeddings [B, K + 1]: row i has y_i, column j has x_j."""
        chex.assert_equal_shape([embedding_x, embedding_y])
        product = embedding_y[:, :-1] @ embedding_x[:, :-1].T / jnp.sqrt(float(embedding_x.shape[1] - 1))
        return product + embedding_y[:, -1:] + embedding_x[:, -1:].T

    def _embedding(self, inputs: Array) -> Array:
        linear = nn.Dense(self.n_embedding + 1, kernel_init=nn.initializers.orthogonal(0.3))(inputs)
        return linear + MLP(self.hidden, self.n_embedding + 1, nn.relu, output_scale=0.1)(inputs)


def _encoded(y: Array, window: int) -> Array:
    """A sequence [T, D] encoded inside the calling module; a vector [D] as it is."""
    return SequenceEncoder(window)(y) if y.ndim == 2 else y
