"""One agent's view of the market as a Gymnasium environment; needs the ``adapters`` extra.

Stable-Baselines3 and others that take a ``gymnasium.Env`` train on it::

    env = MarketGymnasiumEnv(SingleAgent(Playable(spec, params, z=1), Agent.EXECUTION, players))
    PPO("MlpPolicy", env).learn(100_000)

An episode ends by termination at the horizon, where the parent order is settled; nothing is truncated.
"""

import functools
from typing import Any

import jax
import numpy as np

from amarl_jax.adapters.playable import caption
from amarl_jax.adapters.single_agent import SingleAgent, SingleState
from amarl_jax.types import Array

try:
    import gymnasium
    from gymnasium.spaces import Box
except ImportError as error:
    raise ImportError("the Gymnasium adapter needs its extra: pip install -e '.[adapters]' in the checkout") from error


class MarketGymnasiumEnv(gymnasium.Env):
    """Observations, rewards and actions as in :mod:`amarl_jax.adapters.playable`; ``info`` has the class ``z``.

    An environment can be pickled and copied, at any step.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 (Gymnasium's)

    def __init__(self, single: SingleAgent, render_mode: str | None = None) -> None:
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode = {render_mode!r}: must be None or 'ansi'")
        self.single, self.render_mode = single, render_mode
        self.observation_space = Box(-np.inf, np.inf, (single.observation_size,), np.float32)
        self.action_space = Box(-1.0, 1.0, (single.action_size,), np.float32)
        self._seed = np.uint32(0)  # of this episode
        self._state: SingleState | None = None
        self._over = True

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Open a market; with ``seed`` the same one again."""
        super().reset(seed=seed)
        self._seed = self.np_random.integers(2**32, dtype=np.uint32)
        observation, self._state = _reset(self.single, self._seed)
        self._over = False
        return np.array(observation, np.float32), {"z": int(self._state.play.market.z)}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance one minute with the agent's action.

        Raises:
            ValueError: the action has another shape or is not finite; nothing is played.
            RuntimeError: there is no episode, or it is over.
        """
        if self._over:
            raise RuntimeError("there is no episode, or it is over: reset() before step()")
        given = self.single.given(action)
        observation, self._state, reward, done, info = _step(self.single, self._seed, self._state, given)
        self._over = bool(done)
        return np.array(observation, np.float32), float(reward), self._over, False, {"z": int(info["z"])}

    def render(self) -> str | None:
        """One line on the market in the mode "ansi", else None."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise RuntimeError("there is no episode: reset() first")
        return caption(self._state.play, self.single.playable.spec.horizon)


@functools.partial(jax.jit, static_argnums=0)  # compiled once for all environments of one SingleAgent
def _reset(single: SingleAgent, seed: Array) -> tuple[Array, SingleState]:
    return single.reset(jax.random.split(jax.random.key(seed))[0])


@functools.partial(jax.jit, static_argnums=0)
def _step(
    single: SingleAgent, seed: Array, state: SingleState, action: Array
) -> tuple[Array, SingleState, Array, Array, dict[str, Array]]:
    key = jax.random.fold_in(jax.random.split(jax.random.key(seed))[1], state.play.market.time)
    return single.step(key, state, action)
