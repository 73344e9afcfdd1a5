import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from amarl_jax.checkpoint import Checkpointer, load_agent, save_agent
from amarl_jax.errors import CheckpointMismatch
from amarl_jax.trees import count_parameters


@struct.dataclass
class State:
    params: dict
    key: jax.Array
    moments: tuple
    count: jax.Array


def make_state(seed, width=3):
    key_params, key = jax.random.split(jax.random.key(seed))
    weights = jax.random.normal(key_params, (2, width))
    params = {"actor": {"kernel": weights, "bias": jnp.zeros(width)}, "packed": jnp.arange(4, dtype=jnp.int8)}
    return State(params=params, key=jax.random.split(key, 5), moments=(weights**2, weights * 3), count=jnp.int32(seed))


def raw(state):
    return jax.tree.map(np.asarray, state.replace(key=jax.random.key_data(state.key)))


@pytest.mark.parametrize("like", ["values", "abstract"])
def test_round_trip_is_bit_identical_with_keys_and_tuples(tmp_path, like):
    state = make_state(7)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(4, state)
    target = make_state(8) if like == "values" else jax.eval_shape(lambda: make_state(8))
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.latest_step() == 4
        restored = checkpointer.restore(target)
    chex.assert_trees_all_equal(raw(restored), raw(state))
    assert isinstance(restored.moments, tuple)
    assert jnp.issubdtype(restored.key.dtype, jax.dtypes.prng_key)
    np.testing.assert_array_equal(jax.vmap(jax.random.uniform)(restored.key), jax.vmap(jax.random.uniform)(state.key))


def test_latest_two_and_the_best_are_kept_and_never_the_newest_deleted(tmp_path):
    with Checkpointer(tmp_path, best="cost") as checkpointer:
        for step, cost in enumerate([3.0, 1.0, 2.0, 5.0, 4.0]):
            checkpointer.save(step, make_state(step), {"cost": cost})
        assert checkpointer.all_steps() == [1, 3, 4]
        assert int(checkpointer.restore(make_state(0), step=1).count) == 1


def test_an_existing_step_is_not_overwritten_silently(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, make_state(1))
        with pytest.raises((FileExistsError, ValueError), match="1"):
            checkpointer.save(1, make_state(2))
        assert int(checkpointer.restore(make_state(0)).count) == 1


def test_a_state_of_another_shape_is_refused_by_name(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, make_state(1, width=3))
        with pytest.raises(CheckpointMismatch) as error:
            checkpointer.restore(make_state(1, width=4))
    assert "params/actor/kernel (float32[2, 3] saved, float32[2, 4] here)" in str(error.value)
    assert "packed" not in str(error.value)


def test_restoring_from_an_empty_folder_says_so(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.latest_step() is None
        with pytest.raises(FileNotFoundError, match="no checkpoint"):
            checkpointer.restore(make_state(1))


def test_one_agents_parameters_round_trip_and_are_counted(tmp_path):
    params = make_state(3).params
    save_agent(tmp_path / "agent.npz", params)
    chex.assert_trees_all_equal(load_agent(tmp_path / "agent.npz", jax.eval_shape(lambda: params)), params)
    assert count_parameters(params) == 2 * 3 + 3 + 4
    assert [path.name for path in tmp_path.iterdir()] == ["agent.npz"]


def test_one_agents_parameters_are_refused_by_name(tmp_path):
    save_agent(tmp_path / "agent.npz", make_state(3, width=3).params)
    other = {"actor": {"kernel": jnp.zeros((2, 5)), "bias": jnp.zeros(3)}, "head": jnp.zeros(1)}
    with pytest.raises(CheckpointMismatch) as error:
        load_agent(tmp_path / "agent.npz", other)
    message = str(error.value)
    assert "actor/kernel (float32[2, 3] saved, float32[2, 5] here)" in message
    assert "head (absent saved, float32[1] here)" in message
    assert "packed (int8[4] saved, absent here)" in message
    assert "bias" not in message
