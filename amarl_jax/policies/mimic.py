"""The perfect mimic: an execution agent that draws the noise law itself, and so leaks exactly nothing."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from amarl_jax.market.noise import NoiseLaw, buy_probability, orders, size_distribution
from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotLaw, encode_action, noise_decision, one_way
from amarl_jax.policies.protocol import Decision
from amarl_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Mimic:
    """Fires, sizes, prices and tilts as the slot does at ``z = 0``; the parent order may stay unfinished.

    Attributes:
        spec: market sizes.
        one_sided: send every order along the parent side, so that the side alone differs from noise.
        noise_law: of the market it hides in.
    """

    reads_private: ClassVar[bool] = False
    spec: MarketSpec
    one_sided: bool = False
    noise_law: NoiseLaw = orders

    def init(self, params: EnvParams) -> Array:
        """The size law, computed once per episode."""
        return size_distribution(params, self.spec.max_order_size)

    def act(self, key: Array, carry: Array, view: ExecutionView, params: EnvParams) -> tuple[Array, Decision]:
        """One draw of the noise law, from the public W - mid; where noise is recorded, the planned order."""
        decision = noise_decision(key, noise_buys(view, params), carry, params, self.spec, self.noise_law)
        decision = decision if view.planned is None else view.planned
        if self.one_sided:
            decision = dataclasses.replace(decision, side=view.direction)
        return carry, Decision(encode_action(decision, view.direction, self.spec), (), jnp.float32(0.0))

    def law(self, carry: Array, view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The noise law at the slot's rate, all of it along the parent side if one-sided."""
        marks = self.noise_law.marks(noise_buys(view, params), carry, params, self.spec)  # type: ignore[attr-defined]
        if self.one_sided:
            marks = dataclasses.replace(marks, buy=(view.direction > 0).astype(jnp.float32))
        return one_way(params.slot_rate, marks)


def noise_buys(view: ExecutionView, params: EnvParams) -> Array:
    """The probability that a noise trader buys. []."""
    mid2 = jnp.round(2 * view.public.mid).astype(jnp.int32)
    return buy_probability(view.public.news_gap + view.public.mid, mid2, params)
