"""The parent slot: one institutional child order at a time, whose decision rule is all that ``z`` changes."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.market.noise import MarksLaw, NoiseLaw, orders
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.types import Array


@struct.dataclass
class SlotDecision:
    """What the slot decided at a step; a decision to act replaces the working child."""

    acts: Array  # [] bool
    side: Array  # [] int32, +1 buy, -1 sell
    lots: Array  # [] int32
    offset_ticks: Array  # [] int32, behind mid on its own side
    is_limit: Array  # [] bool


def decode_action(action: Array, direction: Array, spec: MarketSpec) -> SlotDecision:
    """Execution action ``[size_frac, limit_offset, order_type_logit]`` to an order.

    ``lots = max(1, round(|size_frac| max_order_size))``; a negative fraction trades against the parent side;
    exactly 0 abstains. The offset is in ticks, rounded and clipped to the slot's range; a logit above 0 is a limit.

    Args:
        action: [3] float32.
        direction: [] int32, the parent side ``s``.
        spec: market sizes.
    """
    size_frac, offset, logit = action[0], action[1], action[2]
    lots = jnp.round(jnp.minimum(jnp.abs(size_frac), 1.0) * spec.max_order_size).astype(jnp.int32)
    return SlotDecision(
        acts=size_frac != 0.0,
        side=jnp.where(size_frac >= 0, direction, -direction).astype(jnp.int32),
        lots=jnp.maximum(lots, 1),
        offset_ticks=jnp.clip(jnp.round(offset), spec.offset_min_ticks, spec.offset_max_ticks).astype(jnp.int32),
        is_limit=logit > 0.0,
    )


def as_sent(decision: SlotDecision) -> SlotDecision:
    """The decision with every mark 0 where nothing is sent: so that all forms of abstaining are equal."""
    return jax.tree.map(lambda mark: jnp.where(decision.acts, mark, jnp.zeros_like(mark)), decision)


def encode_action(decision: SlotDecision, direction: Array, spec: MarketSpec) -> Array:
    """The action that decodes to ``decision``: the inverse of :func:`decode_action`. [3] float32."""
    size_frac = decision.lots / spec.max_order_size * (decision.side * direction)
    return jnp.stack(
        [
            jnp.where(decision.acts, size_frac, 0.0),
            decision.offset_ticks.astype(jnp.float32),
            jnp.where(decision.is_limit, 1.0, -1.0),
        ]
    )


def noise_decision(
    key: Array, p_buy: Array, size_cdf: Array, params: EnvParams, spec: MarketSpec, law: NoiseLaw = orders
) -> SlotDecision:
    """The slot at ``z = 0``: fires with probability ``slot_rate`` and then draws from the noise law."""
    uniform = jax.random.uniform(key, (5,), jnp.float32)
    order = law(uniform[1:], p_buy, size_cdf, params, spec)
    return SlotDecision(
        acts=uniform[0] < params.slot_rate,
        side=order.side,
        lots=order.lots,
        offset_ticks=order.offset_ticks,
        is_limit=order.is_limit,
    )


@struct.dataclass
class SlotLaw:
    """Law of a slot's decision: one of ``C`` ways to act, each with its own marks, else to abstain."""

    gate: Array  # [C] probability to act in each way; their sum is at most 1
    marks: MarksLaw  # [C] leading: of the order that is sent, before the position limit


def one_way(gate: Array | float, marks: MarksLaw) -> SlotLaw:
    """The law of a slot that acts with probability ``gate`` [] and then draws these marks."""
    return SlotLaw(gate=jnp.asarray(gate)[None], marks=jax.tree.map(lambda x: jnp.asarray(x)[None], marks))


def certain(action: Array, direction: Array, spec: MarketSpec) -> SlotLaw:
    """The law of a slot that takes this action [3] with probability 1."""
    decision = decode_action(action, direction, spec)
    marks = MarksLaw(
        buy=(decision.side > 0).astype(jnp.float32),
        limit=decision.is_limit.astype(jnp.float32),
        lots=jax.nn.one_hot(decision.lots - 1, spec.max_order_size, dtype=jnp.float32),
        offset=jax.nn.one_hot(decision.offset_ticks - spec.offset_min_ticks, spec.n_offsets, dtype=jnp.float32),
    )
    return one_way(decision.acts.astype(jnp.float32), marks)


def mixture(weights: Sequence[Array | float], laws: Sequence[SlotLaw]) -> SlotLaw:
    """The law of a slot that decides by each of several laws with the given probabilities, [] each."""
    laws = [given_places(law, n_places(*laws)) for law in laws]
    scaled = [dataclasses.replace(law, gate=law.gate * weight) for weight, law in zip(weights, laws, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *scaled)


def n_places(*laws: SlotLaw) -> int:
    """Number of places that sizes of these laws are conditioned on; 0 if no law's sizes depend on the place."""
    return max(law.marks.lots.shape[-2] if law.marks.lots.ndim > law.gate.ndim + 1 else 0 for law in laws)


def given_places(law: SlotLaw, n_places: int) -> SlotLaw:
    """The law with its sizes stated for each of ``n_places`` places; unchanged if they already are, or for 0."""
    lots = law.marks.lots
    if not n_places or lots.ndim > law.gate.ndim + 1:
        return law
    lots = jnp.broadcast_to(lots[..., None, :], (*lots.shape[:-1], n_places, lots.shape[-1]))
    return dataclasses.replace(law, marks=dataclasses.replace(law.marks, lots=lots))


def widened(law: SlotLaw, n_ways: int) -> SlotLaw:
    """The law padded to ``n_ways`` ways to act; the added ones have probability 0."""
    missing = n_ways - law.gate.shape[0]
    return jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros((missing, *x.shape[1:]), x.dtype)]), law)
