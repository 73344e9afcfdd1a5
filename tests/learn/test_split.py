"""Several devices that train one learner: what they compute together is what one device computes."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.learn import replay
from amarl_jax.learn.losses import masked_mean
from amarl_jax.learn.optimiser import untrained
from amarl_jax.learn.ppo import CriticBatch, PpoBatch, improve_critic, minibatches
from amarl_jax.learn.returns import normalise
from amarl_jax.learn.split import AXIS, EnvSplit
from amarl_jax.learn.split_update import Updates, part_of, split_over
from amarl_jax.learn.state import init_state
from amarl_jax.learn.tape_readers import critic_step
from tests.learn.conftest import GAME, LEARN

N, N_ENVS = 8, 16
SPLIT = EnvSplit(N)
SHARED = dataclasses.replace(GAME, learn=dataclasses.replace(LEARN, n_envs=N_ENVS, n_devices=N))
ALONE = dataclasses.replace(GAME, learn=dataclasses.replace(LEARN, n_envs=N_ENVS))


def on_devices(function, *wholes):
    """What each of eight devices finds from its part of arrays, [8, ...]."""
    mesh = jax.make_mesh((N,), (AXIS,), axis_types=(AxisType.Auto,))
    parts = PartitionSpec(AXIS)
    one = lambda *args: jax.tree.map(lambda x: x[None], function(*args))  # noqa: E731
    return jax.jit(jax.shard_map(one, mesh=mesh, in_specs=parts, out_specs=parts, check_vma=False))(*wholes)


def assert_all_found(found, expected, tolerance=1e-5):
    """Every device has found the same, what is expected."""
    for each, one in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(each, np.broadcast_to(one, each.shape), rtol=tolerance, atol=tolerance)


def test_means_normalised_arrays_and_moments_are_those_of_the_whole(key):
    x = jax.random.normal(key, (N_ENVS, 5, 3)) * jnp.arange(1.0, 4.0)[None, None] + 2.0
    mask = (jax.random.uniform(jax.random.fold_in(key, 1), x.shape) < 0.4).astype(jnp.float32).at[:4].set(0.0)

    def together(x, mask):
        moments = SPLIT.moments(jnp.mean(x, axis=(0, 1)), jnp.std(x, axis=(0, 1)))
        return SPLIT.sum(masked_mean(x, mask, (-3, -2), SPLIT)), moments, normalise(x, mask, SPLIT)

    mean, moments, normal = on_devices(together, x, mask)
    assert_all_found(mean, masked_mean(x, mask, (-3, -2)))
    assert_all_found(moments, (jnp.mean(x, axis=(0, 1)), jnp.std(x, axis=(0, 1))))
    np.testing.assert_allclose(normal.reshape(x.shape), normalise(x, mask), atol=1e-5)


def test_a_device_plays_its_part_of_what_one_device_would_draw():
    def drawn():
        return jax.random.split(jax.random.key(3), N_ENVS)

    found = on_devices(lambda _: jax.random.key_data(SPLIT.own(drawn())), jnp.zeros(N))
    whole = jax.random.key_data(drawn())
    np.testing.assert_array_equal(found.reshape(whole.shape), whole)
    own = on_devices(lambda _: jax.random.key_data(SPLIT.own_key(jax.random.key(3))), jnp.zeros(N))
    assert len({tuple(row) for row in np.asarray(own)}) == N


def test_a_step_of_the_information_critic_sees_the_episodes_of_all(hypers, key):
    """A partition function is no mean over devices: its gradient needs the scores of all of them at once."""
    features, z = jax.random.normal(key, (N_ENVS, 3, 4)), jnp.arange(N_ENVS, dtype=jnp.int32) % 3 // 2

    def step(game):
        def one(features, z):
            fresh = (untrained(jnp.eye(4, 2), hypers), game.estimator.init((3,)))
            return critic_step(fresh, lambda network: features @ network, z, 0.4, jnp.float32(0.1), game, hypers)

        return one

    assert_all_found(on_devices(step(SHARED), features, z), jax.jit(step(ALONE))(features, z))


def test_minibatches_of_every_device_make_the_steps_of_one_on_their_union(start, hypers, key):
    """The critic after two epochs of two minibatches, whose masks differ from device to device."""
    widths = {"target": 3, "mask": 3, "global_seen": start.critic.params["params"]["Dense_0"]["kernel"].shape[0]}
    keys = jax.random.split(key, 6)
    whole = {name: jax.random.normal(k, (N_ENVS, 4, n)) for k, (name, n) in zip(keys, widths.items(), strict=False)}
    whole["mask"] = (whole["mask"] > 0.3).astype(jnp.float32)
    whole["actions"] = tuple(jax.random.normal(k, (N_ENVS, 4, n)) for k, n in zip(keys[3:], (3, 4, 1), strict=False))

    def learn(batch, rows, game):
        return improve_critic(rows, start, PpoBatch((), CriticBatch(**batch)), game, hypers)

    def one(batch):
        rows = minibatches(jax.random.key(9), SHARED)
        return rows, learn(batch, rows, SHARED)

    rows, found = on_devices(one, whole)
    share = N_ENVS // N
    assert rows.shape == (N, LEARN.n_epochs, LEARN.n_minibatches, share // LEARN.n_minibatches)
    union = jnp.concatenate([rows[i] + i * share for i in range(N)], axis=-1)
    assert (np.sort(union.reshape(LEARN.n_epochs, -1), axis=-1) == np.arange(N_ENVS)).all()
    assert_all_found(found, jax.jit(lambda batch, rows: learn(batch, rows, ALONE))(whole, union), 2e-5)


def test_a_replayed_episode_counts_alike_whichever_device_has_it(key):
    """Chance to be drawn times weight is one number for all episodes of all rings."""
    priority = jax.random.uniform(key, (N, 4), jnp.float32, 0.1, 3.0)

    def one(priority):
        ring = replay.add(replay.init(jnp.zeros(1), 4), jnp.zeros((4, 1)), priority[0])
        drawn = replay.sample((jnp.arange(64.0) + 0.5) % 1.0, ring, 0.6, 1.0, SPLIT)
        return drawn.weights * replay.probabilities(ring, 0.6)[drawn.indices]

    found = np.asarray(on_devices(one, priority))
    np.testing.assert_allclose(found, found[0, 0], rtol=1e-5)


def test_a_learner_goes_to_the_devices_and_back_and_to_disk(start, setup, tmp_path):
    updates = Updates(setup.replace(game=ALONE), tuple(jax.devices()))
    placed = updates.place(start)
    assert placed.replay.priority.sharding.spec == PartitionSpec(AXIS)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(placed.critic))
    whole = updates.whole(placed)
    assert {device for leaf in jax.tree.leaves(whole) for device in leaf.devices()} == {jax.devices()[0]}
    with Checkpointer(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, whole)
        restored = checkpoints.restore(jax.eval_shape(init_state, jax.random.key(0), setup))
    chex.assert_trees_all_equal(*(plain(updates.place(state)) for state in (restored, start)))


def plain(state):
    return state.replace(key=jax.random.key_data(state.key))


@pytest.mark.slow
def test_one_update_on_eight_devices_is_that_of_one(start, setup):
    """With one minibatch an epoch and one step of each reader, which then are on all environments wherever they are."""
    sizes = {"n_envs": N_ENVS, "n_minibatches": 1, "n_mine_steps": 1, "n_belief_steps": 1, "alternating": False}
    setup = setup.replace(game=dataclasses.replace(GAME, learn=dataclasses.replace(LEARN, **sizes)))
    states, metrics = [], []
    for n in (1, N):
        updates = Updates(setup, tuple(jax.devices()[:n]))
        begun = jax.tree.map(jnp.copy, plain(start)).replace(key=jax.random.key(5))  # an update consumes its learner
        state, measured = updates(updates.place(begun), 1)
        states.append(plain(updates.whole(state)))
        metrics.append({name: float(values[0]) for name, values in measured.items()})
    assert metrics[0]["joint/execution/shortfall"] != 0.0
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-4, abs=1e-6)
    alone, together = states
    assert (alone.replay.size, together.replay.size) == (LEARN.replay_capacity, LEARN.replay_capacity // N)
    cursors = {"size": alone.replay.size, "cursor": alone.replay.cursor}
    chex.assert_trees_all_close(
        together.replace(replay=together.replay.replace(**cursors)), alone, atol=1e-5, rtol=1e-4
    )


def test_what_does_not_divide_is_refused_and_a_part_is_one_devices(setup):
    with pytest.raises(ValueError, match="n_envs = 8: must be a multiple of 3 x 2 = 6"):
        split_over(setup, 3)
    learn = part_of(setup, 4).game.learn
    assert (learn.n_envs, learn.replay_capacity, learn.n_devices) == (2, 4, 1)
