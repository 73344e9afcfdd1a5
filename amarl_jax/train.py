"""Train the three agents: ``python -m amarl_jax.train --config=configs/fast_debug.py --workdir=DIR``.

Writes DIR/config.json, DIR/metrics.jsonl (one object per update), DIR/tensorboard and DIR/checkpoints (the latest two
and the best by E[-IS] - lambda I), shows progress with the time left, and closes with a table measured on fresh
episodes of the frozen policies: shortfall, completion, information and belief accuracy held out, spread, and what maker
and arbitrageur earned. The table is kept in DIR/evaluation.json, the learning curves in DIR/training.png, one of the
fresh episodes in DIR/episode.png; TensorBoard shows both, also while a long run trains. What is kept of an update that
diverged is in DIR/postmortem, which --resume does not read.

  python -m amarl_jax.train --config=configs/default.py --config.training.lr_actor=1e-4
  python -m amarl_jax.train --resume --workdir=runs/default
  python -m amarl_jax.train --config=configs/default.py --workdir=runs/next --init_from=runs/default
"""

import dataclasses
import functools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from amarl_jax.config import Experiment
from amarl_jax.dry_run import describe
from amarl_jax.errors import BadInput, Diverged, Preempted
from amarl_jax.evaluation.closing_programs import closing_programs
from amarl_jax.evaluation.frozen import FrozenEpisodes, Trace, play_frozen
from amarl_jax.evaluation.metrics import Evaluation, Scale, evaluate_summaries
from amarl_jax.evaluation.pictures import Pictures
from amarl_jax.host import cli, machine, postmortem
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.compile_ahead import CompileAhead
from amarl_jax.host.continuation import OBJECTIVE, require_checkpoint_of, require_nothing_lost, saved_at
from amarl_jax.host.preemption import StopRequest
from amarl_jax.host.provenance import provenance
from amarl_jax.host.runlog import Progress, RunLog, closing_table
from amarl_jax.host.stages import say_if_short, say_recorded, stage
from amarl_jax.host.workdir import Run, at_work, open_run, write_extended, write_json
from amarl_jax.lanes.warm_start import begin_with
from amarl_jax.learn import cost
from amarl_jax.learn.finite import not_finite
from amarl_jax.learn.game import Game
from amarl_jax.learn.players import players
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import advance, begin
from amarl_jax.posterior.exact import ExactSpec, why_unread
from amarl_jax.types import Array

SOURCES_AGREE_NATS = 0.02  # MINE and the belief may differ by this much before a run says so
SHOWN = {
    "shortfall": (0, "execution/shortfall"),
    "completion": (0, "execution/completion"),
    "belief right": (-1, "belief/final_accuracy"),
}  # what the progress line shows: of the first or last phase of an update, a metric


class Source(NamedTuple):
    """A run whose networks another one begins with."""

    workdir: Path
    lane: int | None = None  # of a sweep


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """A finished run: its learner, what it was built from, and its held-out evaluation."""

    state: TrainState
    setup: Setup
    evaluation: Evaluation
    workdir: Path
    exact: ExactSpec  # how much of fresh episodes is read exactly

    def play(self, key: Array, n_episodes: int) -> FrozenEpisodes:
        """Fresh episodes of its policies as they stand, [n] host arrays, rounded up to whole batches of ``n_envs``."""
        played = play_frozen(key, self.state, self.setup, n_episodes, exact=self.exact)
        return jax.tree.map(np.asarray, played)


def train(
    config: ConfigDict,
    workdir: str | Path | None = None,
    resume: bool = False,
    init_from: Source | None = None,
) -> TrainResult:
    """Train on a configuration, as the command does; returns the learner and its evaluation.

    Args:
        config: from ``amarl_jax.config.load``.
        workdir: folder to write; default ``runs/<exp_name>``.
        resume: continue the run that the workdir holds.
        init_from: whose networks to begin with; see :mod:`amarl_jax.lanes.warm_start`.

    Raises:
        BadInput: a setting is wrong, the workdir holds another run, or another process is at work in it.
        Diverged: a network stopped being finite.
        Preempted: a signal asked to stop; the run has saved itself.
    """
    run = open_run(config, workdir, resume=resume, from_weights=init_from is not None)
    return run_training(run, init_from)


