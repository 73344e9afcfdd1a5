"""A market maker that always quotes the same distance from mid."""

import dataclasses

import jax.numpy as jnp

from amarl_jax.market.observe import MakerView
from amarl_jax.market.params import EnvParams
from amarl_jax.policies.protocol import Decision
from amarl_jax.types import Array


@dataclasses.dataclass(frozen=True)
class ConstantSpread:
    """Quotes ``offset_ticks`` from mid on both sides, whatever it sees.

    Attributes:
        offset_ticks: distance of each quote from mid, ticks.
        size_fraction: of ``max_quote_lots``.
    """

    offset_ticks: float = 1.0
    size_fraction: float = 0.5

    def init(self, params: EnvParams) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def act(self, key: Array, carry: tuple[()], view: MakerView, params: EnvParams) -> tuple[tuple[()], Decision]:
        """The same four numbers at every step."""
        action = jnp.array([self.offset_ticks, self.offset_ticks, self.size_fraction, self.size_fraction])
        return carry, Decision(action, (), jnp.float32(0.0))
