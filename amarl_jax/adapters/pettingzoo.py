"""The market as a PettingZoo parallel environment, with a Gymnasium space per agent; needs the ``adapters`` extra.

An episode ends by termination at the horizon, where the parent order is settled; nothing is truncated.
"""

from typing import Any

import jax
import numpy as np

from amarl_jax.adapters.jaxmarl import MarketEnv
from amarl_jax.adapters.playable import Playable, PlayState
from amarl_jax.types import Array

try:
    from gymnasium.spaces import Box
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise ImportError("the PettingZoo adapter needs its extra: pip install 'amarl_jax[adapters]'") from error


class MarketParallelEnv(ParallelEnv):
    """Observations, rewards and actions as in :mod:`amarl_jax.adapters.playable`, of each agent's own width."""

    metadata = {"name": "amarl_market_v0", "render_modes": []}  # noqa: RUF012 (PettingZoo's)
    render_mode = None

    def __init__(self, playable: Playable | None = None) -> None:
        self._env = MarketEnv(playable, homogeneous=False)
        self._advance = jax.jit(self._env.step_env)
        self.possible_agents = list(self._env.agents)
        self.agents: list[str] = []
        self.observation_spaces = {
            name: Box(-np.inf, np.inf, space.shape, np.float32) for name, space in self._env.observation_spaces.items()
        }
        self.action_spaces = {
            name: Box(-1.0, 1.0, space.shape, np.float32) for name, space in self._env.action_spaces.items()
        }
        self._key: Array | None = None
        self._state: PlayState | None = None

    def observation_space(self, agent: str) -> Box:
        """Of one agent; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """Of one agent; always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Open a market; without ``seed`` another one than before, with it the same one again."""
        if seed is not None or self._key is None:
            seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
            self._key = jax.random.key(seed)
        self.agents = list(self.possible_agents)
        observations, self._state = self._env.reset(self._next_key())
        return self._arrays(observations), {name: {} for name in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """One minute of every agent's action."""
        if self._state is None or not self.agents:
            raise RuntimeError("reset() before step()")
        given = {name: np.asarray(actions[name], np.float32) for name in self.agents}
        observations, self._state, rewards, dones, _ = self._advance(self._next_key(), self._state, given)
        done, names = bool(dones["__all__"]), self.agents
        self.agents = [] if done else names
        return (
            self._arrays(observations),
            {name: float(rewards[name]) for name in names},
            dict.fromkeys(names, done),
            dict.fromkeys(names, False),
            {name: {} for name in names},
        )

    def render(self) -> None:
        """Nothing to show."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _next_key(self) -> Array:
        assert self._key is not None
        self._key, key = jax.random.split(self._key)
        return key

    def _arrays(self, observations: dict[str, Array]) -> dict[str, np.ndarray]:
        return {name: np.asarray(x) for name, x in observations.items()}