def run_training(run: Run, init_from: Source | None = None) -> TrainResult:
    """Train and evaluate in an opened workdir, which is locked meanwhile."""
    settings = run.experiment.run
    with StopRequest() as stop, at_work(run), machine.prepared(settings) as device:
        print(f"{device} | workdir {run.path}")
        stop.note = f"no update was lost; continue with --resume --workdir={run.path}"
        return _run_training(run, init_from, stop)


def _run_training(run: Run, init_from: Source | None, stop: StopRequest) -> TrainResult:
    experiment, setup = run.experiment, run.experiment.setup
    say_if_short(experiment)
    say_recorded(experiment)
    key_run, key_evaluation = jax.random.split(jax.random.key(experiment.run.seed))
    with (
        open_checkpoints(run) as checkpoints,
        CompileAhead(_updates(run, checkpoints, setup)) as updates,
    ):
        if not run.resume and init_from is None:  # no file is read that may be refused
            updates.start()
        state = _first_state(run, checkpoints, functools.partial(begin, key_run, setup), init_from)
        write_extended(run)
        state = jax.device_put(state, *state.update.devices())  # as restored, so a resumed run finds its program cached
        updates.start()
        _wait(updates, "compiling the update", run)
        closing = closing_programs(state, setup, experiment.run.eval_episodes, experiment.run.exact)
        with RunLog(run, int(state.update)) as log:
            pictures = Pictures(run, log, functools.partial(_play_one, run, setup))
            with CompileAhead(closing) as ahead:
                state = _train_loop(run, checkpoints, log, state, setup, stop, ahead, pictures)
                _wait(ahead, "compiling what measures the run", run)
            evaluation = evaluate_state(key_evaluation, state, setup, experiment)
            log.held_out(experiment.n_updates, {name: found.value for name, found in evaluation.metrics.items()})
            _write_closing(run, evaluation)
            draw_learning(run, pictures, evaluation)
    closing_table(*closing_rows(evaluation))
    warn_if_sources_disagree(evaluation)
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
        with stage(what, verbose=run.experiment.run.verbose, remember=run.fingerprint):
            ahead.wait()


def _updates(run: Run, checkpoints: Checkpointer, setup: Setup) -> list[Callable[[], Any]]:
    """Jobs that compile the update, one for each length of the chunks that are left."""
    done = checkpoints.latest_step() if run.resume else None
    interval, left = run.experiment.run.log_interval, run.experiment.n_updates - (done or 0)

    def compile_chunk(n_updates: int) -> None:
        advance.lower(cost.placed_state(setup), setup, n_updates).compile()

    lengths = dict.fromkeys((min(interval, left), left % interval))
    return [functools.partial(compile_chunk, length) for length in lengths if length > 0]


def open_checkpoints(run: Run) -> Checkpointer:
    """The checkpoints of a run: the latest two and the best."""
    return Checkpointer(run.checkpoints, best=OBJECTIVE, maximise=True)


