"""Train the three agents: ``python -m amarl_jax.train --config=configs/fast_debug.py --workdir=DIR``.

Writes DIR/config.json, DIR/metrics.jsonl (one object per update), DIR/tensorboard and DIR/checkpoints (the latest two
and the best by E[-IS] - lambda I), shows progress with the time left, and closes with a table measured on fresh
episodes of the frozen policies: shortfall, completion, information and belief accuracy held out, spread, and what maker
and arbitrageur earned. The table is kept in DIR/evaluation.json, the learning curves in DIR/training.png, one of the
fresh episodes in DIR/episode.png; TensorBoard shows both, also while a long run trains. What is kept of an update that
diverged is in DIR/postmortem, which --resume does not read.

  python -m amarl_jax.train --config=configs/default.py --config.training.lr_actor=1e-4
  python -m amarl_jax.train --resume --workdir=runs/default
  python -m amarl_jax.train --config=configs/default.py --config.training.n_envs=4096 \\
    --config.training.total_timesteps=1e9 --n_devices=4
  python -m amarl_jax.train --config=configs/default.py --workdir=runs/next --init_from=runs/default
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict

from amarl_jax.config import resolve
from amarl_jax.dry_run import describe
from amarl_jax.errors import BadInput, Diverged, Preempted
from amarl_jax.evaluation.closing_programs import closing_programs
from amarl_jax.evaluation.closing_report import closing_document, closing_rows, evaluate_state, warn_if_sources_disagree
from amarl_jax.evaluation.frozen import FrozenEpisodes, play_on_cores
from amarl_jax.evaluation.metrics import Evaluation
from amarl_jax.evaluation.pictures import Pictures, play_one
from amarl_jax.host import cli, machine, postmortem
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.compile_ahead import CompileAhead
from amarl_jax.host.continuation import OBJECTIVE, require_checkpoint_of, require_nothing_lost, saved_at
from amarl_jax.host.preemption import StopRequest
from amarl_jax.host.runlog import Progress, RunLog, closing_table
from amarl_jax.host.sharing import check_split, devices_sharing
from amarl_jax.host.stages import of_sizes, say_if_short, say_recorded, stage
from amarl_jax.host.workdir import Run, at_work, open_run, write_extended, write_json
from amarl_jax.lanes.warm_start import Source, begin_with
from amarl_jax.learn.finite import not_finite
from amarl_jax.learn.game import Game
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.split_update import Updates
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import begin
from amarl_jax.posterior.exact import ExactSpec
from amarl_jax.types import Array

SHOWN = {
    "shortfall (units)": (0, "execution/shortfall"),
    "completion": (0, "execution/completion"),
    "belief right": (-1, "belief/final_accuracy"),
}  # what the progress line shows: of the first or last phase of an update, a metric


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """A finished run: its learner, what it was built from, and its held-out evaluation."""

    state: TrainState
    setup: Setup
    evaluation: Evaluation
    workdir: Path
    exact: ExactSpec  # how much of fresh episodes is read exactly

    def __repr__(self) -> str:
        return f"TrainResult({self.workdir}: {self.evaluation.n_episodes} fresh episodes)"

    def play(self, key: Array, n_episodes: int) -> FrozenEpisodes:
        """Fresh episodes of its policies as they stand, [n] host arrays, rounded up to whole batches of ``n_envs``."""
        return play_on_cores(key, self.state, self.setup, n_episodes, exact=self.exact)


def train(
    config: ConfigDict,
    workdir: str | Path | None = None,
    resume: bool = False,
    init_from: Source | None = None,
    n_devices: int | None = None,
) -> TrainResult:
    """Train on a configuration, as the command does; returns the learner and its evaluation.

    Args:
        config: from ``amarl_jax.config.load``.
        workdir: folder to write; default ``runs/<exp_name>``.
        resume: continue the run that the workdir holds.
        init_from: whose networks to begin with; see :mod:`amarl_jax.lanes.warm_start`.
        n_devices: devices that share the environments; default 1, or as many as the run that is resumed began with.

    Raises:
        BadInput: a setting is wrong, there are not so many devices, the workdir holds another run, or another process
            is at work in it.
        Diverged: a network stopped being finite.
        Preempted: a signal asked to stop; the run has saved itself.
    """
    if not resume:
        check_split(resolve(config), n_devices)
    run = open_run(config, workdir, resume=resume, n_devices=n_devices, from_weights=init_from is not None)
    return run_training(run, init_from)


def run_training(run: Run, init_from: Source | None = None) -> TrainResult:
    """Train and evaluate in an opened workdir, which is locked meanwhile."""
    settings = run.experiment.run
    check_split(run.experiment, run.n_devices)
    with StopRequest() as stop, at_work(run), machine.prepared(settings, run.n_devices or 1) as device:
        print(f"{device} | workdir {run.path}")
        stop.note = f"no update was lost; continue with --resume --workdir={run.path}"
        return _run_training(run, init_from, stop)


def _run_training(run: Run, init_from: Source | None, stop: StopRequest) -> TrainResult:
    experiment, setup = run.experiment, run.experiment.setup
    say_if_short(experiment)
    say_recorded(experiment)
    key_run, key_evaluation = jax.random.split(jax.random.key(experiment.run.seed))
    updates = Updates(setup, devices_sharing(run))
    with (
        open_checkpoints(run) as checkpoints,
        CompileAhead(_lengths_ahead(run, checkpoints, updates)) as compiling,
    ):
        if not run.resume and init_from is None:  # no file is read that may be refused
            compiling.start()
        state = _first_state(run, checkpoints, functools.partial(begin, key_run, setup), init_from)
        write_extended(run)
        state = updates.place(state)  # as restored, so a resumed run finds its program cached
        compiling.start()
        _wait(compiling, "compiling the update", run)
        closing = closing_programs(updates.whole(state), setup, experiment.run.eval_episodes, experiment.run.exact)
        with RunLog(run, int(state.update)) as log:
            pictures = Pictures(run, log, functools.partial(play_one, run, setup))
            with CompileAhead(closing) as ahead:
                state = _train_loop(run, checkpoints, log, state, updates, stop, ahead, pictures)
                _wait(ahead, "compiling what measures the run", run)
            evaluation = evaluate_state(key_evaluation, state, setup, experiment)
            log.held_out(experiment.n_updates, {name: found.value for name, found in evaluation.metrics.items()})
            write_json(run.path / "evaluation.json", closing_document(run, evaluation))
            draw_learning(run, pictures, evaluation)
    closing_table(*closing_rows(evaluation, setup.game.learn))
    warn_if_sources_disagree(evaluation, setup.game.learn)
    print(f"curves in {run.path / 'training.png'}, an episode in {run.path / 'episode.png'}")
    return TrainResult(state, setup, evaluation, run.path, experiment.run.exact)


def _first_state(
    run: Run, checkpoints: Checkpointer, fresh: Callable[[], TrainState], init_from: Source | None
) -> TrainState:
    """The learner of the latest checkpoint, or a fresh one, with another run's networks if one is named.

    These are saved before the first update, so that a run stopped before its first checkpoint resumes with them.
    """
    if run.resume:
        latest = checkpoints.latest_step()
        if latest is not None:
            require_checkpoint_of(checkpoints, latest, run.path, run.fingerprint)
            return checkpoints.restore(jax.eval_shape(fresh))
        require_nothing_lost(run)
    state = fresh()
    if init_from is not None:
        state = begin_with(state, init_from.workdir, init_from.lane)
        with RunLog(run) as log:
            checkpoints.save(0, state, training=log.training(run.fingerprint))
    return state


def _wait(ahead: CompileAhead, what: str, run: Run) -> None:
    """Wait for compilation, showing ``what`` as a stage unless it is done."""
    if ahead.busy:
        with stage(what, verbose=run.experiment.run.verbose, remember=of_sizes(run.experiment)):
            ahead.wait()


def _lengths_ahead(run: Run, checkpoints: Checkpointer, updates: Updates) -> list[Callable[[], Any]]:
    """Jobs that compile the update, one for each length of the chunks that are left."""
    done = checkpoints.latest_step() if run.resume else None
    interval, left = run.experiment.run.log_interval, run.experiment.n_updates - (done or 0)
    lengths = dict.fromkeys((min(interval, left), left % interval))
    return [functools.partial(updates.compile, length) for length in lengths if length > 0]


def open_checkpoints(run: Run) -> Checkpointer:
    """The checkpoints of a run: the latest two and the best."""
    return Checkpointer(run.checkpoints, best=OBJECTIVE, maximise=True)


def _train_loop(
    run: Run,
    checkpoints: Checkpointer,
    log: RunLog,
    state: TrainState,
    updates: Updates,
    stop: StopRequest,
    ahead: CompileAhead,
    pictures: Pictures,
) -> TrainState:
    """Train in compiled chunks; between them log, save, draw, check for a signal. ``ahead`` starts after the first."""
    experiment, game = run.experiment, updates.setup.game
    settings, total = experiment.run, experiment.n_updates
    interval = settings.checkpoint_interval
    done, steps = int(state.update), game.steps_per_update()
    with Progress(total, steps, done, settings.verbose) as progress:
        while done < total:
            started = time.perf_counter()
            chunk = min(settings.log_interval, total - done)
            state, measured = updates(state, chunk)
            rows = list(_rows(jax.device_get(measured), chunk))
            stop.hold()  # until here there was nothing to save, and compiling takes longest
            ahead.start()
            seconds = (time.perf_counter() - started) / chunk
            for row in rows:
                done += 1
                clock = {"env_steps": done * steps, "wall_seconds": seconds, "wall_steps_per_second": steps / seconds}
                log.write(done, row | clock)
                _stop_if_diverged(run, done, row, state, game)
            progress.advance(done, shown_metrics(rows[-1], game))
            passed = done // interval > (done - chunk) // interval  # an extended run logs beside its multiples
            if passed or done >= total or stop.requested:
                whole = updates.whole(state)
                checkpoints.save(done, whole, {OBJECTIVE: rows[-1][OBJECTIVE]}, log.training(run.fingerprint))
                if done < total and not stop.requested:
                    pictures.at_checkpoint(done, whole)
                del whole  # of several devices it is a copy on one of them
            if stop.requested and done < total:
                raise Preempted(saved_at(done, total, run))
    stop.note = f"trained and saved; --resume --workdir={run.path} measures it"
    stop.release()
    return updates.whole(state)


def _rows(measured: dict[str, Any], n_updates: int) -> Iterator[dict[str, float]]:
    """One mapping of scalars per update from metrics with a leading axis."""
    for i in range(n_updates):
        yield {name: float(values[i]) for name, values in measured.items()}


def shown_metrics(row: dict[str, float], game: Game) -> dict[str, float]:
    """Metrics of an update for the progress line."""
    phases = game.phase_names()
    return {name: row[f"{phases[index]}/{metric}"] for name, (index, metric) in SHOWN.items()}


def _stop_if_diverged(run: Run, update: int, row: dict[str, float], state: TrainState, game: Game) -> None:
    """Stop at the first update with a term or a network that is not finite, and save what it left."""
    terms, networks = not_finite(row, game)
    if not terms and not networks:
        return
    folder = run.path / "postmortem"
    try:
        postmortem.save(folder, update, row, state)
        kept = f"kept in {folder}"
    except OSError as error:
        kept = f"not kept: {error}"
    raise Diverged(f"{postmortem.message(update, terms, networks)}; {kept}")


def draw_learning(run: Run, pictures: Pictures, evaluation: Evaluation) -> None:
    """Draw ``training`` and ``episode``, .png and .pdf: the learning curves, and one of the fresh episodes."""
    with stage("drawing the learning curves and an episode", verbose=run.experiment.run.verbose):
        pictures.draw_curves(run.experiment.n_updates)
        if evaluation.trace is not None:
            pictures.draw_episode(run.experiment.n_updates, evaluation.trace)


def main(values: flags.FlagValues) -> None:
    """Open the run that the flags ask for, and train it."""
    if values.init_from is None and values.init_lane is not None:
        raise BadInput(f"--init_lane={values.init_lane}: is of the sweep that --init_from names")
    if values.init_from is not None and values.resume:
        raise BadInput(f"--init_from={values.init_from}: a run that is resumed has its own networks")
    source = None
    if values.init_from is not None:
        source = Source(cli.user_path("--init_from", values.init_from), values.init_lane)
    check = functools.partial(check_split, n_devices=values.n_devices)
    run = cli.open_from_flags(values, n_devices=values.n_devices, from_weights=source is not None, check=check)
    if values.dry_run:
        with machine.prepared(run.experiment.run, run.n_devices or 1) as device:
            print(device)
            describe(run, devices_sharing(run), together=True)
        return
    run_training(run, source)


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Define the flags of a run, and that of the run whose networks it begins with."""
    cli.define_run_flags(values, argv)
    flags.DEFINE_string(
        "init_from", None, "Folder of a run of equal sizes: begin with its networks, all else fresh.", values
    )
    flags.DEFINE_integer("init_lane", None, "The lane, where --init_from is a sweep's.", flag_values=values)
    flags.DEFINE_integer(
        "n_devices",
        None,
        "Devices that share the environments; default 1, or as many as the resumed run began on.",
        flag_values=values,
    )


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
