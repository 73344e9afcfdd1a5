"""The market one minute at a time, for learners outside this package; the adapters only change its interface.

**Actions** of every agent are a box ``[-1, 1]^n``, as external learners expect them
(:mod:`amarl_jax.policies.action_box`). An action that is not finite gives its agent the reward NaN.

**Rewards** are those of :mod:`amarl_jax.market.rewards`, paid as they accrue: shortfall, profit and adverse selection
marked to V, with the terms of the maker's belief as far as the given belief determines them. With the default,
:class:`~amarl_jax.learn.players.PriorBelief`, belief lag and leakage are 0 and the maker's belief terms are constants.
With another, leakage is what that belief gains per step. Predictability needs a network over the whole flow and is 0.
At ``z = 0`` the execution agent's actions are ignored, and it is paid 0.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.information.mine import leakage_increments
from amarl_jax.learn.players import Belief, PriorBelief
from amarl_jax.market import observe, rewards
from amarl_jax.market.env import Actions, Market, StepOutput
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.market.state import EnvState
from amarl_jax.market.table_noise import law_of
from amarl_jax.policies import action_box
from amarl_jax.policies.learned import features, observation_sizes
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent, Array, PyTree


class PlayState(struct.PyTreeNode):
    """The market between two steps, with what its maker believes."""

    market: EnvState
    memory: PyTree  # of the belief
    belief: Array  # [] P(z = 1 | F) after the last step


def caption(state: PlayState, horizon: int) -> str:
    """One line of text on a market: the frame that adapters render."""
    market = state.market
    return (
        f"minute {int(market.time)} of {horizon}: z {int(market.z)}, mid {0.5 * int(market.mid2):+.1f} ticks, "
        f"V {float(market.value):+.1f}, W {float(market.news):+.1f}, P(z = 1 | F) {float(state.belief):.3f}"
    )


def step_rewards(
    before: PlayState,
    output: StepOutput,
    belief: Array,
    first: Array,
    params: EnvParams,
    weights: RewardWeights,
    horizon: int,
) -> Array:
    """Rewards of one step: the last row of :func:`rewards.compose` on a window of this step and the one before.

    Over an episode they are, step by step, what ``compose`` pays with the same belief.

    Args:
        before: the state the step began from.
        output: its market terms.
        belief: [] the maker's posterior after it.
        first: [] bool, true for the episode's first step, which is charged the whole parent order.
        params: market constants.
        weights: of the terms.
        horizon: T.

    Returns:
        [agent] float32.
    """
    window = jax.tree.map(lambda x: jnp.stack([x, x]), output)
    traded = jnp.stack([before.market.arbitrageur_traded, output.arbitrageur_traded])
    window = dataclasses.replace(window, arbitrageur_traded=traded)
    beliefs = jnp.stack([before.belief, belief])
    leakage = leakage_increments(jnp.log(jnp.maximum(beliefs, 1e-8)), params.informed_probability)
    terms = rewards.market_terms(window, before.market.direction, params)
    charged = jnp.where(first, terms.shortfall[0], terms.shortfall[-1])  # both rows are this step
    terms = dataclasses.replace(terms, shortfall=jnp.broadcast_to(charged, (2,)))
    share = 2.0 / horizon  # compose divides belief terms by the length of what it is given
    weights = dataclasses.replace(
        weights,
        belief_entropy_weight=weights.belief_entropy_weight * share,
        belief_accuracy_weight=weights.belief_accuracy_weight * share,
    )
    paid = rewards.compose(terms, window, before.market.z, beliefs, leakage, jnp.zeros(2, jnp.float32), weights)[-1]
    return paid.at[Agent.EXECUTION].multiply(before.market.z)


@dataclasses.dataclass(frozen=True)
class Playable:
    """The market with its constants: pure ``reset`` and ``step``, which take a key, and actions.

    Attributes:
        spec: market sizes.
        params: market constants.
        weights: of the rewards' terms.
        belief: of the maker about ``z``, read from the tape.
        z: the class of every episode; None draws it, ``P(z = 1) = informed_probability``.
    """

    spec: MarketSpec = dataclasses.field(default_factory=MarketSpec)
    params: EnvParams = dataclasses.field(default_factory=EnvParams)
    weights: RewardWeights = dataclasses.field(default_factory=RewardWeights)
    belief: Belief = dataclasses.field(default_factory=PriorBelief)
    z: int | None = None

    def __post_init__(self) -> None:
        if self.z not in (None, 0, 1):
            raise ValueError(f"z = {self.z!r}: must be 0, 1, or None to draw it")

    @functools.cached_property
    def market(self) -> Market:
        """The environment."""
        return Market(self.spec, law_of(self.params))

    @property
    def constants(self) -> EnvParams:
        """The market constants as arrays."""
        return as_arrays(self.params)

    @functools.cached_property
    def observation_sizes(self) -> tuple[int, ...]:
        """D of every agent's features."""
        return observation_sizes(self.spec, self.params)

    def reset(self, key: Array) -> PlayState:
        """Open a market."""
        key_class, key_market = jax.random.split(key)
        params = self.constants
        drawn = jax.random.bernoulli(key_class, params.informed_probability)
        z = drawn.astype(jnp.int32) if self.z is None else jnp.int32(self.z)
        prior = jnp.asarray(params.informed_probability, jnp.float32)
        return PlayState(self.market.reset(key_market, params, z), self.belief.init(params), prior)

    def views(self, state: PlayState) -> tuple[observe.ExecutionView, observe.MakerView, observe.ArbitrageurView]:
        """Structured view of each agent."""
        seen = observe.views(state.market, state.belief, self.constants, self.spec)
        return seen.execution, seen.maker, seen.arbitrageur

    def observations(self, state: PlayState) -> tuple[Array, ...]:
        """Features [D] of every agent."""
        return tuple(
            features(agent, view, self.constants) for agent, view in zip(Agent, self.views(state), strict=True)
        )

    def global_features(self, state: PlayState) -> Array:
        """Features of a centralised critic, hidden state included. [D] float32."""
        seen = observe.Views(*self.views(state))
        return observe.global_features(state.market, seen, state.belief, self.constants)

    def decode(self, agent: Agent, action: Array) -> Array:
        """An action of the box in public units."""
        return action_box.decode(agent, action, self.constants, self.spec)

    def step_boxed(
        self, key: Array, state: PlayState, actions: Sequence[Array]
    ) -> tuple[PlayState, Array, Array, StepOutput]:
        """:meth:`step` with every agent's action of the box, in the order of :class:`~amarl_jax.types.Agent`."""
        decoded = [self.decode(agent, action) for agent, action in zip(Agent, actions, strict=True)]
        return self.step(key, state, Actions(*decoded))

    def step(self, key: Array, state: PlayState, actions: Actions) -> tuple[PlayState, Array, Array, StepOutput]:
        """Play one minute with actions in public units; never resets.

        Returns:
            The state, rewards [agent], whether the horizon is reached [] bool, and the market terms. The reward of an
            agent whose action is not finite is NaN.
        """
        params = self.constants
        market, output = self.market.step(key, state.market, actions, params)
        memory, belief, _ = self.belief.read(state.memory, output.tape, state.market.time, params)
        done = market.time >= self.spec.horizon
        paid = step_rewards(state, output, belief, state.market.time == 0, params, self.weights, self.spec.horizon)
        finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(actions)])
        return PlayState(market, memory, belief), jnp.where(finite, paid, jnp.nan), done, output
