"""Several devices that train one learner: what they compute together is what one device computes."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from amarl_jax.learn import replay
from amarl_jax.learn.losses import masked_mean
from amarl_jax.learn.phases import learned_metric_names
from amarl_jax.learn.returns import normalise
from amarl_jax.learn.split import AXIS, Split
from amarl_jax.learn.split_update import Updates, part_of, split_over, why_not_split
from amarl_jax.learn.tape_readers import critic_step
from tests.learn.conftest import GAME, LEARN

N = 8
SPLIT = Split(N)
# one minibatch, and one step of each reader, of all environments: then no device draws who is in which
WHOLE_BATCHES = dataclasses.replace(
    LEARN, n_envs=16, n_minibatches=1, n_mine_steps=1, n_belief_steps=1, alternating=False
)
ROUNDING = {"rtol": 1e-4, "atol": 2e-5}  # float32 sums of some hundred terms in another order, through Adam


def on_devices(function, *wholes):
    """What every one of eight devices finds from its part of arrays, side by side, [8, ...]."""
    mesh = jax.make_mesh((N,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    parts = PartitionSpec(AXIS)
    one = lambda *args: jax.tree.map(lambda x: x[None], function(*args))  # noqa: E731
    return jax.jit(jax.shard_map(one, mesh=mesh, in_specs=parts, out_specs=parts, check_vma=False))(*wholes)


def test_means_normalised_arrays_and_moments_are_those_of_the_whole(key):
    x = jax.random.normal(key, (16, 5, 3)) * jnp.arange(1.0, 4.0)[None, None] + 2.0
    mask = (jax.random.uniform(jax.random.fold_in(key, 1), x.shape) < 0.4).astype(jnp.float32).at[:4].set(0.0)

    def together(x, mask):
        return (
            SPLIT.sum(masked_mean(x, mask, (-3, -2), SPLIT)),
            normalise(x, mask, SPLIT),
            SPLIT.moments(jnp.mean(x, axis=(0, 1)), jnp.std(x, axis=(0, 1))),
        )

    mean, normal, (center, std) = on_devices(together, x, mask)
    for found in mean:
        np.testing.assert_allclose(found, masked_mean(x, mask, (-3, -2)), rtol=1e-5)
    np.testing.assert_allclose(normal.reshape(x.shape), normalise(x, mask), atol=1e-5)
    np.testing.assert_allclose(center[0], np.mean(x, axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(std[0], np.std(x, axis=(0, 1)), rtol=1e-5)


def test_a_step_of_the_information_critic_sees_the_episodes_of_all(start, hypers, key):
    """A partition function is no mean over devices: its gradient needs the scores of all of them at once."""
    features, z = jax.random.normal(key, (16, 3, 4)), jnp.arange(16, dtype=jnp.int32) % 3 // 2
    game = dataclasses.replace(GAME, learn=dataclasses.replace(LEARN, n_devices=N))
    weights = {"w": jnp.eye(4, 2)}
    statistics = type(start.statistics)(weights, start.predictor.opt_state)

    def step(game):
        from amarl_jax.learn.optimiser import untrained

        def one(features, z):
            fresh = (untrained(statistics.params, hypers), game.estimator.init((3,)))
            scores = lambda network: features @ network["w"]  # noqa: E731
            (network, estimator), loss = critic_step(fresh, scores, z, 0.4, jnp.float32(0.1), game, hypers)
            return network.params["w"], estimator, loss

        return one

    for found in jax.tree.leaves(jax.tree.map(lambda x, y: np.abs(x - y[None]).max(), on_devices(step(game), features, z), step(GAME)(features, z))):
        assert found < 1e-5
