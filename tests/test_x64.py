"""With JAX's 64-bit types enabled the programs are what they are without: 32-bit, and equal up to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax import train
from amarl_jax.adapters.jaxmarl import MarketEnv
from amarl_jax.adapters.playable import Playable
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation.frozen import play_frozen
from amarl_jax.host.runlog import read_metrics
from amarl_jax.learn.state import init_state
from amarl_jax.learn.update import update
from tests.tiny_runs import STEPS_PER_UPDATE, TINY, jax_settings

__all__ = ["jax_settings"]

ROOT = Path(__file__).parents[1]
ONE_UPDATE = f"--config.training.total_timesteps={STEPS_PER_UPDATE}"
IN_64_BITS = """
import json, sys
import jax
from amarl_jax import evaluate, random_play, train

assert jax.numpy.zeros(1).dtype == "float64"
config, steps, ours, theirs = sys.argv[1:]
codes = [
    train.command(["train", f"--config={config}", steps, f"--workdir={ours}"]),
    evaluate.command(["evaluate", "--n_episodes=24", f"--workdir={theirs}"]),
    random_play.command(["random_play", f"--config={config}"]),
]
print(json.dumps(codes))
"""


@pytest.fixture
def in_64_bits():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="module")
def experiment():
    return configuration.resolve(configuration.load(TINY))


def wide_arrays(jaxpr):
    """Arrays of 64-bit floats that a program makes, its loops and branches included; JAX's own scalars do no harm."""
    for equation in jaxpr.eqns:
        inner = [getattr(x, "jaxpr", x) for value in equation.params.values() for x in as_tuple(value)]
        for program in inner:
            if hasattr(program, "eqns"):
                yield from wide_arrays(program)
        for variable in equation.outvars:
            if (
                getattr(variable.aval, "dtype", None) == np.float64
                and variable.aval.shape
                and not variable.aval.weak_type
            ):
                yield f"{equation.primitive.name} {variable.aval} of {equation.source_info.name_stack}"


def as_tuple(value):
    return value if isinstance(value, tuple | list) else (value,)


def test_an_update_and_frozen_episodes_are_32_bit_throughout(in_64_bits, experiment):
    setup = experiment.setup
    key = jax.random.key(0)
    state = jax.eval_shape(lambda k: init_state(k, setup), key)
    programs = {
        "update": (lambda k, s: update(s, setup)),
        "evaluation": (lambda k, s: play_frozen(k, s, setup, 16, False, jnp.int32(0))),
    }
    for name, program in programs.items():
        made = jax.make_jaxpr(program)(key, state)
        assert list(wide_arrays(made.jaxpr)) == [], name
        assert {str(x.dtype) for x in made.out_avals} & {"float64", "int64", "uint64"} == set(), name
    again = jax.eval_shape(programs["update"], key, state)[0]
    assert jax.tree.map(lambda x: x.dtype, again) == jax.tree.map(lambda x: x.dtype, state)


def test_an_environment_of_another_library_takes_64_bit_actions(in_64_bits, experiment):
    env = MarketEnv(Playable(experiment.market_spec, experiment.env_params))
    seen, state = jax.eval_shape(env.reset, jax.random.key(0))
    actions = {name: np.zeros(space.shape) for name, space in env.action_spaces.items()}
    stepped = jax.eval_shape(env.step, jax.random.key(0), state, actions)
    assert {x.dtype for x in jax.tree.leaves((seen, stepped[0], stepped[2]))} == {np.dtype(np.float32)}
    assert jax.tree.map(lambda x: x.dtype, stepped[1]) == jax.tree.map(lambda x: x.dtype, state)


@pytest.mark.slow
@pytest.mark.integration
def test_commands_with_64_bits_train_the_same_run_and_read_one_trained_without(tmp_path):
    without, with_them = tmp_path / "32", tmp_path / "64"
    assert train.command(["train", f"--config={TINY}", ONE_UPDATE, f"--workdir={without}"]) == 0
    line = [sys.executable, "-c", IN_64_BITS, TINY, ONE_UPDATE, str(with_them), str(without)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_ENABLE_X64": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0, 0, 0], done.stderr

    ours, theirs = (runs.load(folder).state for folder in (without, with_them))
    compared = zip(jax.tree.leaves(ours.agents), jax.tree.leaves(theirs.agents), strict=True)
    for mine, other in compared:  # optax corrects the bias of Adam's moments in doubles where there are any
        np.testing.assert_allclose(other, mine, rtol=1e-4, atol=1e-5)
    (mine,), (other,) = (read_metrics(folder / "metrics.jsonl") for folder in (without, with_them))
    played = [name for name in mine if name.startswith("phase_a/") and name.endswith(("/shortfall", "/pnl"))]
    assert played
    assert {name: other[name] for name in played} == pytest.approx(
        {name: mine[name] for name in played}, rel=1e-4, abs=1e-6
    )
