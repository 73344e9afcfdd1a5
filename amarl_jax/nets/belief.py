"""The maker's belief ``b[t] = P(z = 1 | F_<=t)``: a causal, banded, pre-LayerNorm Transformer over the tape.

One token per step. The full path gives the belief at every prefix of an episode in one pass; the decode path gives
the same numbers one step at a time from a ring of keys and values. Both attend to the last ``max_seq_len`` steps, and
both add the log-ratio of all orders since the opening.
"""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.nets import order_flow
from amarl_jax.nets.attention import banded_attention, ring_attention
from amarl_jax.nets.order_flow import FlowMemory, OrderFlow
from amarl_jax.nets.spec import BeliefSpec, TapeScales
from amarl_jax.types import GAP_UNITS, TIME_UNITS, Array, Tape

BELIEF_EPS = 1e-6  # beliefs are kept this far from 0 and 1 where a logit is taken


@struct.dataclass
class BeliefMemory:
    """What decoding keeps: keys and values of the last W steps, written at ``t % W``, and the point process's memory.

    Each layer's rings are arrays of their own, so that they are updated in place.
    """

    key: tuple[Array, ...]  # n_layers of [head, W, d_head]
    value: tuple[Array, ...]  # n_layers of [head, W, d_head]
    flow: FlowMemory


def window(spec: BeliefSpec, horizon: int) -> int:
    """W: steps that one position attends to, itself included."""
    return min(spec.max_seq_len, horizon)


