"""Evaluate a run, or a lane of a sweep: ``python -m amarl_jax.evaluate --workdir=DIR [--lane=K] --output=OUT --plot``.

Plays fresh episodes of the frozen policies, both classes in equal parts of p_z. The first exact.n_episodes of them are
read by whoever knows the policy, which gives the information exactly; a detector is trained from scratch on all of
them. Writes to OUT (default DIR/evaluation):

  eval_metrics.json  every number by name; 95% limits as NAME_lower and NAME_upper
  eval_metrics.csv   the same with unit and meaning
  provenance.json    command, configuration, seed, commit, hardware, versions
  episodes.npz       what the figures are drawn from
  with --plot        baselines.json, and episode, flow, fills and baselines as .png and .pdf; of a lane of a finished
                     sweep its lanes.csv too, whose learned frontier is drawn beside the baselines
  with --facts       facts.json, facts.png and facts.pdf: spread, depth, sizes, times, signs, volatility and impact of
                     the run's market and of its noise alone, beside the recorded day's where a flow is named

  python -m amarl_jax.evaluate --workdir=runs/first --n_episodes=1024 --plot
  python -m amarl_jax.evaluate --workdir=runs/first --best --output=runs/first/best
  python -m amarl_jax.evaluate --workdir=runs/sweep --lane=3 --deterministic
"""

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from amarl_jax import config as configuration
from amarl_jax.errors import BadInput
from amarl_jax.evaluation import baselines
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation.facts_report import FACTS_FILE, as_bytes, distance_rows, document, read_recorded
from amarl_jax.evaluation.frozen import FrozenEpisodes, play_on_cores
from amarl_jax.evaluation.frozen_run import FrozenRun
from amarl_jax.evaluation.market_facts import play_agents, play_noise
from amarl_jax.evaluation.metrics import Evaluation, Scale, evaluate_summaries
from amarl_jax.evaluation.report import Measure, flat, report, save_episodes, units_table
from amarl_jax.flow.facts import Facts, facts_of
from amarl_jax.host import cli, machine, untrusted
from amarl_jax.host.provenance import provenance
from amarl_jax.host.runlog import closing_table
from amarl_jax.host.stages import of_sizes, stage
from amarl_jax.host.workdir import refuse_obstacles, write_atomically, write_json
from amarl_jax.lanes.table import read_lanes
from amarl_jax.learn.players import players
from amarl_jax.market.recorded_noise import on_held_out
from amarl_jax.policies.baselines import make_baselines
from amarl_jax.posterior.exact import why_unread
from amarl_jax.types import Array

