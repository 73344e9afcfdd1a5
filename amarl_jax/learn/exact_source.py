"""The leakage source that knows the policy: every prefix's exact posterior, for the rewards of a rollout."""

import jax

from amarl_jax.learn.hypers import EXACT
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.learn.setup import Setup
from amarl_jax.policies.protocol import Policy
from amarl_jax.posterior.filter import log_posterior, log_ratio, reader_of
from amarl_jax.types import Array


def exact_log_posterior(key: Array, policy: Policy, trajectory: Trajectory, setup: Setup) -> Array:
    """``log P(z = 1 | G_<=t)`` of episodes that the policy has just played in a market that keeps records. [E, T].

    Raises:
        ValueError: while tracing, if the policy or the noise law says nothing of its probabilities.
    """
    game, prior = setup.game, setup.params.informed_probability
    reader = reader_of(policy, game.noise_law, game.market_spec, game.learn.exact_particles, game.learn.exact_private)
    if reader is None:
        raise ValueError(
            f"agents.execution.leakage_source = {EXACT!r}, or networks.belief_transformer.target = {EXACT!r}, needs an"
            f" execution policy with a law() and a noise law with marks(): {type(policy).__name__},"
            f" {type(game.noise_law).__name__}"
        )
    split = game.learn.split
    keys = split.own(jax.random.split(key, split.n * trajectory.z.shape[0]))
    found = jax.vmap(lambda key, record: reader.likelihoods(key, record, setup.params))(keys, trajectory.output.record)
    return log_posterior(jax.vmap(log_ratio)(found), prior)
