"""Workdirs of a run and of a sweep, as training leaves them, without the training."""

import json

import jax
import jax.numpy as jnp

from amarl_jax import config as configuration
from amarl_jax.checkpoint import Checkpointer
from amarl_jax.learn.hypers import as_arrays as hypers_as_arrays
from amarl_jax.learn.program import begin
from amarl_jax.market.params import as_arrays as params_as_arrays
from amarl_jax.workdir import open_run
from tests.test_train import NARROW, OVERRIDES


def new_state(run, key):
    experiment = run.experiment
    hypers, params = hypers_as_arrays(experiment.hypers), params_as_arrays(experiment.env_params)
    return begin(key, hypers, params, configuration.game_of(experiment))


def make_workdirs(folder):
    """Paths of a run and of a sweep of two lanes, and the states that their checkpoints hold."""
    values = {name: (8,) if value == NARROW else value for name, value in OVERRIDES.items()}
    config = configuration.load("configs/fast_debug.py", values)
    run, sweep = (open_run(config, folder / name) for name in ("run", "sweep"))
    states = [new_state(run, jax.random.key(seed)) for seed in (0, 1)]
    with Checkpointer(run.checkpoints) as checkpoints:
        checkpoints.save(3, states[0])
    with Checkpointer(sweep.checkpoints) as checkpoints:
        checkpoints.save(3, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    lanes = [{"seed": 4, "hypers": {"leakage_weight": 0.25}}, {"seed": 5, "env_params": {"noise_rate": 3.0}}]
    (sweep.path / "lanes.json").write_text(json.dumps(lanes))
    return {"run": run.path, "sweep": sweep.path, "states": states, "network": run.experiment.network_spec}
