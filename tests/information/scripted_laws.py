"""Execution policies whose law is written down: ``law(view) -> dict`` for the exact posterior, and what plays it.

A law reads the view with numpy on the host and with jax.numpy in a trace; its entries are of the decision, before the
position limit. See ``tests.information.brute_force.log_likelihoods`` for their names.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.market.slot import SlotDecision, as_sent, encode_action
from amarl_jax.policies.protocol import Decision
from tests.information.brute_force import noise_law


def _numpy_of(x):
    return jnp if isinstance(x, jax.Array) else np


def _p_buy(view, params):
    xp = _numpy_of(view.public.news_gap)
    return 0.5 + xp.clip(params.tilt_per_tick * view.public.news_gap, -params.tilt_max, params.tilt_max)


@dataclasses.dataclass(frozen=True)
class MimicLaw:
    """What :class:`amarl_jax.policies.mimic.Mimic` draws from; ``one_sided`` as there."""

    params: Any
    spec: Any
    one_sided: bool = False

    def __call__(self, view):
        side = {"p_along": 1.0} if self.one_sided else {"p_buy": _p_buy(view, self.params)}
        return {"gate": self.params.slot_rate, **side, **noise_law(self.params, self.spec)}


@dataclasses.dataclass(frozen=True)
class OneBigOrder:
    """A market order of ``lots`` along the parent side at once, and nothing more when any of it has traded."""

    lots: int
    spec: Any

    def __call__(self, view):
        xp = _numpy_of(view.completion)
        n_offsets = self.spec.offset_max_ticks - self.spec.offset_min_ticks + 1
        sizes = np.arange(1, self.spec.max_order_size + 1)
        return {
            "gate": xp.where(view.completion == 0.0, 1.0, 0.0),
            "p_along": 1.0,
            "p_limit": 0.0,
            "size_pmf": (sizes == self.lots).astype(np.float32),
            "offset_pmf": np.full(n_offsets, 1.0 / n_offsets, np.float32),
        }


@dataclasses.dataclass(frozen=True)
class Reactive:
    """Everything hangs on something hidden: position, child, and the sign of the private number; nothing is impossible.

    Of the private number it reads the sign alone, so ``privates=((-1.0, 0.5), (1.0, 0.5))`` is its exact law.
    """

    spec: Any

    def __call__(self, view):
        xp = _numpy_of(view.completion)
        loud = view.private > 0.0
        sizes = np.arange(1, self.spec.max_order_size + 1) / self.spec.max_order_size
        offsets = np.arange(self.spec.offset_min_ticks, self.spec.offset_max_ticks + 1)
        behind = xp.clip(0.1 * view.child_offset, -0.3, 0.3)
        return {
            "gate": 0.3 + xp.where(loud, 0.3, 0.0) + xp.where(view.child_lots > 0, 0.15, 0.0),
            "p_along": 0.6 - 0.3 * xp.clip(view.completion, -1.0, 1.0) - 0.1 * view.child_along * (view.child_lots > 2),
            "p_limit": xp.where(loud, 0.5, 0.75) + 0.1 * xp.clip(view.completion, -1.0, 1.0),
            "size_pmf": _normalised(xp.exp(xp.where(loud, 1.0, -0.5) * sizes)),
            "offset_pmf": _normalised(xp.exp((behind - 0.1) * offsets)),
        }


def _normalised(weights):
    return weights / weights.sum()


@dataclasses.dataclass(frozen=True)
class PlaysLaw:
    """The execution policy that draws its decision from a law with ``p_along``."""

    law: Any
    spec: Any

    def init(self, params):
        return ()

    def act(self, key, carry, view, params):
        law = self.law(view)
        uniform = jax.random.uniform(key, (5,))
        along = jnp.where(uniform[1] < law["p_along"], 1, -1)
        decision = SlotDecision(
            acts=uniform[0] < law["gate"],
            side=along * view.direction,
            lots=1 + _drawn(law["size_pmf"], uniform[2]),
            offset_ticks=self.spec.offset_min_ticks + _drawn(law["offset_pmf"], uniform[3]),
            is_limit=uniform[4] < law["p_limit"],
        )
        action = encode_action(as_sent(decision), view.direction, self.spec)
        return carry, Decision(action, (), jnp.float32(0.0))


def _drawn(pmf, uniform):
    """Index drawn by inverse CDF. []."""
    below = jnp.cumsum(jnp.asarray(pmf, jnp.float32))[:-1]
    return jnp.sum(uniform >= below, dtype=jnp.int32)
