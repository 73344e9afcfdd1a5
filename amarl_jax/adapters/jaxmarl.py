"""The market in the shape of a JaxMARL environment.

JaxMARL's learners and wrappers use an environment by its attributes, so this one does not need JaxMARL; where it is
installed, spaces are instances of its own ``Box``, which its wrappers ask for::

    env = MarketEnv(Playable(spec, params))
    observations, state = env.reset(key)
    observations, state, rewards, dones, infos = env.step(key, state, actions)  # resets itself

Keys may be typed or of the older kind. Observations and actions are by default padded with zeros to one width, and
observations end with which agent it is, as learners with one network for all agents (IPPO) need; entries of an action
beyond an agent's own are ignored. ``infos`` has a number for each agent, which learners reshape to their actors; the
last observation of an episode is that of :meth:`MarketEnv.step_env`, and its value is 0, since the horizon terminates.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from amarl_jax.adapters.given_actions import given_actions
from amarl_jax.adapters.playable import Playable, PlayState
from amarl_jax.policies.action_box import ACTION_SIZES
from amarl_jax.trees import select
from amarl_jax.types import AGENT_NAMES, N_AGENTS, Array

try:
    from jaxmarl.environments import spaces
except (ImportError, AttributeError):  # not installed, or too old for the installed JAX
    _Box: Any = object
else:
    _Box = spaces.Box


class Box(_Box):
    """A box of floats with the attributes of JaxMARL's spaces; a subclass of its ``Box`` where JaxMARL is installed."""

    low: float
    high: float
    shape: tuple[int, ...]

    def __init__(self, low: float, high: float, shape: tuple[int, ...]) -> None:
        self.low, self.high, self.shape, self.dtype = low, high, shape, jnp.float32

    def sample(self, rng: Array) -> Array:
        """A sample, uniform in a bounded box and standard normal in one without bounds."""
        if math.isinf(self.high):
            return jax.random.normal(rng, self.shape, self.dtype)
        return jax.random.uniform(rng, self.shape, self.dtype, minval=self.low, maxval=self.high)

    def contains(self, x: Array) -> Array:
        """True if every entry is inside. [] bool."""
        return jnp.all((x >= self.low) & (x <= self.high))


class MarketEnv:
    """An environment with the interface of ``MultiAgentEnv``; see the module."""

    def __init__(self, playable: Playable | None = None, homogeneous: bool = True) -> None:
        self.playable = playable or Playable()
        self.homogeneous = homogeneous
        self.agents = list(AGENT_NAMES)
        self.num_agents = len(self.agents)
        widths: tuple[int, ...] = self.playable.observation_sizes
        sizes: tuple[int, ...] = ACTION_SIZES
        if homogeneous:
            widths, sizes = (max(widths) + N_AGENTS,) * N_AGENTS, (max(sizes),) * N_AGENTS
        named = zip(self.agents, widths, sizes, strict=True)
        spaces = {name: (Box(-jnp.inf, jnp.inf, (width,)), Box(-1.0, 1.0, (size,))) for name, width, size in named}
        self.observation_spaces = {name: observed for name, (observed, _) in spaces.items()}
        self.action_spaces = {name: acted for name, (_, acted) in spaces.items()}

    @property
    def name(self) -> str:
        """Environment name."""
        return type(self).__name__

    @property
    def agent_classes(self) -> dict[str, list[str]]:
        """Classes of agents: every agent is one of its own."""
        return {name: [name] for name in self.agents}

    def observation_space(self, agent: str) -> Box:
        """Observation space of one agent."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """Action space of one agent."""
        return self.action_spaces[agent]

    @functools.partial(jax.jit, static_argnums=(0,))
    def reset(self, key: Array) -> tuple[dict[str, Array], PlayState]:
        """Observations by agent, and the state."""
        state = self.playable.reset(key)
        return self.get_obs(state), state

    def step(
        self, key: Array, state: PlayState, actions: dict[str, Array], reset_state: PlayState | None = None
    ) -> tuple[dict[str, Array], PlayState, dict[str, Array], dict[str, Array], dict[str, Any]]:
        """Advance one minute; at the horizon state and observations are those of a new episode, or of ``reset_state``.

        Raises:
            ValueError: an action is missing, unknown, of another shape, or has values that are known and not finite.
        """
        return self._step(key, state, self._given(actions), reset_state)

    @functools.partial(jax.jit, static_argnums=(0,))
    def _step(
        self, key: Array, state: PlayState, actions: dict[str, Array], reset_state: PlayState | None
    ) -> tuple[dict[str, Array], PlayState, dict[str, Array], dict[str, Array], dict[str, Any]]:
        key, key_reset = jax.random.split(key)
        observations, after, rewards, dones, infos = self.step_env(key, state, actions)
        opened = self.playable.reset(key_reset) if reset_state is None else reset_state
        after = select(dones["__all__"], opened, after)
        observations = select(dones["__all__"], self.get_obs(opened), observations)
        return observations, after, rewards, dones, infos

    def step_env(
        self, key: Array, state: PlayState, actions: dict[str, Array]
    ) -> tuple[dict[str, Array], PlayState, dict[str, Array], dict[str, Array], dict[str, Any]]:
        """Advance one minute without reset; raises as :meth:`step` does."""
        given = self._given(actions)
        own = [jnp.asarray(given[name][:size]) for name, size in zip(self.agents, ACTION_SIZES, strict=True)]
        state, paid, done, output = self.playable.step_boxed(key, state, own)
        rewards = {name: paid[i] for i, name in enumerate(self.agents)}
        dones = dict.fromkeys([*self.agents, "__all__"], done)
        infos = {"z": jnp.full(N_AGENTS, state.market.z), "traded_lots": jnp.full(N_AGENTS, output.traded_lots)}
        return self.get_obs(state), state, rewards, dones, infos

    def _given(self, actions: Any) -> dict[str, Array]:
        return given_actions(actions, {name: space.shape[0] for name, space in self.action_spaces.items()})

    def get_obs(self, state: PlayState) -> dict[str, Array]:
        """Observations by agent."""
        seen = dict(zip(self.agents, self.playable.observations(state), strict=True))
        if not self.homogeneous:
            return seen
        width = max(self.playable.observation_sizes)
        return {
            name: jnp.concatenate([jnp.pad(x, (0, width - x.shape[0])), jax.nn.one_hot(i, N_AGENTS, dtype=jnp.float32)])
            for i, (name, x) in enumerate(seen.items())
        }

    def get_avail_actions(self, state: PlayState) -> dict[str, Array]:
        """Available actions: every entry of every action."""
        return {name: jnp.ones(space.shape, bool) for name, space in self.action_spaces.items()}
