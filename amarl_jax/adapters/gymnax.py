"""One agent's view of the market as a gymnax environment; needs gymnax.

gymnax's own base class builds ``step`` from ``step_env``: it resets by itself, and returns what the installed version
does (from 1.0 six values, with termination and truncation apart). PureJaxRL's loops take five, for which gymnax has a
wrapper::

    env = MarketGymnaxEnv(SingleAgent(Playable(spec, params, z=1), Agent.EXECUTION, players))
    observation, state = env.reset(key, env.default_params)
    observation, state, reward, terminated, truncated, info = env.step(key, state, action, env.default_params)
    env = gymnax.wrappers.compat.LegacyStepAPIWrapper(env)  # observation, state, reward, done, info

``params`` are the market's constants, :class:`~amarl_jax.market.params.EnvParams`, and may be batched and swept. An
episode ends by termination at the horizon, where the parent order is settled; nothing is truncated.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from amarl_jax.adapters.single_agent import SingleAgent, SingleState
from amarl_jax.market.params import EnvParams
from amarl_jax.types import Array

try:
    from gymnax.environments.environment import Environment
    from gymnax.environments.spaces import Box
except ImportError as error:
    raise ImportError("the gymnax adapter needs gymnax: pip install 'gymnax>=1.0'") from error


class MarketGymnaxEnv(Environment):
    """Observations, rewards and actions as in :mod:`amarl_jax.adapters.playable`; ``info`` has the class ``z``."""

    def __init__(self, single: SingleAgent) -> None:
        self.single = single

    @property
    def default_params(self) -> EnvParams:
        """The constants of the market that was given."""
        return self.single.playable.constants

    @property
    def num_actions(self) -> int:
        """Number of entries of an action."""
        return self.single.action_size

    def step(self, key: Array, state: SingleState, action: Any, params: EnvParams | None = None) -> tuple:
        """Advance one minute with an action in the box ``[-1, 1]^n``; at the horizon open a new market.

        Raises:
            ValueError: the action has another shape, or values that are known and not finite.
        """
        return super().step(key, state, self.single.given(action), params)

    def step_env(
        self, key: Array, state: SingleState, action: Array, params: EnvParams
    ) -> tuple[Array, SingleState, Array, Array, dict[str, Array]]:
        """Advance one minute without reset."""
        return self._of(params).step(key, state, action)

    def reset_env(self, key: Array, params: EnvParams) -> tuple[Array, SingleState]:
        """Features [D] and the state."""
        return self._of(params).reset(key)

    def is_terminated(self, state: SingleState, params: EnvParams) -> Array:
        """True if the horizon is reached. [] bool."""
        return state.play.market.time >= self.single.playable.spec.horizon

    def is_truncated(self, state: SingleState, params: EnvParams) -> Array:
        """False: no episode is truncated. [] bool."""
        return jnp.bool_(False)

    def observation_space(self, params: EnvParams | None = None) -> Box:
        """The box of observations, without bounds."""
        return Box(-jnp.inf, jnp.inf, (self.single.observation_size,))

    def action_space(self, params: EnvParams | None = None) -> Box:
        """The box ``[-1, 1]^n``."""
        return Box(-1.0, 1.0, (self.single.action_size,))

    def _of(self, params: EnvParams) -> SingleAgent:
        playable = dataclasses.replace(self.single.playable, params=params)
        return dataclasses.replace(self.single, playable=playable)
