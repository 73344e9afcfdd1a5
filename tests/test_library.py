"""Used from Python, the package leaves the process as it found it."""

import json
import os
import subprocess
import sys

import pytest

CALLS = """
import gc, json, os, sys
import jax

def look():
    return {"environment": dict(os.environ), "garbage": gc.get_threshold(), "jax": dict(jax.config.values)}

class Stopped(Exception):
    pass

def stop(*arguments, **named):  # where the work would begin
    inside.append([jax.config.jax_default_matmul_precision, str(jax.config.jax_compilation_cache_dir)])
    raise Stopped

before, inside = look(), []
from amarl_jax import evaluate, sweep, train
from amarl_jax import config as configuration

assert look() == before, "importing"
train._first_state = sweep.compile_lanes = evaluate._play = stop
train._lengths_ahead = lambda *_: [lambda: jax.jit(lambda x: x + 1.0)(1.0)]  # compiled beside it, in place of an update
config = configuration.load("configs/fast_debug.py:tiny")
config.precision, config.compilation_cache_dir = "tensorfloat32", sys.argv[2]
calls = {
    "train": lambda: train.train(config, "one"),
    "sweep": lambda: sweep.sweep(config, "many"),
    "evaluate": lambda: evaluate.evaluate(sys.argv[1], 20),
}
for name, call in calls.items():
    try:
        call()
    except Stopped:
        after = look()
        for part in before:
            assert after[part] == before[part], f"{name} leaves another {part}"
print(json.dumps(inside))
"""


@pytest.mark.integration
def test_no_environment_variable_no_threshold_and_no_setting_of_jax_is_changed(workdirs, tmp_path):
    cache = str(tmp_path / "cache")
    line = [sys.executable, "-c", CALLS, str(workdirs["run"]), cache]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    inside = json.loads(done.stdout.splitlines()[-1])
    assert inside[:2] == [["tensorfloat32", cache]] * 2
    assert inside[2][0] == "float32", "of the run that is evaluated"