def _train_loop(
    run: Run,
    checkpoints: Checkpointer,
    log: RunLog,
    state: TrainState,
    setup: Setup,
    stop: StopRequest,
    ahead: CompileAhead,
    pictures: Pictures,
) -> TrainState:
    """Train in compiled chunks; between them log, save, draw, check for a signal. ``ahead`` starts after the first."""
    experiment = run.experiment
    settings, total = experiment.run, experiment.n_updates
    interval = settings.checkpoint_interval
    done, steps = int(state.update), setup.game.steps_per_update()
    with Progress(total, steps, done, settings.verbose) as progress:
        while done < total:
            started = time.perf_counter()
            chunk = min(settings.log_interval, total - done)
            state, measured = advance(state, setup, chunk)
            rows = list(_rows(jax.device_get(measured), chunk))
            stop.hold()  # until here there was nothing to save, and compiling takes longest
            ahead.start()
            seconds = (time.perf_counter() - started) / chunk
            for row in rows:
                done += 1
                clock = {"env_steps": done * steps, "wall_seconds": seconds, "wall_steps_per_second": steps / seconds}
                log.write(done, row | clock)
                _stop_if_diverged(run, done, row, state, setup.game)
            progress.advance(done, shown_metrics(rows[-1], setup.game))
            passed = done // interval > (done - chunk) // interval  # an extended run logs beside its multiples
            if passed or done >= total or stop.requested:
                checkpoints.save(done, state, {OBJECTIVE: rows[-1][OBJECTIVE]}, log.training(run.fingerprint))
                if done < total and not stop.requested:
                    pictures.at_checkpoint(done, state)
            if stop.requested and done < total:
                raise Preempted(saved_at(done, total, run))
    stop.note = f"trained and saved; --resume --workdir={run.path} measures it"
    stop.release()
    return state


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


def evaluate_state(key: Array, state: TrainState, setup: Setup, experiment: Experiment) -> Evaluation:
    """Held-out metrics of a learner: new keys, a reader that knows its policy, and a detector trained from scratch."""
    key_play, key_detector = jax.random.split(key)
    settings, game = experiment.run, setup.game
    with stage(f"playing {settings.eval_episodes:,} fresh episodes", verbose=settings.verbose):
        played = play_frozen(key_play, state, setup, settings.eval_episodes, exact=settings.exact)
        summaries, exact, trace = jax.tree.map(np.asarray, (played.summary, played.exact, played.trace))
    scale = Scale.of(setup.params, game.market_spec)
    with stage("training a fresh detector on them", verbose=settings.verbose):
        evaluation = evaluate_summaries(key_detector, summaries, scale, exact)
    return evaluation._replace(unread=why_unread(players(state, game).execution, game.noise_law), trace=trace)


def _play_one(run: Run, setup: Setup, state: TrainState) -> Trace:
    """An informed episode of a learner under way, [1, T], by a program of as few episodes as hold one."""
    n = max(2, min(64, math.ceil(1.0 / float(setup.params.informed_probability))))
    small = dataclasses.replace(setup.game, learn=dataclasses.replace(setup.game.learn, n_envs=n))
    key = jax.random.fold_in(jax.random.key(run.experiment.run.seed), 2 + int(state.update))
    return jax.tree.map(np.asarray, play_frozen(key, state, setup.replace(game=small), n).trace)


def _write_closing(run: Run, evaluation: Evaluation) -> None:
    """Write ``evaluation.json``, with its provenance."""
    document = {
        "provenance": provenance(run.config.to_dict(), run.experiment.run.seed),
        "n_episodes": evaluation.n_episodes,
        "n_informed": evaluation.n_informed,
        "metrics": {name: estimate._asdict() for name, estimate in evaluation.metrics.items()},
    }
    write_json(run.path / "evaluation.json", document)


def draw_learning(run: Run, pictures: Pictures, evaluation: Evaluation) -> None:
    """Draw ``training`` and ``episode``, .png and .pdf: the learning curves, and one of the fresh episodes."""
    with stage("drawing the learning curves and an episode", verbose=run.experiment.run.verbose):
        pictures.draw_curves(run.experiment.n_updates)
        if evaluation.trace is not None:
            pictures.draw_episode(run.experiment.n_updates, evaluation.trace)


