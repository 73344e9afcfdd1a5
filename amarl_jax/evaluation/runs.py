"""A finished run, or one lane of a sweep, read back from its workdir for evaluation.

A sweep's workdir holds, beside what a run's holds, ``lanes.json``: one object per lane with its ``seed`` and the leaves
it changes, ``{"seed": 3, "hypers": {"leakage_weight": 0.5}, "env_params": {}}``; its checkpoint is the state of a run
with a leading lane axis on every leaf.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from amarl_jax import config as configuration
from amarl_jax import machine, untrusted
from amarl_jax.checkpoint import Checkpointer
from amarl_jax.config import Experiment, game_of
from amarl_jax.consistency import check_consistency
from amarl_jax.errors import BadInput, ConfigError
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.hypers import as_arrays as hypers_as_arrays
from amarl_jax.learn.program import begin
from amarl_jax.learn.state import TrainState
from amarl_jax.market.params import EnvParams
from amarl_jax.market.params import as_arrays as params_as_arrays
from amarl_jax.settings import SETTINGS, whole
from amarl_jax.types import PyTree

LANES_FILE = "lanes.json"
MAIN = "main"  # the arm of a sweep without a second axis


@dataclasses.dataclass(frozen=True)
class FrozenRun:
    """A learner as its latest checkpoint has it, and what it was trained on."""

    experiment: Experiment
    config: ConfigDict
    game: Game
    hypers: Hypers
    params: EnvParams
    state: TrainState
    path: Path  # the workdir
    update: int  # updates done
    lane: int | None = None  # of a sweep
    seed: int = 0  # of the run, or of the lane
    arm: str | None = None  # of the sweep, that the lane belongs to


def read_experiment(workdir: str | Path) -> tuple[ConfigDict, Experiment]:
    """The configuration of the run or sweep in ``workdir``; raises :class:`BadInput` if there is none."""
    path = Path(workdir)
    if not (path / "config.json").is_file():
        raise BadInput(f"--workdir {path}: holds no run (no config.json)")
    config = configuration.load_json(untrusted.read_text(path / "config.json"))
    experiment = configuration.resolve(config)
    if experiment.run.compilation_cache_dir != "off":  # it holds machine code: never from where a workdir says
        experiment = dataclasses.replace(
            experiment, run=dataclasses.replace(experiment.run, compilation_cache_dir="auto")
        )
    return config, experiment


def load(workdir: str | Path, lane: int | None = None) -> FrozenRun:
    """The run in ``workdir``, or lane ``lane`` of the sweep in it.

    Raises:
        BadInput: there is no run, no checkpoint, no such lane, or a lane is asked of a single run.
        CheckpointMismatch: the checkpoint does not fit the saved configuration.
    """
    path = Path(workdir)
    config, experiment = read_experiment(path)
    machine.check_keys(experiment.run)
    game = game_of(experiment)
    hypers, params = experiment.hypers, experiment.env_params
    lanes = _read_lanes(path, config)
    chosen = _choose_lane(path, lanes, lane)
    if chosen is not None:
        hypers = dataclasses.replace(hypers, **chosen.get("hypers", {}))
        params = dataclasses.replace(params, **chosen.get("env_params", {}))
    hypers, params = hypers_as_arrays(hypers), params_as_arrays(params)
    state = _restore(path, game, hypers, params, len(lanes) if lanes else None)
    if lanes:
        state = jax.tree.map(lambda leaf: leaf[lane], state)
    seed = experiment.run.seed if chosen is None else int(chosen.get("seed", experiment.run.seed))
    arm = None if chosen is None else str(chosen.get("arm", MAIN))
    return FrozenRun(experiment, config, game, hypers, params, state, path, int(state.update), lane, seed, arm)


def _read_lanes(path: Path, config: ConfigDict) -> list[dict[str, Any]]:
    """The lanes of the sweep in a workdir, checked as settings are; none if it holds a single run."""
    file = path / LANES_FILE
    if not file.exists() and not file.is_symlink():
        return []
    lanes = untrusted.parse_json(untrusted.read_text(file), file)
    if not isinstance(lanes, list) or not all(isinstance(lane, dict) for lane in lanes):
        raise BadInput(f"{file}: must be a list of lanes")
    settings = configuration.flatten(config)
    for number, lane in enumerate(lanes):
        changes = {"seed": lane.get("seed", 0)}
        for bag in ("hypers", "env_params"):
            changes |= _changed_settings(file, bag, lane.get(bag, {}))
        try:
            _check(settings, changes)
        except ConfigError as error:
            raise BadInput(f"{file}: lane {number}: {error}") from None
    return lanes


def _changed_settings(file: Path, bag: str, leaves: Any) -> dict[str, Any]:
    """What a lane changes, by the names of the settings that feed those leaves."""
    if not isinstance(leaves, dict):
        raise BadInput(f"{file}: {bag} must be an object of names and numbers")
    names = configuration.varied_by_lanes()
    for leaf in leaves:
        if f"{bag}.{leaf}" not in names:
            raise BadInput(f"{file}: {bag} has no {leaf!r} that lanes differ in")
    return {names[f"{bag}.{leaf}"]: value for leaf, value in leaves.items()}


def _check(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    """Raise :class:`ConfigError` unless the changes are values of settings, and fit the others."""
    for name, value in changes.items():
        if not SETTINGS[name].admits(whole(value, SETTINGS[name].kind)):
            raise ConfigError(name, value, SETTINGS[name].refusal(value))
    check_consistency(settings | changes)


def _choose_lane(path: Path, lanes: list[dict[str, Any]], lane: int | None) -> dict[str, Any] | None:
    if not lanes:
        if lane is not None:
            raise BadInput(f"--lane={lane}: {path} holds a single run, which has no lanes; leave --lane out")
        return None
    if lane is None or not 0 <= lane < len(lanes):
        trouble = "--lane is needed" if lane is None else f"--lane={lane} does not exist"
        raise BadInput(f"{trouble}: {path} holds a sweep of lanes 0 to {len(lanes) - 1}")
    return lanes[lane]


def _restore(path: Path, game: Game, hypers: Hypers, params: EnvParams, n_lanes: int | None) -> PyTree:
    """The latest checkpoint, with its leading lane axis where there are lanes."""
    make = functools.partial(begin, game=game)
    like = jax.eval_shape(make, jax.random.key(0), hypers, params)
    if n_lanes is not None:
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n_lanes, *leaf.shape), leaf.dtype), like)
    if not (path / "checkpoints").is_dir():
        raise BadInput(f"--workdir {path}: holds no checkpoint yet")
    untrusted.refuse_links(path / "checkpoints")
    with Checkpointer(path / "checkpoints") as checkpoints:
        if checkpoints.latest_step() is None:
            raise BadInput(f"--workdir {path}: holds no checkpoint yet")
        return checkpoints.restore(like)
