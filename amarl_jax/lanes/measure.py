"""Measurement of a trained sweep: every lane on fresh episodes, lambda* and verdict, files, figures."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from amarl_jax import strict_json
from amarl_jax.config import Experiment
from amarl_jax.config.grid import Lane, keys_of, setups_of
from amarl_jax.errors import LawlessPolicy
from amarl_jax.evaluation import baselines
from amarl_jax.evaluation.frozen import FrozenEpisodes, play_frozen
from amarl_jax.evaluation.metrics import Scale, evaluate_detected
from amarl_jax.host import processes as hosts
from amarl_jax.host.provenance import provenance
from amarl_jax.host.stages import of_sizes, stage
from amarl_jax.host.workdir import Run, write_json
from amarl_jax.lanes.behaviour import conduct, shuffled
from amarl_jax.lanes.detections import detect_each
from amarl_jax.lanes.layout import Layout, over_lanes
from amarl_jax.lanes.measured import Measured
from amarl_jax.lanes.table import FAILED, OK, LaneTable, lane_row, read_lanes, write_lanes
from amarl_jax.lanes.trade_off import can_trade_off, trade_off
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.posterior.exact import ExactSpec
from amarl_jax.transition.intervals import NOT_DETERMINED
from amarl_jax.transition.verdict import as_json, judge
from amarl_jax.types import Array

FEWEST_PENALTIES = 5  # needed to locate lambda*
LOUD_GATE = 0.5  # share of the steps; a fresh policy that acts in more of them is a loud start
LAWLESS = "lawless"  # in place of measures, why a lane has none
_BOOTSTRAP, _CONTROL = 2, 3  # folded into a lane's root key, which is split into the keys of training and evaluation


@functools.partial(jax.jit, static_argnames=("layout", "n_episodes", "exact"))
def play_lanes(
    keys: Array, state: TrainState, setups: Setup, layout: Layout, n_episodes: int, exact: ExactSpec | None = None
) -> FrozenEpisodes:
    """Fresh episodes of the frozen policies of every lane, [n_padded, n], without traces; read at the horizon alone."""

    def one(key: Array, state: TrainState, setup: Setup) -> FrozenEpisodes:
        played = play_frozen(key, state, setup, n_episodes, exact=exact)
        rows = played.exact
        rows = None if rows is None else dataclasses.replace(rows, log_ratio=rows.log_ratio[:, -1:])
        return dataclasses.replace(played, trace=None, exact=rows)

    return over_lanes(one, layout)(keys, state, setups)


def measure_lanes(
    lanes: Sequence[Lane],
    failures: Mapping[int, str],
    state: TrainState,
    layout: Layout,
    run: Experiment,
    measured: Measured,
) -> list[dict[str, Any] | None]:
    """One row of measures per lane, None for a lane that failed; each is kept in ``measured`` as soon as it is made.

    A lane plays the same episodes and trains the same detector as the closing table of a single run with its seed.

    Args:
        lanes: of the sweep.
        failures: by place in ``lanes``, those that diverged.
        state: placed learners, [n_padded].
        layout: of the lanes on the devices.
        run: the experiment.
        measured: lanes that are done already.
    """
    whole = [i for i in range(len(lanes)) if i not in failures and i not in measured.rows]
    if whole:
        _measure_rest(whole, lanes, state, layout, run, measured)
    return [None if i in failures else measured.rows[i] for i in range(len(lanes))]


def _measure_rest(
    whole: Sequence[int],
    lanes: Sequence[Lane],
    state: TrainState,
    layout: Layout,
    run: Experiment,
    measured: Measured,
) -> None:
    """Measure the lanes ``whole``: all of them play, then each has its detectors trained.

    Of several processes each trains the detectors of every n-th lane, and tells the others what it measured.
    """
    pairs = [jax.random.split(key) for key in keys_of(lanes)[1]]
    setups = setups_of(lanes, run)
    placed = (layout.place(jax.numpy.stack([play for play, _ in pairs])), state, layout.place(setups))
    how = {"layout": layout, "n_episodes": run.run.eval_episodes, "exact": run.run.exact}
    what = f"compiling and playing {run.run.eval_episodes:,} fresh episodes of each lane"
    with stage(what, verbose=run.run.verbose, remember=f"{len(lanes)} {of_sizes(run)}"):
        episodes = layout.take_back(play_lanes(*placed, **how))
    mine = {i: jax.tree.map(lambda x, i=i: x[i], episodes) for i in whole}
    params, spec = jax.tree.map(np.asarray, setups.params), setups.game.market_spec
    scales = [Scale.of(jax.tree.map(lambda x, i=i: x[i], params), spec) for i in range(len(lanes))]
    rounds = hosts.shares(whole)
    share = [i for of_round in rounds if (i := hosts.own(of_round)) is not None]
    keys = {i: _keys_of_measures(lanes[i]) for i in share}
    controls = {i: shuffled(keys[i].shuffle, mine[i].summary) for i in share}
    found = detect_each(
        [key for i in share for key in (pairs[i][1], keys[i].control)],
        [rows for i in share for rows in (mine[i].summary, controls[i])],
        [scales[i].prior for i in share for _ in range(2)],
        layout.devices,
    )

    def measure(i: int) -> dict[str, Any]:
        detection, control = next(found), next(found)
        try:
            evaluation = evaluate_detected(detection, mine[i].summary, scales[i], mine[i].exact)
        except LawlessPolicy as error:
            return {LAWLESS: f"lane {i}: {error}"}  # raised after the exchange, which every process must reach
        row = baselines.row(keys[i].bootstrap, mine[i].summary, evaluation)
        return row | conduct(mine[i], control, np.asarray(controls[i].z))

    with stage("training two detectors for each lane", len(whole), "lanes", verbose=run.run.verbose) as under_way:
        for of_round in rounds:
            own = hosts.own(of_round)
            rows = hosts.exchanged(None if own is None else measure(own))
            for i, row in zip(of_round, rows, strict=False):  # of the last round some processes are left out
                if LAWLESS in row:
                    raise LawlessPolicy(row[LAWLESS])
                measured.keep(i, row)
                under_way.advance()


class _Keys(NamedTuple):
    """Random keys of one lane's measurements, apart from its episodes and detector."""

    bootstrap: Array
    shuffle: Array
    control: Array


