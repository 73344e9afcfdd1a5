"""Train a grid of penalties and seeds: ``python -m amarl_jax.sweep --config=configs/lambda_sweep.py --workdir=DIR``.

All lanes learn in one compiled program, over all devices. Then every lane plays fresh episodes and has a detector
trained from scratch on them. Writes to DIR, beside config.json and checkpoints:

  lanes.json       the lanes: seed, and the leaves in which each differs
  metrics.jsonl    learning curves, one object per update and lane; tensorboard/ has them as one run per lane
  lanes.csv        one row per lane: shortfall, completion, I, KL, accuracy, ..., with standard errors
  sweep.json       the same with provenance, seconds of compiling, training and measuring in the process that ended it,
                   lambda* by three definitions, shape, verdict, envelope and frontier of every arm
  transition.json  lambda* of the first arm, from which transition.png and .pdf are drawn
  frontier         .png and .pdf: cost over I, its hull, the I(lambda) it predicts, the price paid; from sweep.json
  fills            .png and .pdf: how much of its order each episode of each lane got done, from sweep.json
  measured.json    lanes measured so far, of a sweep that was stopped while it measured
  postmortem/      learner and metrics of the first lanes that diverged, lane_<i> each

A lane that diverges is marked and named at the end; the others go on, and the exit code is 4. Lanes of one seed share
their random keys across penalties. Any lane can be evaluated by itself: python -m amarl_jax.evaluate --lane=K.

  python -m amarl_jax.sweep --config=configs/lambda_sweep.py --lambda_max=2 --n_lambdas=8 --seeds=4
  python -m amarl_jax.sweep --config=configs/lambda_sweep.py:fast --workdir=runs/latency \\
    --config.sweep.axis=environment.latency_ms.arbitrageur --config.sweep.axis_values="(1.0, 50.0)"
  python -m amarl_jax.sweep --resume --workdir=runs/lambda_sweep
"""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import get_override_values

import amarl_jax
from amarl_jax.config import LAMBDA, resolve
from amarl_jax.config.grid import LANES_FILE, Lane, check_grid, grid_text, keys_of, lanes_of
from amarl_jax.dry_run import describe
from amarl_jax.errors import BadInput, ConfigError, LanesFailed, Preempted
from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.host import cli, machine, postmortem
from amarl_jax.host import processes as hosts
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.continuation import hash_of_lanes, require_checkpoint_of, require_nothing_lost, saved_at
from amarl_jax.host.preemption import StopRequest
from amarl_jax.host.provenance import Stopwatch, commit
from amarl_jax.host.runlog import Progress, RunLog, closing_table, read_metrics
from amarl_jax.host.stages import say_if_short, say_recorded
from amarl_jax.host.workdir import Run, at_work, open_run, write_atomically, write_extended
from amarl_jax.lanes.layout import Layout, begin_lanes
from amarl_jax.lanes.measure import measure_lanes, write_answer
from amarl_jax.lanes.measured import Measured
from amarl_jax.lanes.program import Program, compile_lanes, devices_of, one_learner, shapes
from amarl_jax.lanes.table import doubts
from amarl_jax.learn.finite import not_finite
from amarl_jax.learn.game import Game
from amarl_jax.learn.state import TrainState
from amarl_jax.types import Array

_FLAGS = {  # flag: setting
    "lambda_min": "sweep.lambda_min",
    "lambda_max": "sweep.lambda_max",
    "n_lambdas": "sweep.n_lambdas",
    "seeds": "sweep.n_seeds",
}
_NAMED = 6  # failed lanes in the message; lanes.csv and sweep.json have them all


@dataclasses.dataclass(frozen=True)
class Swept:
    """A finished sweep."""

    lanes: list[Lane]
    rows: list[dict[str, Any] | None]  # measures of each lane, held out; None where it failed
    failures: dict[int, str]  # by lane: what was not finite, and when
    answer: dict[str, Any]  # what sweep.json holds: lambda* and verdict by arm under "located"; of the chief process
    workdir: Path

    def __repr__(self) -> str:
        return f"Swept({self.workdir}: {len(self.lanes)} lanes, {len(self.failures)} failed)"


