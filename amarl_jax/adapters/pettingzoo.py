"""The market as a PettingZoo parallel environment, with a Gymnasium space per agent; needs the ``adapters`` extra.

An episode ends by termination at the horizon, where the parent order is settled; nothing is truncated.
"""

import functools
from typing import Any

import jax
import numpy as np

from amarl_jax.adapters.given_actions import given_actions
from amarl_jax.adapters.playable import Playable, PlayState, caption
from amarl_jax.policies.action_box import ACTION_SIZES
from amarl_jax.types import AGENT_NAMES, Array

try:
    from gymnasium.spaces import Box
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise ImportError("the PettingZoo adapter needs its extra: pip install -e '.[adapters]' in the checkout") from error


class MarketParallelEnv(ParallelEnv):
    """Observations, rewards and actions as in :mod:`amarl_jax.adapters.playable`, of each agent's own width.

    ``infos`` has the class ``z`` of the episode, and at the last step ``final_observation``, as observed.
    An environment can be pickled and copied, at any step.
    """

    metadata = {"name": "amarl_market_v0", "render_modes": ["ansi"]}  # noqa: RUF012 (PettingZoo's)

    def __init__(self, playable: Playable | None = None, render_mode: str | None = None) -> None:
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode = {render_mode!r}: must be None or 'ansi'")
        self.render_mode = render_mode
        self.playable = playable or Playable()
        self.possible_agents = list(AGENT_NAMES)
        self.agents: list[str] = []
        widths = zip(AGENT_NAMES, self.playable.observation_sizes, strict=True)
        self.observation_spaces = {name: Box(-np.inf, np.inf, (width,), np.float32) for name, width in widths}
        sizes = zip(AGENT_NAMES, ACTION_SIZES, strict=True)
        self.action_spaces = {name: Box(-1.0, 1.0, (size,), np.float32) for name, size in sizes}
        self.state_space = Box(-np.inf, np.inf, self._global_shape(), np.float32)
        self._draws: np.random.Generator | None = None  # a number for each episode
        self._seed = np.uint32(0)  # of this one
        self._state: PlayState | None = None

    def observation_space(self, agent: str) -> Box:
        """Observation space of one agent; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """Action space of one agent; always the same object."""
        return self.action_spaces[agent]

    def state(self) -> np.ndarray:
        """Features of a centralised critic, hidden state included, for training only. [D] float32."""
        return np.array(self._global_features(self._open_state()), np.float32)

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Open a market; without ``seed`` a new one each time, with it the same one again."""
        if seed is not None or self._draws is None:
            self._draws = np.random.default_rng(seed)
        self._seed = self._draws.integers(2**32, dtype=np.uint32)
        self.agents = list(self.possible_agents)
        seen, self._state = self._reset(self._seed)
        return self._by_name(seen), self._infos(self._state)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance one minute with every agent's action.

        Raises:
            ValueError: an action is missing, unknown, of another shape or not finite; nothing is played.
            RuntimeError: there is no episode.
        """
        state = self._open_state()
        if not self.agents:
            raise RuntimeError("the episode is over: reset() before step()")
        given = given_actions(actions, {name: space.shape[0] for name, space in self.action_spaces.items()})
        seen, self._state, paid, over = self._step(self._seed, state, list(given.values()))
        observations, infos = self._by_name(seen), self._infos(self._state)
        done, names = bool(over), self.agents
        if done:
            self.agents = []
            for name in names:
                infos[name]["final_observation"] = observations[name].copy()
        return (
            observations,
            dict(zip(names, map(float, paid), strict=True)),
            dict.fromkeys(names, done),
            dict.fromkeys(names, False),
            infos,
        )

    def render(self) -> str | None:
        """One line on the market in the mode "ansi", else None."""
        return caption(self._open_state(), self.playable.spec.horizon) if self.render_mode == "ansi" else None

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _open_state(self) -> PlayState:
        if self._state is None:
            raise RuntimeError("there is no episode: reset() first")
        return self._state

    def _infos(self, state: PlayState) -> dict[str, dict]:
        return {name: {"z": int(state.market.z)} for name in self.possible_agents}

    def _by_name(self, observations: tuple[Array, ...]) -> dict[str, np.ndarray]:
        """Observations by agent, as writable copies: NumPy's view of a JAX array is read-only."""
        return {name: np.array(x, np.float32) for name, x in zip(self.possible_agents, observations, strict=True)}

    @functools.partial(jax.jit, static_argnums=0)
    def _reset(self, seed: Array) -> tuple[tuple[Array, ...], PlayState]:
        state = self.playable.reset(jax.random.split(jax.random.key(seed))[0])
        return self.playable.observations(state), state

    @functools.partial(jax.jit, static_argnums=0)
    def _step(
        self, seed: Array, state: PlayState, actions: list[Array]
    ) -> tuple[tuple[Array, ...], PlayState, Array, Array]:
        key = jax.random.fold_in(jax.random.split(jax.random.key(seed))[1], state.market.time)
        state, paid, done, _ = self.playable.step_boxed(key, state, actions)
        return self.playable.observations(state), state, paid, done

    @functools.partial(jax.jit, static_argnums=0)
    def _global_features(self, state: PlayState) -> Array:
        return self.playable.global_features(state)

    def _global_shape(self) -> tuple[int, ...]:
        state = jax.eval_shape(self.playable.reset, jax.random.key(0))
        return jax.eval_shape(self.playable.global_features, state).shape