def _keys_of_measures(lane: Lane) -> _Keys:
    bootstrap, control = (jax.random.fold_in(jax.random.key(lane.seed), i) for i in (_BOOTSTRAP, _CONTROL))
    return _Keys(bootstrap, *jax.random.split(control))


def write_answer(
    run: Run,
    lanes: Sequence[Lane],
    rows: Sequence[dict[str, Any] | None],
    failures: Mapping[int, str],
    spent: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the table, ``sweep.json`` and the figures with their data; returns the content of ``sweep.json``.

    ``spent`` is what the sweep took, kept beside the provenance.
    """
    from amarl_jax.lanes.fills_figure import draw_lane_fills  # matplotlib takes a second to import
    from amarl_jax.lanes.frontier_figure import draw_frontier
    from amarl_jax.lanes.transition_figure import draw_transition

    folder = run.path
    lines = [lane_row(i, lane.penalty, lane.seed, rows[i], lane.arm) for i, lane in enumerate(lanes)]
    write_lanes(folder / "lanes.csv", lines)
    table = read_lanes(folder / "lanes.csv")
    gates = {lane.arm: lane.hypers.get("start_gate", run.experiment.hypers.start_gate) for lane in lanes}
    verbose = run.experiment.run.verbose
    with stage("locating lambda* in every arm", verbose=verbose):
        located = {arm: locate_arm(table, arm, gates[arm], run.experiment) for arm in table.arms()}
    document = {
        "provenance": provenance(run.config.to_dict(), run.experiment.run.seed),
        **spent,
        "n_lanes": len(lanes),
        "n_failed": len(failures),
        "located": located,
        "lanes": [
            {
                "lane": i,
                "seed": lane.seed,
                "lambda": lane.penalty,
                "arm": lane.arm,
                "weights": lane.weights,
                "hypers": lane.hypers,
                "env_params": lane.env_params,
                "status": FAILED if i in failures else OK,
                "failure": failures.get(i),
                "measures": rows[i],
            }
            for i, lane in enumerate(lanes)
        ],
    }
    document = strict_json.finite(document)
    write_json(folder / "sweep.json", document)
    first = located[table.arms()[0]]
    drawn_with = None
    if "lambda_half" in first:
        drawn_with = folder / "transition.json"
        write_json(drawn_with, first)
    with stage("drawing the curve, the frontier and the fills", verbose=verbose):
        draw_transition(folder / "lanes.csv", folder / "transition", drawn_with)
        draw_frontier(folder / "sweep.json", folder / "frontier")
        draw_lane_fills(folder / "sweep.json", folder / "fills")
    return document


def locate_arm(table: LaneTable, arm: str, start_gate: float, experiment: Experiment) -> dict[str, Any]:
    """lambda*, the verdict and the frontier of one arm, as far as the grid is long enough and a seed has all its lanes.

    ``start_gate`` is the share of the steps in which its fresh policies act; above ``LOUD_GATE`` they start loud.
    """
    penalty, values = table.grid(table.information, arm)
    prices = {"trade_off": trade_off(table, arm)} if can_trade_off(table, arm) else {}
    if len(penalty) < FEWEST_PENALTIES:
        return {"verdict": f"{NOT_DETERMINED}: {len(penalty)} penalties, {FEWEST_PENALTIES} are needed"} | prices
    if not len(values):
        return {"verdict": f"{NOT_DETERMINED}: no seed has all its lanes"}
    spec = experiment.market_spec
    start = "loud" if start_gate > LOUD_GATE else "quiet"
    about = {"horizon": spec.horizon, "private_randomiser": spec.private_randomiser, "start": start}
    verdict = judge([table.curves(arm, **about)])
    return as_json(verdict.arms[0][1]) | {"verdict": str(verdict)} | prices
