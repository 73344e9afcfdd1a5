"""Facts of stretches that are made by hand, and of simulated episodes whose law is known."""

import jax
import numpy as np
import pytest

from amarl_jax.errors import BadInput
from amarl_jax.evaluation.facts_figure import draw_facts
from amarl_jax.evaluation.facts_report import as_bytes, document, read_recorded
from amarl_jax.evaluation.market_facts import play_noise
from amarl_jax.flow.facts import AGES, HORIZONS, LAGS, N_DEPTH, Stretch, distances, facts_of
from amarl_jax.flow.fit import fit
from amarl_jax.flow.stretches import recorded_stretch
from amarl_jax.ground_truth.recorded_day import day
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.table_noise import TableNoise, table_of
from amarl_jax.trees import as_arrays

SPEC = MarketSpec(
    horizon=120,
    book_capacity=32,
    max_noise_orders=6,
    max_order_size=3,
    n_levels=2,
    n_tape_events=2,
    initial_levels=8,
    initial_sizes=(40,),
    offset_min_ticks=1,
    offset_max_ticks=4,
)


def stretch(mid, side, is_limit=False, **changes):
    n, steps = len(side), len(mid)
    depth = np.zeros((steps, N_DEPTH))
    depth[:, 0] = 4.0
    values = {
        "mid": np.array(mid, float),
        "spread": np.full(steps, 2.0),
        "depth": depth,
        "time": np.arange(n) + 0.5,
        "side": np.array(side),
        "is_limit": np.full(n, is_limit),
        "lots": np.ones(n, int),
        "offset": np.zeros(n, int),
        "age": np.array([1.5, 3.0]),
        "left": np.array([True, False]),
    }
    return Stretch(**(values | changes))


def test_every_market_has_its_line_whatever_it_is_called():
    facts = facts_of([stretch(np.arange(200), np.ones(200, int))])
    figure = draw_facts(facts, {"table": facts, "recorded": facts})
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["recorded day", "simulated, table", "simulated, recorded"]
    assert all(len(axes.lines) == 3 for axes in figure.axes if axes.axison)


def test_curves_by_hand():
    steps = 200
    walk = stretch(np.arange(steps), np.ones(steps, int))  # always up, always bought
    facts = facts_of([walk])
    np.testing.assert_allclose(facts.curves["volatility, ticks^2 per step"][1], HORIZONS)
    np.testing.assert_allclose(facts.curves["impact of a market order, ticks"][1], HORIZONS)
    turns = stretch(np.tile([0, 1], 100), np.tile([1, -1], 100))
    facts = facts_of([turns])
    odd = HORIZONS % 2 == 1
    np.testing.assert_allclose(facts.curves["impact of a market order, ticks"][1], odd.astype(float))
    np.testing.assert_allclose(facts.curves["volatility, ticks^2 per step"][1], odd / HORIZONS)
    np.testing.assert_allclose(facts.curves["sign autocorrelation"][1], np.where(LAGS % 2 == 1, -1.0, 1.0), atol=0.02)
    assert facts.curves["lifetime, share left"][1][AGES == 1] == 1.0
    assert facts.curves["lifetime, share left"][1][AGES == 2] == 0.5
    assert facts.curves["depth by tick"][1].tolist() == [4.0] + [0.0] * (N_DEPTH - 1)
    assert facts.laws["orders in a step"].tolist() == [1.0] * steps
    np.testing.assert_allclose(facts.laws["inter-arrival time"], 1.0)


def test_an_empty_side_counts_for_nothing():
    mid = np.where(np.arange(80) == 20, np.nan, 0.0)
    spread = np.where(np.isnan(mid), np.nan, 2.0)
    facts = facts_of([stretch(mid, np.ones(80, int), spread=spread)])
    assert len(facts.laws["spread"]) == 79
    assert not np.isnan(facts.curves["volatility, ticks^2 per step"][1]).any()


def test_distances_are_those_of_shifted_laws():
    rng = np.random.default_rng(0)
    one = stretch(np.zeros(500), np.ones(500, int), spread=rng.uniform(0, 10, 500))
    other = stretch(np.zeros(500), np.ones(500, int), spread=one.spread + 1.0)
    found = distances(facts_of([one]), facts_of([other]))
    assert found["spread"]["wasserstein_of_range"] == pytest.approx(0.1, abs=0.01)
    assert found["spread"]["ks"] == pytest.approx(0.1, abs=0.03)
    assert found["size"] == found["size"] | {"wasserstein": 0.0, "ks": 0.0}
    assert found["depth by tick"] == {"largest": 0.0, "mean": 0.0}


