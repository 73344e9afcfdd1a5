"""Progress of every long stage of a command: a bar in a terminal, plain lines elsewhere."""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import amarl_jax
from amarl_jax.config import Experiment
from amarl_jax.host import processes as hosts
from amarl_jax.host.runlog import duration, standard_console
from amarl_jax.host.workdir import write_json
from amarl_jax.market.recorded_noise import RecordedNoise

LINE_SECONDS = 10.0  # between two lines of a stage where there is no terminal
LONG = 5.0  # seconds: a stage that took longer gets a line with its duration
FEWEST_UPDATES = 10  # with which agents begin to learn
MOST_DIVIDED = 0.25  # of a recording's steps that the division of busy ones may add before a run warns
_FILE = "seconds.json"  # in the compilation cache: durations of stages on this machine
_MOST = 200  # durations that are remembered


class Stage:
    """A stage under way: parts done and their total, if they are counted."""

    def __init__(self, what: str, total: int | None, unit: str, bar: Progress | None, lines: Console | None) -> None:
        self._what, self._total, self._unit, self._bar, self._lines = what, total, unit, bar, lines
        self._task: TaskID | None = None if bar is None else bar.add_task(what, total=total, unit=unit)
        self._done, self._began = 0, time.perf_counter()
        self._said = self._began

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more parts as done."""
        self._done += n
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, n)
            return
        now = time.perf_counter()
        if self._lines and now - self._said >= LINE_SECONDS and self._total and self._done < self._total:
            left = (now - self._began) / self._done * (self._total - self._done)
            self._said = now
            self._lines.print(f"{self._what}: {self._done} of {self._total} {self._unit}, {duration(left)} left")

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._began


def say_if_short(experiment: Experiment) -> None:
    """Print a line where a run has so few updates that it tests the program but learns nothing."""
    n_updates, steps = experiment.n_updates, experiment.game.steps_per_update()
    if n_updates < FEWEST_UPDATES:
        hosts.say(
            f"note: training.total_timesteps makes {n_updates} updates of {steps:,} steps, too few to learn anything: "
            f"lambda changes nothing; {FEWEST_UPDATES * steps:,} steps make {FEWEST_UPDATES}"
        )


def say_recorded(experiment: Experiment) -> None:
    """Print how a recorded flow is played, with a warning where much of it runs on a slower clock."""
    law = experiment.noise_law
    if not isinstance(law, RecordedNoise):
        return
    hosts.say(f"noise: {law.in_words}")
    more = law.n_steps / law.n_recorded - 1.0
    if more > MOST_DIVIDED:
        bound = experiment.market_spec.max_noise_orders
        hosts.say(
            f"warning: these are {more:.0%} more steps than were recorded: time runs slower where most happens; with a "
            f"larger --config.environment.max_noise_orders than {bound} fewer steps are divided, and each costs more"
        )


def of_sizes(experiment: Experiment) -> str:
    """Name, for ``remember``, of programs that play an experiment's policies: of its sizes, not of its numbers.

    Another version of the package or of JAX compiles anew, which takes longer than what a cache held.
    """
    specs = (experiment.market_spec, experiment.network_spec, experiment.learn_spec, experiment.run.exact)
    versions = (amarl_jax.__version__, jax.__version__)
    return hashlib.sha256(repr((specs, versions)).encode()).hexdigest()[:16]


@contextlib.contextmanager
def stage(
    what: str,
    total: int | None = None,
    unit: str = "",
    *,
    verbose: bool = True,
    remember: str = "",
    console: Console | None = None,
) -> Iterator[Stage]:
    """Show what is being done, and how far it is.

    Args:
        what: as "compiling the update".
        total: number of parts, None where they are not counted.
        unit: of the parts, as "lanes".
        verbose: False says nothing, and remembers nothing.
        remember: name, beside ``what``, under which its duration is kept for the next time; empty: not kept.
        console: to print to; default standard output.
    """
    shown = verbose and hosts.is_chief()
    console = console or standard_console()
    remembered = f"{what} {remember}" if shown and remember else ""
    last = _seconds_of(remembered) if remembered else None
    title = what if last is None else f"{what}, {duration(last)} the last time"
    bar = _bar(console, total) if shown and console.is_terminal else None
    with bar or contextlib.nullcontext():
        if shown and bar is None:
            console.print(title)
        under_way = Stage(what if bar is None else title, total, unit, bar, console if shown else None)
        yield under_way
    if shown and under_way.seconds >= LONG:
        console.print(f"{what}: {duration(under_way.seconds)}")
    if remembered:
        _keep_seconds(remembered, under_way.seconds)


def _bar(console: Console, total: int | None) -> Progress:
    """A bar that disappears when the stage ends; without a total it pulses."""
    counted = [] if total is None else [MofNCompleteColumn(), TextColumn("{task.fields[unit]}")]
    return Progress(
        TextColumn("{task.description}"), BarColumn(), *counted, TimeElapsedColumn(), console=console, transient=True
    )


def _file() -> Path | None:
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return None if not folder or not jax.config.jax_enable_compilation_cache else Path(folder) / _FILE  # type: ignore[attr-defined]


def _all_seconds() -> dict[str, float]:
    file = _file()
    try:
        kept = json.loads(file.read_text()) if file else {}
        return {str(name): float(taken) for name, taken in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # not written by us: nothing is known
        return {}


def _seconds_of(name: str) -> float | None:
    """Seconds that a stage took the last time on this machine, None if unknown."""
    return _all_seconds().get(name)


def _keep_seconds(name: str, taken: float) -> None:
    file = _file()
    if file is None:
        return
    kept = {other: seconds for other, seconds in _all_seconds().items() if other != name}
    newest = dict([*kept.items(), (name, round(taken, 1))][-_MOST:])
    with contextlib.suppress(OSError):
        write_json(file, newest)
