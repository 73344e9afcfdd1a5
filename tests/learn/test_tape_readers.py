"""What each step of a source is fitted to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn import tape_readers
from amarl_jax.learn.state import Episode
from amarl_jax.learn.tape_readers import shares_of_classes
from amarl_jax.trees import pack


@pytest.mark.parametrize(("n_envs", "n_informed", "n_steps"), [(64, 32, 4), (128, 64, 16), (24, 7, 16), (100, 50, 16)])
def test_every_episode_is_seen_and_every_step_sees_both_classes(n_envs, n_informed, n_steps):
    z = jax.random.permutation(jax.random.key(0), jnp.arange(n_envs) < n_informed).astype(jnp.int32)
    parts = np.asarray(shares_of_classes(jax.random.key(1), z, n_steps))
    assert set(parts.ravel()) == set(range(n_envs))
    assert len(parts) <= n_steps
    informed = np.asarray(z)[parts].mean(axis=1)
    np.testing.assert_allclose(informed, n_informed / n_envs, atol=1.5 / parts.shape[1])


def test_larger_parts_of_an_accelerator_have_the_gradient_of_small_ones(setup, start):
    """Of 10 episodes, in five backward passes and in two, the last of which is half empty."""
    rng, n_episodes = np.random.default_rng(0), 10
    tape = start.replay.storage.tape
    rows = jax.tree.map(lambda x: jnp.asarray(rng.integers(0, 2, (n_episodes, *x.shape[1:])), x.dtype), tape)
    episodes = pack(Episode(tape=rows, target=jnp.arange(n_episodes, dtype=jnp.float32) % 2), n_lead=1)
    weights = jnp.asarray(rng.uniform(0.5, 2.0, n_episodes), jnp.float32)

    def learned(form):
        learn = dataclasses.replace(setup.game.learn, belief_microbatch=2)
        game = dataclasses.replace(setup.game, learn=learn, recurrence=form)
        gradient = lambda network: tape_readers._belief_gradient(network, episodes, weights, setup.replace(game=game))  # noqa: E731
        parts = [
            equation.params["length"]
            for equation in jax.make_jaxpr(gradient)(start.belief.params).jaxpr.eqns
            if equation.primitive.name == "scan"
        ]
        return parts, jax.jit(gradient)(start.belief.params)

    (small, (expected, losses)), (large, (found, same_losses)) = learned("loop"), learned("parallel")
    assert (small, large) == ([5], [2])
    np.testing.assert_allclose(same_losses, losses, rtol=1e-5)
    assert losses.std() > 0
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
