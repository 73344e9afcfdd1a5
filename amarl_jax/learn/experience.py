"""Experience for PPO: episodes of any game as arrays, and their making from the market's episodes."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.rollout import Trajectory
from amarl_jax.learn.setup import Setup
from amarl_jax.market.observe import SIZE_SCALE
from amarl_jax.market.slot import encode_action
from amarl_jax.nets.tilt import TiltLatents
from amarl_jax.policies.learned import tilts
from amarl_jax.policies.tilted import market_cells, tilt_inputs
from amarl_jax.types import N_AGENTS, Agent, Array


@struct.dataclass
class Experience:
    """``[E]`` episodes of any game; per-agent entries are tuples in the order of Agent, empty for an absent one."""

    seen: tuple[Any, ...]  # [E, T, D] each
    latents: tuple[Any, ...]  # [E, T, ...] each
    log_prob: tuple[Any, ...]  # [E, T] each, of the policy that acted
    reward: Array  # [E, T, agent]
    mask: Array  # [E, T, agent], 1 where an agent's terms count
    global_seen: Array  # [E, T, D] the critic's pre-action state
    actions: tuple[Array, ...]  # [E, T, D] each, executed, in units of order one
    beside: tuple[Any, ...] = ((),) * N_AGENTS  # further inputs of each network, the same in all steps


def market_experience(trajectory: Trajectory, reward: Array, setup: Setup) -> Experience:
    """Episodes of the market; the execution agent's terms count at z = 1 only.

    Args:
        trajectory: [E] episodes.
        reward: [E, T, agent].
        setup: what they were played with.
    """
    informed = jnp.broadcast_to(trajectory.z[:, None], reward.shape[:2]).astype(jnp.float32)
    decisions = (trajectory.execution, trajectory.maker, trajectory.arbitrageur)
    game, params = setup.game, setup.params
    seen: Any = trajectory.execution_seen
    told: tuple[Any, ...] = ()
    if tilts(Agent.EXECUTION, game.network) and isinstance(decisions[0].latents, TiltLatents):
        seen, told = tilt_inputs(seen, params), (market_cells(game.noise_law, params, game.market_spec),)
    return Experience(
        seen=(seen, trajectory.maker_seen, trajectory.arbitrageur_seen),
        latents=tuple(decision.latents for decision in decisions),
        log_prob=tuple(decision.log_prob for decision in decisions),
        reward=reward,
        mask=jnp.stack([informed, jnp.ones_like(informed), jnp.ones_like(informed)], axis=-1),
        global_seen=trajectory.global_seen,
        actions=executed_actions(trajectory, setup),
        beside=(told, (), ()),
    )


def executed_actions(trajectory: Trajectory, setup: Setup) -> tuple[Array, Array, Array]:
    """Each agent's executed action in units of order one; in both classes the slot's order is what was sent.

    Returns:
        [E, T, 3], [E, T, 4] and [E, T, 1].
    """
    encode = jax.vmap(lambda decision, side: encode_action(decision, side, setup.game.market_spec))
    slot = jax.vmap(encode)(
        trajectory.output.slot,
        jnp.broadcast_to(trajectory.direction[:, None], trajectory.output.slot.side.shape),
    )
    slot = slot.at[..., 1].divide(SIZE_SCALE)
    quotes = trajectory.maker.action.at[..., :2].divide(setup.params.max_spread_ticks)
    return slot, quotes, trajectory.arbitrageur.action[..., None]
