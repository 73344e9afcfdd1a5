"""Actors: observation in, policy head out. Orthogonal weights, tanh, and a small last layer.

Initial policies therefore hardly depend on the state, and their biases say what they are.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.nets.heads import (
    BETA_MAX,
    BETA_MIN,
    ExecutionHead,
    NormalHead,
    TanhNormalHead,
    bounded_log_std,
    execution_head,
    raw_beta_parameter,
)
from amarl_jax.nets.mlp import MLP
from amarl_jax.nets.precision import products_in
from amarl_jax.types import Array, PyTree

OUTPUT_SCALE = 0.01  # initial weights of every actor's last layer

# The initial execution policy of the default market, nearly: it acts in 0.3 of the steps, 0.75 of them along its side,
# with the noise traders' size, offset and order type.
_EXECUTION_BIAS = (
    float(np.log(0.3 / 0.7)),  # gate
    float(np.log(0.75 / 0.25)),  # side
    float(np.log(0.8 / 0.2)),  # kind, limit
    raw_beta_parameter(4.44),  # a of the size: mean 5 and standard deviation 2 lots of 20
    raw_beta_parameter(1.0),  # a of the offset: uniform
    raw_beta_parameter(13.31),  # b of the size
    raw_beta_parameter(1.0),  # b of the offset
)


_OF_SIZE = (3, 5)  # where among them a and b of the size stand


def start_size(a: float, b: float) -> tuple[float, ...]:
    """Biases of a first policy whose sizes are Beta(a, b), to two decimals, where a policy's law comes so far."""
    return tuple(raw_beta_parameter(min(max(round(p, 2), 2 * BETA_MIN), 0.99 * BETA_MAX)) for p in (a, b))


class ExecutionActor(nn.Module):
    """Policy of the execution agent.

    At initialisation, up to the small last layer: P(gate) = 0.3, P(along) = 0.75, size Beta(4.44, 13.31), offset
    Beta(1, 1), P(limit) = 0.8.
    """

    hidden: tuple[int, ...]
    products: str | None = None  # precision of matrix products, see amarl_jax.nets.precision

    @nn.compact
    def __call__(self, observation: Array) -> ExecutionHead:
        """Observation [D] to the head of one decision."""
        chex.assert_rank(observation, 1)
        n_outputs = len(_EXECUTION_BIAS)
        with products_in(self.products):
            return execution_head(MLP(self.hidden, n_outputs, nn.tanh, OUTPUT_SCALE, _EXECUTION_BIAS)(observation))


def start_execution_at(
    parameters: PyTree, gate: Array | float, along: Array | float, size: Array | tuple[float, ...]
) -> PyTree:
    """Fresh parameters of an :class:`ExecutionActor` that at first acts with P(gate), along its side with P(along).

    ``size`` [2] has the biases of its size law, from :func:`start_size`.
    """
    layers = parameters["params"]["MLP_0"]
    last = f"Dense_{len(layers) - 1}"
    start = jnp.stack([jax.scipy.special.logit(jnp.float32(p)) for p in (gate, along)])
    biases = jnp.asarray(layers[last]["bias"]).at[:2].set(start).at[np.array(_OF_SIZE)].set(jnp.asarray(size))
    biased = layers[last] | {"bias": biases}
    return parameters | {"params": parameters["params"] | {"MLP_0": layers | {last: biased}}}


class MakerActor(nn.Module):
    """Policy of the market maker: a diagonal Normal of state-dependent mean, initially 0, and free standard deviation.

    Its four latents, in order: bid offset, ask offset, bid size, ask size, before decoding.
    """

    hidden: tuple[int, ...]
    log_std_init: float = -0.5
    products: str | None = None  # precision of matrix products, see amarl_jax.nets.precision

    @nn.compact
    def __call__(self, observation: Array) -> NormalHead:
        """Observation [D] to the head of one decision, [4]."""
        chex.assert_rank(observation, 1)
        log_std = self.param("log_std", nn.initializers.constant(self.log_std_init), (4,), jnp.float32)
        with products_in(self.products):
            mean = MLP(self.hidden, 4, nn.tanh, OUTPUT_SCALE)(observation)
        return NormalHead(mean, bounded_log_std(log_std))


class ArbitrageurActor(nn.Module):
    """Policy of the arbitrageur: a tanh-Normal of state-dependent mean, initially 0, and free standard deviation."""

    hidden: tuple[int, ...]
    log_std_init: float = -0.5
    products: str | None = None  # precision of matrix products, see amarl_jax.nets.precision

    @nn.compact
    def __call__(self, observation: Array) -> TanhNormalHead:
        """Observation [D] to the head of one decision, []."""
        chex.assert_rank(observation, 1)
        log_std = self.param("log_std", nn.initializers.constant(self.log_std_init), (), jnp.float32)
        with products_in(self.products):
            (mean,) = MLP(self.hidden, 1, nn.tanh, OUTPUT_SCALE)(observation)
        return TanhNormalHead(mean, bounded_log_std(log_std))


class FixedNoiseActor(nn.Module):
    """A Normal whose standard deviation no gradient moves, for policies that may not learn to explore.

    The mean is linear in the observation plus a network that starts small: ``slope * sum(observation)`` at first.
    """

    hidden: tuple[int, ...]
    slope: float = 0.0

    @nn.compact
    def __call__(self, observation: Array) -> NormalHead:
        """Observation [D] to the head of one decision, [1]."""
        chex.assert_rank(observation, 1)
        linear = nn.Dense(1, use_bias=False, kernel_init=nn.initializers.constant(self.slope))(observation)
        mean = linear + MLP(self.hidden, 1, nn.tanh, OUTPUT_SCALE)(observation)
        log_std = self.param("log_std", nn.initializers.zeros, (1,))
        return NormalHead(mean, jax.lax.stop_gradient(log_std))
