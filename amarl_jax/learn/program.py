"""The compiled programs of a run, each jitted in one place."""

import functools

import jax

from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.metrics import Metrics
from amarl_jax.learn.state import TrainState, init_state
from amarl_jax.learn.update import train_chunk
from amarl_jax.market.params import EnvParams
from amarl_jax.types import Array


@functools.partial(jax.jit, static_argnames=("game",))
def begin(key: Array, hypers: Hypers, params: EnvParams, game: Game) -> TrainState:
    """A fresh learner, compiled."""
    return init_state(key, game, hypers, params)


@functools.partial(jax.jit, static_argnames=("game", "n_updates"), donate_argnames=("state",))
def advance(
    state: TrainState, hypers: Hypers, params: EnvParams, game: Game, n_updates: int
) -> tuple[TrainState, Metrics]:
    """``n_updates`` updates, compiled; the state given is consumed. Metrics carry a leading [n_updates] axis."""
    return train_chunk(state, hypers, params, game, n_updates)
