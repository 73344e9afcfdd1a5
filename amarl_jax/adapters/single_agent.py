"""One agent's view of the market: the others are policies that do not learn.

Execution against a trained maker and arbitrageur, from a run's checkpoint::

    run = runs.load("runs/first")
    env = SingleAgent(playable, Agent.EXECUTION, players(run.state, run.setup.game))
    observation, state = env.reset(key)
    observation, state, reward, done, info = env.step(key, state, action)

:mod:`amarl_jax.adapters.gymnasium` and :mod:`amarl_jax.adapters.gymnax` give it the shapes of those libraries.
"""

import dataclasses

import jax
from flax import struct

from amarl_jax.adapters.given_actions import given_action
from amarl_jax.adapters.playable import Playable, PlayState
from amarl_jax.learn.players import Players
from amarl_jax.market.env import Actions, streams
from amarl_jax.policies.action_box import ACTION_SIZES
from amarl_jax.types import AGENT_NAMES, Agent, Array, PyTree


@struct.dataclass
class SingleState:
    """The market, and the memories of the other agents."""

    play: PlayState
    memories: tuple[PyTree, ...]  # of every seat; the agent's own is not used


@dataclasses.dataclass(frozen=True, eq=False)  # compared by identity: it holds arrays, and keys the program cache
class SingleAgent:
    """``reset`` and ``step`` of one agent, pure; ``vmap`` for many, keys of either kind. It never resets by itself.

    For the execution agent give ``Playable(z=1)``: at ``z = 0`` its actions are ignored.

    Attributes:
        playable: the market.
        agent: the one that is played from outside.
        others: a policy for each seat; the agent's own is ignored.
    """

    playable: Playable
    agent: Agent
    others: Players

    def __post_init__(self) -> None:
        if self.agent not in tuple(Agent):
            raise ValueError(f"agent = {self.agent!r}: must be one of {', '.join(f'Agent.{a.name}' for a in Agent)}")
        if len(self.others) != len(Agent):
            raise ValueError(f"others: must be {len(Agent)} policies, one for each seat, are {len(self.others)}")

    @property
    def observation_size(self) -> int:
        """Size D of the agent's features."""
        return self.playable.observation_sizes[self.agent]

    @property
    def action_size(self) -> int:
        """Size n of the agent's box."""
        return ACTION_SIZES[self.agent]

    def given(self, action: object) -> Array:
        """The checked action; raises :class:`ValueError` if it cannot be played."""
        return given_action(AGENT_NAMES[self.agent], action, self.action_size)

    def reset(self, key: Array) -> tuple[Array, SingleState]:
        """Features [D] and the state."""
        play = self.playable.reset(key)
        memories = tuple(policy.init(self.playable.constants) for policy in self.others)
        return self.playable.observations(play)[self.agent], SingleState(play, memories)

    def step(
        self, key: Array, state: SingleState, action: Array
    ) -> tuple[Array, SingleState, Array, Array, dict[str, Array]]:
        """Advance one minute with the agent's action in the box ``[-1, 1]^n``.

        Returns:
            Features [D], the state, reward [], whether the horizon is reached [] bool, and ``{"z"}``.

        Raises:
            ValueError: the action has another shape, or values that are known and not finite.
        """
        given = self.given(action)
        params, views = self.playable.constants, self.playable.views(state.play)
        key_env, key_maker, key_arbitrageur = jax.random.split(key, 3)
        keys = (streams(jax.random.clone(key_env))[0], key_maker, key_arbitrageur)
        actions: list[Array] = []
        memories: list[PyTree] = []
        for seat, policy in zip(Agent, self.others, strict=True):
            memory = state.memories[seat]
            if seat == self.agent:
                decided = self.playable.decode(seat, given)
            else:
                memory, decision = policy.act(keys[seat], memory, views[seat], params)
                decided = decision.action
            actions.append(decided)
            memories.append(memory)
        play, paid, done, _ = self.playable.step(key_env, state.play, Actions(*actions))
        after = SingleState(play, tuple(memories))
        return self.playable.observations(play)[self.agent], after, paid[self.agent], done, {"z": play.market.z}
