"""The compiled update of all lanes of a sweep, laid out in what memory allows."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax

from amarl_jax.config.grid import Lane, setups_of
from amarl_jax.host import machine
from amarl_jax.host import processes as hosts
from amarl_jax.host.stages import of_sizes, stage
from amarl_jax.host.workdir import Run
from amarl_jax.lanes.layout import Layout, advance_lanes, lay_out
from amarl_jax.learn import cost
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.market.table_noise import like
from amarl_jax.types import PyTree

IN_CACHE = 8  # lanes that a processor computes at once by default: their arrays stay in its caches


@dataclasses.dataclass(frozen=True)
class Program:
    """The sweep's lanes, placed, and the compiled update of them all."""

    lanes: list[Lane]
    layout: Layout
    setups: Setup  # [n_padded, ...]
    advance: Callable[..., tuple[TrainState, dict[str, Any]]]


def devices_of(run: Run) -> tuple[jax.Device, ...]:
    """The devices that lanes are spread over."""
    return machine.find_devices(run.experiment.run.device, run.n_devices)


def compile_lanes(run: Run, lanes: list[Lane]) -> Program:
    """Lay the lanes out in what memory allows, and compile their update: once, if the first layout fits."""
    experiment, devices = run.experiment, devices_of(run)
    setups = setups_of(lanes, experiment)
    at_most = experiment.sweep.lanes_at_once or (IN_CACHE if devices[0].platform == "cpu" else 0)
    layout = lay_out(len(lanes), devices, at_most)
    sizes, verbose = f"{len(lanes)} {of_sizes(experiment)}", experiment.run.verbose
    with stage("compiling the update of all lanes", verbose=verbose, remember=sizes):
        compiled = _compile(setups.game, layout, experiment.run.products)
    fit = hosts.smallest(lanes_that_fit(compiled.memory_analysis(), layout))
    if fit < layout.at_once:
        layout = lay_out(len(lanes), devices, fit)
        with stage("compiling it again, for as many lanes at once as fit", verbose=verbose, remember=sizes):
            compiled = _compile(setups.game, layout, experiment.run.products)
    n_devices, n_more = len(layout.devices), layout.n_padded - len(lanes)
    hosts.say(
        f"{_many(len(lanes), 'lane')} of {_many(experiment.n_updates, 'update')}: {layout.at_once} at once on "
        f"{'each of ' * (n_devices > 1)}{_many(n_devices, 'device')}, {_many(layout.rounds, 'round')}"
        + (f", {_many(n_more, 'lane')} of padding" if n_more else "")
    )
    return Program(lanes, layout, layout.place(setups), compiled)


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


@functools.lru_cache(maxsize=2)
def _compile(game: Game, layout: Layout, precision: str) -> Any:
    """The update of all lanes, compiled from shapes alone and cached for a second sweep in the process."""
    lanes = (shapes(layout.n_padded, one, layout.sharding) for one in (one_learner(game), _any_setup(game)))
    with jax.default_matmul_precision(precision):
        return advance_lanes.lower(*lanes, layout=layout).compile()


def one_learner(game: Game) -> TrainState:
    """Shapes of a single learner."""
    return cost.abstract_state(_any_setup(game))


def _any_setup(game: Game) -> Setup:
    """A setup with the shapes that a game needs; its values do not matter."""
    return Setup(Hypers(), RewardWeights(), like(game.noise_law, game.market_spec), game).arrays()


def shapes(n_lanes: int, one: PyTree, sharding: Any = None) -> PyTree:
    """Shapes of ``n_lanes`` of ``one``, with a leading axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((n_lanes, *x.shape), x.dtype, sharding=sharding), one)


def lanes_that_fit(memory: Any, layout: Layout) -> int:
    """Lanes that a device can compute together, by XLA's memory analysis of a layout.

    Raises ``MemoryError`` with the arithmetic where not even one fits.
    """
    carried = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    scratch = memory.temp_size_in_bytes / layout.at_once
    sharing = len(layout.devices) if layout.devices[0].platform == "cpu" else 1  # processors share one memory
    usable = machine.USABLE * machine.free_bytes(layout.devices) / sharing
    fit = math.floor((usable - carried) / max(scratch, 1.0))
    if fit < 1:
        gib = lambda n_bytes: f"{n_bytes / 2**30:.2f} GiB"  # noqa: E731
        raise MemoryError(
            f"not even one lane fits: {gib(usable)} usable per device ({machine.USABLE:.0%} of what is free), the "
            f"learners of {layout.rounds * layout.at_once} lanes take {gib(carried)}, one lane at work "
            f"{gib(scratch)}; fewer lanes per device, or a smaller training.n_envs or replay_capacity, need less"
        )
    return fit
