"""Starting from another run's networks."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.host.checkpoint import require_equal_shapes
from amarl_jax.learn.optimiser import Network
from amarl_jax.learn.state import TrainState

_TAKEN = ("agents", "critic", "belief", "statistics", "predictor")


class Source(NamedTuple):
    """A run whose networks another one begins with."""

    workdir: Path
    lane: int | None = None  # of a sweep


def begin_with(state: TrainState, workdir: str | Path, lane: int | None = None) -> TrainState:
    """A fresh learner with the networks of the latest checkpoint in ``workdir``, or of a lane of the sweep there.

    Taken are the parameters of every network and the state of the information's estimator. Optimisers, replay, keys
    and the count of updates are those of a fresh learner.

    Raises:
        CheckpointMismatch: a network there has other shapes; names every array that differs.
        BadInput: there is nothing to take.
    """
    other = runs.load(workdir, lane).state
    require_equal_shapes(networks_of(other), networks_of(state), f"--init_from {workdir}")
    return with_networks_of(state, other)


def networks_of(state: TrainState) -> dict[str, object]:
    """The parts of a learner that are taken, by name."""
    trained = {name: getattr(state, name) for name in _TAKEN}
    agents = trained.pop("agents")
    parameters = {name: network.params for name, network in (trained | agents._asdict()).items()}
    return parameters | {"estimator": state.estimator}


def with_networks_of(state: TrainState, other: TrainState) -> TrainState:
    """``state`` with the networks of ``other``, of equal shapes."""

    def taken(mine: Network, theirs: Network) -> Network:
        return dataclasses.replace(mine, params=theirs.params)

    agents = type(state.agents)(*map(taken, state.agents, other.agents))
    names = [name for name in _TAKEN if name != "agents"]
    parts = {name: taken(getattr(state, name), getattr(other, name)) for name in names}
    return state.replace(agents=agents, estimator=other.estimator, **parts)
