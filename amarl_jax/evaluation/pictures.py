"""Figures of a run, in its folder and its loggers: learning curves, and an episode of its present policies."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from amarl_jax.evaluation.curves import read_curves
from amarl_jax.evaluation.frozen import Trace, play_frozen, trace_columns
from amarl_jax.host.runlog import RunLog
from amarl_jax.host.workdir import Run
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState

SHARE = 0.01  # of a run's time that each kind of figure may take while it trains
CURVES_SECONDS, EPISODE_SECONDS = 3.0, 20.0  # expected for the first figure: matplotlib is imported, a program compiled


class Budget:
    """Time budget of a side task: at most ``SHARE`` of the run's time, if the task takes as long as the last time."""

    def __init__(self, expected: float) -> None:
        self._began, self._spent, self._next = time.perf_counter(), 0.0, expected

    def allows(self) -> bool:
        """True if there is time for one more."""
        return self._spent + self._next <= SHARE * (time.perf_counter() - self._began)

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """Measure one task: a context around it."""
        began = time.perf_counter()
        yield
        self._next = time.perf_counter() - began
        self._spent += self._next


class Pictures:
    """Draws ``training`` and ``episode`` (.png and .pdf) of a run, and shows them in its loggers.

    Args:
        run: whose folder is drawn from and into.
        log: of the run.
        play: one informed episode of a learner, [1, T]; host arrays.
    """

    def __init__(self, run: Run, log: RunLog, play: Callable[[TrainState], Trace]) -> None:
        self._run, self._log, self._play = run, log, play
        self._curves, self._episode = Budget(CURVES_SECONDS), Budget(EPISODE_SECONDS)

    def at_checkpoint(self, update: int, state: TrainState) -> None:
        """Draw both, where loggers show pictures and the budget of time allows it."""
        if not self._log.shows_pictures:
            return
        if self._curves.allows():
            with self._curves.spending():
                self.draw_curves(update)
        if self._episode.allows():
            with self._episode.spending():
                self.draw_episode(update, self._play(state))

    def draw_curves(self, update: int) -> None:
        """Draw the learning curves up to ``update``."""
        from amarl_jax.evaluation.curves_figure import draw_curves  # matplotlib takes a second to import

        draw_curves(read_curves(self._run.path), self._run.path / "training")
        self._log.picture(update, "learning_curves", self._run.path / "training.png")

    def draw_episode(self, update: int, trace: Trace) -> None:
        """Draw the first of the episodes [n, T]."""
        from amarl_jax.evaluation.episode_figures import trace_figure
        from amarl_jax.evaluation.figures import save

        save(trace_figure(trace_columns(trace)), self._run.path / "episode")
        self._log.picture(update, "episode", self._run.path / "episode.png")


def play_one(run: Run, setup: Setup, state: TrainState) -> Trace:
    """An informed episode of a learner under way, [1, T], by a program of as few episodes as hold one."""
    n = max(2, min(64, math.ceil(1.0 / float(setup.params.informed_probability))))
    small = dataclasses.replace(setup.game, learn=dataclasses.replace(setup.game.learn, n_envs=n))
    key = jax.random.fold_in(jax.random.key(run.experiment.run.seed), 2 + int(state.update))
    return jax.tree.map(np.asarray, play_frozen(key, state, setup.replace(game=small), n).trace)