def sweep(
    config: ConfigDict, workdir: str | Path | None = None, resume: bool = False, n_devices: int | None = None
) -> Swept:
    """Train and measure every lane of ``config.sweep``, as the command does.

    Args:
        config: from ``amarl_jax.config.load``; the penalties are those of ``config.sweep``, and ``lambda_leakage``
            means nothing here.
        workdir: folder to write; default ``runs/<exp_name>``.
        resume: continue the sweep that the workdir holds, on any number of devices.
        n_devices: devices to spread the lanes over; default all.

    Raises:
        BadInput: a setting is wrong, the workdir holds another run, or there are not so many devices.
        MemoryError: not even one lane fits.
        Preempted: a signal asked to stop; the sweep has saved itself.
    """
    if not resume:
        check_grid(resolve(config))
    return run_sweep(open_run(config, workdir, resume=resume, n_devices=n_devices, command="sweep"))


def run_sweep(run: Run) -> Swept:
    """Run the sweep in an opened workdir. Lanes that diverge are in ``failures`` and raise nothing."""
    settings = run.experiment.run
    with StopRequest() as stop, at_work(run), machine.prepared(settings, run.n_devices) as device:
        hosts.say(f"{device} | workdir {run.path}")
        if not hosts.is_chief() and machine.IDLE in device:  # of another node than the first process tells of
            print(f"process {jax.process_index()}: {device}", flush=True)
        stop.note = f"no update was lost; continue with --resume --workdir={run.path}"
        return _run_sweep(run, stop)


def _run_sweep(run: Run, stop: StopRequest) -> Swept:
    experiment, watch = run.experiment, Stopwatch()
    say_if_short(experiment)
    say_recorded(experiment)
    lanes = lanes_of(experiment)
    with Checkpointer(run.checkpoints) as checkpoints:
        _check_before_compiling(run, checkpoints, lanes)
        program = compile_lanes(run, lanes)
        watch.lap("compiling")
        state = _first_state(run, checkpoints, program)
        first_update = int(program.layout.take_back(state.update)[0])
        state, failures = _train_lanes(run, checkpoints, program, state, stop)
    watch.lap("training")
    hosts.say(f"measuring {len(lanes) - len(failures)} lanes, {experiment.run.eval_episodes} fresh episodes each")
    measured = _measured_so_far(run)
    rows = measure_lanes(lanes, failures, state, program.layout, experiment, measured)
    watch.lap("measuring")
    answer: dict[str, Any] = {}
    if hosts.is_chief():
        cost_of = {"from_update": first_update, "seconds": watch.seconds}
        answer = write_answer(run, lanes, rows, failures, cost_of)
        _show_held_out(run, rows)
        measured.discard()
        _print_closing(run, answer, doubts(rows))
    return Swept(lanes, rows, failures, answer, run.path)


def _show_held_out(run: Run, rows: Sequence[Mapping[str, Any] | None]) -> None:
    """Show the lanes' measures, under the names of a single run, and the figures in TensorBoard."""
    settings, done = run.experiment.run, run.experiment.n_updates
    if not settings.use_tensorboard:  # and a sweep has no W&B
        return
    with RunLog(run, done, len(rows)) as log:
        for lane, row in enumerate(rows):
            values = {name: row[column]["value"] for column, name in COLUMNS.items() if column in row} if row else {}
            log.held_out(done, {"lane": lane, **values})
        for name in ("transition", "frontier"):
            if (run.path / f"{name}.png").exists():
                log.picture(done, name, run.path / f"{name}.png")


def _check_before_compiling(run: Run, checkpoints: Checkpointer, lanes: list[Lane]) -> None:
    """Check that a resumed sweep has what it needs, and write the lanes of one that begins."""
    latest = checkpoints.latest_step() if run.resume else None
    if latest is not None:
        require_checkpoint_of(checkpoints, latest, run.path, run.fingerprint, len(lanes))
    elif run.resume:
        require_nothing_lost(run, len(lanes))
    if hosts.is_chief():
        if latest is None:
            write_atomically(run.path / LANES_FILE, grid_text(lanes).encode())
        write_extended(run)


def _measured_so_far(run: Run) -> Measured:
    """Lanes that an earlier process measured after the same update, with the same code."""
    settings = run.experiment.run
    about = {
        "configuration": run.fingerprint,
        "lanes": hash_of_lanes(run.path),
        "updates": run.experiment.n_updates,
        "episodes": settings.eval_episodes,
        "code": [amarl_jax.__version__, commit()],
    }
    measured = Measured(run.path, about)
    hosts.wait("measured so far")  # every process leaves out the same lanes
    return measured


