"""The parent slot: one institutional child order at a time, whose decision rule is all that ``z`` changes."""

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.market.noise import NoiseLaw, orders
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
    """The decision with every mark 0 where nothing is sent: not to act looks the same by any rule."""
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
    """The slot at ``z = 0``: fires with probability ``slot_rate`` and then draws the noise law."""
    uniform = jax.random.uniform(key, (5,), jnp.float32)
    order = law(uniform[1:], p_buy, size_cdf, params, spec)
    return SlotDecision(
        acts=uniform[0] < params.slot_rate,
        side=order.side,
        lots=order.lots,
        offset_ticks=order.offset_ticks,
        is_limit=order.is_limit,
    )
