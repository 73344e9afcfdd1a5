"""Commands whose learner is one number: all that reads, writes, locks and stops is real, and nothing compiles long.

An update is a function of the learner alone, so a run that goes on has the numbers of one that never stopped.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax import evaluate, sweep, train
from amarl_jax.config.grid import setups_of
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.evaluation.metrics import MetricValue
from amarl_jax.lanes import program as lane_program
from amarl_jax.lanes.behaviour import CONDUCT, FILLS, N_FILLS
from amarl_jax.lanes.layout import lay_out
from amarl_jax.learn import split_update
from tests.tiny_runs import STEPS_PER_UPDATE, TINY

N_UPDATES, N_LANES = 5, 2
SETTINGS = {
    "checkpoint_interval": 2,
    "training.total_timesteps": N_UPDATES * STEPS_PER_UPDATE,
    "logging.use_tensorboard": False,
    "sweep.n_lambdas": N_LANES,
    "sweep.n_seeds": 1,
}
FLAGS = [f"--config={TINY}", *(f"--config.{name}={value}" for name, value in SETTINGS.items())]
SHOWN = ("phase_a/execution/shortfall", "phase_a/execution/completion", "phase_b/belief/final_accuracy")


@struct.dataclass
class Learner:
    """All that is learned."""

    key: jax.Array
    update: jax.Array
    weight: jax.Array


def begin(key, setup):
    return Learner(key, jnp.int32(0), jax.random.uniform(jax.random.clone(key)))


def learn(state):
    """One update, of one learner or of all lanes."""
    weight = state.weight * 0.5 + state.update
    row = {"objective": -jnp.abs(weight - 2.0), **dict.fromkeys(SHOWN, weight / 10.0)}
    return state.replace(update=state.update + 1, weight=weight), row


def advance(state, setup, n_updates):
    rows = []
    for _ in range(n_updates):
        state, row = learn(state)
        rows.append(row)
    return state, {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def compile_lanes(run, lanes):
    layout = lay_out(len(lanes), tuple(jax.devices()[:1]))
    setups = setups_of(lanes, run.experiment)
    return lane_program.Program(lanes, layout, setups, lambda state, setups: learn(state))


def begin_lanes(keys, setups, layout):
    lanes = [begin(key, None) for key in layout.take_back(keys)]
    return layout.place(jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes))


def measure_lanes(lanes, failures, state, layout, run, measured):
    for i in range(len(lanes)):
        if i not in measured.rows:
            number = {"value": float(state.weight[i]), "stderr": 0.5}
            columns = {name: dict(number) for name in (*COLUMNS, "kl_nats", *CONDUCT)}
            measured.keep(i, columns | {"n_episodes": 8, FILLS: [0] * N_FILLS})
    return [measured.rows[i] for i in range(len(lanes))]


def write_answer(run, lanes, rows, failures, spent):
    (run.path / "sweep.json").write_text(repr(rows))
    return {"located": {}, "n_lanes": len(lanes), "n_failed": 0, "seconds": {}}


class Zeros(dict):
    """Metrics of an evaluation, whatever they are called."""

    def __missing__(self, name):
        return MetricValue(0.0, 0.0)


def install(patch):
    """Put the learner of this file into the commands, and nothing where they measure and draw."""
    evaluation = SimpleNamespace(n_episodes=8, n_informed=4, n_read=0, metrics=Zeros(), unread="")
    evaluated = SimpleNamespace(measures={}, evaluation=evaluation)
    for module, name, value in (
        (train, "begin", begin),
        (split_update, "advance", advance),
        (train, "evaluate_state", lambda *_: evaluation),
        (train, "draw_learning", lambda run, *_: (run.path / "training.png").write_bytes(b"drawn")),
        (runs, "begin", begin),
        (evaluate, "evaluate", lambda *_, **__: evaluated),
        (evaluate, "write", lambda folder, *_: (folder / "eval_metrics.json").write_text("{}")),
        (sweep, "compile_lanes", compile_lanes),
        (sweep, "begin_lanes", begin_lanes),
        (sweep, "one_learner", lambda game: jax.eval_shape(begin, jax.random.key(0), None)),
        (sweep, "measure_lanes", measure_lanes),
        (sweep, "write_answer", write_answer),
    ):
        patch.setattr(module, name, value)
