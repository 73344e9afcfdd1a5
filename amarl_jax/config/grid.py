"""The lanes of a sweep: penalties times values of a second axis times seeds, and the file that names them."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from amarl_jax.config import Experiment
from amarl_jax.config.settings import SETTINGS
from amarl_jax.errors import ConfigError
from amarl_jax.evaluation.frozen_run import MAIN
from amarl_jax.host.continuation import LANES_FILE
from amarl_jax.host.workdir import write_atomically
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.hypers import as_arrays as hypers_as_arrays
from amarl_jax.market.params import EnvParams
from amarl_jax.market.params import as_arrays as params_as_arrays
from amarl_jax.types import Array

PENALTY = "leakage_weight"  # the leaf of Hypers that is lambda


@dataclasses.dataclass(frozen=True)
class Lane:
    """One learner of a sweep and the leaves in which it differs from the configuration."""

    seed: int  # its keys depend on it alone: lanes of one seed share their luck across penalties
    hypers: dict[str, Any]  # changed leaves of Hypers, lambda among them
    env_params: dict[str, Any]  # changed leaves of EnvParams
    arm: str = MAIN  # names what differs beside lambda and seed

    @property
    def penalty(self) -> float:
        """Lambda."""
        return self.hypers[PENALTY]

    def __str__(self) -> str:
        arm = "" if self.arm == MAIN else f"{self.arm}, "
        return f"{arm}lambda {self.penalty:g}, seed {self.seed}"


def check_grid(experiment: Experiment) -> None:
    """Raise :class:`ConfigError` where a setting that single runs may have means nothing to a sweep."""
    first, n_seeds = experiment.run.seed, experiment.sweep.n_seeds
    if not SETTINGS["seed"].admits(first + n_seeds - 1):
        raise ConfigError("seed", first, f"such that the last of {n_seeds} seeds is {SETTINGS['seed'].allowed}")
    if experiment.run.use_wandb:
        reason = (
            "False in a sweep: W&B takes one value per update and name, and a sweep has many; TensorBoard shows lanes"
        )
        raise ConfigError("logging.use_wandb", True, reason)


def lanes_of(experiment: Experiment) -> list[Lane]:
    """Every lane: arms outermost, then penalties ascending, then seeds from ``config.seed`` on."""
    sweep, first = experiment.sweep, experiment.run.seed
    return [
        Lane(first + i, {PENALTY: penalty, **changes.get("hypers", {})}, changes.get("env_params", {}), arm)
        for arm, changes in _arms(experiment)
        for penalty in sweep.lambdas()
        for i in range(sweep.n_seeds)
    ]


def _arms(experiment: Experiment) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """Name and changed leaves, by bag, at each value of the second axis."""
    sweep = experiment.sweep
    if sweep.axis == "none":
        return [(MAIN, {})]
    bag, _, leaf = SETTINGS[sweep.axis].target.partition(".")
    return [(f"{leaf}={value:.9g}", {bag: {leaf: value}}) for value in sweep.axis_values]


def numbers_of(lanes: Sequence[Lane], experiment: Experiment) -> tuple[Hypers, EnvParams]:
    """Traced leaves with a leading lane axis, [n_lanes, ...]."""
    hypers = [hypers_as_arrays(dataclasses.replace(experiment.hypers, **lane.hypers)) for lane in lanes]
    params = [params_as_arrays(dataclasses.replace(experiment.env_params, **lane.env_params)) for lane in lanes]
    stack = lambda *leaves: jnp.stack(leaves)  # noqa: E731
    return jax.tree.map(stack, *hypers), jax.tree.map(stack, *params)


def keys_of(lanes: Sequence[Lane]) -> tuple[Array, Array]:
    """Keys of training and of evaluation, [n_lanes] each: those of a single run with the lane's seed."""
    train, play = zip(*(tuple(jax.random.split(jax.random.key(lane.seed))) for lane in lanes), strict=True)
    return jnp.stack(train), jnp.stack(play)


def write_grid(folder: Path, lanes: Sequence[Lane]) -> None:
    """``lanes.json``, as :mod:`amarl_jax.evaluation.frozen_run` reads it."""
    rows: list[dict[str, Any]] = [dataclasses.asdict(lane) for lane in lanes]
    write_atomically(folder / LANES_FILE, (json.dumps(rows, indent=1) + "\n").encode())
