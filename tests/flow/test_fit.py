"""The fit finds the law of days that were drawn by a known one."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from amarl_jax.flow.arrivals import arrivals, rests
from amarl_jax.flow.fit import fit, fit_tilt, in_lots, lot_of
from amarl_jax.flow.law import read_flow, text_of
from amarl_jax.flow.lifetimes import kaplan_meier, mean_steps
from amarl_jax.flow.table import STRENGTHS, counts_of, fit_table, smoothed
from amarl_jax.ground_truth.recorded_day import day
from amarl_jax.lob.recording import Event

N = 4000
OFFSETS, LOTS = 6, 8  # 1 .. 6 ticks behind mid
RATE, LIFETIME = 2.0, 12.0  # orders a second, seconds


def true_table():
    """A joint law that is no product: the deeper, the larger."""
    place, lots = np.arange(1 + OFFSETS)[:, None], np.arange(1, LOTS + 1)[None]
    law = np.exp(-0.5 * (lots - 1 - place) ** 2 / 4.0) * np.where(place == 0, 0.7, 1.0 + place % 3)
    return law / law.sum()


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(7)
    cell = rng.choice(true_table().size, N, p=true_table().reshape(-1))
    place, lots = np.divmod(cell, LOTS)
    seconds = 34_200 + np.cumsum(rng.exponential(1 / RATE, N))
    marks = rng.choice([1, -1], N), place > 0, place, 100 * (1 + lots)
    return day(marks, seconds, rng.exponential(LIFETIME, N)), marks, place, 1 + lots, seconds


@pytest.fixture(scope="module")
def fitted(known):
    return fit(known[0], lot_shares=100, max_lots=LOTS, tick=100, orders_per_step=10)


def test_every_order_is_found_again(known):
    recording, (side, is_limit, behind, shares), _, _, seconds = known
    found = arrivals(recording)
    assert found.no_mid == 1  # before the first row nobody knows the book
    np.testing.assert_array_equal(found.side, side[1:])
    np.testing.assert_array_equal(found.is_limit, is_limit[1:])
    np.testing.assert_array_equal(found.size, shares[1:])
    np.testing.assert_array_equal(found.time, seconds[1:])
    np.testing.assert_array_equal(np.floor(found.behind / 100)[found.is_limit], behind[1:][is_limit[1:]])


def test_the_table_is_the_law_within_sampling_error(known, fitted):
    flow, law = fitted.flow, true_table()
    assert (flow.offset_min, flow.offset_max, flow.max_lots) == (1, OFFSETS, LOTS)
    table = np.array(flow.table)
    assert table.sum() == pytest.approx(1)
    expected = law * N
    chi2 = float((((table - law) * N) ** 2 / expected)[expected > 5].sum())
    assert stats.chi2.sf(chi2, int((expected > 5).sum()) - 1) > 1e-3
    other = np.roll(law, 1, axis=0)
    assert stats.chi2.sf(float((((table - other) * N) ** 2 / (other * N))[other * N > 5].sum()), 40) < 1e-9
    likelihood = lambda p: float((law * np.log(p)).sum())  # noqa: E731
    assert likelihood(law) - likelihood(table) < 2 * table.size / (2 * N)  # what as many free cells cost, twice


def test_rates_and_lifetimes_are_those_that_were_drawn(known, fitted):
    flow = fitted.flow
    assert flow.rate / flow.step_seconds == pytest.approx(RATE, rel=4 / N**0.5)
    assert flow.step_seconds == pytest.approx(10 / RATE, rel=4 / N**0.5)
    steps = LIFETIME / flow.step_seconds + 0.5
    assert flow.lifetime_steps == pytest.approx(steps, rel=0.1)
    times = np.array([row[1] for row in flow.rate_by_time])
    assert times.mean() == pytest.approx(10, rel=1e-3)
    assert stats.chi2.sf(float(((times - 10) ** 2 / 10).sum() * N / 10 / len(times)), len(times) - 1) > 1e-3
    shares = np.array([row[1:6] for row in flow.survival_by_offset])
    expected = np.exp(-(2.0 ** np.arange(5)) * flow.step_seconds / LIFETIME)
    assert np.abs(shares - expected).max() < 0.1  # of 500 orders a class and time, cut by trades: 4 errors


def test_orders_that_leave_the_levels_unseen_are_not_taken_for_lasting(known):
    """Shown only the best levels, the same day has the same lifetimes where it shows any."""
    recording = known[0]
    shown = recording.levels[:, :, :2]
    touching = (recording.event == Event.EXECUTION) | (
        recording.direction
        * (recording.price - np.where(recording.direction > 0, shown[:, 0, 1, 0], shown[:, 1, 1, 0]))
        >= 0
    )
    cut = {
        name: getattr(recording, name)[touching] for name in ("time", "event", "order_id", "size", "price", "direction")
    }
    found = rests(dataclasses.replace(recording, **cut, levels=shown[touching]))
    assert (~found.cancelled).mean() > 0.1
    assert found.seconds.sum() / found.cancelled.sum() == pytest.approx(LIFETIME, rel=0.15)


def test_an_order_that_trades_and_rests_is_one_limit_order(known):
    recording = known[0]
    row = int(np.flatnonzero(recording.event == Event.EXECUTION)[5])
    while recording.time[row + 1] == recording.time[row]:
        row += 1
    event, side, price, time, size = (
        getattr(recording, name).copy() for name in ("event", "direction", "price", "time", "size")
    )
    event[row + 1], time[row + 1], side[row + 1] = Event.SUBMISSION, time[row], -side[row]
    price[row + 1], size[row + 1] = price[row], 300
    whole = dataclasses.replace(recording, event=event, direction=side, price=price, time=time, size=size)
    before, after = arrivals(recording), arrivals(whole)
    at = int(np.flatnonzero(after.time == time[row])[0])
    assert after.is_limit[at]
    assert not before.is_limit[at]
    assert after.size[at] == before.size[at] + 300
    assert after.behind[at] < 0
    assert after.side[at] == before.side[at]


def test_kaplan_meier_by_hand():
    survival = kaplan_meier(np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([True, True, False, False, True]))
    assert survival.seconds.tolist() == [1, 2, 4]
    np.testing.assert_allclose(survival.share, [0.8, 0.8 * 0.75, 0])
    np.testing.assert_allclose(survival.at(np.array([0.5, 1.0, 3.9])), [1, 0.8, 0.6])
    assert mean_steps(np.array([3.0, 5.0]), np.array([True, False]), 2.0) == 4.5


def test_smoothing_is_what_held_out_orders_like():
    rng = np.random.default_rng(0)
    product = np.outer([0.2, 0.3, 0.5], np.full(40, 1 / 40)).reshape(-1)
    place, lots = np.divmod(rng.choice(120, 2000, p=product), 40)
    independent = fit_table(place, 1 + lots, 3, 40)
    place, lots = np.repeat([0, 1, 2], 700), np.tile([1, 2, 3], 700)
    mixed = rng.permutation(2100)
    joint = fit_table(place[mixed], (1 + place + 0 * lots)[mixed], 3, 40)
    assert independent.strength >= 512 > 16 >= joint.strength
    assert independent.held_out_nats[STRENGTHS.index(independent.strength)] == independent.held_out_nats.max()
    counts = counts_of(np.array([0, 1, 1]), np.array([1, 2, 2]), 2, 2)
    assert counts.tolist() == [[1, 0], [0, 2]]
    np.testing.assert_allclose(smoothed(counts, 1.0)[0, 1], 1.5 / 4 * 2.5 / 4 / 4)


def test_lots_keep_the_mean_size():
    size = np.array([100] * 700 + [37] * 200 + [1200] * 5)
    lot = lot_of(size, 20)
    assert lot * in_lots(size, lot, 20).mean() == pytest.approx(size.mean(), rel=0.005)
    assert in_lots(np.array([1, 14, 15, 999]), 10, 20).tolist() == [1, 1, 2, 20]


def test_the_tilt_of_orders_that_lean_on_a_gap():
    rng = np.random.default_rng(1)
    gap = rng.normal(0, 2, 40_000)
    slope, stderr, largest = fit_tilt(rng.random(40_000) < 0.5 + 0.05 * gap.clip(-4, 4), gap)
    assert slope == pytest.approx(0.05, abs=4 * stderr)
    assert stderr < 0.002
    assert 0.1 < largest < 0.25


def test_the_file_holds_what_was_fitted_and_says_what_is_wrong(fitted, tmp_path):
    path = tmp_path / "flow.json"
    path.write_text(text_of(fitted.flow))
    assert path.stat().st_size < 20_000
    again = read_flow(path)
    np.testing.assert_allclose(again.table, fitted.flow.table, rtol=1e-5)
    for name, words in (("rate", "rate: -1 must be a number from"), ("tick", "tick: -1 must be a whole number from")):
        value = getattr(again, name)
        path.write_text(text_of(dataclasses.replace(again, **{name: -1})))
        with pytest.raises(ValueError, match=rf"^{path}: {words}"):
            read_flow(path)
        assert value != -1
    path.write_text(text_of(dataclasses.replace(again, table=[[0.5, 0.5], [0.5]])))
    with pytest.raises(ValueError, match="table: must have 3 to"):
        read_flow(path)
    path.write_text(text_of(dataclasses.replace(again, table=[[0.5, 0.5]] * 3)))
    with pytest.raises(ValueError, match="table: must be numbers >= 0 that sum to 1"):
        read_flow(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="format: must be 1"):
        read_flow(path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tick": 150}, "tick: 150 must be a multiple of the recorded 100"),
        ({"lot_shares": 0}, "lot_shares: 0 must be at least 1"),
        ({"max_lots": 128}, "max_lots: 128 must be from 1 to 127"),
        ({"orders_per_step": 0}, "orders_per_step: 0 must be from 0.1 to 900"),
    ],
)
def test_arguments_out_of_range_are_one_line(options, says, known):
    with pytest.raises(ValueError, match=f"^{says}"):
        fit(known[0], **options)
