"""Actions as a box ``[-1, 1]^n``, which external learners expect, and conversion from and to public units.

- execution, [4]: acts if > 0; size, signed along its side; limit offset, evenly over its range; limit order if > 0
- maker, [4]: bid and ask offset, bid and ask size, each evenly over its range
- arbitrageur, [1]: signal
"""

import chex
import jax.numpy as jnp

from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.nets.heads import ExecutionLatents
from amarl_jax.policies.learned import decode_execution, decode_maker
from amarl_jax.types import Agent, Array

ACTION_SIZES = (4, 4, 1)  # n of every agent


def decode(agent: Agent, action: Array, params: EnvParams, spec: MarketSpec) -> Array:
    """An action of the box in public units; entries outside are clipped, one that is not finite makes all NaN."""
    chex.assert_shape(action, (ACTION_SIZES[agent],))
    inside = jnp.clip(action, -1.0, 1.0)
    if agent == Agent.MAKER:
        decoded = decode_maker(inside, params)
    elif agent == Agent.ARBITRAGEUR:
        decoded = inside[0]
    else:
        gate, size, offset, kind = 0.5 * (inside.at[1].set(jnp.sign(inside[1])) + 1.0)
        latents = ExecutionLatents(gate=gate, side=size, size=jnp.abs(inside[1]), offset=offset, kind=kind)
        decoded = decode_execution(latents, spec)
    return jnp.where(jnp.all(jnp.isfinite(action)), decoded, jnp.nan)


def encode(agent: Agent, action: Array, params: EnvParams, spec: MarketSpec) -> Array:
    """The action of the box that sends the same orders as an action in public units: an inverse of :func:`decode`.

    Offsets and the maker's sizes are rounded to the ticks and lots that the market plays, so that no float32 digit
    decides between two of them.

    Args:
        agent: whose action it is.
        action: execution [3], maker [4], arbitrageur [].
        params: market constants.
        spec: market sizes.

    Returns:
        [n] float32.
    """
    chex.assert_shape(action, {Agent.EXECUTION: (3,), Agent.MAKER: (4,), Agent.ARBITRAGEUR: ()}[agent])
    if agent == Agent.ARBITRAGEUR:
        return jnp.clip(action, -1.0, 1.0)[None]
    if agent == Agent.MAKER:
        widest = jnp.maximum(params.max_spread_ticks, 1)
        most = jnp.maximum(params.max_quote_lots, 1)
        ticks = jnp.clip(jnp.round(action[:2]), 0, params.max_spread_ticks)
        lots = jnp.round(jnp.clip(action[2:], 0.0, 1.0) * most)
        return 2.0 * jnp.concatenate([ticks / widest, lots / most]) - 1.0
    size, offset, kind = action
    n_offsets = spec.offset_max_ticks - spec.offset_min_ticks + 1
    tick = jnp.clip(jnp.round(offset), spec.offset_min_ticks, spec.offset_max_ticks) - spec.offset_min_ticks
    middle = 2.0 * (tick + 0.5) / n_offsets - 1.0
    return jnp.stack(
        [jnp.where(size == 0.0, -1.0, 1.0), jnp.clip(size, -1.0, 1.0), middle, jnp.where(kind > 0.0, 1.0, -1.0)]
    )
