"""The execution agent whose head tilts the noise law: where its outputs are 0 it draws the noise law itself."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from amarl_jax.market import observe
from amarl_jax.market.noise import MarksLaw, NoiseLaw, buy_probability, size_distribution
from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotDecision, SlotLaw, encode_action, noise_decision, one_way
from amarl_jax.market.table_noise import of_limit_orders
from amarl_jax.nets.tilt import NoiseCells, TiltHead, TiltInput, TiltLatents
from amarl_jax.policies.mimic import noise_buys
from amarl_jax.policies.protocol import Decision
from amarl_jax.types import Agent, Array


@dataclasses.dataclass(frozen=True)
class Tilted:
    """A network that tilts the noise law, with its parameters, as a policy of the execution seat.

    Attributes:
        head_of: what the network sees, and the law that it tilts, to a head; parameters closed over.
        spec: market sizes.
        noise_law: of the market; it must have ``marks``.
        deterministic: play the head's mode.
    """

    head_of: Callable[[TiltInput, NoiseCells], TiltHead]
    spec: MarketSpec
    noise_law: NoiseLaw
    deterministic: bool = False
    agent: Agent = Agent.EXECUTION

    def init(self, params: EnvParams) -> Array:
        """The size law, computed once per episode."""
        return size_distribution(params, self.spec.max_order_size)

    def act(self, key: Array, carry: Array, view: ExecutionView, params: EnvParams) -> tuple[Array, Decision]:
        """One draw, or the mode."""
        features = observe.execution_features(view)
        buys = noise_buys(view, params)
        return carry, self._decide(key, features, buys, view.direction, carry, params, view.planned)

    def decide(self, key: Array, observation: Array, params: EnvParams) -> Decision:
        """Decide from features [D] instead of a view; where noise is recorded, its fitted law draws."""
        direction, news_gap = observe.side_and_news_gap(observation)
        buys = buy_probability(news_gap, jnp.int32(0), params)
        return self._decide(key, observation, buys, direction, self.init(params), params)

    def law(self, carry: Array, view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The law of :meth:`act`'s decision, its sizes conditional on the place."""
        buys = noise_buys(view, params)
        marks = self._marks(buys, carry, params)
        head = self._head(observe.execution_features(view), buys, view.direction, marks, params)
        gate, along, place, lots = head.mode_law() if self.deterministic else head.law()
        limit = 1.0 - place[0]
        tilted = MarksLaw(
            buy=jnp.where(view.direction > 0, along, 1.0 - along),
            limit=limit,
            lots=lots,
            offset=of_limit_orders(place[1:], limit),
        )
        if self.deterministic:
            return one_way(gate, tilted)
        by_place = dataclasses.replace(marks, lots=jnp.broadcast_to(marks.lots, lots.shape))
        of_noise = head.is_noise
        both = jax.tree.map(lambda a, b: jnp.where(of_noise, a, b), by_place, tilted)
        return one_way(jnp.where(of_noise, params.slot_rate, gate), both)

    def _decide(
        self,
        key: Array,
        features: Array,
        buys: Array,
        direction: Array,
        size_cdf: Array,
        params: EnvParams,
        planned: SlotDecision | None = None,
    ) -> Decision:
        marks = self._marks(buys, size_cdf, params)
        head = self._head(features, buys, direction, marks, params)
        if self.deterministic:
            latents = head.mode()
            return Decision(self._decode(latents), latents, head.log_prob(latents))
        own = head.sample(key)
        noise = noise_decision(jax.random.clone(key), buys, size_cdf, params, self.spec, self.noise_law)
        noise = noise if planned is None else planned
        latents, action = jax.tree.map(
            lambda a, b: jnp.where(head.is_noise, a, b),
            (self._latents_of(noise, direction), encode_action(noise, direction, self.spec)),
            (own, self._decode(own)),
        )
        return Decision(action, latents, head.log_prob(latents))

    def _head(self, features: Array, buys: Array, direction: Array, marks: MarksLaw, params: EnvParams) -> TiltHead:
        seen = TiltInput(features, along_side(buys, direction))
        return self.head_of(seen, cells_of(marks, params.slot_rate))

    def _marks(self, buys: Array, size_cdf: Array, params: EnvParams) -> MarksLaw:
        if not hasattr(self.noise_law, "marks"):
            raise ValueError("a head that tilts the noise law needs one that states its marks; head = beta needs none")
        return self.noise_law.marks(buys, size_cdf, params, self.spec)

    def _latents_of(self, decision: SlotDecision, direction: Array) -> TiltLatents:
        place = jnp.where(decision.is_limit, 1 + decision.offset_ticks - self.spec.offset_min_ticks, 0)
        gate, side = (x.astype(jnp.float32) for x in (decision.acts, decision.side == direction))
        return TiltLatents(gate, side, place.astype(jnp.int32), decision.lots)

    def _decode(self, latents: TiltLatents) -> Array:
        """``[size_frac, limit_offset, order_type_logit]``, [3]."""
        size = latents.lots / self.spec.max_order_size
        return jnp.stack(
            [
                jnp.where(latents.gate > 0.5, jnp.where(latents.side > 0.5, size, -size), 0.0),
                (self.spec.offset_min_ticks + jnp.maximum(latents.place - 1, 0)).astype(jnp.float32),
                jnp.where(latents.place > 0, 1.0, -1.0),
            ]
        )


def along_side(buys: Array, direction: Array) -> Array:
    """P(a noise trader's order is along the parent order's side), [...] of P(it buys) and the sides [...]."""
    return jnp.where(direction > 0, buys, 1.0 - buys)


def cells_of(marks: MarksLaw, rate: Array | float) -> NoiseCells:
    """The law of a noise trader in the slot, as a tilted head takes it."""
    place = jnp.concatenate([(1.0 - marks.limit)[None], marks.limit * marks.offset])
    lots = jnp.broadcast_to(marks.lots, (*place.shape, marks.lots.shape[-1]))
    return NoiseCells(rate=jnp.asarray(rate, jnp.float32), place=place, lots=lots)


def market_cells(noise_law: NoiseLaw, params: EnvParams, spec: MarketSpec) -> NoiseCells:
    """:func:`cells_of` a market's noise law; its sides do not enter."""
    size_cdf = size_distribution(params, spec.max_order_size)
    marks = noise_law.marks(jnp.float32(0.5), size_cdf, params, spec)  # type: ignore[attr-defined]
    return cells_of(marks, params.slot_rate)


def tilt_inputs(features: Array, params: EnvParams) -> TiltInput:
    """The network inputs of steps with these features, [..., D]."""
    direction, news_gap = observe.side_and_news_gap(features)
    return TiltInput(features, along_side(buy_probability(news_gap, jnp.int32(0), params), direction))
