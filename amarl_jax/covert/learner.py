"""Training on the covert game: the market's PPO, MI critic and leakage reward on another environment.

Of this module only the loop is new; ``make_batch``, ``improve``, ``critic_step`` and ``leakage_increments`` are
those that train in the market.
"""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.covert.game import CovertGame, CovertParams, leverage, private_view
from amarl_jax.information import estimators, mine
from amarl_jax.information.estimators import MIEstimator
from amarl_jax.learn.exact_source import EXACT
from amarl_jax.learn.experience import Experience
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.learn.optimiser import Agents, Network, scheduled, untrained
from amarl_jax.learn.ppo import improve, make_batch
from amarl_jax.learn.rollout import stratified_labels
from amarl_jax.learn.tape_readers import Fitted, critic_step
from amarl_jax.nets.actors import FixedNoiseActor
from amarl_jax.nets.critic import Critic
from amarl_jax.nets.statistics import StatisticsNetwork
from amarl_jax.posterior.filter import log_posterior as log_posterior_of
from amarl_jax.types import N_AGENTS, Agent, Array, PyTree

N_QUANTILES = 64  # values of the private number at which a policy is evaluated
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@dataclasses.dataclass(frozen=True)
class CovertTraining:
    """Everything static. The trader sits where the market's execution agent does; the other agents do not exist."""

    game: CovertGame
    learn: LearnSpec
    trader_hidden: tuple[int, ...] = (16,)
    trader_slope: float = 0.5  # initial weight of the private number
    critic_hidden: tuple[int, ...] = (32,)
    critic_head_hidden: int = 16
    statistics_hidden: tuple[int, ...] = (32,)

    def actor(self, agent: Agent) -> nn.Module:
        """The trader's network, whatever ``agent``. Its noise is constant: learned noise would be a mixed strategy."""
        return FixedNoiseActor(self.trader_hidden, self.trader_slope)

    @functools.cached_property
    def critic(self) -> Critic:
        """The central critic; the heads of the absent agents train on nothing."""
        return Critic(self.critic_hidden, self.critic_head_hidden)

    @functools.cached_property
    def statistics(self) -> StatisticsNetwork:
        """The critic of the mutual-information estimator."""
        return StatisticsNetwork(self.statistics_hidden)

    @functools.cached_property
    def estimator(self) -> MIEstimator:
        """The mutual-information estimator."""
        return estimators.get(self.learn.mi_estimator)


class CovertLearner(struct.PyTreeNode):
    """The carry of training; arrays only."""

    key: Array  # [] typed
    update: Array  # [] int32, updates done
    agents: Agents  # the trader first, the others empty
    critic: Network
    statistics: Network
    estimator: PyTree  # its moving averages, [T]


class CovertMetrics(NamedTuple):
    """Metrics of one update, before anything is trained on its episodes."""

    leverage: Array  # [N_QUANTILES] mean of D by rising private number, of the policy that played
    noise: Array  # [N_QUANTILES] standard deviation of D around it
    haste: Array  # [] mean of g(D) at z = 1, reward units
    claimed_information: Array  # [] bound of the MI critic at the horizon, held out, nats
    leakage: Array  # [] mean of the leakage paid at z = 1, nats


class _Episodes(NamedTuple):
    """``[E, T]`` each, but z [E]."""

    seen: Array
    latents: Array
    log_prob: Array
    global_seen: Array
    evidence: Array
    haste: Array
    z: Array


def init_learner(key: Array, log_std: Array, training: CovertTraining, hypers: Hypers) -> CovertLearner:
    """A fresh learner; ``log_std`` [] is the exploration noise of a decision, which stays as it is."""
    key_trader, key_critic, key_statistics, key_run = jax.random.split(key, 4)
    network = training.actor(Agent.EXECUTION).init(key_trader, jnp.zeros(1, jnp.float32))
    network["params"]["log_std"] = log_std[None]
    return CovertLearner(
        key=key_run,
        update=jnp.int32(0),
        agents=Agents(untrained(network, hypers), Network((), ()), Network((), ())),
        critic=untrained(
            training.critic.init(key_critic, jnp.zeros(4, jnp.float32), (jnp.zeros(1, jnp.float32),) * N_AGENTS), hypers
        ),
        statistics=untrained(training.statistics.init(key_statistics, jnp.zeros(2, jnp.float32)), hypers),
        estimator=training.estimator.init((training.game.horizon,)),
    )


