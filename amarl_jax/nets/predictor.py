"""GRU that predicts the next flow feature, and the predictability it measures."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from amarl_jax.nets.heads import bounded_log_std
from amarl_jax.nets.orthogonal import orthogonal
from amarl_jax.nets.recurrence import is_parallel, parallel_recurrence
from amarl_jax.nets.recurrent_kernels import LARGEST_GRU, gru_states
from amarl_jax.types import Array, Tape

LOTS = 5.0  # typical order, the unit of volume


def flow_series(tape: Tape) -> Array:
    """The flow of each step: asinh of net signed lots, in units of 5, and of the order count, [T, 2]."""
    chex.assert_rank(tape.side, 2)
    side = tape.side.astype(jnp.float32)
    net = jnp.sum(side * tape.size_lots.astype(jnp.float32), axis=1) / LOTS
    return jnp.asinh(jnp.stack([net, jnp.sum(jnp.abs(side), axis=1)], axis=-1))


class GRUPredictor(nn.Module):
    """Normal predictive law of ``x[t]`` given ``x[<t]`` (Cho et al. 2014, in the form of cuDNN):

    ``r, u = sigmoid(W x + U h)``, ``n = tanh(W_n x + r (U_n h + c))``, ``h' = u h + (1 - u) n``.

    ``nn.RNN(nn.GRUCell())`` has as many parameters and is as fast; here all gates are one product a step.
    """

    hidden: int = 64
    recurrence: str = "auto"  # see amarl_jax.nets.recurrence

    @nn.compact
    def __call__(self, series: Array) -> tuple[Array, Array]:
        """Series [T, D] to the mean and log standard deviation [T, D] of each step given the earlier ones."""
        chex.assert_rank(series, 2)
        past = jnp.concatenate([jnp.zeros_like(series[:1]), series[:-1]])
        gates_in = nn.Dense(3 * self.hidden)(past)
        recurrent = self.param("recurrent", orthogonal(), (self.hidden, 3 * self.hidden), jnp.float32)
        candidate_bias = self.param("candidate_bias", nn.initializers.zeros, (self.hidden,), jnp.float32)

        start = jnp.zeros(self.hidden, jnp.float32)
        if is_parallel(self.recurrence):
            kernel = gru_states if self.hidden <= LARGEST_GRU else None
            parameters = (recurrent, candidate_bias)
            states = parallel_recurrence(_gru_step, parameters, start, gates_in, kernel, self.recurrence)
        else:
            _, states = jax.lax.scan(lambda h, x: (_gru_step((recurrent, candidate_bias), h, x),) * 2, start, gates_in)
        output = nn.Dense(2 * series.shape[1], kernel_init=orthogonal(0.01))(states)
        mean, raw_log_std = jnp.split(output, 2, axis=1)
        return mean, bounded_log_std(raw_log_std)


def _gru_step(parameters: tuple[Array, Array], state: Array, gate_in: Array) -> Array:
    """The state [H] after a step, given the input's share [3 H] of the gates."""
    recurrent, candidate_bias = parameters
    reset_in, update_in, candidate_in = jnp.split(gate_in, 3)
    reset_h, update_h, candidate_h = jnp.split(state @ recurrent, 3)
    reset, update = nn.sigmoid(reset_in + reset_h), nn.sigmoid(update_in + update_h)
    candidate = nn.tanh(candidate_in + reset * (candidate_h + candidate_bias))
    return update * state + (1.0 - update) * candidate


def predictability(series: Array, mean: Array, log_std: Array, base_mean: Array, base_std: Array) -> Array:
    """``Pred[t] = sum_d log N(x; mean, std) - log N(x; base_mean, base_std)``, nats, [T].

    The gain of the predictive law over the unconditional one at each step; its mean over steps is a lower bound, up to
    the misfit of the base, on the information of the past about the next step.

    Args:
      series: [T, D] observed.
      mean: [T, D] predicted.
      log_std: [T, D] predicted.
      base_mean: [D] unconditional.
      base_std: [D] unconditional, positive.
    """
    chex.assert_equal_shape([series, mean, log_std])
    chex.assert_shape([base_mean, base_std], (series.shape[1],))
    predicted = jax.scipy.stats.norm.logpdf(series, mean, jnp.exp(log_std))
    unconditional = jax.scipy.stats.norm.logpdf(series, base_mean[None], base_std[None])
    return jnp.sum(predicted - unconditional, axis=1)