def _first_state(run: Run, checkpoints: Checkpointer, program: Program) -> TrainState:
    """Fresh learners, or those of the latest checkpoint, which holds them without padding."""
    layout = program.layout
    if run.resume and checkpoints.latest_step() is not None:
        return layout.place(checkpoints.restore(shapes(layout.n_lanes, one_learner(program.setups.game))))
    keys = layout.place(keys_of(program.lanes)[0])
    return begin_lanes(keys, program.setups, layout=layout)


def _train_lanes(
    run: Run, checkpoints: Checkpointer, program: Program, state: TrainState, stop: StopRequest
) -> tuple[TrainState, dict[int, str]]:
    """Train by compiled updates of all lanes; between them log, save, check for a signal."""
    settings, total = run.experiment.run, run.experiment.n_updates
    game, n_lanes = program.setups.game, len(program.lanes)
    steps = game.steps_per_update()
    done = int(program.layout.take_back(state.update)[0])
    failures = _failures_on_record(run, done, game, n_lanes)
    shown = settings.verbose and hosts.is_chief()
    lanes_hash = hash_of_lanes(run.path)
    if hosts.several():
        stop.hold()  # from the first update on all processes stop together
    with _log_of(run, done, program.lanes) as log, Progress(total, steps * n_lanes, done, shown) as progress:
        while done < total:
            started = time.perf_counter()
            state, measured = program.advance(state, program.setups)
            known = set(failures)
            table = program.layout.take_back(measured)
            stop.hold()
            done += 1
            seconds = time.perf_counter() - started
            for i in range(n_lanes):
                row = {name: float(values[i]) for name, values in table.items()}
                if log is not None:
                    log.write(done, {"lane": i, "env_steps": done * steps, "wall_seconds": seconds, **row})
                _note_failure(failures, i, done, row, game)
            _save_postmortems(run, failures.keys() - known, done, table, state, program.layout)
            if done % settings.log_interval == 0 or done == total:
                progress.advance(done, {"lanes learning": n_lanes - len(failures)})
            stopping = hosts.any_of(stop.requested is not None)
            if done % settings.checkpoint_interval == 0 or done == total or stopping:
                training = None if log is None else log.training(run.fingerprint, lanes_hash)
                checkpoints.save(done, program.layout.take_back(state), training=training)
            if stopping and done < total:
                raise Preempted(saved_at(done, total, run))
    stop.note = f"trained and saved, lanes measured so far are kept; continue with --resume --workdir={run.path}"
    stop.release()
    return state, failures


def _log_of(run: Run, done: int, lanes: Sequence[Lane]) -> contextlib.AbstractContextManager[RunLog | None]:
    """The log of learning curves; None in a process that is not the chief."""
    if not hosts.is_chief():
        return contextlib.nullcontext()
    varied = [{"lambda": lane.penalty, "seed": lane.seed, "arm": lane.arm} for lane in lanes]
    return RunLog(run, done, len(lanes), varied)


def _save_postmortems(
    run: Run, lanes: AbstractSet[int], update: int, table: Mapping[str, Array], state: TrainState, layout: Layout
) -> None:
    """Save metrics and learner of the first few lanes that have just failed as ``postmortem/lane_<i>``.

    With several processes none can save a learner by itself: then only the curves are kept.
    """
    if hosts.several() or not lanes:
        return
    learners = layout.take_back(state)
    for i in sorted(lanes)[:_NAMED]:
        row = {name: float(values[i]) for name, values in table.items()}
        one = jax.tree.map(lambda leaf, i=i: leaf[i], learners)
        postmortem.save(run.path / "postmortem" / f"lane_{i}", update, row, one)


def _note_failure(failures: dict[int, str], lane: int, update: int, row: dict[str, float], game: Game) -> None:
    """Record the first update of a lane with a term or a network that is not finite."""
    terms, networks = not_finite(row, game)
    if (terms or networks) and lane not in failures:
        failures[lane] = postmortem.message(update, terms, networks)


