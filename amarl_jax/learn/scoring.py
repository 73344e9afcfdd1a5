"""Score finished episodes with the networks: leakage, predictability, rewards."""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.information import mine
from amarl_jax.learn.game import Game
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.split import WHOLE, EnvSplit
from amarl_jax.learn.state import TrainState
from amarl_jax.market import rewards
from amarl_jax.market.params import EnvParams
from amarl_jax.nets.belief import BELIEF_EPS
from amarl_jax.nets.predictor import flow_series, predictability
from amarl_jax.types import Array, PyTree, Tape

STD_FLOOR = 1e-3  # keeps the unconditional law of a constant flow proper


@struct.dataclass
class Scores:
    """Rewards of ``[E]`` episodes and the terms they are made of."""

    reward: Array  # [E, T, agent]
    terms: rewards.MarketTerms  # [E, T]
    leakage: Array  # [E, T] nats, L of the source in use
    predictability: Array  # [E, T] nats, Pred: what the predictor's log-likelihood gains over the unconditional law
    log_posterior: Array  # [E, T] log P(z = 1 | F_<=t) according to the source in use
    series: Array  # [E, T, D] the standardised flow of each step, which the predictor is fitted to afterwards


def evidence(belief: Array, hidden: Array) -> Array:
    """The MI critic's input beside the tape: the belief's log-odds and its state. [..., d_model + 1].

    Args:
        belief: P(z = 1 | F_<=t) of the maker, [...].
        hidden: the belief's state after each step, [..., d_model].
    """
    p = jnp.clip(belief, BELIEF_EPS, 1.0 - BELIEF_EPS)
    log_odds = 0.25 * (jnp.log(p) - jnp.log1p(-p))
    return jax.lax.stop_gradient(jnp.concatenate([hidden, log_odds[..., None]], axis=-1))


def statistics_scores(params: PyTree, tape: Tape, beside: Array, game: Game) -> Array:
    """``T(z, F_<=t)`` for both z of episodes [E], whose tapes are [E, T, ...], with :func:`evidence`. [E, T, 2]."""
    return jax.vmap(lambda tape, beside: game.statistics.apply(params, tape, beside))(tape, beside)


def log_posterior_informed(state: TrainState, trajectory: Trajectory, setup: Setup) -> Array:
    """``log P(z = 1 | F_<=t)`` of the MI critic's ``p(z) e^T`` in played episodes. [E, T] nats."""
    beside = evidence(trajectory.belief, trajectory.hidden)
    scores = statistics_scores(state.statistics.params, trajectory.output.tape, beside, setup.game)
    return mine.log_posterior(scores, setup.params.informed_probability)[..., 1]


def standard_flow(trajectory: Trajectory, split: EnvSplit = WHOLE) -> Array:
    """The flow series in units of its unconditional law in all episodes played: mean 0, deviation 1. [E, T, D]."""
    series = jax.vmap(flow_series)(trajectory.output.tape)
    mean, std = split.moments(jnp.mean(series, axis=(0, 1)), jnp.std(series, axis=(0, 1)))
    return (series - mean[None, None]) / jnp.maximum(std, STD_FLOOR)[None, None]


def predictability_gain(params: PyTree, series: Array, game: Game) -> Array:
    """Log-likelihood the predictor gains over the unconditional law, of one standardised episode [T, D]. [T] nats."""
    mean, log_std = game.predictor.apply(params, series)
    n_features = series.shape[1]
    return predictability(series, mean, log_std, jnp.zeros(n_features, jnp.float32), jnp.ones(n_features, jnp.float32))


def added_rewards(trajectory: Trajectory, terms: tuple[rewards.RewardTerm, ...], params: EnvParams) -> Array | float:
    """The sum of the terms that a game adds to its rewards; [E, T, agent], or 0 without any."""
    episodes = (trajectory.output, trajectory.z, trajectory.belief)
    return sum(jax.vmap(lambda out, z, b, term=term: term(out, z, b, params))(*episodes) for term in terms)


def score(state: TrainState, trajectory: Trajectory, setup: Setup, exact: Array | None = None) -> Scores:
    """Rewards of new episodes, by the sources as they stand: nothing is trained on an episode before it is scored.

    ``exact`` is the exact log-posterior [E, T] where that is the leakage source.
    """
    game, params = setup.game, setup.params
    if exact is not None:
        log_posterior = exact
    elif game.learn.leakage_source == "belief":
        log_posterior = jnp.log(jnp.maximum(trajectory.belief, 1e-8))
    else:
        log_posterior = log_posterior_informed(state, trajectory, setup)
    credit = mine.leakage_increments if game.learn.leakage_credit == "increment" else mine.leakage_levels
    leakage = jax.vmap(lambda row: credit(row, params.informed_probability))(log_posterior)
    series = standard_flow(trajectory, game.learn.split)
    predicted = jax.vmap(lambda row: predictability_gain(state.predictor.params, row, game))(series)
    money = functools.partial(rewards.market_terms, params=params, credit=game.learn.shortfall_credit)
    terms = jax.vmap(lambda out, side: money(out, side))(trajectory.output, trajectory.direction)
    reward = jax.vmap(rewards.compose, in_axes=(0, 0, 0, 0, 0, 0, None))(
        terms, trajectory.output, trajectory.z, trajectory.belief, leakage, predicted, setup.weights
    )
    return Scores(
        reward=jax.lax.stop_gradient(reward + added_rewards(trajectory, game.reward_terms, params)),
        terms=terms,
        leakage=leakage,
        predictability=predicted,
        log_posterior=log_posterior,
        series=series,
    )
