"""Forced completion: any execution policy, until the remainder must be traded to finish in time."""

import dataclasses

import jax.numpy as jnp

from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotLaw, certain, mixture
from amarl_jax.policies.protocol import Decision, PolicyWithLaw
from amarl_jax.policies.schedule import market_order, steps_done
from amarl_jax.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class ForcedCompletion:
    """Plays ``base`` while the rest fits into the steps left at ``clip_lots`` each, then sends market orders.

    Attributes:
        base: the policy that may leave the order unfinished.
        spec: market sizes.
        clip_lots: size of the finishing orders.
    """

    base: PolicyWithLaw
    spec: MarketSpec
    clip_lots: int = 5

    @property
    def reads_private(self) -> bool:
        """True if the base reads the private number."""
        return getattr(self.base, "reads_private", True)

    def init(self, params: EnvParams) -> PyTree:
        """The carry of the base."""
        return self.base.init(params)

    def act(self, key: Array, carry: PyTree, view: ExecutionView, params: EnvParams) -> tuple[PyTree, Decision]:
        """The base's decision, or a finishing order."""
        carry, free = self.base.act(key, carry, view, params)
        must, finishing = self._finish(view)
        action = jnp.where(must, finishing, free.action)
        return carry, Decision(action, (), jnp.float32(0.0))

    def law(self, carry: PyTree, view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The base's law until it must finish; AttributeError if the base has none."""
        must, finishing = self._finish(view)
        laws = self.base.law(carry, view, params), certain(finishing, view.direction, self.spec)
        return mixture((jnp.where(must, 0.0, 1.0), jnp.where(must, 1.0, 0.0)), laws)

    def _finish(self, view: ExecutionView) -> tuple[Array, Array]:
        """Flag that completion is forced from now on, [], and the finishing action of this step, [3]."""
        left_after = self.spec.horizon - steps_done(view, self.spec) - 1.0
        short = view.remaining - self.clip_lots * left_after  # lots that would not fit any more
        clip = jnp.maximum(short, jnp.minimum(view.remaining, self.clip_lots))
        return short > 0, market_order(clip.astype(jnp.float32), self.spec).action
