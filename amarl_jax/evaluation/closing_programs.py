"""The programs that measure a trained run, to be compiled while it trains.

They play with a rollout of their own. That of training is inside of the update's program, no part of which can be
called, and keeps what learning needs; a second one, compiled beside training, costs no waiting on a second core.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.evaluation.frozen import frozen_program, play_frozen
from amarl_jax.evaluation.metrics import DETECTOR
from amarl_jax.host.compile_ahead import like
from amarl_jax.information.detector import summarise
from amarl_jax.information.tape_detector import fold_program, plan_tapes
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.posterior.exact import ExactSpec


def closing_programs(
    state: TrainState, setup: Setup, n_episodes: int, exact: ExactSpec | None
) -> list[Callable[[], Any]]:
    """Jobs that compile the program that plays fresh episodes, and the programs of a fresh detector.

    Args:
        state: a learner as it will be measured, or shapes of one.
        setup: what it is trained with.
        n_episodes: of the closing table.
        exact: how many of them are read exactly, None for none.
    """
    shapes: tuple[Any, Any, Any] = like((jax.random.key(0), state, setup))  # taken before an update donates the learner

    def play() -> None:
        frozen_program(*shapes, n_episodes, exact=exact)

    def detect() -> None:
        played = play_frozen.eval_shape(*shapes, n_episodes, exact=exact).summary
        n, horizon, n_rows = played.tape.side.shape
        z = np.arange(n, dtype=np.int32) % 2  # any labels: the shapes of a plan do not depend on them
        design = plan_tapes(jax.random.key(0), z, horizon, n_rows, DETECTOR)
        labels: Any
        labels, ratios = (jax.ShapeDtypeStruct((n,), dtype) for dtype in (jnp.int32, jnp.float32))
        fold_program(design, played.tape, labels, like(jnp.float32(0.5)), DETECTOR)
        summarise.lower(ratios, labels, 0.5).compile()

    return [play, detect]