def init_memory(spec: BeliefSpec, horizon: int) -> BeliefMemory:
    """The memory before the first step of an episode."""
    shape = (spec.n_heads, window(spec, horizon), spec.d_model // spec.n_heads)
    layers = tuple(jnp.zeros(shape, spec.cache) for _ in range(spec.n_layers))
    return BeliefMemory(
        key=layers, value=tuple(jnp.zeros_like(layer) for layer in layers), flow=order_flow.init_memory()
    )


class EncoderLayer(nn.Module):
    """``x + attention(LN x)``, then ``x + feed_forward(LN x)`` (Xiong et al. 2020, pre-LN)."""

    spec: BeliefSpec
    window: int

    def setup(self) -> None:
        """Build the layers; heads and head width have axes of their own, and query, key and value are one product."""
        heads = (self.spec.n_heads, self.spec.d_model // self.spec.n_heads)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(), nn.LayerNorm()
        self.query_key_value = nn.DenseGeneral((3, *heads))
        self.output = nn.DenseGeneral(self.spec.d_model, axis=(-2, -1))
        self.expand, self.contract = nn.Dense(self.spec.d_ff), nn.Dense(self.spec.d_model)

    def __call__(self, x: Array) -> Array:
        """Map tokens [T, d_model], all at once."""
        query_key_value = self.query_key_value(self.norm_attention(x))
        return self._feed_forward(x + self.output(banded_attention(query_key_value, self.window)))

    def decode(self, x: Array, keys: Array, values: Array, t: Array) -> tuple[Array, Array, Array]:
        """Map the token [d_model] of step t; return output and the layer's rings [head, W, d_head] with t written."""
        query, key, value = self.query_key_value(self.norm_attention(x))
        start = (jnp.int32(0), t % self.window, jnp.int32(0))
        keys = jax.lax.dynamic_update_slice(keys, key[:, None].astype(keys.dtype), start)
        values = jax.lax.dynamic_update_slice(values, value[:, None].astype(values.dtype), start)
        mixed = ring_attention(query, keys, values, t)
        return self._feed_forward(x + self.output(mixed)), keys, values

    def _feed_forward(self, x: Array) -> Array:
        return x + self.contract(nn.relu(self.expand(self.norm_feed_forward(x))))


class BeliefTransformer(nn.Module):
    """Posterior log-odds of an informed parent order, given the anonymous tape.

    The log-odds are the log-ratio of a marked point process (:class:`amarl_jax.nets.order_flow.OrderFlow`), which knows
    the form of the likelihood, plus what the Transformer adds. The token of a step is a sum of event embeddings, so no
    event is lost, plus the public state after the step, the context of the point process (to which no
    gradient flows), and a sinusoidal embedding of its absolute position.
    """

    spec: BeliefSpec
    horizon: int  # T, longest episode, steps
    scales: TapeScales = TapeScales()
    recurrence: str = "auto"  # of the point process, see amarl_jax.nets.recurrence

    def setup(self) -> None:
        """Build the layers; the logit's weights start small, so an untrained belief is nearly 1/2."""
        d_model = self.spec.d_model
        self.flow = OrderFlow(self.horizon, recurrence=self.recurrence)
        self.event_hidden, self.event_output = nn.Dense(d_model), nn.Dense(d_model, use_bias=False)
        self.public_state = nn.Dense(d_model)
        self.layers = [EncoderLayer(self.spec, window(self.spec, self.horizon)) for _ in range(self.spec.n_layers)]
        self.norm = nn.LayerNorm()
        self.logit = nn.Dense(1, kernel_init=nn.initializers.normal(0.01))

    def __call__(self, tape: Tape) -> tuple[Array, Array]:
        """Read an episode, leaves [T, ...] with any T up to the horizon: logit [T] and hidden state [T, d_model]."""
        chex.assert_rank([tape.side, tape.value_gap_16], [2, 1])
        log_ratio, context = self.flow.read(tape)
        logit, hidden = self.encode(self.tokens(tape, context))
        return log_ratio + logit, hidden

    def encode(self, tokens: Array) -> tuple[Array, Array]:
        """Map tokens [T, d_model], without positions, to a term of the log-odds [T] and hidden state [T, d_model]."""
        chex.assert_shape(tokens, (None, self.spec.d_model))
        n_steps = tokens.shape[0]
        chex.assert_scalar_in(n_steps, 1, self.horizon)
        x = tokens + jnp.asarray(sinusoids(self.horizon, self.spec.d_model)[:n_steps])
        for layer in self.layers:
            x = layer(x)
        hidden = self.norm(x)
        return self.logit(hidden)[:, 0], hidden

    def decode(self, memory: BeliefMemory, tape: Tape, t: Array) -> tuple[BeliefMemory, Array, Array]:
        """Read one step of the tape at time t: the memory with t written, logit [], hidden state [d_model].

        Keep t out of the ``vmap`` over environments: shared, it makes each ring write one slice update in place.
        """
        chex.assert_rank([tape.side, tape.value_gap_16], [1, 0])
        flow, log_ratio, context = self.flow.decode(memory.flow, tape, t)
        x = self.tokens(tape, context) + jnp.asarray(sinusoids(self.horizon, self.spec.d_model))[t]
        keys, values = [], []
        for layer, layer_keys, layer_values in zip(self.layers, memory.key, memory.value, strict=True):
            x, layer_keys, layer_values = layer.decode(x, layer_keys, layer_values, t)
            keys.append(layer_keys)
            values.append(layer_values)
        hidden = self.norm(x)
        return BeliefMemory(tuple(keys), tuple(values), flow), log_ratio + self.logit(hidden)[0], hidden

    def tokens(self, tape: Tape, context: Array) -> Array:
        """Content of each step, [..., d_model]: ``sum_events MLP(event) / sqrt(K)`` plus public state and context.

        The MLP's last layer is linear, so it is applied once, to the sum.

        Args:
          tape: leaves [...].
          context: [..., N_CONTEXT], of the point process.
        """
        events, live = event_features(tape, self.scales)
        hidden = jnp.where(live[..., None], nn.relu(self.event_hidden(events)), 0.0)
        total = jnp.sum(hidden, axis=-2) / math.sqrt(events.shape[-2])
        state = jnp.concatenate([public_features(tape, self.scales), jax.lax.stop_gradient(context)], axis=-1)
        return self.event_output(total) + self.public_state(state)


def event_features(tape: Tape, scales: TapeScales) -> tuple[Array, Array]:
    """Side, price, size, marketable and time of every row, [..., K, 5], of order one; and a mask of live rows."""
    columns = (
        _float(tape.side),
        _float(tape.price_ticks) / scales.price_ticks,
        _float(tape.size_lots) / scales.size_lots,
        _float(tape.marketable),
        _float(tape.time_256) / TIME_UNITS,
    )
    return jnp.stack(columns, axis=-1), tape.side != 0


def public_features(tape: Tape, scales: TapeScales) -> Array:
    """Value gap, spread and removals of both sides after the step, [..., 4], of order one."""
    gap = _float(tape.value_gap_16) / (GAP_UNITS * scales.value_gap_ticks)
    spread = _float(tape.spread_ticks) / scales.spread_ticks
    return jnp.concatenate([gap[..., None], spread[..., None], _float(tape.removals) / scales.removals], axis=-1)


def sinusoids(horizon: int, d_model: int) -> np.ndarray:
    """Absolute positions, [T, d_model]: ``sin, cos of t / 10000^(2 i / d_model)`` (Vaswani et al. 2017)."""
    rates = 10_000.0 ** (-np.arange(0, d_model, 2) / d_model)
    angles = np.arange(horizon)[:, None] * rates[None]
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(horizon, d_model).astype(np.float32)


def debias(belief: Array, beta_entropy: Array | float) -> Array:
    """The posterior behind a belief that minimises :func:`belief_loss`: ``clip(b + beta b (1 - b) logit(b), 0, 1)``.

    The expected loss at posterior p is stationary in b exactly there; ``beta_entropy = 0`` is the identity.
    """
    inner = jnp.clip(belief, BELIEF_EPS, 1.0 - BELIEF_EPS)
    log_odds = jnp.log(inner) - jnp.log1p(-inner)
    return jnp.clip(belief + beta_entropy * inner * (1.0 - inner) * log_odds, 0.0, 1.0)


def belief_loss(logits: Array, target: Array, beta_entropy: Array | float) -> Array:
    """``mean_t BCE(b[t], target) - beta_entropy H(b[t])``, nats, [], over the prefixes of one episode.

    Args:
      logits: [T] log-odds of b.
      target: [] z, 0 or 1, or [T] a posterior of it.
      beta_entropy: weight of the entropy bonus; :func:`debias` undoes its bias.
    """
    chex.assert_rank([logits, target], [1, {0, 1}])
    log_partition = jax.nn.softplus(logits)
    cross_entropy = log_partition - target * logits
    entropy = log_partition - jax.nn.sigmoid(logits) * logits
    return jnp.mean(cross_entropy - beta_entropy * entropy)


def _float(x: Array) -> Array:
    return x.astype(jnp.float32)
