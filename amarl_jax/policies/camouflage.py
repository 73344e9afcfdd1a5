"""Camouflage: a schedule whose decisions are now and then replaced by those of a noise trader."""

import dataclasses

import jax
import jax.numpy as jnp

from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams
from amarl_jax.market.slot import SlotLaw, mixture
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.protocol import Decision, PolicyWithLaw
from amarl_jax.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Camouflage:
    """Plays at each step, with probability ``rate``, the mimic's decision, else the schedule's.

    A rate of 0 is the schedule, a rate of 1 the perfect mimic. The schedule sees what the noise did to its position
    and catches up.

    Attributes:
        base: the schedule.
        mimic: draws the noise law.
        rate: p in [0, 1].
    """

    base: PolicyWithLaw
    mimic: Mimic
    rate: float

    @property
    def reads_private(self) -> bool:
        """True if the base reads the private number."""
        return getattr(self.base, "reads_private", True)

    def init(self, params: EnvParams) -> tuple[PyTree, Array]:
        """The carries of the two."""
        return self.base.init(params), self.mimic.init(params)

    def act(
        self, key: Array, carry: tuple[PyTree, Array], view: ExecutionView, params: EnvParams
    ) -> tuple[tuple[PyTree, Array], Decision]:
        """One of the two decisions; the mimic draws from the step's own key, as the slot does at ``z = 0``."""
        hides = jax.random.uniform(jax.random.fold_in(key, 1), (), jnp.float32) < self.rate
        base_carry, scheduled = self.base.act(jax.random.fold_in(key, 2), carry[0], view, params)
        mimic_carry, drawn = self.mimic.act(key, carry[1], view, params)
        action = jnp.where(hides, drawn.action, scheduled.action)
        return (base_carry, mimic_carry), Decision(action, (), jnp.float32(0.0))

    def law(self, carry: tuple[PyTree, Array], view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The mixture of the two laws; AttributeError if the schedule has none."""
        laws = self.mimic.law(carry[1], view, params), self.base.law(carry[0], view, params)
        return mixture((self.rate, 1.0 - self.rate), laws)
