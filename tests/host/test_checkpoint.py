import json
import os
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from amarl_jax.errors import BadInput, CheckpointMismatch
from amarl_jax.host import checkpoint_record
from amarl_jax.host.checkpoint import Checkpointer, require_equal_shapes
from tests.host import killed_saves

ROOT = Path(__file__).parents[2]


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


def test_the_best_is_still_known_after_the_folder_was_closed(tmp_path):
    for step, objective in enumerate([-2.0, -1.0, -3.0, -4.0, -5.0]):
        with Checkpointer(tmp_path, best="objective", maximise=True) as checkpointer:
            checkpointer.save(step, make_state(step), {"objective": objective})
    with Checkpointer(tmp_path, best="objective", maximise=True) as checkpointer:
        assert checkpointer.best_step() == 1
        assert checkpointer.latest_step() == 4
        assert checkpointer.all_steps() == [1, 3, 4]
        assert int(checkpointer.restore(make_state(0), step=1).count) == 1


@pytest.mark.integration
def test_savers_killed_inside_a_save_leave_the_last_checkpoint_and_the_best_whole(tmp_path):
    """Twenty real SIGKILLs, and a disk that refuses to take more; each saver checks what it restores bit for bit."""
    folder = tmp_path / "checkpoints"
    command = [sys.executable, "-m", "tests.host.killed_saves", str(folder), "20"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, "a full disk is one exception, not a page"
    *warnings, last = done.stdout.splitlines()  # a torn checkpoint is passed over with a line each
    assert all(line.startswith("warning: ") for line in warnings), done.stdout
    seen = json.loads(last)
    assert seen["inside"] >= 20
    best, *latest = sorted(int(name) for name in seen["files"])  # what was torn has been swept
    assert best == killed_saves.BEST
    assert latest == [latest[0], latest[0] + 1]


def test_an_existing_step_is_not_overwritten_silently(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, make_state(1))
        with pytest.raises(FileExistsError, match="checkpoint 1"):
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


def test_parameters_of_other_shapes_are_refused_by_name():
    other = {"actor": {"kernel": jnp.zeros((2, 5)), "bias": jnp.zeros(3)}, "head": jnp.zeros(1)}
    with pytest.raises(CheckpointMismatch) as error:
        require_equal_shapes(make_state(3, width=3).params, other, "here")
    message = str(error.value)
    assert "actor/kernel (float32[2, 3] saved, float32[2, 5] here)" in message
    assert "head (absent saved, float32[1] here)" in message
    assert "packed (int8[4] saved, absent here)" in message
    assert "bias" not in message


def metadata_of(folder, step):
    return folder / str(step) / "_CHECKPOINT_METADATA"


def test_a_damaged_older_checkpoint_is_passed_over_and_named(tmp_path, capsys):
    """It was the best; now the best of the others is."""
    with Checkpointer(tmp_path, best="cost") as checkpointer:
        for step, cost in enumerate([1.0, 2.0, 3.0]):
            checkpointer.save(step, make_state(step), {"cost": cost})
    metadata_of(tmp_path, 0).write_text("{")
    with Checkpointer(tmp_path, best="cost") as checkpointer:
        assert "_CHECKPOINT_METADATA: is not JSON; checkpoint 0 is passed over" in capsys.readouterr().out
        assert (checkpointer.latest_step(), checkpointer.best_step()) == (2, 1)
        assert int(checkpointer.restore(make_state(0)).count) == 2
        checkpointer.save(3, make_state(3), {"cost": 4.0})
        assert checkpointer.all_steps() == [1, 2, 3]


def test_a_damaged_newest_checkpoint_is_refused_with_what_there_is_instead(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, make_state(step))
    metadata_of(tmp_path, 2).unlink()
    with (
        Checkpointer(tmp_path) as checkpointer,
        pytest.raises(BadInput, match="without it the run goes on from update 1"),
    ):
        checkpointer.restore(make_state(0))


def test_arrays_that_are_not_those_that_were_saved_are_found(tmp_path):
    """As after a flipped bit that still decodes: here the hash is another's."""
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, make_state(1))
        checkpointer.save(2, make_state(2))
    record, other = (json.loads(metadata_of(tmp_path, step).read_text()) for step in (2, 1))
    record["custom_metadata"]["amarl_jax"]["arrays"] = other["custom_metadata"]["amarl_jax"]["arrays"]
    metadata_of(tmp_path, 2).write_text(json.dumps(record))
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(BadInput, match="its arrays are not those that were saved"):
            checkpointer.restore(make_state(0))
        assert int(checkpointer.restore(make_state(0), step=1).count) == 1


def test_the_hash_sees_every_bit_and_every_name():
    state = {"a": np.zeros(3, np.float32), "b": np.zeros(0, np.int8), "c": np.float32(1.0)}
    others = [
        state | {"a": np.array([0.0, 0.0, -0.0], np.float32)},
        state | {"a": np.zeros(3, np.int32)},
        state | {"a": np.zeros((3, 1), np.float32)},
        {"d" if name == "a" else name: leaf for name, leaf in state.items()},
    ]
    hashes = {checkpoint_record.hash_of(one) for one in (state, *others)}
    assert len(hashes) == 5
    assert checkpoint_record.hash_of(jax.tree.map(jnp.asarray, state)) == checkpoint_record.hash_of(state)


@pytest.mark.parametrize("name", ["manifest.ocdbt", "_sharding", "_METADATA", "_CHECKPOINT_METADATA"])
def test_a_sparse_file_is_not_read_whole(name, tmp_path):
    """Of a tebibyte; Orbax would abort the process."""
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, make_state(1))
    files = list(tmp_path.rglob(name))
    assert files
    for file in files:
        os.truncate(file, 1 << 40)
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(BadInput, match="is larger than"):
        checkpointer.restore(make_state(0))
