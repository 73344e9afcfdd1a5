"""A parametric family of execution policies: loud bursts, camouflage, and a private coin that chooses between them.

It contains the extremes of the trade-off between cost and detection: the whole order in the first step, orders spread
over any window, the one-sided and the perfect mimic, bursts that hide among noise orders, and episodes that are loud or
quiet by a private toss. All parameters are leaves, so one compiled program serves a search over the family.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.market.noise import MarksLaw, NoiseLaw, orders, size_distribution
from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotDecision, SlotLaw, certain, encode_action, mixture, noise_decision, one_way
from amarl_jax.policies.mimic import noise_buys
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.schedule import keep_up, steps_done
from amarl_jax.types import Array


@struct.dataclass
class BurstPlan:
    """The parameters of :class:`Bursts`; float32, [] each."""

    start: Array  # steps before the burst begins
    window: Array  # steps over which the burst is spread, at least 1
    part: Array  # share of the parent order that the burst does, in [0, 1]
    clip_lots: Array  # smallest market order of the burst before its end, lots
    cover: Array  # share of a loud episode's steps that are left to noise orders, in [0, 1]
    along: Array  # share of the noise orders that are turned along the parent side, in [0, 1]
    haste: Array  # of noise orders: their places are weighted by exp(-haste) per tick behind the most aggressive one
    rate: Array  # of noise orders, as a multiple of the slot's own rate at z = 0
    loud: Array  # share of the episodes that have a burst, in [0, 1]


@dataclasses.dataclass(frozen=True)
class Bursts:
    """In a share of the episodes a burst of market orders, under cover of noise orders; in the others these alone.

    The private number decides which an episode is: below the quantile ``loud`` of N(0, 1) it is loud. A loud step
    plays, with probability ``cover``, what a quiet one does: fire at ``rate`` times the slot's own rate, draw the noise
    law with its places weighted by ``exp(-haste)`` per tick behind the most aggressive limit order (a market order
    counts as one), and with probability ``along`` turn the order along the parent side. Else it sends a market order
    for the lots by which the position is behind ``part Q clip((t + 1 - start) / window, 0, 1)``, if at least a clip or
    once the window has ended. Fills of quiet orders count towards the position, so they do part of the burst's work.

    Attributes:
        spec: market sizes.
        plan: the parameters, traced.
        noise_law: of the market it hides in.
    """

    spec: MarketSpec
    plan: BurstPlan
    noise_law: NoiseLaw = orders

    @property
    def reads_private(self) -> bool:
        """True: a plan may toss a coin."""
        return True

    @property
    def chosen_reads_private(self) -> Array:
        """True if this plan has both loud and quiet episodes. [] bool."""
        return (self.plan.loud > 0.0) & (self.plan.loud < 1.0)

    def init(self, params: EnvParams) -> Array:
        """The size law, computed once per episode."""
        return size_distribution(params, self.spec.max_order_size)

    def act(self, key: Array, carry: Array, view: ExecutionView, params: EnvParams) -> tuple[Array, Decision]:
        """A noise order, from the step's own key as the slot draws it at ``z = 0``, or the burst's."""
        if view.planned is not None:
            raise ValueError("bursts cover themselves by orders that they draw: there are none where noise is recorded")
        key_cover, key_side, key_place = (jax.random.fold_in(key, i) for i in (1, 2, 3))
        fires = params.replace(slot_rate=self._fire_rate(params))  # type: ignore[attr-defined]
        drawn = noise_decision(key, noise_buys(view, params), carry, fires, self.spec, self.noise_law)
        drawn = self._hurried(key_place, drawn, self._marks(carry, view, params))
        turned = jax.random.uniform(key_side, (), jnp.float32) < self.plan.along
        drawn = dataclasses.replace(drawn, side=jnp.where(turned, view.direction, drawn.side))
        quiet = jax.random.uniform(key_cover, (), jnp.float32) < self._quiet_share(view)
        noise = encode_action(drawn, view.direction, self.spec)
        return carry, Decision(jnp.where(quiet, noise, self._burst(view, params)), (), jnp.float32(0.0))

    def law(self, carry: Array, view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The mixture of the noise orders' law and the burst's certain order."""
        quiet = self._quiet_share(view)
        of_noise = one_way(self._fire_rate(params), self._marks(carry, view, params))
        return mixture((quiet, 1.0 - quiet), (of_noise, certain(self._burst(view, params), view.direction, self.spec)))

    def _marks(self, size_cdf: Array, view: ExecutionView, params: EnvParams) -> MarksLaw:
        """The marks of a noise order that is sent: the noise law's, in haste and turned along the parent side."""
        marks: MarksLaw = self.noise_law.marks(noise_buys(view, params), size_cdf, params, self.spec)  # type: ignore[attr-defined]
        along, own = self.plan.along, (view.direction > 0).astype(jnp.float32)
        weight = marks.offset * jnp.exp(-self.plan.haste * jnp.arange(self.spec.n_offsets, dtype=jnp.float32))
        sent = weight.sum()
        limit = marks.limit * sent / (marks.limit * sent + 1.0 - marks.limit)
        offset = jnp.where(sent > 0.0, weight / sent, marks.offset)
        return dataclasses.replace(marks, buy=along * own + (1.0 - along) * marks.buy, limit=limit, offset=offset)

    def _hurried(self, key: Array, drawn: SlotDecision, marks: MarksLaw) -> SlotDecision:
        """The noise order with its place, and a size that depends on it, drawn again; as drawn without haste."""
        key_place, key_lots = jax.random.split(key)
        chances = jnp.concatenate([1.0 - marks.limit[None], marks.limit * marks.offset])
        place = jax.random.categorical(key_place, jnp.log(chances))
        lots = drawn.lots
        if marks.lots.ndim > 1:
            lots = 1 + jax.random.categorical(key_lots, jnp.log(marks.lots[place])).astype(lots.dtype)
        offset = jnp.maximum(place - 1, 0).astype(drawn.offset_ticks.dtype) + self.spec.offset_min_ticks
        again = dataclasses.replace(drawn, is_limit=place > 0, offset_ticks=offset, lots=lots)
        return jax.tree.map(lambda new, old: jnp.where(self.plan.haste > 0.0, new, old), again, drawn)

    def _quiet_share(self, view: ExecutionView) -> Array:
        """Probability that the step is played by noise orders. []."""
        loud = jax.scipy.special.ndtr(view.private) < self.plan.loud
        return jnp.where(loud, self.plan.cover, 1.0)

    def _fire_rate(self, params: EnvParams) -> Array:
        """Probability that a quiet step sends an order. []."""
        return jnp.minimum(self.plan.rate * params.slot_rate, 1.0)

    def _burst(self, view: ExecutionView, params: EnvParams) -> Array:
        """The action [3] that keeps up with the burst."""
        elapsed = jnp.clip((steps_done(view, self.spec) + 1.0 - self.plan.start) / self.plan.window, 0.0, 1.0)
        due = self.plan.part * elapsed
        return keep_up(view, due, elapsed >= 1.0, params, self.spec, self.plan.clip_lots).action


