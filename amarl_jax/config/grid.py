"""The lanes of a sweep: penalties times values of a second axis times seeds, and the text that names them.

The text of ``lanes.json`` is a list of one object per lane, with its ``seed``, its ``arm`` and the leaves it changes:
``{"seed": 3, "arm": "main", "weights": {"leakage_weight": 0.5}, "hypers": {}, "env_params": {}}``.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from amarl_jax.config.consistency import check_consistency
from amarl_jax.config.experiment import Experiment
from amarl_jax.config.loading import flatten, varied_by_lanes
from amarl_jax.config.settings import BAGS, ENV, HYPER, SETTINGS, WEIGHT, whole
from amarl_jax.errors import BadInput, ConfigError
from amarl_jax.learn.setup import Setup
from amarl_jax.types import Array

LANES_FILE = "lanes.json"  # of a sweep's workdir
MAIN = "main"  # the arm of a sweep without a second axis
PENALTY = "leakage_weight"  # the leaf of RewardWeights that is lambda


@dataclasses.dataclass(frozen=True)
class Lane:
    """One learner of a sweep and the leaves in which it differs from the configuration."""

    seed: int  # its keys depend on it alone: lanes of one seed share random numbers across penalties
    weights: dict[str, Any]  # changed leaves of RewardWeights, lambda among them
    hypers: dict[str, Any]  # changed leaves of Hypers
    env_params: dict[str, Any]  # changed leaves of EnvParams
    arm: str = MAIN  # names what differs beside lambda and seed

    @property
    def penalty(self) -> float:
        """Lambda."""
        return self.weights[PENALTY]

    def __str__(self) -> str:
        arm = "" if self.arm == MAIN else f"{self.arm}, "
        return f"{arm}lambda {self.penalty:g}, seed {self.seed}"


def check_grid(experiment: Experiment) -> None:
    """Raise :class:`ConfigError` where a setting of single runs has no meaning in a sweep."""
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
        Lane(first + i, **{bag: {**own, **changes.get(bag, {})} for bag, own in bags.items()}, arm=arm)
        for arm, changes in _arms(experiment)
        for bags in ({WEIGHT: {PENALTY: penalty}, HYPER: {}, ENV: {}} for penalty in sweep.lambdas())
        for i in range(sweep.n_seeds)
    ]


def _arms(experiment: Experiment) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """Name and changed leaves, by bag, at each value of the second axis."""
    sweep = experiment.sweep
    if sweep.axis == "none":
        return [(MAIN, {})]
    bag, _, leaf = SETTINGS[sweep.axis].target.partition(".")
    return [(f"{leaf}={value:.9g}", {bag: {leaf: value}}) for value in sweep.axis_values]


def setup_of(lane: Lane, experiment: Experiment) -> Setup:
    """The setup of a lane: the experiment's, with the leaves that the lane changes."""
    changed = {bag: dataclasses.replace(getattr(experiment, bag), **getattr(lane, bag)) for bag in BAGS}
    return dataclasses.replace(experiment, **changed).setup


def setups_of(lanes: Sequence[Lane], experiment: Experiment) -> Setup:
    """The setups of lanes as one, with leaves [n_lanes, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(setup_of(lane, experiment) for lane in lanes))


def keys_of(lanes: Sequence[Lane]) -> tuple[Array, Array]:
    """Keys of training and of evaluation, [n_lanes] each: those of a single run with the lane's seed."""
    train, play = zip(*(tuple(jax.random.split(jax.random.key(lane.seed))) for lane in lanes), strict=True)
    return jnp.stack(train), jnp.stack(play)


def grid_text(lanes: Sequence[Lane]) -> str:
    """The text of ``lanes.json``, which :func:`read_grid` reads."""
    rows: list[dict[str, Any]] = [dataclasses.asdict(lane) for lane in lanes]
    return json.dumps(rows, indent=1) + "\n"


def read_rows(text: str, where: str) -> list[dict[str, Any]]:
    """The objects in a text of ``lanes.json``, their contents unchecked; raises :class:`BadInput`, led by ``where``."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput(f"{where}: is not JSON") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{where}: must be a list of lanes")
    return rows


def read_grid(text: str, where: str, config: ConfigDict) -> list[Lane]:
    """The lanes in a text of ``lanes.json``, checked as settings of ``config`` are.

    Raises:
        BadInput: led by ``where``, the text is not of lanes, or a lane has a seed, an arm or a leaf it cannot have.
    """
    rows, settings = read_rows(text, where), flatten(config)
    for number, row in enumerate(rows):
        changes = {"seed": row.get("seed", 0)}
        for bag in BAGS:
            changes |= _changed_settings(where, bag, row.get(bag, {}))
        try:
            _check(settings, changes)
        except ConfigError as error:
            raise BadInput(f"{where}: lane {number}: {error}") from None
    return [
        Lane(
            seed=int(row.get("seed", settings["seed"])),
            **{bag: row.get(bag, {}) for bag in BAGS},
            arm=str(row.get("arm", MAIN)),
        )
        for row in rows
    ]


def _changed_settings(where: str, bag: str, leaves: Any) -> dict[str, Any]:
    """The values that a lane changes, by the names of the settings that feed those leaves."""
    if not isinstance(leaves, dict):
        raise BadInput(f"{where}: {bag} must be an object of names and numbers")
    names = varied_by_lanes()
    for leaf in leaves:
        if f"{bag}.{leaf}" not in names:
            raise BadInput(f"{where}: {bag} has no {leaf!r} that lanes differ in")
    return {names[f"{bag}.{leaf}"]: value for leaf, value in leaves.items()}


def _check(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    """Raise :class:`ConfigError` unless the changes are values of settings, and fit the others."""
    for name, value in changes.items():
        if not SETTINGS[name].admits(whole(value, SETTINGS[name].kind)):
            raise ConfigError(name, value, SETTINGS[name].refusal(value))
    check_consistency(settings | changes)
