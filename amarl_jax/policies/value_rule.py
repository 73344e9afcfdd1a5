"""The textbook arbitrageur: trade when value is beyond the quote by more than a margin."""

import dataclasses

import jax.numpy as jnp

from amarl_jax.market.observe import ArbitrageurView
from amarl_jax.market.params import EnvParams
from amarl_jax.policies.protocol import Decision
from amarl_jax.types import Array


@dataclasses.dataclass(frozen=True)
class ValueRule:
    """Lifts the ask when ``V - mid - spread / 2 > margin_ticks``, hits the bid in the mirrored case."""

    margin_ticks: float = 1.0

    def init(self, params: EnvParams) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def act(self, key: Array, carry: tuple[()], view: ArbitrageurView, params: EnvParams) -> tuple[tuple[()], Decision]:
        """The signal +1, -1 or 0."""
        edge = jnp.abs(view.value_gap) - 0.5 * view.public.spread
        action = jnp.where(edge > self.margin_ticks, jnp.sign(view.value_gap), 0.0)
        return carry, Decision(action, (), jnp.float32(0.0))
