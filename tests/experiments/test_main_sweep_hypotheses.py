"""The hypotheses of the main sweep: effects that were put in are found, those that were not are not."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from amarl_jax.lanes.table import LaneTable

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "main_sweep"
PENALTIES = np.array([0.0, 0.125, 0.3, 0.5, 0.8, 1.3, 2.0, 3.2, 5.0, 8.0, 12.7, 20.0])


def script():
    """The module under a name of its own."""
    spec = importlib.util.spec_from_file_location("main_sweep_hypotheses", FOLDER / "hypotheses.py")
    found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


hypotheses = script()


def planted(n_seeds=8, start_nats=0.0, overpaid=1.0, noise=0.01, seed=0):
    """Lanes on an envelope: a nat costs ``overpaid`` times the penalty, and the loud start leaks ``start_nats`` more.

    Lots per order fall with the penalty, the spread does not know of it, and the flow is noise at the end.
    """
    rng = np.random.default_rng(seed)
    nats = 0.69 / (1.0 + PENALTIES)
    middle = 0.5 * (PENALTIES[1:] + PENALTIES[:-1])
    cost = 0.13 + overpaid * np.concatenate([[0.0], np.cumsum(middle * -np.diff(nats))])
    columns = {name: [] for name in ("arm", "lambda", "seed", "status", "exact_nats", "shortfall_units")}
    measures = {
        "child_lots": lambda: 7.0 - 0.1 * PENALTIES + 0.001 * rng.normal(size=len(PENALTIES)),
        "spread_ticks": lambda: rng.normal(size=len(PENALTIES)),
        "maker_pnl_tick_lots": lambda: rng.normal(size=len(PENALTIES)),
        "arbitrageur_pnl_tick_lots": lambda: PENALTIES + 0.001 * rng.normal(size=len(PENALTIES)),
        "spread_belief_correlation": lambda: 0.01 * rng.normal(size=len(PENALTIES)),
        "snipe_autocorrelation": lambda: np.full(len(PENALTIES), np.nan),
        "belief_speed": lambda: rng.normal(size=len(PENALTIES)),
        "order_variation": lambda: 0.1 + 0.004 * rng.normal(size=len(PENALTIES)),
        "order_variation_null": lambda: np.full(len(PENALTIES), 0.1),
        "exact_accuracy": lambda: 0.7 + 0.004 * rng.normal(size=len(PENALTIES)),
    }
    for start in ("loud", "quiet"):
        for one in range(n_seeds):
            more = start_nats if start == "loud" else 0.0
            columns["arm"] += [f"exact, {start}"] * len(PENALTIES)
            columns["lambda"] += PENALTIES.tolist()
            columns["seed"] += [one] * len(PENALTIES)
            columns["status"] += ["ok"] * len(PENALTIES)
            columns["exact_nats"] += (nats + more + noise * rng.normal(size=len(PENALTIES))).tolist()
            columns["shortfall_units"] += (cost + 0.001 * rng.normal(size=len(PENALTIES))).tolist()
            for name, draw in measures.items():
                columns.setdefault(name, []).extend(draw().tolist())
    return LaneTable({name: np.array(values, object if name == "arm" else None) for name, values in columns.items()})


def words(table):
    """Reading by claim."""
    return {answer.hypothesis.claim: answer.word for answer in hypotheses.answers(table, "exact")}


def test_what_is_put_in_is_found_and_what_is_not_is_not():
    found = words(planted())
    assert found["the loud start leaks more, over all penalties"] == "not seen"
    assert found["it leaks more between 0.3 and 1.3"] == "not seen"
    assert found["a nat costs less than it is worth, 0.3 to 2"] == "not seen"
    assert found["a nat costs less than it is worth, 2 to 20"] == "not seen"
    assert found["the order is split finer as lambda rises"] == "yes"
    assert found["the spread is narrower as lambda rises"] == "not seen"
    assert found["the arbitrageur earns less as lambda rises"] == "no, the opposite"
    assert found["the spread follows the belief at lambda 0"] == "no, the opposite"
    assert found["child orders are noise at the largest lambda"] == "yes"
    assert found["the whole record is noise at the largest lambda"] == "no, the opposite"
    assert "snipes cluster more where the belief moves faster" not in found, "nobody sniped"


def test_a_start_that_is_remembered_and_a_nat_that_costs_less_are_seen():
    found = words(planted(start_nats=0.03, overpaid=0.75))
    assert found["the loud start leaks more, over all penalties"] == "yes"
    assert found["it leaks more between 0.3 and 1.3"] == "yes"
    assert found["it ends with the worse objective, from 8 on"] == "yes"
    assert found["a nat costs less than it is worth, 2 to 20"] == "yes"


def test_the_price_of_lanes_on_an_envelope_is_one():
    table = planted(noise=0.0)
    for low, high in hypotheses.HIDING:
        ratios = hypotheses.price(low, high)(hypotheses.Lanes(table, "exact"))
        assert ratios == pytest.approx(np.ones(8), abs=0.02)


def test_lanes_are_paired_by_seed_and_penalty_whatever_their_order():
    table = planted()
    turned = LaneTable({name: column[::-1] for name, column in table.columns.items()})
    mixed = hypotheses.Lanes(turned, "exact").of("exact_nats")
    np.testing.assert_array_equal(mixed, hypotheses.Lanes(table, "exact").of("exact_nats"))
    loud = table.columns["arm"] == "exact, loud"
    np.testing.assert_array_equal(mixed[0].ravel(), table.columns["exact_nats"][loud])


def test_below_eight_seeds_of_both_starts_nothing_is_determined():
    assert hypotheses.answers(planted(7), "exact") is None
    assert hypotheses.answers(planted(), "mine") is None
    assert "not determined" in hypotheses.lines(planted(7), "exact")[0]


def test_holm_by_hand():
    np.testing.assert_allclose(hypotheses.holm([0.04, 0.01, 0.03, 0.5]), [0.09, 0.04, 0.09, 0.5])
    np.testing.assert_allclose(hypotheses.holm([0.9, 0.8]), [1.0, 1.0])


def test_the_least_distance_is_found_with_its_power():
    """Of 4,000 experiments with that effect, four fifths have an uncorrected p-value below 0.05."""
    rng = np.random.default_rng(1)
    one = hypotheses.Hypothesis("", "", lambda lanes: lanes, 0.0, 1)
    sigma_of_mean = hypotheses.Answer(one, np.array([-1.0, 1.0] * 4), np.zeros(0), 1.0).least
    scatter = np.std([-1.0, 1.0] * 4, ddof=1)
    p = [hypotheses.student(sample) for sample in rng.normal(sigma_of_mean, scatter, (4000, 8))]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.8, abs=0.03)


def test_the_p_value_is_that_of_a_t_test():
    values = np.random.default_rng(2).normal(0.4, 1.0, 8)
    assert hypotheses.student(values) == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue)
    assert hypotheses.student(np.ones(8)) == 0.0
    assert hypotheses.student(np.zeros(8)) == 1.0


def test_the_table_has_the_answers():
    text = "\n".join(hypotheses.lines(planted(start_nats=0.03), "exact"))
    assert text.startswith("exact, 8 seeds, both starts:")
    row = next(line for line in text.splitlines() if "between 0.3 and 1.3" in line).split(" | ")
    assert row[3].startswith("0.0")
    assert row[4], "what the later seeds say alone"
    assert row[-1] == "yes |"
