"""The protocol of a policy: a pure pair ``init, act`` over views, for one environment."""

from typing import Any, Protocol, runtime_checkable

from flax import struct

from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams
from amarl_jax.market.slot import SlotLaw
from amarl_jax.types import Array, PyTree


@struct.dataclass
class Decision:
    """An action and what learning needs of it."""

    action: Array  # execution [3], maker [4], arbitrageur []
    latents: PyTree  # what the action was decoded from; () for scripted policies
    log_prob: Array  # [] of the latents, 0 for scripted policies


class Policy(Protocol):
    """Decides for one agent. ``act`` must be traceable and must not look at anything but its view."""

    def init(self, params: EnvParams) -> PyTree:
        """The carry at the start of an episode."""
        ...

    def act(self, key: Array, carry: PyTree, view: Any, params: EnvParams) -> tuple[PyTree, Decision]:
        """One decision from the agent's view (see ``market.observe``)."""
        ...


@runtime_checkable
class PolicyWithLaw(Policy, Protocol):
    """An execution policy that states the law of its decisions, so that its leakage has an exact value.

    One that does not read its private number has an attribute ``reads_private = False``.
    """

    def law(self, carry: PyTree, view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The law of :meth:`act`'s decision, given the carry of :meth:`init`, which must not change."""
        ...
