"""Games so small that the optimum is known, for three agents at once and for the learner of the market.

Every episode has T steps and a cue of -1 or +1 that all agents see beside the time. What an action is worth is its
*score*; the probe says when it is paid, and whether the cue or the opponent matters. Scores, per agent:

execution:    gate (2 side - 1 - 4 (size - 0.7)^2 + kind (1/2 - 4 (offset - 0.3)^2) - 2 (1 - cue)), at most 3/2;
maker:        -|a - cue m|^2 with four targets m;
arbitrageur:  -2 (tanh u - cue / 2)^2.

Without the cue, cue = 1. With it, execution must not act where the cue is -1, and the others change sign.
"""

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.experience import Experience
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.learn.optimiser import Agents, Network, untrained
from amarl_jax.learn.ppo import improve, make_batch
from amarl_jax.market.params import MarketSpec
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.types import Agent, Array

T = 4
MAKER_TARGET = jnp.array([0.5, -0.5, 0.3, -0.2])
NETWORK = NetworkSpec(
    execution_hidden=(16,),
    maker_hidden=(16,),
    arbitrageur_hidden=(16,),
    critic_hidden=(32,),
    critic_head_hidden=16,
)
GAME = Game(MarketSpec(), NETWORK, LearnSpec(n_envs=64, n_epochs=4, n_minibatches=2))  # its market is never played
PHASES = GAME.phases()


class Probe(IntEnum):
    """When a score is paid, and on what it depends."""

    BANDIT = 0  # at once; the cue means nothing
    OBSERVATION = 1  # at once; the cue matters
    DELAYED = 2  # that of the first step at the last, all other actions count for nothing
    PENNIES = 3  # execution wins 1 if its gate matches the sign of the arbitrageur's u, else the arbitrageur does


class ProbeLearner(struct.PyTreeNode):
    """The carry of training."""

    key: Array
    update: Array
    agents: Agents
    critic: Network


class Coins(NamedTuple):
    """Probability of heads in matching pennies, averaged over what was seen; one phase."""

    execution: Array  # [] P(gate)
    arbitrageur: Array  # [] P(u > 0)


class Episodes(NamedTuple):
    """``[E, T]`` decisions and what they are worth."""

    seen: Array  # [E, T, 2]
    latents: tuple
    log_prob: tuple
    score: Array  # [E, T, agent]
    coins: Coins  # [E, T]


def observation(cue, time):
    """What every agent sees of a step: the cue, and the time from -1 to 1. [2]."""
    return jnp.stack([1.0 * cue, 2.0 * time / (T - 1) - 1.0])


def head(agent, parameters, seen):
    return GAME.actor(agent).apply(parameters, seen)


def scores(latents, cue):
    """The score of each agent's action. [agent]."""
    execution, maker, arbitrageur = latents
    order = 2 * execution.side - 1 - 4 * (execution.size - 0.7) ** 2
    order = order + execution.kind * (0.5 - 4 * (execution.offset - 0.3) ** 2)
    return jnp.stack(
        [
            execution.gate * (order - 2 * (1 - cue)),
            -jnp.sum((maker - cue * MAKER_TARGET) ** 2),
            -2 * (jnp.tanh(arbitrageur) - 0.5 * cue) ** 2,
        ]
    )


def decide(key, agents, seen, cue):
    """Everyone's decision at one step, and its scores."""
    heads = [head(agent, agents[agent].params, seen) for agent in Agent]
    latents = tuple(h.sample(k) for h, k in zip(heads, jax.random.split(key, len(Agent)), strict=True))
    log_prob = tuple(h.log_prob(x) for h, x in zip(heads, latents, strict=True))
    coins = Coins(
        jax.nn.sigmoid(heads[0].switch_logits[0]),
        jax.scipy.stats.norm.cdf(heads[2].mean / jnp.exp(heads[2].log_std)),
    )
    return Episodes(seen, latents, log_prob, scores(latents, cue), coins)


