"""Keeping up with a schedule: the part that TWAP, VWAP and Almgren-Chriss share."""

from typing import ClassVar

import jax.numpy as jnp

from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotLaw, certain
from amarl_jax.policies.protocol import Decision
from amarl_jax.types import Array


class Schedule:
    """A deterministic execution policy without memory."""

    spec: MarketSpec
    reads_private: ClassVar[bool] = False

    def decide(self, view: ExecutionView, params: EnvParams) -> Decision:
        """The decision for a view."""
        raise NotImplementedError

    def init(self, params: EnvParams) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def act(self, key: Array, carry: tuple[()], view: ExecutionView, params: EnvParams) -> tuple[tuple[()], Decision]:
        """The decision, whatever the key."""
        return carry, self.decide(view, params)

    def law(self, carry: tuple[()], view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The law with all probability on the decision."""
        return certain(self.decide(view, params).action, view.direction, self.spec)


def steps_done(view: ExecutionView, spec: MarketSpec) -> Array:
    """Steps of the episode that have been played. [] float32."""
    return jnp.round((1.0 - view.public.time_left) * spec.horizon)


def elapsed_share(view: ExecutionView, spec: MarketSpec, window: int) -> Array:
    """Share of a window of steps, from the opening, that has elapsed after the coming step. [] in (0, 1]."""
    return jnp.minimum((steps_done(view, spec) + 1.0) / window, 1.0)


def market_order(lots: Array, spec: MarketSpec) -> Decision:
    """A market order along the parent side, cut to the largest child; 0 lots abstain.

    Args:
        lots: [] float32, at least 0.
        spec: market sizes.
    """
    size_frac = jnp.minimum(lots / spec.max_order_size, 1.0)
    action = jnp.stack([size_frac, jnp.float32(0.0), jnp.float32(-1.0)])
    return Decision(action, (), jnp.float32(0.0))


def keep_up(
    view: ExecutionView, due_share: Array, deadline: Array, params: EnvParams, spec: MarketSpec, clip_lots: int | Array
) -> Decision:
    """A market order for the lots behind schedule, if at least a clip or at the deadline.

    Args:
        view: what the execution agent sees.
        due_share: [] share of the parent order that is due once this step is over.
        deadline: [] bool, all of it is due now.
        params: market constants.
        spec: market sizes.
        clip_lots: smallest order worth sending before the deadline.
    """
    due = jnp.ceil(params.parent_lots * due_share - 1e-3)
    done = params.parent_lots - view.remaining
    behind = jnp.clip(due - done, 0, view.remaining)
    return market_order(jnp.where((behind >= clip_lots) | deadline, behind, 0.0), spec)
