"""Time-weighted execution: the parent order in equal market orders over a window."""

import dataclasses

from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.schedule import Schedule, elapsed_share, keep_up


@dataclasses.dataclass(frozen=True)
class Twap(Schedule):
    """Keeps up with the line ``Q * steps / window``, in market orders; a window of 1 is an impatient sweep.

    Attributes:
        spec: market sizes.
        window: steps over which the order is worked; None is the whole horizon.
        clip_lots: smallest order worth sending before the deadline.
    """

    spec: MarketSpec
    window: int | None = None
    clip_lots: int = 1

    def decide(self, view: ExecutionView, params: EnvParams) -> Decision:
        """A market order for the lots behind schedule, if at least a clip or at the deadline."""
        due = elapsed_share(view, self.spec, self.window or self.spec.horizon)
        return keep_up(view, due, due >= 1.0, params, self.spec, self.clip_lots)