def play(key, agents, probe):
    """``[E]`` episodes."""
    key_cue, key_act = jax.random.split(key)
    n_envs = GAME.learn.n_envs
    cue = jnp.where(jax.random.bernoulli(key_cue, 0.5, (n_envs, 1)), 1.0, -1.0) * jnp.ones((1, T))
    time = jnp.ones((n_envs, 1)) * jnp.arange(T)[None, :]
    keys = jax.random.split(key_act, (n_envs, T))
    meant = jnp.where(probe == Probe.OBSERVATION, cue, 1.0)
    one = lambda k, c, t, m: decide(k, agents, observation(c, t), m)  # noqa: E731
    return jax.vmap(jax.vmap(one))(keys, cue, time, meant)


def experience(episodes, probe):
    """Rewards as the probe pays them; the critic sees what is owed."""
    score = episodes.score
    first, last = (jnp.arange(T) == 0)[None, :, None], (jnp.arange(T) == T - 1)[None, :, None]
    owed = jnp.where(first, 0.0, score[:, :1])
    match = jnp.where((episodes.latents[0].gate > 0.5) == (episodes.latents[2] > 0), 1.0, -1.0)
    pennies = jnp.stack([match, jnp.zeros_like(match), -match], axis=-1)
    delayed = jnp.where(last, score[:, :1], 0.0)
    reward = jnp.stack([score, score, delayed, pennies])[probe]
    execution, maker, arbitrageur = episodes.latents
    orders = jnp.stack([execution.gate, execution.side, execution.size, execution.offset, execution.kind], axis=-1)
    return Experience(
        seen=(episodes.seen,) * len(Agent),
        latents=episodes.latents,
        log_prob=episodes.log_prob,
        reward=reward,
        mask=jnp.ones_like(reward),
        global_seen=global_state(episodes.seen, jnp.where(probe == Probe.DELAYED, owed, 0.0)),
        actions=(orders, maker, jnp.sign(arbitrageur)[..., None]),
    )


def global_state(seen, owed):
    """What the critic sees: the observation and the scores earned and not yet paid. [..., 5]."""
    return jnp.concatenate([seen, owed], axis=-1)


def init(key, hypers: Hypers) -> ProbeLearner:
    key_run, key_critic, *keys = jax.random.split(key, 2 + len(Agent))
    agents = Agents(*(untrained(GAME.actor(a).init(k, jnp.zeros(2)), hypers) for a, k in zip(Agent, keys, strict=True)))
    sizes = tuple(jnp.zeros(n) for n in (5, 4, 1))
    critic = untrained(GAME.critic.init(key_critic, jnp.zeros(5), sizes), hypers)
    return ProbeLearner(key_run, jnp.int32(0), agents, critic)


def update(state: ProbeLearner, probe, hypers: Hypers) -> tuple[ProbeLearner, Coins]:
    """The alternating scheme: execution against fixed opponents, then the others against a fixed execution."""

    def phase(state, index):
        key, key_play, key_improve = jax.random.split(state.key, 3)
        episodes = play(key_play, state.agents, probe)
        batch = make_batch(state.critic.params, experience(episodes, probe), GAME, hypers)
        branches = [lambda k, s, b, trained=trained: improve(k, s, b, trained, GAME, hypers)[0] for trained in PHASES]
        state = jax.lax.switch(index, branches, key_improve, state.replace(key=key), batch)
        return state, jax.tree.map(jnp.mean, episodes.coins)

    state, coins = jax.lax.scan(phase, state, jnp.arange(len(PHASES)))
    return state.replace(update=state.update + 1), jax.tree.map(lambda x: x[0], coins)


def train(key, probe, hypers, n_updates) -> tuple[ProbeLearner, Coins]:
    """A whole run; coins carry a leading [n_updates] axis. Probes and hyperparameters are lanes of a ``vmap``."""
    return jax.lax.scan(lambda carry, _: update(carry, probe, hypers), init(key, hypers), None, length=n_updates)
