"""The leakage gradient that training pays with *learned* critics, beside the exact one of a Gaussian sender.

Small networks, fitted to their plateau; ``experiments/credit`` has the default networks and the bias on the way there.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.gaussian_sender import HORIZON, exact_gradient, fit, paid_gradients
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import init_state
from amarl_jax.market.params import EnvParams
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.nets.spec import BeliefSpec
from tests.learn.conftest import LEARN, MARKET, NETWORK

THETA = (0.38, 0.38)
N_MEASURED = (
    8192  # episodes: sampling leaves the gradient 1.5% uncertain, and its gap to Bayes' on them a third of that
)
FITS = {  # learning rate, rollouts
    "mine": (5e-3, 800),
    "belief": (3e-3, 600),
}


def game_of(source):
    network = dataclasses.replace(
        NETWORK,
        statistics_hidden=(32,),
        belief=BeliefSpec(d_model=16, n_heads=2, n_layers=1, d_ff=32, max_seq_len=HORIZON),
    )
    market = dataclasses.replace(MARKET, horizon=HORIZON, max_noise_orders=1)
    learn = dataclasses.replace(
        LEARN, n_envs=256, n_mine_steps=4, n_belief_steps=4, belief_microbatch=64, replay_batch=4, leakage_source=source
    )
    return Game(market, network, learn)


@functools.cache
def errors(source):
    """Relative error of the gradient, untrained and at the plateau: of the source, and of Bayes' belief."""
    rate, n_rollouts = FITS[source]
    hypers = Hypers(n_updates=n_rollouts, lr_mine=rate, lr_belief=rate, replay_beta=1.0)
    setup = Setup(hypers, RewardWeights(), EnvParams(), game_of(source)).arrays()
    theta, exact = jnp.asarray(THETA), exact_gradient(THETA)
    start = init_state(jax.random.key(3), setup)
    fitted = fit(start, theta, setup, (source,), jnp.int32(n_rollouts))
    return [
        [
            np.linalg.norm(np.mean(part, axis=0) - exact) / np.linalg.norm(exact)
            for part in paid_gradients(jax.random.key(4), state, theta, setup, N_MEASURED)
        ]
        for state in (start, fitted)
    ]


@pytest.mark.parametrize("source", FITS)
def test_a_fitted_source_pays_the_gradient_of_the_information(source):
    (untrained, bayes), (fitted, _) = errors(source)
    assert fitted < 0.05
    assert bayes < 0.05  # the sampling error and nothing else
    assert untrained > 0.8  # a source that knows nothing pays nothing
