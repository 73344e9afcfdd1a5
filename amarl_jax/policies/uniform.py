"""Random play: actions uniform over each agent's range, to exercise the market."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from amarl_jax.market.noise import MarksLaw
from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotLaw, one_way
from amarl_jax.policies.protocol import Decision
from amarl_jax.types import Agent, Array


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform actions for one agent; the execution agent abstains half of the time."""

    reads_private: ClassVar[bool] = False
    spec: MarketSpec
    agent: Agent

    def init(self, params: EnvParams) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def act(self, key: Array, carry: tuple[()], view: object, params: EnvParams) -> tuple[tuple[()], Decision]:
        """One action, whatever the view."""
        draws = jax.random.uniform(key, (4,), jnp.float32)
        return carry, Decision(self._scale(draws, params), (), jnp.float32(0.0))

    def _scale(self, draws: Array, params: EnvParams) -> Array:
        if self.agent == Agent.EXECUTION:
            low, high = self.spec.offset_min_ticks, self.spec.offset_max_ticks
            size = jnp.where(draws[3] < 0.5, 0.0, 2.0 * draws[0] - 1.0)
            return jnp.stack([size, low + (high - low) * draws[1], draws[2] - 0.5])
        if self.agent == Agent.MAKER:
            return draws * jnp.stack([params.max_spread_ticks, params.max_spread_ticks, 1, 1]).astype(jnp.float32)
        return 2.0 * draws[0] - 1.0

    def law(self, carry: tuple[()], view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The law of the execution agent's decision."""
        n_lots, n_offsets = self.spec.max_order_size, self.spec.n_offsets
        marks = MarksLaw(
            buy=jnp.float32(0.5),
            limit=jnp.float32(0.5),
            lots=_rounded(jnp.arange(1, n_lots + 1), 0, n_lots).at[0].add(0.5 / n_lots),  # 0 lots count as 1
            offset=_rounded(jnp.arange(n_offsets), 0, n_offsets - 1),
        )
        return one_way(jnp.float32(0.5), marks)


def _rounded(k: Array, low: int, high: int) -> Array:
    """Probability that a number uniform on [low, high] rounds to k."""
    return jnp.where((k == low) | (k == high), 0.5, 1.0) / (high - low)