AXES = tuple(field.name for field in dataclasses.fields(BurstPlan))  # axes of the unit cube that plans are searched in


def plan_at(place: np.ndarray, spec: MarketSpec) -> BurstPlan:
    """The plan at a place [..., 9] of the unit cube, whose axes are :data:`AXES`; clipped into it.

    The ends are reached: a share can be exactly 0 or 1. Starts and windows are whole steps, clips whole lots.
    """
    place = np.clip(np.asarray(place, np.float64), 0.0, 1.0)
    leaves: dict[str, Any] = {}
    for i, name in enumerate(AXES):
        low, high, logarithmic = _range(name, spec)
        value = low * (high / low) ** place[..., i] if logarithmic else low + (high - low) * place[..., i]
        leaves[name] = np.asarray(np.round(value) if name in WHOLE else value, np.float32)
    return BurstPlan(**leaves)


def place_of(plan: Mapping[str, float], spec: MarketSpec) -> np.ndarray:
    """The place [9] of a plan in the unit cube: the inverse of :func:`plan_at`, up to whole steps and lots."""
    place = []
    for name in AXES:
        low, high, logarithmic = _range(name, spec)
        ratio = np.log(plan[name] / low) / np.log(high / low) if logarithmic else (plan[name] - low) / (high - low)
        place.append(float(ratio))
    return np.array(place)


WHOLE = ("start", "window", "clip_lots")  # parameters that are whole numbers


def _range(name: str, spec: MarketSpec) -> tuple[float, float, bool]:
    """Least and largest value of a parameter in a search, and whether it is spaced by its logarithm."""
    ranges = {
        "start": (0.0, 0.9 * spec.horizon, False),
        "window": (1.0, float(spec.horizon), True),
        "clip_lots": (1.0, float(spec.max_order_size), True),
        "rate": (0.25, 8.0, True),
        "haste": (0.0, 4.0, False),
    }
    return ranges.get(name, (0.0, 1.0, False))
