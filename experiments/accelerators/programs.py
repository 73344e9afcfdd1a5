"""The programs that are compiled for a device that is not there, from shapes alone."""

import dataclasses
from typing import Any

import attention
import jax
import numpy as np

from amarl_jax import config as configuration
from amarl_jax.config.grid import lanes_of
from amarl_jax.lanes.layout import advance_lanes, lay_out
from amarl_jax.learn.cost import abstract_state
from amarl_jax.learn.update import advance
from amarl_jax.random_play import play


@dataclasses.dataclass(frozen=True)
class Program:
    """One program of one configuration."""

    kind: str  # play, update or sweep; or attention, of which see attention.py
    config: str  # path, with its variant
    n_envs: int | None = None  # default: the configuration's
    n_devices: int = 1


PROGRAMS = {
    "play_debug": Program("play", "configs/fast_debug.py"),
    "play_default": Program("play", "configs/default.py", n_envs=4096),
    "update_debug": Program("update", "configs/fast_debug.py"),
    "update_default": Program("update", "configs/default.py"),
    "sweep_debug": Program("sweep", "configs/lambda_sweep.py:fast", n_devices=4),
    "attention_blocks": Program("attention in blocks", "configs/default.py", n_envs=16),
    "attention_library": Program("attention of the library", "configs/default.py", n_envs=16),
    "ring_whole": Program("attention to the whole ring", "configs/default.py"),
    "ring_written": Program("attention to the written ring", "configs/default.py"),
}
ATTENTION = tuple(name for name, program in PROGRAMS.items() if program.kind.startswith("attention"))


def experiment_of(program):
    """The configuration that a program is of."""
    config = configuration.load(program.config)
    if program.n_envs is not None:
        config.training.n_envs = program.n_envs
    return configuration.resolve(config)


def steps_of(program):
    """Environment steps that one run of the program takes in an environment, and in all."""
    experiment = experiment_of(program)
    horizon, learn = experiment.market_spec.horizon, experiment.learn_spec
    if program.kind not in ("update", "sweep"):
        return horizon, horizon * learn.n_envs
    game = experiment.game
    n_lanes = len(lanes_of(experiment)) if program.kind == "sweep" else 1
    return game.steps_per_update() // learn.n_envs, game.steps_per_update() * n_lanes


def trace(program, devices):
    """The program traced for the first ``n_devices`` of the devices, in the precision that a run has."""
    experiment = experiment_of(program)
    with jax.default_matmul_precision(experiment.run.products):
        return _traced(program, experiment, devices)


def _traced(program, experiment, devices):
    place = jax.sharding.SingleDeviceSharding(devices[0])
    if program.kind.startswith("attention"):
        make, other = (attention.playing, "written") if "ring" in program.kind else (attention.learning, "library")
        attend, shape = make(experiment, other in program.kind)
        return jax.jit(attend).trace(_placed(shape, place))
    setup = experiment.setup
    form = {"gpu": "kernel", "cuda": "kernel"}.get(devices[0].platform, "parallel")  # this process sees a CPU
    setup = setup.replace(game=dataclasses.replace(setup.game, recurrence=form))
    if program.kind == "play":
        key = jax.eval_shape(lambda: jax.random.key(0))
        key, params = _placed((key, setup.params), place)
        return play.trace(key, params, spec=experiment.market_spec, n_envs=experiment.learn_spec.n_envs)
    learner = abstract_state(setup), setup
    if program.kind == "update":
        return advance.trace(*_placed(learner, place), n_updates=1)
    lanes = lanes_of(experiment)
    layout = lay_out(len(lanes), tuple(devices[: program.n_devices]))
    return advance_lanes.trace(*_placed(learner, layout.sharding, (layout.n_padded,)), layout=layout)


def _placed(tree: Any, sharding: Any, leading: tuple[int, ...] = ()) -> Any:
    """Shapes of a tree, on devices, with more leading axes."""
    shape = lambda x: jax.ShapeDtypeStruct((*leading, *np.shape(x)), x.dtype, sharding=sharding)  # noqa: E731
    return jax.tree.map(shape, tree)
