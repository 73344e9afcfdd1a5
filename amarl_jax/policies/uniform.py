"""Random play: actions uniform over each agent's range, to exercise the market."""

import dataclasses

import jax
import jax.numpy as jnp

from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.protocol import Decision
from amarl_jax.types import Agent, Array


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform actions for one agent; the execution agent abstains half of the time."""

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
