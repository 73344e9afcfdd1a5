"""The multilayer perceptron that the other networks are built of."""

from collections.abc import Callable

import flax.linen as nn
import numpy as np

from amarl_jax.nets.orthogonal import orthogonal
from amarl_jax.types import Array


class MLP(nn.Module):
    """Dense layers with orthogonal initial weights: ``hidden`` activated ones, then a linear one of ``n_outputs``."""

    hidden: tuple[int, ...]
    n_outputs: int
    activation: Callable[[Array], Array] = nn.tanh
    output_scale: float = 1.0  # of the last layer's initial weights
    output_bias: tuple[float, ...] = ()  # initial bias of the last layer; empty is zero

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Inputs [..., D] to outputs [..., n_outputs]."""
        for width in self.hidden:
            inputs = self.activation(nn.Dense(width, kernel_init=orthogonal(np.sqrt(2.0)))(inputs))
        output_init = orthogonal(self.output_scale)
        return nn.Dense(self.n_outputs, kernel_init=output_init, bias_init=self._bias_init)(inputs)

    def _bias_init(self, key: Array, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.zeros(shape, dtype) + np.asarray(self.output_bias or 0.0, dtype)
