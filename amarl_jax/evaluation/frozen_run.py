"""A finished run, or one lane of a sweep, read back from its workdir for evaluation.

A sweep's workdir holds what a run's holds and ``lanes.json``, see :mod:`amarl_jax.config.grid`; its checkpoint is
the state of a run with a leading lane axis on every leaf.
"""

import dataclasses
from pathlib import Path

import jax
from ml_collections import ConfigDict

from amarl_jax.config import Experiment
from amarl_jax.config.grid import LANES_FILE, Lane, read_grid, setup_of
from amarl_jax.errors import BadInput
from amarl_jax.host import claim, machine, saved_config, untrusted
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.continuation import OBJECTIVE, require_checkpoint_of
from amarl_jax.host.saved_config import CONFIG_FILE, Saved
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import begin
from amarl_jax.types import PyTree

TRIES = 5  # to read a run that keeps saving checkpoints


@dataclasses.dataclass(frozen=True)
class FrozenRun:
    """A learner as its latest checkpoint has it, and what it was trained on."""

    experiment: Experiment
    config: ConfigDict
    setup: Setup  # of the run, or of the lane
    state: TrainState
    path: Path  # the workdir
    update: int  # updates done by the checkpoint
    lane: int | None = None  # of a sweep
    seed: int = 0  # of the run, or of the lane
    arm: str | None = None  # of the sweep, that the lane belongs to

    def __repr__(self) -> str:
        lane = "" if self.lane is None else f", lane {self.lane}"
        return f"FrozenRun({self.path}, update {self.update}{lane})"


def read_experiment(workdir: str | Path) -> tuple[ConfigDict, Experiment]:
    """The configuration of the run or sweep in ``workdir``; raises :class:`BadInput` if there is none.

    Its device, its cache and its loggers are not taken from there: a folder does not decide what acts on this machine.
    """
    saved = _read_saved(Path(workdir))
    return saved.config, saved.experiment


def _read_saved(path: Path) -> Saved:
    if not (path / CONFIG_FILE).is_file():
        raise BadInput(f"--workdir {path}: holds no run (no {CONFIG_FILE})")
    return saved_config.read(path)


def load(workdir: str | Path, lane: int | None = None, best: bool = False) -> FrozenRun:
    """The run in ``workdir``, or lane ``lane`` of the sweep in it, as its latest checkpoint has it.

    ``best`` takes the checkpoint of a run with the largest objective of execution instead, as estimated by the run's
    own leakage sources. A sweep keeps none.

    Raises:
        BadInput: there is no run, no checkpoint, no such lane, a lane is asked of a single run, or the files are
            not all of one run.
        CheckpointMismatch: the checkpoint does not fit the saved configuration.
    """
    path = Path(workdir)
    saved = _read_saved(path)
    config, experiment = saved.config, saved.experiment
    machine.check_keys(experiment.run)
    lanes = _read_lanes(path, config)
    chosen = _choose_lane(path, lanes, lane)
    setup = experiment.setup if chosen is None else setup_of(chosen, experiment)
    if best and lanes:
        raise BadInput(f"--best: {path} holds a sweep, which keeps its latest checkpoint alone")
    state = _restore(path, saved.fingerprint, setup, len(lanes), best)
    if lanes:
        state = jax.tree.map(lambda leaf: leaf[lane], state)
    seed, arm = (experiment.run.seed, None) if chosen is None else (chosen.seed, chosen.arm)
    return FrozenRun(experiment, config, setup, state, path, int(state.update), lane, seed, arm)


def _read_lanes(path: Path, config: ConfigDict) -> list[Lane]:
    """The lanes of the sweep in a workdir; none if it holds a single run."""
    file = path / LANES_FILE
    if claim.read_maker(path)["command"] != "sweep":
        return []
    if not file.exists() and not file.is_symlink():
        raise BadInput(f"--workdir {path}: is of a sweep that has not begun")
    return read_grid(untrusted.read_text(file), str(file), config)


def _choose_lane(path: Path, lanes: list[Lane], lane: int | None) -> Lane | None:
    if not lanes:
        if lane is not None:
            raise BadInput(f"--lane={lane}: {path} holds a single run, which has no lanes; leave --lane out")
        return None
    if lane is None or not 0 <= lane < len(lanes):
        trouble = "--lane is needed" if lane is None else f"--lane={lane} does not exist"
        raise BadInput(f"{trouble}: {path} holds a sweep of lanes 0 to {len(lanes) - 1}")
    return lanes[lane]


def _restore(path: Path, fingerprint: str, setup: Setup, n_lanes: int, best: bool) -> PyTree:
    """The latest checkpoint, or the best one, with its leading lane axis where there are lanes.

    A run in training may delete this checkpoint meanwhile: then the newer one is read.
    """
    like = jax.eval_shape(begin, jax.random.key(0), setup)
    if n_lanes:
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n_lanes, *leaf.shape), leaf.dtype), like)
    folder = path / "checkpoints"
    if not folder.is_dir():
        raise BadInput(f"--workdir {path}: holds no checkpoint yet")
    for tries_left in reversed(range(TRIES)):
        tried = None
        try:
            untrusted.refuse_links(folder)
            with Checkpointer(folder, best=OBJECTIVE, maximise=True) as checkpoints:
                tried = checkpoints.best_step() if best else checkpoints.latest_step()
                if tried is None:
                    raise BadInput(f"--workdir {path}: holds no checkpoint yet")
                require_checkpoint_of(checkpoints, tried, path, fingerprint, n_lanes, needs_curves=False)
                return checkpoints.restore(like, tried)
        except (BadInput, FileNotFoundError):
            newest = max((int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()), default=None)
            if newest == tried or not tries_left:
                raise
    raise AssertionError("not reached")
