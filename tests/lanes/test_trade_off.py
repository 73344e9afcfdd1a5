"""What a sweep's table says of the price of hiding, and its figure, from files alone."""

import itertools
import json

import numpy as np
import pytest

from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.lanes.frontier_figure import draw_frontier, frontier_figure
from amarl_jax.lanes.table import lane_row, read_lanes, write_lanes
from amarl_jax.lanes.trade_off import can_trade_off, trade_off

PENALTY = np.array([0.0, 0.25, 0.5, 1.0, 2.0])


def measured(nats, units):
    """A row as the baselines' table has it, exact information and cost in it; a detector finds half."""
    row = {name: {"value": 0.0, "stderr": 0.01} for name in (*COLUMNS, "kl_nats")}
    row["exact_nats"]["value"], row["information_nats"]["value"] = float(nats), 0.5 * float(nats)
    row["shortfall_units"]["value"] = float(units)
    return row | {"n_episodes": 512}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Lanes on ``C = 2 (0.7 - I)^2`` at ``I = 0.7 - lambda / 4``, eight seeds a hair apart; a lone lane beside."""
    lines = []
    for penalty in PENALTY:
        for seed in range(8):
            nats = 0.7 - penalty / 4.0 + 1e-3 * np.sin(seed + penalty)
            lines.append(lane_row(len(lines), float(penalty), seed, measured(nats, 2.0 * (0.7 - nats) ** 2)))
    lines.append(lane_row(len(lines), 1.0, 0, measured(0.1, 0.1), "alone"))
    path = tmp_path_factory.mktemp("lanes") / "lanes.csv"
    write_lanes(path, lines)
    return read_lanes(path)


def test_the_price_paid_and_the_prediction_come_from_the_exact_columns(table):
    found = trade_off(table)
    assert found["information"] == "exact_nats"
    assert [slope["ratio"] for slope in found["envelope"]] == pytest.approx([1.0] * 4, abs=0.02)
    assert all(slope["agrees"] is True for slope in found["envelope"])
    predicted = found["frontier"]["predicted"]
    at_grid = np.interp(PENALTY, predicted["lambda"], predicted["nats"])
    np.testing.assert_allclose(at_grid, found["learned"]["nats"], atol=0.01)
    assert not can_trade_off(table, "alone")


def test_scripts_without_the_same_information_stay_outside(table):
    scripts = {"cheaper": measured(0.3, 0.1), "unread": measured(0.3, 0.0)}
    scripts["unread"]["exact_nats"] = {"value": None, "stderr": None}
    found = trade_off(table, scripted=scripts)
    names = [policy["name"] for policy in found["frontier"]["policies"]]
    assert names[len(PENALTY) :] == ["cheaper"]
    assert len(PENALTY) in found["frontier"]["corners"]


def test_the_figure_is_drawn_from_a_sweeps_file(table, tmp_path):
    located = {"main": {"trade_off": trade_off(table)}, "alone": {"verdict": "not determined"}}
    (tmp_path / "sweep.json").write_text(json.dumps({"located": located}, allow_nan=False))
    assert draw_frontier(tmp_path / "sweep.json", tmp_path / "frontier") == ["frontier.png", "frontier.pdf"]
    (tmp_path / "sweep.json").write_text(json.dumps({"located": {"alone": located["alone"]}}))
    assert draw_frontier(tmp_path / "sweep.json", tmp_path / "none") == []


def test_titles_stay_in_their_panels_and_what_is_not_shown_is_said(table):
    found = trade_off(table)
    far = [dict(slope) for slope in found["envelope"]]
    far[2]["slope"] = far[2]["slope"] | {"upper": 100.0}  # beyond the axis
    untold = [slope | {"slope": {"value": 1.0, "lower": None, "upper": None}, "agrees": None} for slope in far]
    arms = {"main": found | {"envelope": far}, "alone": found | {"n_seeds": 1, "envelope": untold}}
    figure = frontier_figure(arms)
    figure.draw_without_rendering()
    rows = np.reshape(figure.axes, (2, 3))
    for row in rows:
        for axis, beside in itertools.pairwise(row):
            assert axis.get_tightbbox().x1 < beside.get_tightbbox().x0
    prices = rows[:, 2]
    assert "no interval: 1 seed" in [text.get_text() for text in prices[1].texts]
    assert not prices[1].collections
    arrows = [[line for line in axis.lines if line.get_marker() == "^"] for axis in prices]
    assert [len(found) for found in arrows] == [1, 0]
    assert "certainty, ln 2" in [text.get_text() for text in rows[0, 1].texts]
    names = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in rows[:, 0]]
    assert ["a seed at a lambda" in of for of in names] == [True, False]
