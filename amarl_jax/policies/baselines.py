"""The scripted execution policies that a learned one is compared with, by name, and one program for all of them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from amarl_jax.market.noise import NoiseLaw, orders
from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotLaw, given_places, n_places, widened
from amarl_jax.policies.almgren_chriss import AlmgrenChriss
from amarl_jax.policies.camouflage import Camouflage
from amarl_jax.policies.forced import ForcedCompletion
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.protocol import Decision, Policy
from amarl_jax.policies.twap import Twap
from amarl_jax.policies.vwap import Vwap
from amarl_jax.types import Array, PyTree


def make_baselines(
    spec: MarketSpec,
    *,
    clip_lots: int = 5,
    camouflage_rate: float = 0.5,
    vwap_depth: float = 0.75,
    urgency: float = 10.0,
    law: NoiseLaw = orders,
) -> dict[str, Policy]:
    """Every baseline by name, from the most hasty to the perfectly hidden.

    Args:
        spec: market sizes.
        clip_lots: smallest order a schedule sends before its deadline; 5 is the noise traders' mean size.
        camouflage_rate: p, share of the steps that camouflaged schedules leave to the noise law.
        vwap_depth: of VWAP's U-shaped profile, in [0, 1].
        urgency: ``kappa T`` of Almgren and Chriss.
        law: the noise law of the market, which mimics draw from.
    """
    mimic = Mimic(spec, noise_law=law)
    fortieth, quarter = (max(1, round(spec.horizon / parts)) for parts in (40, 4))
    twap, vwap = Twap(spec, None, clip_lots), Vwap(spec, vwap_depth, clip_lots)
    return {
        "sweep": Twap(spec, 1),
        "twap_fortieth_of_the_day": Twap(spec, fortieth, clip_lots),
        "twap_quarter_of_the_day": Twap(spec, quarter, clip_lots),
        "almgren_chriss": AlmgrenChriss(spec, urgency, clip_lots),
        "twap": twap,
        "twap_lot_by_lot": Twap(spec, None, 1),
        "vwap": vwap,
        "twap_camouflaged": Camouflage(twap, mimic, camouflage_rate),
        "vwap_camouflaged": Camouflage(vwap, mimic, camouflage_rate),
        "mimic_one_sided": Mimic(spec, one_sided=True, noise_law=law),
        "mimic_forced": ForcedCompletion(mimic, spec, clip_lots),
        "mimic": mimic,
    }


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several execution policies, by number: a program that plays them all is compiled once.

    Attributes:
        policies: what there is to choose from.
        index: [] int32, traced; the same for all environments, so that only the chosen one is computed.
    """

    policies: tuple[Policy, ...]
    index: Array

    @property
    def reads_private(self) -> bool:
        """True if any of the policies reads the private number."""
        return any(getattr(policy, "reads_private", True) for policy in self.policies)

    @property
    def chosen_reads_private(self) -> Array:
        """True if the chosen one does. [] bool."""
        return jnp.array([getattr(policy, "reads_private", True) for policy in self.policies])[self.index]

    def init(self, params: EnvParams) -> tuple[PyTree, ...]:
        """The carry of every policy."""
        return tuple(policy.init(params) for policy in self.policies)

    def act(
        self, key: Array, carry: tuple[PyTree, ...], view: ExecutionView, params: EnvParams
    ) -> tuple[tuple[PyTree, ...], Decision]:
        """The chosen policy's action; the others' carries are unchanged."""

        def branch(i: int, policy: Policy) -> tuple[tuple[PyTree, ...], Array]:
            memory, decision = policy.act(key, carry[i], view, params)
            return (*carry[:i], memory, *carry[i + 1 :]), decision.action

        branches = [functools.partial(branch, i, policy) for i, policy in enumerate(self.policies)]
        carry, action = jax.lax.switch(self.index, branches)
        return carry, Decision(action, (), jnp.float32(0.0))

    def law(self, carry: tuple[PyTree, ...], view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The chosen policy's law, with as many ways to act as any of them has; AttributeError if one has none."""

        def of(i: int) -> SlotLaw:
            return self.policies[i].law(carry[i], view, params)  # type: ignore[attr-defined]

        shapes = [jax.eval_shape(functools.partial(of, i)) for i in range(len(self.policies))]
        n_ways, places = max(law.gate.shape[0] for law in shapes), n_places(*shapes)
        branches = [lambda i=i: given_places(widened(of(i), n_ways), places) for i in range(len(self.policies))]
        return jax.lax.switch(self.index, branches)


def choice(policies: Mapping[str, Policy] | Sequence[Policy], index: Array) -> Choice:
    """The policy at position ``index`` of a mapping or a sequence."""
    return Choice(tuple(policies.values() if isinstance(policies, Mapping) else policies), index)
