"""Terms and networks of an update that are no longer finite."""

import math
from collections.abc import Mapping

import jax.numpy as jnp

from amarl_jax.learn.game import Game
from amarl_jax.learn.optimiser import Network
from amarl_jax.learn.phases import learned_metric_names
from amarl_jax.learn.state import TrainState
from amarl_jax.trees import all_finite
from amarl_jax.types import AGENT_NAMES, Agent, Array

_FINITE = "finite/"  # prefix of each network's flag


def networks(state: TrainState) -> dict[str, Network]:
    """Everything that is trained, by name."""
    agents = {AGENT_NAMES[agent]: state.agents[agent] for agent in Agent}
    return agents | {
        "critic": state.critic,
        "belief": state.belief,
        "statistics": state.statistics,
        "predictor": state.predictor,
    }


def finite_networks(state: TrainState) -> dict[str, Array]:
    """1 for every network, by name, whose parameters and optimiser state are all finite, else 0."""
    by_name = networks(state)
    sound = all_finite(list(by_name.values())).astype(jnp.float32)
    return {f"{_FINITE}{name}": sound[i] for i, name in enumerate(by_name)}


def not_finite(row: Mapping[str, float], game: Game) -> tuple[list[str], list[str]]:
    """Terms that are not finite, ``phase/owner/term``, and networks whose parameters or optimiser state are not.

    Terms come in the order in which an update computes them, so the first is nearest to the cause: phase by phase,
    terms of the rollout before those of learning.
    """
    phases, learned = game.phase_names(), learned_metric_names()

    def computed(name: str) -> tuple[int, bool]:
        phase, _, term = name.partition("/")
        return (phases.index(phase) if phase in phases else len(phases), term in learned)

    networks = [name.removeprefix(_FINITE) for name, ok in row.items() if name.startswith(_FINITE) and ok != 1.0]
    terms = [name for name, x in row.items() if not name.startswith(_FINITE) and not math.isfinite(x)]
    return sorted(terms, key=computed), networks