def leverage_law(trader: PyTree, private: Array, training: CovertTraining, params: CovertParams) -> tuple[Array, Array]:
    """Mean and standard deviation of D at each private number [n]: exploration noise by quadrature, over T steps. [n].

    The steps are independent given the private number, so the deviation is that of one step over ``sqrt(T)``.
    """
    at = jax.vmap(lambda x: training.actor(Agent.EXECUTION).apply(trader, private_view(x, params)))(private)
    shown = leverage(at.mean + jnp.exp(at.log_std) * jnp.asarray(_NODES, jnp.float32)[None, :], params)
    weights = jnp.asarray(_WEIGHTS / _WEIGHTS.sum(), jnp.float32)
    mean = shown @ weights
    return mean, jnp.sqrt((shown - mean[:, None]) ** 2 @ weights / training.game.horizon)


def exact_log_posterior(trader: PyTree, flow: Array, training: CovertTraining, params: CovertParams) -> Array:
    """``log P(z = 1 | S_t)`` of the running sums [E, T] for a reader who knows the policy. [E, T].

    Given the private number ``S_t`` is normal: mean ``D t / T``, variance ``(t / T) (1 + v)``, where v is the variance
    of D that exploration adds; the private number is represented by ``N_QUANTILES`` of its quantiles.
    """
    share = (jnp.arange(training.game.horizon, dtype=jnp.float32) + 1.0) / training.game.horizon
    mean, noise = leverage_law(trader, _private_quantiles(), training, params)
    center = share[None, :, None] * mean[None, None, :]
    variance = share[None, :, None] * (1.0 + noise**2)[None, None, :]
    informed = jax.nn.logsumexp(_log_normal(flow[..., None], center, variance), axis=-1) - jnp.log(float(N_QUANTILES))
    return log_posterior_of(informed - _log_normal(flow, 0.0, share[None, :]), params.informed_probability)


def _log_normal(x: Array, mean: Array | float, variance: Array) -> Array:
    """Log-density of a normal law up to a constant, nats."""
    return -0.5 * ((x - mean) ** 2 / variance + jnp.log(variance))


def update(
    state: CovertLearner, hypers: Hypers, params: CovertParams, training: CovertTraining
) -> tuple[CovertLearner, CovertMetrics]:
    """Play, score with the MI critic as it stands or exactly, fit the MI critic, improve the trader."""
    key, key_play, key_mine, key_improve = jax.random.split(state.key, 4)
    trader = state.agents.execution.params
    episodes = _play(key_play, trader, training, params)
    prior = params.informed_probability
    scores = training.statistics.apply(state.statistics.params, episodes.evidence)
    if training.learn.leakage_source == EXACT:
        log_posterior = exact_log_posterior(trader, episodes.evidence[..., 0], training, params)
    else:
        log_posterior = mine.log_posterior(scores, prior)[..., 1]
    leakage = jax.vmap(lambda row: mine.leakage_increments(row, prior))(log_posterior)
    reward = episodes.haste - params.leakage_weight * leakage
    informed = episodes.z.astype(jnp.float32)
    share = informed / jnp.sum(informed)
    mean, noise = leverage_law(trader, _private_quantiles(), training, params)
    metrics = CovertMetrics(
        leverage=mean,
        noise=noise,
        haste=share @ jnp.sum(episodes.haste, axis=1),
        claimed_information=training.estimator.bound(scores[:, -1], episodes.z, prior),
        leakage=share @ jnp.sum(leakage, axis=1),
    )
    statistics, estimator = _fit_statistics(key_mine, state, episodes, training, hypers, prior)
    batch = make_batch(state.critic.params, _experience(episodes, reward), training, hypers)
    state, _ = improve(key_improve, state, batch, (Agent.EXECUTION,), training, hypers)
    return state.replace(key=key, update=state.update + 1, statistics=statistics, estimator=estimator), metrics


