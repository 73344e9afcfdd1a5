"""Who plays an episode: a policy in every seat, and the belief that the maker reads off the tape."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from amarl_jax.learn.game import Game
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.market.params import EnvParams
from amarl_jax.nets.belief import debias, init_memory
from amarl_jax.policies.learned import learned_policy
from amarl_jax.policies.protocol import Policy
from amarl_jax.types import Agent, Array, PyTree, Tape


class Belief(Protocol):
    """Reads the tape step by step and returns ``P(z = 1 | F_<=t)``."""

    def init(self, params: EnvParams) -> PyTree:
        """The memory before the first step."""
        ...

    def read(self, memory: PyTree, tape: Tape, time: Array, params: EnvParams) -> tuple[PyTree, Array, Array]:
        """Memory, posterior [] and hidden state [D] after one more step of tape."""
        ...


class Players(NamedTuple):
    """One policy per agent, in the order of :class:`amarl_jax.types.Agent`."""

    execution: Policy
    maker: Policy
    arbitrageur: Policy


class PriorBelief:
    """A maker that learns nothing: the belief frozen at ``p_z``."""

    def init(self, params: EnvParams) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def read(self, memory: tuple[()], tape: Tape, time: Array, params: EnvParams) -> tuple[tuple[()], Array, Array]:
        """The prior, whatever the tape says."""
        return memory, jnp.asarray(params.informed_probability, jnp.float32), jnp.zeros(0, jnp.float32)


class TransformerBelief:
    """The belief network, decoding one token per step; what it returns is the de-biased posterior.

    With ``hypers.belief_frozen`` it returns the prior, and still learns; its hidden state is unaffected.
    """

    def __init__(self, parameters: PyTree, setup: Setup) -> None:
        self.parameters, self.game, self.hypers = parameters, setup.game, setup.hypers

    def init(self, params: EnvParams) -> PyTree:
        """The memory before the first step."""
        return init_memory(self.game.network.belief, self.game.market_spec.horizon)

    def read(self, memory: PyTree, tape: Tape, time: Array, params: EnvParams) -> tuple[PyTree, Array, Array]:
        """Memory, posterior and hidden state after one more step of tape."""
        decode = self.game.belief.decode
        memory, logit, hidden = self.game.belief.apply(self.parameters, memory, tape, time, method=decode)
        posterior = debias(jax.nn.sigmoid(logit), self.hypers.belief_loss_entropy)
        return memory, jnp.where(self.hypers.belief_frozen > 0, params.informed_probability, posterior), hidden


def players(state: TrainState, game: Game, deterministic: bool = False) -> Players:
    """The learned policies as they stand, and the scripted ones of the game."""
    policies = {
        agent: learned_policy(
            agent, state.agents[agent].params, game.network, game.market_spec, deterministic, game.noise_law
        )
        for agent in Agent
    }
    return Players(*(policies | dict(game.scripted)).values())