def closing_rows(evaluation: Evaluation) -> tuple[str, list[tuple[str, str, str]]]:
    """Title and rows of the closing table."""
    metrics = evaluation.metrics
    wanted = (
        ("implementation shortfall", "execution/shortfall_ticks", "ticks per parent lot, remainder included"),
        ("", "execution/shortfall_bps", "the same in basis points of the opening mid"),
        ("completion", "execution/completion", "share of the parent order"),
        *_exact_rows(evaluation),
        ("fresh detector", "information/fresh_nats", f"nats, held out{_share(evaluation, 'fresh')}"),
        ("", "information/fresh_accuracy", "its accuracy, held out"),
        ("MINE", "information/mine_nats", f"nats, the critic that prices the leakage{_share(evaluation, 'mine')}"),
        ("maker's belief", "information/belief_nats", f"nats claimed at the horizon{_share(evaluation, 'belief')}"),
        ("", "information/belief_accuracy", "its accuracy"),
        ("spread", "market/spread_ticks", "ticks"),
        ("maker PnL", "maker/pnl_tick_lots", "tick-lots per episode, marked to V"),
        ("maker's adverse selection", "maker/adverse_selection_tick_lots", "tick-lots per episode, to be taken off"),
        ("arbitrageur PnL", "arbitrageur/pnl_tick_lots", "tick-lots per episode, marked to V"),
    )
    rows = [
        (name, f"{metrics[key].value:.3f} +- {metrics[key].stderr:.3f}" if key else "-", unit)
        for name, key, unit in wanted
    ]
    title = f"\n{evaluation.n_episodes} fresh episodes, {evaluation.n_informed} informed; +- is one standard error"
    return title, rows


def _exact_rows(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Rows of the exact information with its bracket, or of why there is none."""
    metrics = evaluation.metrics
    if "information/exact_nats" not in metrics:
        return [("information", "", evaluation.unread or "not read")]
    lower, upper = (metrics[f"information/exact_nats_{end}"].value for end in ("lower", "upper"))
    of = f"nats of {metrics['information/bound_nats'].value:.3f}"
    how = f"exact: mean of estimates {lower:.3f} from below, {upper:.3f} from above"
    if math.isnan(upper):
        how = "a lower bound by a misspecified model, the law fitted to the recorded noise"
    return [
        ("information", "information/exact_nats", f"{of}, {how}"),
        ("accuracy", "information/exact_accuracy", "informed or not, of whoever knows the policy"),
    ]


def _share(evaluation: Evaluation, detector: str) -> str:
    """Text on the share of the information that a detector finds; empty where it is unknown."""
    share = evaluation.metrics.get(f"information/{detector}_efficiency")
    return "" if share is None or not math.isfinite(share.value) else f", {share.value:.0%} of the information"


def warn_if_sources_disagree(evaluation: Evaluation) -> None:
    """Print one line if MINE and the belief differ, on episodes neither trained on, by more than 0.02 nats."""
    mine, belief = (evaluation.metrics[f"information/{name}_nats"].value for name in ("mine", "belief"))
    if abs(mine - belief) > SOURCES_AGREE_NATS:
        print(f"warning: held out, MINE claims {mine:.3f} nats and the maker's belief {belief:.3f}: one of them lags")


def main(values: flags.FlagValues) -> None:
    """Open the run that the flags ask for, and train it."""
    if values.init_from is None and values.init_lane is not None:
        raise BadInput(f"--init_lane={values.init_lane}: is of the sweep that --init_from names")
    if values.init_from is not None and values.resume:
        raise BadInput(f"--init_from={values.init_from}: a run that is resumed has its own networks")
    source = None
    if values.init_from is not None:
        source = Source(cli.user_path("--init_from", values.init_from), values.init_lane)
    run = cli.open_from_flags(values, from_weights=source is not None)
    if values.dry_run:
        with machine.prepared(run.experiment.run) as device:
            print(device)
            describe(run, machine.find_devices(run.experiment.run.device)[:1])
        return
    run_training(run, source)


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Define the flags of a run, and that of the run whose networks it begins with."""
    cli.define_run_flags(values, argv)
    flags.DEFINE_string(
        "init_from", None, "Folder of a run of equal sizes: begin with its networks, all else fresh.", values
    )
    flags.DEFINE_integer("init_lane", None, "The lane, where --init_from is a sweep's.", flag_values=values)


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
