"""What public functions return says in one line what it is, in place of its arrays."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from amarl_jax.evaluate import Evaluated
from amarl_jax.evaluation.curves import Curve
from amarl_jax.evaluation.frozen_run import FrozenRun
from amarl_jax.evaluation.scripted import PolicyMeasures
from amarl_jax.evaluation.trained_policy import TrainedPolicy
from amarl_jax.sweep import Swept
from amarl_jax.train import TrainResult
from amarl_jax.types import Agent

MANY = np.zeros(5000)
EVALUATION = SimpleNamespace(n_episodes=2048)
PATH = Path("runs/first")


def made(kind, **fields):
    """An instance with these fields, and many numbers in every other."""
    return kind(**{field.name: MANY for field in dataclasses.fields(kind)} | fields)


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (made(TrainResult, evaluation=EVALUATION, workdir=PATH), "TrainResult(runs/first: 2048 fresh episodes)"),
        (made(Evaluated, evaluation=EVALUATION), "Evaluated(5000 measures of 2048 fresh episodes)"),
        (made(Swept, workdir=PATH, failures={3: "loss"}), "Swept(runs/first: 5000 lanes, 1 failed)"),
        (made(FrozenRun, path=PATH, update=30, lane=None), "FrozenRun(runs/first, update 30)"),
        (made(FrozenRun, path=PATH, update=30, lane=2), "FrozenRun(runs/first, update 30, lane 2)"),
        (
            made(TrainedPolicy, policy=SimpleNamespace(agent=Agent.MAKER), units="box"),
            "TrainedPolicy(maker, box units)",
        ),
        (Curve({"update": MANY, "phase_a/x": MANY}), "Curve(2 metrics of 5000 updates, lanes: 1)"),
        (PolicyMeasures({"x": MANY}, SimpleNamespace(z=MANY), ""), "PolicyMeasures(1 metrics of 5000 episodes)"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_result_is_one_line(one, says):
    assert repr(one) == says
