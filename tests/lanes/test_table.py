"""A sweep's table on its way to curves and to the main figure; theory as numbers."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.lanes.fills_figure import draw_lane_fills
from amarl_jax.lanes.measure import locate_arm
from amarl_jax.lanes.table import doubts, lane_row, read_lanes, write_lanes
from amarl_jax.lanes.transition_figure import draw_transition, mean_interval
from amarl_jax.theory.curves import theory_curves
from amarl_jax.transition.locate import locate
from amarl_jax.transition.verdict import as_json
from tests.transition.curves import PENALTY, noisy, truth


def measured(information):
    """A row as the baselines' table has it, information and accuracy in it and zeros elsewhere."""
    row = {name: {"value": 0.0, "stderr": 0.1} for name in (*COLUMNS, "kl_nats")}
    row["information_nats"]["value"] = information
    row["accuracy"]["value"] = 0.5 + information / 1.4
    row["exact_nats"]["value"], row["exact_accuracy"]["value"] = 1.1 * information, 0.5 + information / 1.2
    return row | {"n_episodes": 512}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Eight seeds and a ninth with a failed lane, lanes in an order of their own, and a second arm of one seed."""
    information = noisy(np.random.default_rng(0), truth("logistic"), 9)
    lines = []
    for j, penalty in enumerate(PENALTY):
        for seed in range(9):
            failed = (seed, j) == (8, 3)
            row = None if failed else measured(float(information[seed, j]))
            lines.append(lane_row(len(lines), float(penalty), seed, row))
        lines.append(lane_row(len(lines), float(penalty), 0, measured(0.1), "no randomiser"))
    path = tmp_path_factory.mktemp("lanes") / "lanes.csv"
    write_lanes(path, lines)
    return path, information


def in_nats(exact, fresh, stderr=0.1, n_episodes=512):
    row = measured(0.0) | {"n_episodes": n_episodes}
    row["exact_nats"] = {"value": exact, "stderr": None if exact is None else stderr}
    return row | {"information_nats": {"value": fresh, "stderr": stderr}}


SOUND = in_nats(0.3, 0.2)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([SOUND, None, in_nats(-0.19, -0.66)], ""),
        ([in_nats(-3e-5, 0.0, 1e-6)], ""),
        ([SOUND, in_nats(-0.66, 0.2)], "lane 1 below 0 by more than two standard errors"),
        ([SOUND, None, in_nats(None, -0.66)], "lane 2 below 0 by more than two standard errors"),
        ([SOUND, in_nats(0.3, 0.2, n_episodes=255)], "lane 1 measured on fewer than 256 episodes"),
        (
            [in_nats(0.3, -0.66, n_episodes=96), in_nats(-0.66, 0.2, n_episodes=96)],
            "lane 1 below 0 by more than two standard errors; all 2 lanes measured on fewer than 256 episodes",
        ),
        (
            [SOUND, *[in_nats(-0.66, 0.2)] * 8],
            "lanes 1, 2, 3, 4, 5, 6 and 2 more below 0 by more than two standard errors",
        ),
    ],
)
def test_lanes_of_which_the_information_means_nothing_are_named(rows, says):
    assert doubts(rows) == (f"warning: information not to be relied on: {says}" if says else "")
    lines = [lane_row(i, 1.0, 0, row) for i, row in enumerate(rows)]
    assert {line["status"] for line, row in zip(lines, rows, strict=True) if row} == {"ok"}
    assert any(line["doubt"] for line in lines) == bool(says)
    assert [line["n_episodes"] for line in lines] == [row and row["n_episodes"] for row in rows]


def test_a_lane_in_doubt_is_so_in_the_table(tmp_path):
    write_lanes(
        tmp_path / "lanes.csv", [lane_row(i, 1.0, i, row) for i, row in enumerate([SOUND, in_nats(-0.66, 0.2)])]
    )
    table = read_lanes(tmp_path / "lanes.csv").columns
    assert table["doubt"].tolist() == ["", "below 0 by more than two standard errors"]


def test_curves_survive_the_file_and_a_failed_lane_takes_its_seed_out(table):
    path, information = table
    lanes = read_lanes(path)
    assert lanes.arms() == ["main", "no randomiser"]
    curves = lanes.curves(horizon=50, start="loud")
    np.testing.assert_array_equal(curves.penalty, PENALTY)
    np.testing.assert_allclose(curves.information, 1.1 * information[:8])
    np.testing.assert_array_equal(lanes.by_seed("information_nats")[0], range(8))
    np.testing.assert_allclose(curves.accuracy, 0.5 + information[:8] / 1.2)
    assert (curves.horizon, curves.start) == (50, "loud")
    assert lanes.grid("information_nats", "no randomiser")[1].tolist() == [[0.1] * 14]
    assert "nan" not in path.read_text()
    assert path.read_text().count(",failed,") == 1


def test_a_table_older_than_the_exact_reader_has_the_detectors_curves(table, tmp_path):
    """Or one with lanes that nobody could read: exact and found are not mixed in a curve."""
    path, information = table
    columns = dict(read_lanes(path).columns)
    columns["exact_nats"] = np.where(columns["lane"] == 4, np.nan, columns["exact_nats"])
    unread, older = dataclasses.replace(read_lanes(path), columns=columns), read_lanes(path)
    del older.columns["exact_nats"]
    for lanes in (unread, older):
        assert (lanes.is_exact, lanes.information, lanes.accuracy) == (False, "information_nats", "accuracy")
        np.testing.assert_allclose(lanes.curves().information, information[:8])
        np.testing.assert_allclose(lanes.curves().accuracy, 0.5 + information[:8] / 1.4)
    with path.open() as file:
        rows = [{k: v for k, v in row.items() if "exact" not in k} for row in csv.DictReader(file)]
    write_lanes(tmp_path / "lanes.csv", rows)
    assert draw_transition(tmp_path / "lanes.csv", tmp_path / "old") == ["old.png", "old.pdf"]


def test_an_arm_whose_policies_begin_by_acting_in_most_steps_is_a_loud_start(table):
    experiment = configuration.resolve(configuration.load("configs/lambda_sweep.py:fast"))
    lanes = read_lanes(table[0])
    verdicts = [locate_arm(lanes, "main", gate, experiment)["verdict"] for gate in (0.3, 0.9)]
    assert ["no loud start was run" in verdict for verdict in verdicts] == [True, False]
    assert ["no quiet start was run" in verdict for verdict in verdicts] == [False, True]
    assert locate_arm(lanes, "no randomiser", 0.3, experiment)["verdict"] == "not determined: 1 seed, 8 are needed"


def test_fills_are_drawn_a_line_per_lane_and_not_where_none_were_kept(tmp_path):
    lanes = [{"arm": "main", "lambda": x, "seed": 0, "measures": {"fill_counts": [0, 1, 2, 3]}} for x in (0.0, 1.0)]
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"lanes": [*lanes, {"arm": "main", "lambda": 2.0, "seed": 0, "measures": None}]}))
    assert draw_lane_fills(path, tmp_path / "fills") == ["fills.png", "fills.pdf"]
    path.write_text(json.dumps({"lanes": [{"arm": "main", "lambda": 0.0, "seed": 0, "measures": {}}]}))
    assert draw_lane_fills(path, tmp_path / "none") == []


def test_the_main_figure_is_drawn_from_files_alone(table, tmp_path):
    path, _ = table
    found = as_json(locate(read_lanes(path).curves())) | {"verdict": "crossover"}
    (tmp_path / "located.json").write_text(json.dumps(found, allow_nan=False))
    names = draw_transition(path, tmp_path / "figure", tmp_path / "located.json")
    assert names == ["figure.png", "figure.pdf"]
    first = (tmp_path / "figure.pdf").read_bytes()
    draw_transition(path, tmp_path / "figure", tmp_path / "located.json")
    assert first == (tmp_path / "figure.pdf").read_bytes(), "equal files, equal figure"
    draw_transition(path, tmp_path / "bare")
    below = [lane_row(i, penalty, 0, measured(-0.4)) for i, penalty in enumerate(PENALTY.tolist())]
    write_lanes(tmp_path / "below.csv", [line | {"kl_nats": -0.5} for line in below])
    draw_transition(tmp_path / "below.csv", tmp_path / "below")


def test_theory_as_numbers_is_the_designs():
    """Mixed I 0.32, 0.22, 0.02 at lambda 1.4, 1.8, 3 for d_max = 4, where the pure optimum has 0.63, 0.04, 0.01."""
    curves = theory_curves([0.0, 1.4, 1.8, 3.0], 4.0)
    np.testing.assert_allclose(curves["randomised"]["information_nats"][1:], [0.32, 0.22, 0.02], atol=0.006)
    np.testing.assert_allclose(curves["deterministic"]["information_nats"][1:], [0.63, 0.04, 0.01], atol=0.006)
    assert curves["deterministic"]["haste"][0] == pytest.approx(1.0)
    assert curves["deterministic"]["accuracy"][0] == pytest.approx(0.5 * (1 + math.erf(2 / math.sqrt(2))))


def test_the_interval_over_seeds_is_students():
    mean, half = mean_interval(np.array([[1.0, 2.0], [3.0, 2.0]]))
    assert mean.tolist() == [2.0, 2.0]
    np.testing.assert_allclose(half, [12.7062 * 1.0, 0.0], rtol=1e-4)  # t at 97.5% with one degree of freedom
    assert np.isnan(mean_interval(np.ones((1, 2)))[1]).all()
