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

    Lots per order fall with the penalty, the spread does not know of it, orders are noise at the end, and one lane has
    no number for what the maker earns.
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
            columns.setdefault("completion", []).extend([0.7 if start == "loud" else 0.6] * len(PENALTIES))
    columns["maker_pnl_tick_lots"][3] = np.nan
    return LaneTable({name: np.array(values, object if name == "arm" else None) for name, values in columns.items()})


def words(table, first_seed=0):
    """Reading by claim, of all seeds."""
    lanes = hypotheses.Lanes(table, "exact", first_seed)
    families = (hypotheses.BEFORE, hypotheses.AFTER)
    return {answer.hypothesis.claim: answer.word for family in families for answer in hypotheses.answers(lanes, family)}


def test_what_is_put_in_is_found_and_what_is_not_is_not():
    found = words(planted())
    assert found["the loud start leaks more, over all penalties"] == "not seen"
    assert found["it leaks more between 0.3 and 1.3"] == "the same, within 0.03"
    assert found["hiding costs less than it is worth, 0.3 to 2"] == "no, the opposite", "a convex frontier pays more"
    assert found["the order is split finer as lambda rises"] == "yes"
    assert found["the spread is narrower as lambda rises"] == "not seen"
    assert found["the arbitrageur earns less as lambda rises"] == "no, the opposite"
    assert found["the maker earns more, before adverse selection, as lambda rises"] == "not determined", (
        "one lane has no number"
    )
    assert found["the spread follows the belief at lambda 0"] == "no"
    assert found["child orders differ from noise at the largest lambda"] == "not seen"
    assert found["the record tells trader from noise at the largest lambda"] == "yes"


def test_a_start_that_is_remembered_and_hiding_that_costs_less_are_seen():
    found = words(planted(start_nats=0.03, overpaid=0.5))
    assert found["the loud start leaks more, over all penalties"] == "yes"
    assert found["it leaks more between 0.3 and 1.3"] == "yes"
    assert found["it has the worse objective from 8 on"] == "yes"
    assert found["hiding costs less than it is worth, 2 to 20"] == "yes"


@pytest.mark.parametrize("curve", [lambda x: 0.69 / (1.0 + x), lambda x: -0.1 * np.log(x + 0.01)])
def test_of_optimal_policies_hiding_never_costs_less_than_it_is_worth(curve):
    """``dC = -lambda dI``, integrated finely between the penalties of the grid."""
    fine = np.linspace(0.0, PENALTIES[-1], 200_001)
    cost = np.concatenate([[0.0], np.cumsum(0.5 * (fine[1:] + fine[:-1]) * -np.diff(curve(fine)))])
    table = planted(noise=0.0)
    places = np.searchsorted(PENALTIES, table.columns["lambda"])
    table.columns["exact_nats"] = curve(PENALTIES)[places]
    table.columns["shortfall_units"] = np.interp(PENALTIES, fine, cost)[places]
    for low, high in hypotheses.HIDING:
        gap = hypotheses.left_on_the_table(low, high)(hypotheses.Lanes(table, "exact"))
        here = (low < PENALTIES) & (high > PENALTIES)
        grid, nats = PENALTIES[here], curve(PENALTIES[here])
        assert np.all(gap > 0.0)
        assert np.all(gap < np.sum(np.diff(grid) * -np.diff(nats))), "no more than the larger penalties say"


def test_lanes_are_paired_by_seed_and_penalty_whatever_their_order():
    table = planted()
    turned = LaneTable({name: column[::-1] for name, column in table.columns.items()})
    mixed = hypotheses.Lanes(turned, "exact").of("exact_nats")
    np.testing.assert_array_equal(mixed, hypotheses.Lanes(table, "exact").of("exact_nats"))
    loud = table.columns["arm"] == "exact, loud"
    np.testing.assert_array_equal(mixed[0].ravel(), table.columns["exact_nats"][loud])
    later = hypotheses.Lanes(turned, "exact", 4)
    assert later.keys()[0].tolist() == [4, 5, 6, 7]
    np.testing.assert_array_equal(later.of("exact_nats"), mixed[:, 4:])


def test_below_eight_seeds_of_both_starts_nothing_is_determined():
    for table, source in ((planted(7), "exact"), (planted(), "mine")):
        (line, _) = hypotheses.lines(table, source)
        assert "not determined, 8 seeds" in line


def test_holm_by_hand():
    np.testing.assert_allclose(hypotheses.holm([0.04, 0.01, 0.03, 0.5]), [0.09, 0.04, 0.09, 0.5])
    np.testing.assert_allclose(hypotheses.holm([0.9, 0.8]), [1.0, 1.0])


@pytest.mark.parametrize("n_family", [1, 5])
def test_the_least_distance_is_found_with_its_power(n_family):
    """Of 4,000 experiments with that effect, four fifths have a p-value below the strictest step's level."""
    rng = np.random.default_rng(1)
    one = hypotheses.Hypothesis("", "", lambda lanes: lanes, 0.0, 1)
    least = hypotheses.Answer(one, np.array([-1.0, 1.0] * 4), 1.0, n_family).least
    scatter = np.std([-1.0, 1.0] * 4, ddof=1)
    p = [hypotheses.student(sample) for sample in rng.normal(least, scatter, (4000, 8))]
    assert np.mean(np.array(p) < 0.05 / n_family) == pytest.approx(0.8, abs=0.03)


def test_the_p_value_is_that_of_a_t_test():
    values = np.random.default_rng(2).normal(0.4, 1.0, 8)
    assert hypotheses.student(values) == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue)
    assert hypotheses.student(np.ones(8)) == 0.0
    assert hypotheses.student(np.zeros(8)) == 1.0
    assert hypotheses.student(np.array([1.0, 1.0, np.nan])) == 1.0, "and it counts in the correction"


def test_the_tables_have_the_answers():
    text = "\n".join(hypotheses.lines(planted(start_nats=0.03), "exact"))
    before, after = text.split("exact, asked after")
    assert "8 seeds, mean of both starts; at the largest lambda 0.70 (loud) and 0.60 (quiet) of the order" in before
    split = next(line for line in before.splitlines() if "split finer" in line).split(" | ")
    assert split[6] == "yes"
    assert split[7].startswith("-2.0"), "lots per order, from 7 to 5"
    assert split[7].endswith("lots an order |")
    assert "the quiet start of 4 other seeds" in after
    row = next(line for line in after.splitlines() if "between 0.3 and 1.3" in line).split(" | ")
    assert row[3].startswith("0.0")
    expected = hypotheses.start_in_the_middle(hypotheses.Lanes(planted(start_nats=0.03), "exact", 4)).mean()
    assert float(row[3].split(" ±")[0]) == pytest.approx(expected, abs=0.0006)