_FILES = (  # that may be written
    *("eval_metrics.json", "eval_metrics.csv", "provenance.json", "episodes.npz", "baselines.json", "lanes.csv"),
    FACTS_FILE,
    *(f"{figure}.{kind}" for figure in ("episode", "flow", "fills", "baselines", "facts") for kind in ("png", "pdf")),
)
_NOTHING = Measure(float("nan"), float("nan"), float("nan"), "", "")
FACTS_EPISODES = 64  # at most, of either market
FEWEST = 20  # episodes that a detector can be cross-fitted on


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Held-out measures of a frozen run, and the episodes behind them."""

    measures: dict[str, Measure]  # by name, with 95% limits, unit and meaning
    episodes: FrozenEpisodes  # [n], host arrays
    evaluation: Evaluation

    def __repr__(self) -> str:
        return f"Evaluated({len(self.measures)} measures of {self.evaluation.n_episodes} fresh episodes)"


def evaluate(
    run: FrozenRun | str | Path,
    n_episodes: int = 1024,
    *,
    lane: int | None = None,
    best: bool = False,
    deterministic: bool = False,
    seed: int = 0,
    verbose: bool = False,
) -> Evaluated:
    """Measure frozen policies on fresh episodes, as the command does; writes nothing.

    Args:
        run: from :func:`amarl_jax.evaluation.frozen_run.load`, or a workdir.
        n_episodes: both classes together; rounded up to whole batches of the run's ``n_envs``.
        lane: of a sweep, where ``run`` is a workdir.
        best: of a run, likewise: the checkpoint with the largest objective instead of the latest.
        deterministic: policies play the mode of their heads instead of drawing.
        seed: other seeds play other episodes; none repeats those of training or of its closing table.
        verbose: say what is being done.

    Raises:
        BadInput: too few episodes, or nothing to evaluate in the workdir.
    """
    if n_episodes < FEWEST:
        raise BadInput(f"n_episodes = {n_episodes}: must be at least {FEWEST}, for a detector to be trained on")
    run = run if isinstance(run, FrozenRun) else runs.load(run, lane, best)
    key_play, key_detector, key_bootstrap, _ = _keys(run, seed)
    with jax.default_matmul_precision(run.experiment.run.products):
        sizes = of_sizes(run.experiment)
        with stage(f"compiling and playing {n_episodes:,} fresh episodes", verbose=verbose, remember=sizes):
            episodes = _play(run, key_play, -1, n_episodes, deterministic)
        with stage("training a fresh detector on them", verbose=verbose, remember=f"{n_episodes} {sizes}"):
            evaluation = evaluate_summaries(key_detector, episodes.summary, _scale(run), episodes.exact)
    game = run.setup.game
    evaluation = evaluation._replace(unread=why_unread(players(run.state, game).execution, game.noise_law))
    return Evaluated(report(key_bootstrap, episodes, evaluation), episodes, evaluation)


def compare_baselines(
    run: FrozenRun, n_episodes: int, deterministic: bool = False, seed: int = 0, verbose: bool = False
) -> dict[str, Any]:
    """Rows of the learned execution policy and of every baseline in its place, against the same frozen others."""
    names = ("learned", *make_baselines(run.setup.game.market_spec))

    def play(key: Array, i: int) -> baselines.Played:
        episodes = _play(run, key, i - 1, n_episodes, deterministic)
        return episodes.summary, episodes.exact

    what = "playing the baselines, a detector for each"
    with (
        jax.default_matmul_precision(run.experiment.run.products),
        stage(what, len(names), "policies", verbose=verbose) as under_way,
    ):
        return baselines.rows(_keys(run, seed)[3], play, names, _scale(run), under_way.advance)


def _play(run: FrozenRun, key: Array, baseline: int, n_episodes: int, deterministic: bool) -> FrozenEpisodes:
    """Fresh episodes; one program plays the learned execution policy (-1) and every baseline."""
    who, exact = jnp.int32(baseline), run.experiment.run.exact
    return play_on_cores(key, run.state, run.setup, n_episodes, deterministic, who, exact)


def _keys(run: FrozenRun, seed: int) -> Array:
    """Fresh keys [4], different from those of training and of the closing table."""
    closing = jax.random.split(jax.random.key(run.seed))[1]
    return jax.random.split(jax.random.fold_in(closing, 1 + seed), 4)


def _scale(run: FrozenRun) -> Scale:
    return Scale.of(run.setup.params, run.setup.game.market_spec)


def main(values: flags.FlagValues) -> None:
    """Load, measure, write, draw."""
    if values.workdir is None:
        raise BadInput("--workdir is required: the folder of a run, or of a sweep with --lane")
    workdir = cli.user_path("--workdir", values.workdir)
    configuration.import_estimator(values.estimator)
    experiment = runs.read_experiment(workdir)[1]
    settings, trained_by = experiment.run, experiment.learn_spec.mi_estimator
    if values.estimator not in (None, trained_by):
        raise BadInput(f"--estimator={values.estimator}: the run was trained with {trained_by!r}; leave it out")
    with machine.prepared(dataclasses.replace(settings, device=values.device or settings.device)) as device:
        _measure(values, workdir, device)


def _measure(values: flags.FlagValues, workdir: Path, device: str) -> None:
    """Do the work of the command, on a prepared machine."""
    run = runs.load(workdir, values.lane, values.best)
    folder = _output(values.output, run)
    print(f"{device} | workdir {run.path}, update {run.update} of {run.experiment.n_updates} | output {folder}")
    started = time.perf_counter()
    evaluated = evaluate(run, values.n_episodes, deterministic=values.deterministic, seed=values.seed, verbose=True)
    seconds = time.perf_counter() - started
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, run, evaluated, values.seed)
    names = ["eval_metrics.json", "eval_metrics.csv", "provenance.json", "episodes.npz"]
    if values.plot:
        table = compare_baselines(run, values.n_episodes, values.deterministic, values.seed, verbose=True)
        with stage("drawing"):
            names += plot(folder, run, table, values.seed)
    apart: Mapping[str, Any] = {}
    if values.facts:
        with stage("playing the market for its facts"):
            found, apart = write_facts(folder, run, min(values.n_episodes, FACTS_EPISODES), values.seed)
        names += found
    kind = "deterministic" if values.deterministic else "stochastic"
    played, read = evaluated.evaluation.n_episodes, evaluated.evaluation.n_read
    exactly = f", the first {read} read exactly" if 0 < read < played else ""
    title = f"\n{played} fresh episodes{exactly}, {kind} policies, in {seconds:.0f} s; 95% intervals"
    closing_table(title, list(_table_rows(evaluated.measures)))
    for market, found_apart in apart.items():
        closing_table(f"\n{market}, beside the recorded day", distance_rows(found_apart))
    if values.deterministic and evaluated.measures.get("eval/execution/sent_orders", _NOTHING).value == 0:
        print("note: the mode of this execution policy sends no order: it trades by chance alone")
    if evaluated.evaluation.unread:
        print(evaluated.evaluation.unread)
    print(f"written to {folder}: {', '.join(names)}")


def write(folder: Path, run: FrozenRun, evaluated: Evaluated, seed: int) -> None:
    """Write the measures, their units, the provenance, and the data of the figures."""
    write_json(folder / "eval_metrics.json", flat(evaluated.measures))
    write_atomically(folder / "eval_metrics.csv", units_table(evaluated.measures).encode())
    write_json(folder / "provenance.json", {"provenance": _provenance(run, seed)})
    save_episodes(folder / "episodes.npz", evaluated.episodes)


def write_facts(folder: Path, run: FrozenRun, n_episodes: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    """Write ``facts.json`` and its figure, of the run's market beside the recorded day of its flow, where it has one.

    Returns:
        The names written, and by name of a market the distances of its facts from the recorded ones.
    """
    from amarl_jax.evaluation.facts_figure import draw_facts  # matplotlib takes a second
    from amarl_jax.evaluation.figures import save

    recorded = _recorded_facts(run)
    key_agents, key_noise = jax.random.split(jax.random.fold_in(_keys(run, seed)[0], 1))
    params, game = on_held_out(run.setup.params), run.setup.game
    with jax.default_matmul_precision(run.experiment.run.products):
        simulated = {
            "all agents": facts_of(play_agents(key_agents, run, n_episodes)),
            "noise alone": facts_of(play_noise(key_noise, params, game.market_spec, game.noise_law, n_episodes)),
        }
    found = document(recorded, simulated)
    write_atomically(folder / FACTS_FILE, as_bytes({"provenance": _provenance(run, seed), **found}))
    return [FACTS_FILE, *save(draw_facts(recorded, simulated), folder / "facts")], found["distances"]


def _recorded_facts(run: FrozenRun) -> Facts | None:
    """The facts that fit_flow wrote beside the flow of a run; None where it has no flow, or they are gone."""
    flow = Path(run.config.environment.flow)
    path = flow.with_name(FACTS_FILE)
    return read_recorded(path) if flow.is_absolute() and path.is_file() else None


def plot(folder: Path, run: FrozenRun, table: Mapping[str, Any], seed: int) -> list[str]:
    """Write ``baselines.json`` and the figures, each drawn from the files in the folder; returns the names written."""
    from amarl_jax.evaluation.episode_figures import draw_episode, draw_fills, draw_flow  # matplotlib takes a second
    from amarl_jax.lanes.plane_figure import draw_plane

    write_json(folder / "baselines.json", {"provenance": _provenance(run, seed), "rows": table})
    names = ["baselines.json"]
    drawings = {"episode": draw_episode, "flow": draw_flow, "fills": draw_fills}
    for name, draw in drawings.items():
        names += draw(folder / "episodes.npz", folder / name)
    frontier = _frontier(folder, run)
    names += [] if frontier is None else [frontier.name]
    return names + draw_plane(folder / "baselines.json", folder / "baselines", frontier, run.arm)


def _frontier(folder: Path, run: FrozenRun) -> Path | None:
    """Copy the table of a lane's sweep into the folder; returns its path, None if there is none yet."""
    table = run.path / "lanes.csv"
    if run.lane is None or not table.exists():
        return None
    write_atomically(folder / table.name, untrusted.read_text(table).encode())
    try:
        lanes = read_lanes(folder / table.name)
        lanes.grid(lanes.information, run.arm)
    except (KeyError, ValueError, IndexError):
        raise BadInput(f"{table}: is not the table of a sweep") from None
    return folder / table.name