def _failures_on_record(run: Run, done: int, game: Game, n_lanes: int) -> dict[int, str]:
    """Lanes that had diverged by update ``done``, read back from the learning curves."""
    failures: dict[int, str] = {}
    path = run.path / "metrics.jsonl"
    for row in read_metrics(path) if path.exists() else ():
        numbers = {name: math.nan if value is None else value for name, value in row.items()}
        if numbers.get("lane") not in range(n_lanes):
            raise BadInput(f"{path}: lane {numbers.get('lane')}: must be from 0 to {n_lanes - 1}")
        if numbers["update"] <= done:
            _note_failure(failures, int(numbers["lane"]), int(numbers["update"]), numbers, game)
    return failures


def _print_closing(run: Run, answer: dict[str, Any], doubtful: str) -> None:
    """Print one line per arm: lambda* where it was located, and the verdict; below them which lanes are in doubt."""
    rows: list[tuple[str, float | str | None, str]] = []
    for arm, found in answer["located"].items():
        for name in ("lambda_eq", "lambda_half", "lambda_isotonic", "lambda_chi"):
            if name in found:
                rows.append((f"{arm}: {name}", found[name]["value"], found[name]["note"] or "reward units per nat"))
        rows.append((f"{arm}: verdict", "", found["verdict"]))
    done = answer["n_lanes"] - answer["n_failed"]
    closing_table(f"\n{done} of {answer['n_lanes']} lanes trained and measured", rows)
    if doubtful:
        print(doubtful)
    spent = ", ".join(f"{part} {taken['cpu']:.0f}" for part, taken in answer["seconds"].items())
    print(f"{run.path / 'lanes.csv'}, sweep.json, transition.png, frontier.png, fills.png | CPU-seconds: {spent}")


def failure_message(swept: Swept) -> str:
    """One line that names the lanes that diverged."""
    named = [f"lane {i} ({swept.lanes[i]}): {why}" for i, why in sorted(swept.failures.items())]
    more = f"; and {len(named) - _NAMED} more, see lanes.csv" if len(named) > _NAMED else ""
    return f"{len(named)} of {len(swept.lanes)} lanes diverged: {'; '.join(named[:_NAMED])}{more}"


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Define the flags of a run, and those of the grid."""
    cli.define_run_flags(values, argv)
    flags.DEFINE_float(
        "lambda_min", None, "Smallest penalty, reward units per nat; default config.sweep.", flag_values=values
    )
    flags.DEFINE_float("lambda_max", None, "Largest penalty, reward units per nat.", flag_values=values)
    flags.DEFINE_integer("n_lambdas", None, "Number of penalties.", flag_values=values)
    flags.DEFINE_boolean(
        "distributed", False, "One of several processes, on one host or many: docs/cluster.md.", values
    )
    flags.DEFINE_integer("seeds", None, "Number of seeds at each penalty.", flag_values=values)
    flags.DEFINE_integer("n_devices", None, "Devices to spread the lanes over; default all.", flag_values=values)


def _refuse_own_penalty(values: flags.FlagValues) -> None:
    """Raise :class:`ConfigError` where a single penalty is asked for, which no lane would have."""
    given = {} if values.config is None else get_override_values(values["config"])
    if LAMBDA in given:
        allowed = "left out of a sweep, whose penalties go from --lambda_min to --lambda_max"
        raise ConfigError(LAMBDA, given[LAMBDA], allowed)


def _open(values: flags.FlagValues, grid: dict[str, Any]) -> Run:
    """The run; with several processes the chief opens the workdir and the others read what it holds."""
    if values.distributed:
        hosts.join()
    if hosts.is_chief():
        run = cli.open_from_flags(values, grid, values.n_devices, command="sweep", check=check_grid)
    hosts.wait("workdir opened")
    if not hosts.is_chief():
        run = cli.open_from_flags(values, grid, values.n_devices, command="sweep", resume=True)
        run = dataclasses.replace(run, resume=values.resume)
    return run


def main(values: flags.FlagValues) -> None:
    """Open the sweep that the flags ask for, run it, and fail if a lane did."""
    grid = {setting: values[flag].value for flag, setting in _FLAGS.items() if values[flag].value is not None}
    _refuse_own_penalty(values)
    run = _open(values, grid)
    if values.dry_run:
        with machine.prepared(run.experiment.run, run.n_devices) as device:
            print(device)
            print(f"{len(lanes_of(run.experiment))} lanes; what follows is one of them")
            describe(run, devices_of(run))
        return
    swept = run_sweep(run)
    if swept.failures:
        raise LanesFailed(failure_message(swept))


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