def _fit_statistics(
    key: Array,
    state: CovertLearner,
    episodes: _Episodes,
    training: CovertTraining,
    hypers: Hypers,
    prior: Array | float,
) -> Fitted:
    """Train the MI critic for ``n_mine_steps`` steps, which together see every (episode, step) at least once.

    Each step takes all episodes at a random share of the time steps, with one partition per time step.
    """
    n_steps, horizon = training.learn.n_mine_steps, training.game.horizon
    share = -(-horizon // n_steps)
    times = jnp.argsort(jax.random.bits(key, (horizon,), jnp.uint32))[
        jnp.arange(n_steps * share, dtype=jnp.int32) % horizon
    ].reshape(n_steps, share)
    learning_rate = scheduled(hypers.lr_mine, state.update, hypers)

    def step(carry: Fitted, at: Array) -> tuple[Fitted, Array]:
        statistics, estimator = carry
        part = (statistics, jax.tree.map(lambda x: x[at], estimator))

        def scores(network: PyTree) -> Array:
            return training.statistics.apply(network, episodes.evidence[:, at])

        (statistics, part), loss = critic_step(part, scores, episodes.z, prior, learning_rate, training, hypers)
        return (statistics, jax.tree.map(lambda x, y: x.at[at].set(y), estimator, part)), loss

    return jax.lax.scan(step, (state.statistics, state.estimator), times)[0]


def train(
    key: Array, log_std: Array, hypers: Hypers, params: CovertParams, training: CovertTraining, n_updates: int
) -> tuple[CovertLearner, CovertMetrics]:
    """Train from the start; metrics carry a leading [n_updates] axis. A sweep is a ``vmap`` of this."""
    state = init_learner(key, log_std, training, hypers)
    return jax.lax.scan(lambda carry, _: update(carry, hypers, params, training), state, None, length=n_updates)


def _private_quantiles() -> Array:
    """Midpoints of ``N_QUANTILES`` equally likely ranges of the private number."""
    return jax.scipy.special.ndtri((jnp.arange(N_QUANTILES, dtype=jnp.float32) + 0.5) / N_QUANTILES)


def _play(key: Array, trader: PyTree, training: CovertTraining, params: CovertParams) -> _Episodes:
    """Play ``n_envs`` episodes, z stratified."""
    key_labels, key_episodes = jax.random.split(key)
    z = stratified_labels(key_labels, training.learn.n_envs, params.informed_probability)
    keys = jax.random.split(key_episodes, training.learn.n_envs)
    return jax.vmap(lambda k, label: _episode(k, label, trader, training, params))(keys, z)


def _episode(key: Array, z: Array, trader: PyTree, training: CovertTraining, params: CovertParams) -> _Episodes:
    game, actor = training.game, training.actor(Agent.EXECUTION)
    key_reset, key_steps = jax.random.split(key)

    def step(state, time):
        key_act, key_step = jax.random.split(jax.random.fold_in(key_steps, time))
        seen, global_seen = game.observe(state, params), game.global_features(state, params)
        head = actor.apply(trader, seen)
        latents = head.sample(key_act)
        state, output = game.step(key_step, state, latents[0], params)
        return state, (seen, latents, head.log_prob(latents), global_seen, output)

    start = game.reset(key_reset, params, z)
    _, (seen, latents, log_prob, global_seen, output) = jax.lax.scan(
        step, start, jnp.arange(game.horizon, dtype=jnp.int32)
    )
    return _Episodes(seen, latents, log_prob, global_seen, game.evidence(output, params), output.haste, z)


def _experience(episodes: _Episodes, reward: Array) -> Experience:
    """The episodes as PPO takes them; only those of z = 1 train the trader, as in the market."""
    absent = jnp.zeros_like(reward)
    informed = jnp.broadcast_to(episodes.z[:, None], reward.shape).astype(jnp.float32)
    return Experience(
        seen=(episodes.seen, (), ()),
        latents=(episodes.latents, (), ()),
        log_prob=(episodes.log_prob, (), ()),
        reward=jnp.stack([reward, absent, absent], axis=-1),
        mask=jnp.stack([informed, absent, absent], axis=-1),
        global_seen=episodes.global_seen,
        actions=(absent[..., None],) * N_AGENTS,
    )
