"""On the covert game the exact source pays the gradient of the information that quadrature gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.covert import learner as covert
from amarl_jax.covert.game import CovertGame, CovertParams
from amarl_jax.information import mine
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent

SIGMA = 0.3  # of a decision
N_EPISODES = 1 << 15
TRAINING = covert.CovertTraining(CovertGame(horizon=4), LearnSpec(n_envs=2 * N_EPISODES, leakage_source="exact"))
PARAMS = as_arrays(CovertParams(max_leverage=3.0, start=-0.5))


def _trader():
    learner = covert.init_learner(jax.random.key(0), jnp.float32(np.log(SIGMA)), TRAINING, Hypers())
    return learner.agents.execution.params


def _information(start):
    """I(z; S) of the horizon's sum, nats: a sum over a fine grid of the channel's densities."""
    private = jax.scipy.stats.norm.ppf((jnp.arange(400) + 0.5) / 400)
    mean, noise = covert.leverage_law(_trader(), private, TRAINING, PARAMS.replace(start=jnp.float32(start)))
    mean, std = np.asarray(mean, np.float64), np.sqrt(1.0 + np.asarray(noise, np.float64) ** 2)
    x = np.linspace(-9.0, 12.0, 6001)
    normal = lambda m, s: np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))  # noqa: E731
    one, zero = np.mean([normal(m, s) for m, s in zip(mean, std, strict=True)], axis=0), normal(0.0, 1.0)
    both = 0.5 * (one + zero)
    return float(0.5 * np.sum(one * np.log(one / both) + zero * np.log(zero / both)) * (x[1] - x[0]))


def test_the_increments_pay_the_slope_of_the_information():
    """A louder start moves every decision alike: the score of it is that of the mean, summed over steps."""
    trader, params = _trader(), PARAMS

    @jax.jit
    def paid(key):
        episodes = covert._play(key, trader, TRAINING, params)
        exact = covert.exact_log_posterior(trader, episodes.evidence[..., 0], TRAINING, params)
        leakage = jax.vmap(lambda row: mine.leakage_increments(row, 0.5))(exact)
        to_go = jnp.cumsum(leakage[:, ::-1], axis=1)[:, ::-1]
        mean = jax.vmap(jax.vmap(lambda seen: TRAINING.actor(Agent.EXECUTION).apply(trader, seen).mean[0]))(
            episodes.seen
        )
        score = (episodes.latents[..., 0] - mean) / SIGMA**2
        informed = episodes.z == 1
        baseline = jnp.mean(to_go, axis=0, where=informed[:, None])
        return jnp.sum(score * (to_go - baseline[None]), axis=1), informed, jnp.sum(leakage, axis=1)

    gains, informed, leaked = (np.asarray(x) for x in paid(jax.random.key(1)))
    gains = gains[informed]
    slope = (_information(-0.45) - _information(-0.55)) / 0.1
    assert slope > 0.05, "there is a slope to find"
    assert abs(gains.mean() - slope) < 3 * gains.std() / np.sqrt(gains.size) + 0.01 * slope
    assert 0 < leaked[informed].mean() < np.log(2)


def test_an_update_pays_by_the_named_source():
    small = dataclasses.replace(TRAINING, learn=dataclasses.replace(TRAINING.learn, n_envs=256, n_epochs=1))
    by_mine = dataclasses.replace(small, learn=dataclasses.replace(small.learn, leakage_source="mine"))
    hypers, loud = as_arrays(Hypers()), PARAMS.replace(start=jnp.float32(0.5), leakage_weight=jnp.float32(1.0))
    paid = []
    for training in (small, by_mine):
        start = covert.init_learner(jax.random.key(0), jnp.float32(-1.2), training, hypers)
        _, metrics = jax.jit(lambda s, t=training: covert.update(s, hypers, loud, t))(start)
        paid.append(float(metrics.leakage))
    assert paid[0] > 0.02, "the exact source knows the trader from the start"
    assert abs(paid[1]) < 0.02, "an untrained critic knows nothing"
