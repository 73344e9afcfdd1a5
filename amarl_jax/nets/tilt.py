"""A policy head that is the noise traders' law, tilted: outputs of 0 are that law itself.

Each order falls into a cell: its place, which is a market order or one of the limit offsets, and its lots. With outputs
``a`` of the places and ``b`` of the lots, for market and for limit orders apart, a cell has probability
``p(place, lots) exp(a[place] + b[kind, lots]) / Z``: the exponential family through the noise law whose statistics are
which place it is, and which size of which kind. Gate and side are tilted in their log-odds.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.nets.heads import MODE_BLUR
from amarl_jax.nets.mlp import MLP
from amarl_jax.nets.precision import products_in
from amarl_jax.types import Array, PyTree

TILT_MAX = 10.0  # nats by which an output may tilt, either way
_LEAST = 1e-6  # base probabilities of gate and side are kept this far from 0 and 1, where no tilt has an effect
_TINY = 1e-30  # probability of a cell that noise traders never draw: its log stays finite
_HIGHEST = jax.lax.Precision.HIGHEST


@struct.dataclass
class NoiseCells:
    """The law of a noise trader in the slot, without the side, which depends on the price."""

    rate: Array  # [] P(it acts in a step)
    place: Array  # [P] of a market order, then of the limit offsets, most aggressive first
    lots: Array  # [P, S] of 1, 2, ... lots, given the place


@struct.dataclass
class TiltInput:
    """What the network of a tilted head sees of a step."""

    features: Array  # [D] of the observation
    along: Array  # [] P(a noise trader's order is along the parent order's side)


@struct.dataclass
class TiltLatents:
    """A draw of a tilted head."""

    gate: Array  # [] 1 acts, 0 abstains
    side: Array  # [] 1 trades along the parent order's side, 0 against it
    place: Array  # [] int32, 0 a market order, 1 + the number of the limit offset
    lots: Array  # [] int32


@struct.dataclass
class TiltHead:
    """The tilted law; only what is executed counts: an abstention has the gate's term alone."""

    cells: NoiseCells
    along: Array  # [] as in TiltInput
    switches: Array  # [2] nats, tilt of the log-odds of acting and of trading along the side
    place: Array  # [P] nats
    lots: Array  # [2, S] nats, of market and of limit orders

    @property
    def is_noise(self) -> Array:
        """True where nothing is tilted. [] bool."""
        return jnp.all(jnp.concatenate([self.switches, self.place, self.lots.reshape(-1)]) == 0.0)

    def sample(self, key: Array) -> TiltLatents:
        """All latents, whether or not the gate executes them, by inverse CDF."""
        uniform = jax.random.uniform(key, (5,), jnp.float32)
        gate, side = (uniform[:2] < jax.nn.sigmoid(self._logits())).astype(jnp.float32)
        place = _draw(uniform[4], self._place_weights())
        lots = _draw(uniform[2], self.cells.lots[place] * jnp.exp(self._lots_of(place)))
        return TiltLatents(gate, side, place, 1 + lots)

    def log_prob(self, latents: TiltLatents) -> Array:
        """``log p(gate) + gate (log p(side) + log p(cell))``, nats, []."""
        chex.assert_rank([latents.gate, latents.place], 0)
        gate, side = _log_mass(self._logits(), jnp.stack([latents.gate, latents.side]))
        place, lots = latents.place, latents.lots - 1
        base = _log(self.cells.place[place]) + _log(self.cells.lots[place, lots])
        cell = base + self.place[place] + self._lots_of(place)[lots] - jnp.log(jnp.sum(self._place_weights()))
        return gate + jnp.where(latents.gate > 0.5, side + cell, 0.0)

    def entropy(self) -> Array:
        """``H(gate) + p_gate (H(side) + H(cell))``, nats, []; ``H(cell) = log Z - E[log(p e^(a + b))]``."""
        logits = self._logits()
        gate, side = jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits)
        weight, tilt = jnp.exp(self.lots), self.lots
        of_lots, log_lots = self.cells.lots, _log(self.cells.lots)
        scored = _by_kind(of_lots, weight * tilt) + _by_kind(of_lots * log_lots, weight)
        of_place = self.cells.place * jnp.exp(self.place)
        scored += _by_kind(of_lots, weight) * (self.place + _log(self.cells.place))
        total = jnp.sum(self._place_weights())
        cell = jnp.log(total) - jnp.sum(of_place * scored) / total
        return gate + jax.nn.sigmoid(logits[0]) * (side + cell)

    def mode(self) -> TiltLatents:
        """Likelier value of gate and side, likeliest place, and likeliest size given it."""
        gate, side = (self._logits() > 0.0).astype(jnp.float32)
        place = jnp.argmax(self._place_weights()).astype(jnp.int32)
        lots = jnp.argmax(self.cells.lots[place] * jnp.exp(self._lots_of(place))).astype(jnp.int32)
        return TiltLatents(gate, side, place, 1 + lots)

    def law(self) -> tuple[Array, Array, Array, Array]:
        """Probabilities of gate and side, [] each, of the places [P], and of the lots given each [P, S]."""
        gate, side = jax.nn.sigmoid(self._logits())
        place = self._place_weights()
        lots = self._lots_weights()
        return gate, side, place / jnp.sum(place), lots / jnp.sum(lots, axis=-1, keepdims=True)

    def mode_law(self) -> tuple[Array, Array, Array, Array]:
        """:meth:`law` of the mode: 0 or 1, but shared among near ties, within ``MODE_BLUR``."""
        gate, side = jnp.clip(0.5 + 0.5 * self._logits() / MODE_BLUR, 0.0, 1.0)
        place, lots = (jax.nn.softmax(_log(x) / MODE_BLUR) for x in (self._place_weights(), self._lots_weights()))
        return gate, side, place, lots

    def _logits(self) -> Array:
        """Log-odds of acting and of trading along the side. [2]."""
        base = jnp.clip(jnp.stack([self.cells.rate, self.along]), _LEAST, 1.0 - _LEAST)
        return jnp.log(base) - jnp.log1p(-base) + self.switches

    def _lots_of(self, place: Array) -> Array:
        """The tilt of the sizes of a place [], [S]."""
        return jnp.where(place > 0, self.lots[1], self.lots[0])

    def _place_weights(self) -> Array:
        """``Z`` times the probabilities of the places. [P]."""
        return self.cells.place * jnp.exp(self.place) * _by_kind(self.cells.lots, jnp.exp(self.lots))

    def _lots_weights(self) -> Array:
        """The sizes' probabilities given each place, not normalised. [P, S]."""
        tilt = jnp.concatenate(
            [self.lots[:1], jnp.broadcast_to(self.lots[1:], (*self.place[1:].shape, *self.lots[0].shape))]
        )
        return self.cells.lots * jnp.exp(tilt)


