"""The lanes of a sweep, measured in turn by several processes; how they talk is tested by test_sweep.py."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from amarl_jax import config as configuration
from amarl_jax.config.grid import lanes_of
from amarl_jax.evaluation.frozen import FrozenEpisodes
from amarl_jax.host import processes as hosts
from amarl_jax.lanes import measure

N_LANES, FAILED, DONE = 5, 1, 4  # of them one has diverged, and one has been measured before


class Kept:
    """In place of the file of rows."""

    def __init__(self):
        self.rows = {DONE: "before"}

    def keep(self, lane, row):
        self.rows[lane] = row


@pytest.mark.parametrize(("index", "own"), [(0, [0, 3]), (1, [2])])
def test_a_process_trains_the_detectors_of_its_lanes_and_keeps_the_rows_of_all(index, own, monkeypatch):
    trained, told = [], []
    rest = {field.name: None for field in dataclasses.fields(FrozenEpisodes)}
    episodes = FrozenEpisodes(**rest | {"summary": 10 * jnp.arange(N_LANES)})

    def detect_each(keys, sets, priors, devices):
        assert len(keys) == len(sets) == len(priors)
        for rows in sets:
            trained.append(rows)
            yield rows

    def exchanged(row):
        """The row of this process, and of the other what it would say."""
        told.append(row)
        return [row if i == index else {"told by": i} for i in range(2)]

    monkeypatch.setattr(hosts, "several", lambda: True)
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts.jax, "process_index", lambda: index)
    monkeypatch.setattr(hosts, "exchanged", exchanged)
    monkeypatch.setattr(measure, "play_lanes", lambda *_, **__: episodes)
    monkeypatch.setattr(measure, "shuffled", lambda key, rows: SimpleNamespace(z=int(rows) + 1))
    monkeypatch.setattr(measure, "detect_each", detect_each)
    monkeypatch.setattr(measure, "evaluate_detected", lambda detection, *_: int(detection))
    monkeypatch.setattr(measure.baselines, "row", lambda key, summary, evaluation: {"detected": evaluation})
    monkeypatch.setattr(measure, "conduct", lambda mine, control, z: {"control": control.z})
    layout = SimpleNamespace(place=lambda tree: tree, take_back=lambda tree: tree, devices=())
    sizes = {"sweep.n_lambdas": N_LANES, "sweep.n_seeds": 1, "logging.verbose": False}
    experiment = configuration.resolve(configuration.load("configs/lambda_sweep.py:fast", sizes))
    lanes, kept = lanes_of(experiment), Kept()
    rows = measure.measure_lanes(lanes, {FAILED: "diverged"}, None, layout, experiment, kept)
    ours = {lane: {"detected": 10 * lane, "control": 10 * lane + 1} for lane in own}
    others = {lane: {"told by": 1 - index} for lane in (0, 2, 3) if lane not in own}
    expected = ours | others | {FAILED: None, DONE: "before"}
    assert rows == [expected[lane] for lane in range(N_LANES)]
    assert len(trained) == 2 * len(own), "one detector for the labels, one for the shuffled ones"
    assert told[: len(own)] == [ours[lane] for lane in own]
    assert len(told) == 2, "all processes meet in every round"