def _provenance(run: FrozenRun, seed: int) -> dict[str, Any]:
    origin = provenance(run.config.to_dict(), seed)
    return origin | {"update": run.update, "lane": run.lane, "trained_with_seed": run.seed}


def _output(output: str | None, run: FrozenRun) -> Path:
    own = run.path / ("evaluation" if run.lane is None else f"evaluation_{run.lane}")
    folder = cli.folder_to_write("--output", own if output is None else cli.user_path("--output", output))
    if output is None:
        untrusted.refuse_links(folder)  # inside the workdir; no link in it may be written through
    refuse_obstacles(folder, _FILES)
    return folder


def _table_rows(measures: Mapping[str, Measure]) -> Iterator[tuple[str, str, str]]:
    for name, m in measures.items():
        limits = (
            f" [{m.lower:.3f}, {f'{m.upper:.3f}' if np.isfinite(m.upper) else '-'}]" if np.isfinite(m.lower) else ""
        )
        value = f"{m.value:.3f}{limits}" if np.isfinite(m.value) else "-"
        yield name.removeprefix("eval/"), value, f"{m.unit}: {m.meaning}"


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Define the flags: what to evaluate, on how many episodes, and where to write."""
    flags.DEFINE_string("workdir", None, "Folder of the run, or of the sweep.", values)
    flags.DEFINE_integer("lane", None, "Lane of a sweep, from 0; a single run has none.", flag_values=values)
    flags.DEFINE_enum(
        "device", None, ["auto", "cpu", "gpu", "tpu"], "Device to play on; default that of the run's training.", values
    )
    flags.DEFINE_integer("n_episodes", 1024, "Fresh episodes, both classes together.", FEWEST, flag_values=values)
    flags.DEFINE_string("output", None, "Folder to write; default WORKDIR/evaluation[_LANE].", values)
    flags.DEFINE_boolean("plot", False, "Play the baselines too, and draw the figures.", values)
    flags.DEFINE_boolean("facts", False, "Compare the market with a recorded one: facts.json and a figure.", values)
    flags.DEFINE_boolean("best", False, "The checkpoint with the largest objective; default the latest.", values)
    flags.DEFINE_boolean("deterministic", False, "Policies play the mode of their heads.", values)
    flags.DEFINE_integer("seed", 0, "Another seed plays other fresh episodes.", 0, flag_values=values)
    cli.define_estimator(values)


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
