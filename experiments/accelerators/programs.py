"""The programs that are compiled for a device that is not there, from shapes alone."""

import dataclasses
from typing import Any

import jax
import numpy as np

from amarl_jax import config as configuration
from amarl_jax.config.grid import lanes_of, numbers_of
from amarl_jax.lanes.layout import advance_lanes, lay_out
from amarl_jax.learn.cost import abstract_state
from amarl_jax.learn.hypers import as_arrays as hypers_as_arrays
from amarl_jax.learn.program import advance
from amarl_jax.market.params import as_arrays as params_as_arrays
from amarl_jax.random_play import play


@dataclasses.dataclass(frozen=True)
class Program:
    """One program of one configuration."""

    kind: str  # play, update or sweep
    config: str  # path, with its variant
    n_envs: int | None = None  # default: the configuration's
    n_devices: int = 1


PROGRAMS = {
    "play_debug": Program("play", "configs/fast_debug.py"),
    "play_default": Program("play", "configs/default.py", n_envs=4096),
    "update_debug": Program("update", "configs/fast_debug.py"),
    "update_default": Program("update", "configs/default.py"),
    "sweep_debug": Program("sweep", "configs/lambda_sweep.py:fast", n_devices=4),
}


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
    if program.kind == "play":
        return horizon, horizon * learn.n_envs
    game = configuration.game_of(experiment)
    n_lanes = len(lanes_of(experiment)) if program.kind == "sweep" else 1
    return game.steps_per_update() // learn.n_envs, game.steps_per_update() * n_lanes


def trace(program, devices):
    """The program traced for the first ``n_devices`` of the devices."""
    experiment = experiment_of(program)
    place = jax.sharding.SingleDeviceSharding(devices[0])
    params, hypers = params_as_arrays(experiment.env_params), hypers_as_arrays(experiment.hypers)
    if program.kind == "play":
        key = jax.eval_shape(lambda: jax.random.key(0))
        key, params = _placed((key, params), place)
        return play.trace(key, params, spec=experiment.market_spec, n_envs=experiment.learn_spec.n_envs)
    game = configuration.game_of(experiment)
    if program.kind == "update":
        learner = _placed((abstract_state(hypers, params, game), hypers, params), place)
        return advance.trace(*learner, game=game, n_updates=1)
    lanes = lanes_of(experiment)
    layout = lay_out(len(lanes), tuple(devices[: program.n_devices]))
    bags = (abstract_state(hypers, params, game), *(_first(bag) for bag in numbers_of(lanes, experiment)))
    return advance_lanes.trace(
        *(_placed(bag, layout.sharding, (layout.n_padded,)) for bag in bags), game=game, layout=layout
    )


def _first(lanes: Any) -> Any:
    """One lane of a tree with a leading axis."""
    return jax.tree.map(lambda x: np.asarray(x)[0], lanes)


def _placed(tree: Any, sharding: Any, leading: tuple[int, ...] = ()) -> Any:
    """Shapes of a tree, on devices, with more leading axes."""
    shape = lambda x: jax.ShapeDtypeStruct((*leading, *np.shape(x)), x.dtype, sharding=sharding)  # noqa: E731
    return jax.tree.map(shape, tree)
