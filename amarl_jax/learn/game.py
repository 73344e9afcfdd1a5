"""The static bundle a program is built from: the market, the networks and the sizes of the learner."""

import dataclasses
import functools
from collections.abc import Mapping, Set
from typing import Protocol

import flax.linen as nn

from amarl_jax.information import estimators
from amarl_jax.information.estimators import MIEstimator
from amarl_jax.learn.hypers import EXACT, NOBODY, LearnSpec
from amarl_jax.market.env import Market
from amarl_jax.market.noise import NoiseLaw, orders
from amarl_jax.market.params import MarketSpec
from amarl_jax.market.rewards import RewardTerm
from amarl_jax.nets.belief import BeliefTransformer
from amarl_jax.nets.critic import Critic
from amarl_jax.nets.predictor import GRUPredictor
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.nets.statistics import TapeStatistics
from amarl_jax.policies.learned import actor
from amarl_jax.policies.protocol import Policy
from amarl_jax.types import AGENT_NAMES, Agent


class Learnable(Protocol):
    """What the learning core needs of a game, market or not: networks and sizes, all static."""

    @property
    def learn(self) -> LearnSpec:
        """Sizes of the learner."""
        ...

    @property
    def critic(self) -> Critic:
        """The centralised critic."""
        ...

    @property
    def statistics(self) -> nn.Module:
        """The critic of the mutual-information estimator."""
        ...

    @property
    def estimator(self) -> MIEstimator:
        """The mutual-information estimator."""
        ...

    def actor(self, agent: Agent) -> nn.Module:
        """The policy network of one agent: observation [D] to a head."""
        ...


@dataclasses.dataclass(frozen=True)
class Game:
    """Everything static. Hashable, so that a jitted function may take it as a static argument."""

    market_spec: MarketSpec
    network: NetworkSpec
    learn: LearnSpec
    scripted: tuple[tuple[Agent, Policy], ...] = ()  # agents that play a scripted policy instead; see script
    noise_law: NoiseLaw = orders  # of the noise traders, and of the slot at z = 0
    reward_terms: tuple[RewardTerm, ...] = ()  # added to the rewards of the core
    recurrence: str = "auto"  # how recurrences over steps are computed, see amarl_jax.nets.recurrence

    @functools.cached_property
    def market(self) -> Market:
        """The environment."""
        return Market(self.market_spec, self.noise_law, keeps_records=self.reads_exactly)

    @property
    def reads_exactly(self) -> bool:
        """True if training reads its rollouts with the exact filter."""
        return EXACT in (self.learn.leakage_source, self.learn.belief_target)

    @functools.cached_property
    def belief(self) -> BeliefTransformer:
        """The maker's inference network."""
        return BeliefTransformer(self.network.belief, self.market_spec.horizon, recurrence=self.recurrence)

    @functools.cached_property
    def critic(self) -> Critic:
        """The centralised critic."""
        return Critic(self.network.critic_hidden, self.network.critic_head_hidden, self.network.products)

    @functools.cached_property
    def statistics(self) -> TapeStatistics:
        """The critic of the mutual-information estimator."""
        network = self.network
        return TapeStatistics(self.market_spec.horizon, network.statistics_hidden, self.recurrence, network.products)

    @functools.cached_property
    def predictor(self) -> GRUPredictor:
        """The predictor of the flow."""
        return GRUPredictor(self.network.predictor_hidden, self.recurrence)

    @functools.cached_property
    def estimator(self) -> MIEstimator:
        """The mutual-information estimator named by the learner's sizes."""
        return estimators.get(self.learn.mi_estimator)

    def actor(self, agent: Agent) -> nn.Module:
        """The policy network of one agent."""
        return actor(agent, self.network)

    def episodes_per_phase(self, agents: tuple[Agent, ...]) -> int:
        """Whole episodes a phase plays per environment: its steps, rounded up."""
        steps = max(
            self.learn.execution_phase_steps if Agent.EXECUTION in agents else 0,
            self.learn.maker_arbitrageur_phase_steps if Agent.MAKER in agents else 0,
        )
        return -(-steps // self.market_spec.horizon)

    def phases(self) -> tuple[tuple[Agent, ...], ...]:
        """Agents that train in each phase of an update: A then B, or all at once."""
        if self.learn.alternating:
            return (Agent.EXECUTION,), (Agent.MAKER, Agent.ARBITRAGEUR)
        return (tuple(Agent),)

    @property
    def not_improved(self) -> tuple[Agent, ...]:
        """Agents that never train; see :func:`freeze`."""
        names = self.learn.frozen.split("+")
        return tuple(agent for agent in Agent if AGENT_NAMES[agent] in names)

    def phase_names(self) -> tuple[str, ...]:
        """Prefix of the metrics of each of :meth:`phases`."""
        return ("phase_a", "phase_b") if self.learn.alternating else ("joint",)

    def improved(self, agents: tuple[Agent, ...]) -> tuple[Agent, ...]:
        """The agents of a phase whose policies PPO changes: all but the frozen ones."""
        return tuple(agent for agent in agents if agent not in self.not_improved)

    def steps_per_update(self) -> int:
        """Environment steps of one update, summed over environments."""
        episodes = sum(self.episodes_per_phase(agents) for agents in self.phases())
        return episodes * self.market_spec.horizon * self.learn.n_envs


def freeze(game: Game, *agents: Agent) -> Game:
    """The same game in which these agents keep their parameters and optimiser state, bit for bit, in every phase.

    What reads the tape (belief, MI critic, predictor) is fitted as before.
    """
    return _with_frozen(game, {*game.not_improved, *agents})


def unfreeze(game: Game, *agents: Agent) -> Game:
    """The same game in which these agents train again; raises ValueError for one that plays a scripted policy."""
    for agent, _ in game.scripted:
        if agent in agents:
            raise ValueError(f"{AGENT_NAMES[agent]} plays a policy of rules, which does not train")
    return _with_frozen(game, {*game.not_improved} - {*agents})


def _with_frozen(game: Game, agents: Set[Agent]) -> Game:
    names = "+".join(AGENT_NAMES[agent] for agent in sorted(agents))
    return dataclasses.replace(game, learn=dataclasses.replace(game.learn, frozen=names or NOBODY))


def script(game: Game, policies: Mapping[Agent, Policy]) -> Game:
    """The same game in which these agents play the given policies, which must be hashable, and never train."""
    others = tuple(pair for pair in game.scripted if pair[0] not in policies)
    return dataclasses.replace(freeze(game, *policies), scripted=(*others, *policies.items()))