def test_recorded_facts_are_read_back_from_their_document(tmp_path):
    rng = np.random.default_rng(1)
    one = stretch(np.cumsum(rng.normal(size=300)), rng.choice([1, -1], 300), spread=rng.gamma(2.0, size=300))
    recorded, path = facts_of([one]), tmp_path / "facts.json"
    path.write_bytes(as_bytes(document(recorded, {"itself": recorded})))
    again = read_recorded(path)
    for name, found in distances(recorded, again).items():
        assert found.get("wasserstein_of_range", found.get("largest")) < 0.02, name
    for name, wrong in (
        ("{}", "holds no facts of a recorded market"),
        ('{"recorded": {"quantiles": {"spread": [1, 2]}, "curves": {}}}', "holds other facts than"),
        ('{"recorded": {"quantiles": {"spread": "x"}, "curves": {}}}', "holds no facts of a recorded market"),
    ):
        path.write_text(name)
        with pytest.raises(BadInput, match=wrong):
            read_recorded(path)


def test_simulated_episodes_have_the_law_that_they_were_drawn_by():
    """Rate, sizes, offsets and lifetimes of noise alone; offsets of at least 1 that hardly ever trade at once."""
    table = np.array([[4, 2, 1], [3, 3, 3], [1, 5, 9], [8, 1, 1], [2, 2, 2]], float)
    table /= table.sum()
    params = as_arrays(EnvParams(noise_rate=2.0, lifetime_steps=3.0, tilt_per_tick=0.0, flow=table_of(table)))
    stretches = play_noise(jax.random.key(5), params, SPEC, TableNoise(), 24)
    facts, n_steps = facts_of(stretches), 24 * SPEC.horizon
    n = len(facts.laws["size"])
    assert abs(n - 2.0 * n_steps) < 4 * np.sqrt(2.0 * n_steps)
    p = table.sum(0)
    assert np.abs(np.bincount(facts.laws["size"].astype(int) - 1) / n - p).max() < 4 * np.sqrt(0.25 / n)
    of_limit = table[1:].sum(1) / table[1:].sum()
    offsets = np.bincount(facts.laws["offset"].astype(int) - 1, minlength=4) / len(facts.laws["offset"])
    assert np.abs(offsets - of_limit).max() < 4 * np.sqrt(0.25 / n)
    # an order of k steps leaves k - U steps behind its arrival, so P(age > a) = P(k > a + U) at whole ages
    geometric = (1 - 1 / 3.0) ** AGES
    np.testing.assert_allclose(facts.curves["lifetime, share left"][1], geometric, atol=0.03)
    assert np.nanmin(facts.laws["spread"]) >= 1
    assert facts.laws["depth at the best price"].min() > 0


def test_a_recorded_stretch_is_in_the_units_of_its_fit():
    rng = np.random.default_rng(2)
    n = 600
    marks = rng.choice([1, -1], n), rng.random(n) < 0.8, rng.integers(1, 5, n), rng.integers(1, 4, n) * 200
    seconds = 40_000 + np.cumsum(rng.exponential(1.0, n))
    recording = day(marks, seconds, rng.exponential(30.0, n))
    fitted = fit(recording, tick=200, lot_shares=200, max_lots=3, orders_per_step=5)
    one = recorded_stretch(recording, fitted)
    assert len(one.mid) == pytest.approx((n - 1) / 5, abs=1)
    row = int(np.searchsorted(recording.time, seconds[0] + 40 * fitted.flow.step_seconds, side="right")) - 1
    bid, ask = recording.levels[row, :, 0]
    assert one.spread[40] == (ask[0] - bid[0]) / 200
    assert one.mid[40] == (ask[0] + bid[0]) / 400
    near = [sum(s for p, s in side.tolist() if s and abs(p - side[0, 0]) < 200) for side in recording.levels[row]]
    assert one.depth[40, 0] == pytest.approx(sum(near) / 2 / 200)
    assert set(one.lots) == {1, 2, 3}
