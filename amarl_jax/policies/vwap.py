"""Volume-weighted execution: the parent order in proportion to a U-shaped day, busy at the open and at the close."""

import dataclasses

from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.schedule import Schedule, elapsed_share, keep_up
from amarl_jax.types import Array


def u_shaped_share(elapsed: Array, depth: float) -> Array:
    """Share of a day's volume traded by a share ``x`` of it: ``F(x) = (1 - d) x + d (4 (x - 1/2)^3 + 1/2)``.

    Its density ``1 - d + 12 d (x - 1/2)^2`` is ``1 + 2 d`` at both ends and ``1 - d`` at noon.

    Args:
        elapsed: [...] x in [0, 1].
        depth: d in [0, 1]; 0 is a flat day.
    """
    return (1.0 - depth) * elapsed + depth * (4.0 * (elapsed - 0.5) ** 3 + 0.5)


@dataclasses.dataclass(frozen=True)
class Vwap(Schedule):
    """Keeps up with the U-shaped profile, in market orders.

    The market's own volume is flat over the day, so the profile is wrong for it, as VWAP's is on an unusual day.

    Attributes:
        spec: market sizes.
        depth: of the profile, in [0, 1].
        clip_lots: smallest order worth sending before the close.
    """

    spec: MarketSpec
    depth: float = 0.75
    clip_lots: int = 1

    def decide(self, view: ExecutionView, params: EnvParams) -> Decision:
        """A market order for the lots behind the profile, if at least a clip or at the close."""
        elapsed = elapsed_share(view, self.spec, self.spec.horizon)
        due = u_shaped_share(elapsed, self.depth)
        return keep_up(view, due, elapsed >= 1.0, params, self.spec, self.clip_lots)
