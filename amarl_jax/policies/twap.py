"""Time-weighted execution: the parent order in equal market orders over a window."""

import dataclasses

import jax.numpy as jnp

from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.protocol import Decision
from amarl_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Twap:
    """Keeps up with the line ``Q * steps / window``, in market orders; a window of 1 is an impatient sweep.

    Attributes:
        spec: market sizes.
        window: steps over which the order is worked; None is the whole horizon.
        clip_lots: smallest order worth sending before the deadline.
    """

    spec: MarketSpec
    window: int | None = None
    clip_lots: int = 1

    def init(self, params: EnvParams) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def act(self, key: Array, carry: tuple[()], view: ExecutionView, params: EnvParams) -> tuple[tuple[()], Decision]:
        """A market order for what the schedule is ahead by, if that is a clip or the deadline has come."""
        horizon = self.spec.horizon
        window = self.window or horizon
        elapsed = jnp.round((1.0 - view.public.time_left) * horizon)
        due = jnp.ceil(params.parent_lots * jnp.minimum((elapsed + 1.0) / window, 1.0) - 1e-3)
        done = params.parent_lots - view.remaining
        behind = jnp.clip(due - done, 0, view.remaining)
        deadline = elapsed + 1.0 >= window
        lots = jnp.where((behind >= self.clip_lots) | deadline, behind, 0.0)
        size_frac = jnp.minimum(lots / self.spec.max_order_size, 1.0)
        action = jnp.stack([size_frac, jnp.float32(0.0), jnp.float32(-1.0)])
        return carry, Decision(action, (), jnp.float32(0.0))
