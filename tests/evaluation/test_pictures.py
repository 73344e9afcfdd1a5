"""The figures of a run under way take next to none of its time."""

from types import SimpleNamespace

import pytest

from amarl_jax.evaluation import pictures
from amarl_jax.evaluation.pictures import CURVES_SECONDS, EPISODE_SECONDS, SHARE, Budget, Pictures


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass where a test says so."""
    now = SimpleNamespace(seconds=50.0)
    monkeypatch.setattr(pictures.time, "perf_counter", lambda: now.seconds)
    return now


def test_no_more_than_the_share_of_a_long_run_is_spent(clock):
    budget, began = Budget(expected=3.0), clock.seconds
    times = 0
    for _ in range(100_000):
        clock.seconds += 1.0
        if budget.allows():
            with budget.spending():
                clock.seconds += 2.0
            times += 1
            assert times * 2.0 <= SHARE * (clock.seconds - began)
    assert times == pytest.approx(100_000 * SHARE / 2.0, rel=0.03)


@pytest.fixture
def drawn(clock, monkeypatch):
    """Pictures whose drawing is noted, and what was noted."""
    noted = []
    made = Pictures(None, SimpleNamespace(shows_pictures=True), lambda state: f"episode of {state}")
    monkeypatch.setattr(made, "draw_curves", lambda update: noted.append(("curves", update)))
    monkeypatch.setattr(made, "draw_episode", lambda update, trace: noted.append((trace, update)))
    return made, noted


def test_a_short_run_draws_nothing_before_its_end_and_a_long_one_each_in_its_time(drawn, clock):
    made, noted = drawn
    clock.seconds += CURVES_SECONDS / SHARE - 1.0
    made.at_checkpoint(1, "a")
    assert noted == []
    clock.seconds += 1.0
    made.at_checkpoint(2, "b")
    assert noted == [("curves", 2)]
    clock.seconds += EPISODE_SECONDS / SHARE
    made.at_checkpoint(3, "c")
    assert noted[1:] == [("curves", 3), ("episode of c", 3)]


def test_nobody_draws_where_no_logger_would_show_it(drawn, clock):
    made, noted = drawn
    made._log.shows_pictures = False
    clock.seconds += 1e6
    made.at_checkpoint(1, "a")
    assert noted == []
