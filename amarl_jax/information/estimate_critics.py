"""Critics T(x, y) of :func:`amarl_jax.information.estimate`: one for discrete x, one for continuous x.

Each is the sum of a part that is linear in its parameters (named "linear": a convex problem, exact for Gaussians) and
a network for the rest. The linear part is fitted first: where it suffices, no network is needed that could overfit.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from amarl_jax.nets.mlp import MLP
from amarl_jax.types import Array

TAIL = 3.0  # standard deviations at which inputs of the linear part saturate; their squares would otherwise explode


class SequenceEncoder(nn.Module):
    """A sequence as running sums of a learned function of the last few steps, causal and of any length.

    ``h = sum_t phi(y[t-w+1 .. t], t / T) / sqrt(T)``. The log-ratio of two processes with memory of ``window - 1``
    steps is a sum of this form, so such a process needs nothing more; longer memory is captured only as far as a
    function of these sums expresses it.
    """

    window: int = 3
    hidden: tuple[int, ...] = (64,)
    n_outputs: int = 32

    @nn.compact
    def __call__(self, sequence: Array) -> Array:
        """Sequence [T, D] to features [n_outputs]."""
        chex.assert_rank(sequence, 2)
        horizon = sequence.shape[0]
        time = jnp.arange(1, horizon + 1, dtype=sequence.dtype)[:, None] / horizon
        inputs = jnp.concatenate([*_lagged(sequence, self.window), time], axis=1)
        return jnp.sum(MLP(self.hidden, self.n_outputs, nn.relu)(inputs), axis=0) / jnp.sqrt(float(horizon))


class LabelCritic(nn.Module):
    """Scores T(c, y) of all labels c at once, linear in y and its squares, plus a network; all zero at the start."""

    n_labels: int
    hidden: tuple[int, ...]
    window: int

    @nn.compact
    def __call__(self, y: Array) -> Array:
        """One episode's y, [D] or [T, D], to scores [n_labels]."""
        first, second = moments(y, self.window)
        linear = nn.Dense(self.n_labels, kernel_init=nn.initializers.zeros, name="linear")
        network = MLP(self.hidden, self.n_labels, nn.relu, output_scale=0.0)
        return linear(jnp.concatenate([first, second])) + network(_encoded(y, self.window))


class PairCritic(nn.Module):
    """``T(x_j, y_i) = x_j' W y_i + <g(x_j), h(y_i)> / sqrt(K) + a(x_j) + b(y_i)``: all pairs cost one matrix product.

    ``a`` and ``b`` are quadratic forms with a diagonal matrix, plus networks. Jointly Gaussian x and y need W and these
    forms alone. At the start all is zero but g.
    """

    hidden: tuple[int, ...]
    n_embedding: int
    window: int

    @nn.compact
    def __call__(self, x: Array, y: Array) -> tuple[Array, Array]:
        """One episode's x [dx] and y ([D] or [T, D]) to the embeddings of either, [D + K + 1] each."""
        first_x, second_x = moments(x, self.window)
        first_y, second_y = moments(y, self.window)
        paired = nn.Dense(first_y.size, use_bias=False, kernel_init=nn.initializers.zeros, name="linear")(first_x)
        g = MLP(self.hidden, self.n_embedding, nn.relu)(x)
        h = MLP(self.hidden, self.n_embedding + 1, nn.relu, output_scale=0.0)(_encoded(y, self.window))
        a = self._form("linear_x", first_x, second_x) + nn.Dense(1, kernel_init=nn.initializers.zeros)(g)
        b = self._form("linear_y", first_y, second_y) + h[-1:]
        g = g / jnp.sqrt(float(self.n_embedding))
        return jnp.concatenate([paired, g, a]), jnp.concatenate([first_y, h[:-1], b])

    @staticmethod
    def scores(embedding_x: Array, embedding_y: Array) -> Array:
        """Scores [B, B] from embeddings [B, D + K + 1]: row i has y_i, column j has x_j."""
        chex.assert_equal_shape([embedding_x, embedding_y])
        return embedding_y[:, :-1] @ embedding_x[:, :-1].T + embedding_y[:, -1:] + embedding_x[:, -1:].T

    @staticmethod
    def _form(name: str, first: Array, second: Array) -> Array:
        return nn.Dense(1, kernel_init=nn.initializers.zeros, name=name)(jnp.concatenate([first, second]))


def moments(y: Array, window: int) -> tuple[Array, Array]:
    """Features in which a quadratic log-ratio is linear: ``y`` and ``y^2 - 1``, each column by itself.

    For a sequence [T, D] the sums over time, ``sum_t y[t] / sqrt(T)`` [D] and those of ``y[t] y[t-k] - [k = 0]``
    for ``k < window`` [window D]: Gaussian autoregressions of this order need no more.
    """
    y = jnp.clip(y, -TAIL, TAIL)
    if y.ndim == 1:
        return y, y**2 - 1.0
    lags = _lagged(y, window)
    products = jnp.concatenate([y**2 - 1.0, *(y * lag for lag in lags[1:])], axis=1)
    scale = jnp.sqrt(float(y.shape[0]))
    return jnp.sum(y, axis=0) / scale, jnp.sum(products, axis=0) / scale


def is_linear(path: tuple[jax.tree_util.KeyEntry, ...]) -> bool:
    """True if the parameter of that path belongs to the linear part."""
    return "linear" in jax.tree_util.keystr(path)


def _lagged(sequence: Array, window: int) -> list[Array]:
    """The sequence [T, D] and its lags 1 .. window - 1, with zeros before its start."""
    horizon = sequence.shape[0]
    padded = jnp.concatenate([jnp.zeros((window - 1, sequence.shape[1])), sequence])
    return [padded[window - 1 - lag :][:horizon] for lag in range(window)]


def _encoded(y: Array, window: int) -> Array:
    """A sequence [T, D] encoded inside the calling module; a vector [D] as it is."""
    return SequenceEncoder(window)(y) if y.ndim == 2 else y
