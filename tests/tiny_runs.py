"""Runs as small as they go, and the workdirs of a run and of a sweep as training leaves them, without the training.

What the test files of several commands make, read and stop.
"""

import dataclasses
import json
import os
import signal
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from tensorboardX.proto.event_pb2 import Event

from amarl_jax import config as configuration
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.continuation import hash_of_lanes
from amarl_jax.host.runlog import RunLog, read_metrics
from amarl_jax.host.saved_config import fingerprint
from amarl_jax.host.workdir import open_run
from amarl_jax.learn.update import begin

TINY = "configs/fast_debug.py:tiny"  # three updates
N_UPDATES = 3
STEPS_PER_UPDATE = 2 * 12 * 8  # two phases of one 12-step episode in 8 environments
SETTINGS = (  # of JAX, those that a run computes with
    "jax_default_matmul_precision",
    "jax_default_device",
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(scope="module", autouse=True)
def jax_settings(tmp_path_factory):
    """The precision of the runs, so that programs are shared; these run for seconds, so they are not optimised.

    A second process finds them compiled: the cache is the caller's, else one of our own. Whatever a module trains,
    sweeps or evaluates, JAX's own settings are afterwards what they were.
    """
    precision = jax.config.jax_default_matmul_precision
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_default_matmul_precision", "float32")
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    with pytest.MonkeyPatch.context() as patch:
        if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
            patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
    after = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_default_matmul_precision", precision)
    assert after == before


def tree(folder: Path):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def numbers(workdir: Path):
    """The rows of metrics.jsonl without the clock, in the order they were written."""
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.startswith("wall_")} for row in rows]


def shown_in(folder: Path):
    """Step and value of all that the one event file of a folder shows.

    A record is a length, its checksum, the event, its checksum.
    """
    (file,) = (path for path in folder.iterdir() if path.is_file())
    data, shown = file.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + size])
        shown += [(event.step, value) for value in event.summary.value]
        data = data[16 + size :]
    return shown


def terminate_after(update: int, monkeypatch):
    """Send this process SIGTERM as soon as an update's metrics have been written."""
    write = RunLog.write

    def write_and_stop(log, done, metrics):
        write(log, done, metrics)
        if done == update:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunLog, "write", write_and_stop)


def new_state(run, key):
    return begin(key, run.experiment.setup)


def save_trained(run, state, n_lanes=0):
    """The learning curves and the last checkpoint of a run that has trained."""
    bare = dataclasses.replace(run.experiment.run, use_tensorboard=False)
    run = dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, run=bare))
    with RunLog(run) as log, Checkpointer(run.checkpoints, best="objective", maximise=True) as checkpoints:
        for update in range(1, N_UPDATES + 1):
            for lane in [{}] if n_lanes == 0 else [{"lane": i} for i in range(n_lanes)]:
                log.write(update, lane | {"env_steps": update * STEPS_PER_UPDATE, "objective": -float(update)})
        training = log.training(run.fingerprint, hash_of_lanes(run.path))
        checkpoints.save(N_UPDATES, state, {"objective": -float(N_UPDATES)}, training)


def edit_config(workdir: Path, change):
    """Change a saved configuration, and its hash in the records of the checkpoints: what is wrong is found later."""
    document = json.loads((workdir / "config.json").read_text())
    change(document)
    (workdir / "config.json").write_text(json.dumps(document))
    for file in workdir.glob("checkpoints/*/_CHECKPOINT_METADATA"):
        metadata = json.loads(file.read_text())
        training = metadata["custom_metadata"]["amarl_jax"]["training"]
        training["configuration"] = fingerprint((workdir / "config.json").read_text())
        file.write_text(json.dumps(metadata))


def make_workdirs(folder):
    """Paths of a run and of a sweep of two lanes, and the states that their checkpoints hold."""
    config = configuration.load(TINY)
    run, sweep = (
        open_run(config, folder / name, command=made) for name, made in (("run", "train"), ("sweep", "sweep"))
    )
    states = [new_state(run, jax.random.key(seed)).replace(update=jnp.int32(N_UPDATES)) for seed in (0, 1)]
    lanes = [{"seed": 4, "weights": {"leakage_weight": 0.25}}, {"seed": 5, "env_params": {"noise_rate": 1.5}}]
    (sweep.path / "lanes.json").write_text(json.dumps(lanes))
    save_trained(run, states[0])
    save_trained(sweep, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), len(lanes))
    return {"run": run.path, "sweep": sweep.path, "states": states, "network": run.experiment.network_spec}