class TiltActor(nn.Module):
    """Policy of the execution agent as a tilt of the noise law; before training it is that law.

    The last layer starts at 0, so that at first every state has the same outputs: its biases.
    """

    hidden: tuple[int, ...]
    products: str | None = None  # precision of matrix products, see amarl_jax.nets.precision

    @nn.compact
    def __call__(self, seen: TiltInput, cells: NoiseCells) -> TiltHead:
        """The head of one decision."""
        chex.assert_rank([seen.features, seen.along, cells.lots], [1, 0, 2])
        n_places, n_lots = cells.lots.shape
        with products_in(self.products):
            raw = MLP(self.hidden, 2 + n_places + 2 * n_lots, nn.tanh, output_scale=0.0)(seen.features)
        tilt = TILT_MAX * jnp.tanh(raw / TILT_MAX)
        of_lots = tilt[2 + n_places :].reshape(2, n_lots)
        return TiltHead(cells, seen.along, tilt[:2], tilt[2 : 2 + n_places], of_lots)


def raw_tilt(tilt: Array) -> Array:
    """The network output that tilts by ``tilt`` nats, clipped to the largest tilt; 0 for 0."""
    most = np.float32(0.999 * TILT_MAX)
    return TILT_MAX * jnp.arctanh(jnp.clip(tilt, -most, most) / TILT_MAX)


def start_tilt_at(parameters: PyTree, gate: Array | float, along: Array | float, rate: Array | float) -> PyTree:
    """Fresh parameters of a :class:`TiltActor` that at first acts with P(gate), along its side with P(along).

    The latter holds where noise buys as often as it sells. With ``gate`` the slot's ``rate`` and ``along`` 1/2 the
    policy is the noise law.
    """
    layers = parameters["params"]["MLP_0"]
    last = f"Dense_{len(layers) - 1}"
    logits = jnp.stack([jax.scipy.special.logit(jnp.float32(p)) for p in (gate, along)])
    base = jnp.stack([jax.scipy.special.logit(jnp.clip(jnp.float32(p), _LEAST, 1.0 - _LEAST)) for p in (rate, 0.5)])
    biased = layers[last] | {"bias": jnp.asarray(layers[last]["bias"]).at[:2].set(raw_tilt(logits - base))}
    return parameters | {"params": parameters["params"] | {"MLP_0": layers | {last: biased}}}


def _by_kind(of_lots: Array, weights: Array) -> Array:
    """Sums over the lots of ``of_lots`` [P, S], weighted for market and limit orders [2, S]. [P]."""
    market, limit = (
        jnp.matmul(rows, w, precision=_HIGHEST) for rows, w in ((of_lots[:1], weights[0]), (of_lots[1:], weights[1]))
    )
    return jnp.concatenate([market, limit])


def _draw(uniform: Array, weights: Array) -> Array:
    """Index [] drawn with probabilities in proportion to ``weights`` [n], by inverse CDF."""
    below = jnp.matmul(weights, np.triu(np.ones((len(weights),) * 2, np.float32)), precision=_HIGHEST)
    index = jnp.sum(uniform * below[-1] >= below, dtype=jnp.int32)
    return jnp.minimum(index, len(weights) - 1)


def _log(probability: Array) -> Array:
    return jnp.log(jnp.maximum(probability, _TINY))


def _log_mass(logits: Array, value: Array) -> Array:
    """Log-probability of Bernoulli draws, [n]."""
    return value * logits - jax.nn.softplus(logits)
