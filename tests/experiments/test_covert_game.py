"""The covert game's experiment: arms that play the same number of steps, and a report that says so."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "covert_game"


def module(name):
    """A script of the experiment, under a name that no other experiment's has."""
    spec = importlib.util.spec_from_file_location(f"covert_game_{name}", FOLDER / f"{name}.py")
    found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


driver, report = module("covert_game"), module("report")


@pytest.mark.parametrize("arm", ["deterministic", "randomising"])
def test_an_arm_plays_the_steps_that_the_report_says(arm, monkeypatch):
    """The learner is asked for that many updates of that many episodes, on schedules of that length."""
    asked = []

    def train(key, log_std, hypers, params, training, n_updates):
        asked.append(training.game.horizon * training.learn.n_envs * n_updates)
        return None, hypers.n_updates

    monkeypatch.setattr(driver.covert, "train", train)
    (schedule,) = driver.train_lanes(driver.CONFIG["arms"][arm], [(1.0, "quiet", 0)])
    assert set(asked) == {report.steps_of(driver.CONFIG, arm)} == {6_144_000}
    assert schedule == driver.CONFIG["training"]["n_updates"]


def test_every_arm_plays_as_many_steps():
    assert len({report.steps_of(driver.CONFIG, arm) for arm in driver.CONFIG["arms"]}) == 1
    assert "as many in every arm: deterministic 6,144,000, randomising 6,144,000." in report.played(driver.CONFIG)


def test_arms_of_unlike_length_are_called_so():
    document = json.loads(json.dumps(driver.CONFIG))
    document["arms"]["deterministic"]["n_updates"] = 400
    assert "NOT as many in every arm: deterministic 1,638,400," in report.played(document)
