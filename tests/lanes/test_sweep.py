"""The sweep command on ten tiny lanes: one program, lanes equal to single runs, confined failures, what it writes.

One long file: its tests share one swept run and one compiled program, and pytest shares them by module.
"""

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import chex
import jax
import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax import evaluate, sweep, train
from amarl_jax.config.grid import keys_of, lanes_of, setups_of
from amarl_jax.errors import ConfigError
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation import metrics
from amarl_jax.host import cli
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.runlog import read_metrics
from amarl_jax.information.tape_detector import TapeDetectorSpec
from amarl_jax.lanes import layout as lanes_module
from amarl_jax.lanes import program as lane_program
from amarl_jax.lanes.layout import Layout, begin_lanes, lay_out
from amarl_jax.lanes.table import read_lanes
from amarl_jax.learn.update import advance, begin
from tests.tiny_runs import STEPS_PER_UPDATE, TINY, jax_settings, numbers, shown_in, terminate_after, tree

__all__ = ["jax_settings"]

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
N_UPDATES, N_LAMBDAS, N_SEEDS = 2, 5, 2
N_LANES = N_LAMBDAS * N_SEEDS
GRID = {
    "training.total_timesteps": N_UPDATES * STEPS_PER_UPDATE,
    "sweep.n_lambdas": N_LAMBDAS,
    "sweep.n_seeds": N_SEEDS,
    "sweep.points_per_octave": 1,
    "sweep.lanes_at_once": 4,
}
LOUD = 7  # lambda = 2, second seed
COLLECTIVES = re.compile("all-reduce|all-gather|collective-permute|all-to-all")


class Finished(NamedTuple):
    """One sweep from its first update to its figure."""

    swept: sweep.Swept
    config: object
    n_traces: int  # of the update


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Rounds of lanes on one of the eight devices; the test of sharding takes them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane_program, "devices_of", lambda run: tuple(jax.devices()[:1]))
        yield


@pytest.fixture(scope="module", autouse=True)
def small_detectors():
    """What a detector finds is tested elsewhere; here it is trained three times for every lane."""
    small = TapeDetectorSpec(hidden=(4,), n_folds=2, n_epochs=1, min_steps=4, n_checks=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "DETECTOR", small)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, jax_settings, one_device, small_detectors):
    """Ten lanes, two updates. Whatever else runs here reuses its compiled program."""
    config = configuration.load(TINY, GRID)
    traced, update = [], lanes_module.update

    def counted(*arguments):
        traced.append(1)
        return update(*arguments)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(lanes_module, "update", counted)
        swept = sweep.sweep(config, tmp_path_factory.mktemp("sweep") / "grid")
    return Finished(swept, config, len(traced))


def command(*arguments):
    return cli.run(sweep.main, "Usage.", sweep.define_flags, argv=["sweep", *map(str, arguments)])


def flags_of(overrides):
    return [f"--config={TINY}", *(f"--config.{name}={value}" for name, value in overrides.items())]


def curves(workdir):
    """Learning curves without the clock."""
    return sorted(numbers(workdir), key=lambda row: (row["update"], row["lane"]))


def test_all_lanes_are_one_program_traced_once(finished):
    assert finished.n_traces == 1
    assert len(finished.swept.lanes) == N_LANES


def test_a_sweep_leaves_its_lanes_curves_table_answer_and_figure(finished):
    workdir = finished.swept.workdir
    assert {path.name for path in workdir.iterdir()} == {
        "checkpoints",
        "config.json",
        "fills.pdf",
        "fills.png",
        "frontier.pdf",
        "frontier.png",
        "lanes.csv",
        "lanes.json",
        "metrics.jsonl",
        "run.json",
        "sweep.json",
        "tensorboard",
        "transition.json",
        "transition.pdf",
        "transition.png",
    }
    rows = read_metrics(workdir / "metrics.jsonl")
    assert {(row["update"], row["lane"]) for row in rows} == {(u, i) for u in (1, 2) for i in range(N_LANES)}
    table = read_lanes(workdir / "lanes.csv")
    np.testing.assert_array_equal(table.columns["lambda"], np.repeat([0.0, 0.5, 1.0, 2.0, 4.0], N_SEEDS))
    np.testing.assert_array_equal(table.columns["seed"], [0, 1] * N_LAMBDAS)
    assert np.isfinite(table.grid("information_nats")[1]).all()
    assert table.is_exact
    assert np.isfinite(table.grid("exact_nats")[1]).all()
    np.testing.assert_array_equal(table.curves().information, table.grid("exact_nats")[1])
    document = json.loads((workdir / "sweep.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert document["located"]["main"]["verdict"] == "not determined: 2 seeds, 8 are needed"
    assert document["lanes"][LOUD]["measures"]["completion"]["value"] == table.columns["completion"][LOUD]
    assert sum(document["lanes"][LOUD]["measures"]["fill_counts"]) == document["lanes"][0]["measures"]["n_episodes"] / 2
    assert {"command", "config", "commit"} <= document["provenance"].keys()
    assert document["from_update"] == 0
    assert list(document["seconds"]) == ["compiling", "training", "measuring"]
    assert all(part["cpu"] > 0 < part["wall"] for part in document["seconds"].values())


def test_tensorboard_has_the_figures_of_a_sweep(finished):
    shown = shown_in(finished.swept.workdir / "tensorboard")
    assert [value.tag for _, value in shown if value.WhichOneof("value") == "image"] == ["transition", "frontier"]


def test_a_lane_is_the_single_run_with_its_seed_and_lambda(finished, after_one_update):
    """After one update what was played is equal; what was learned from it differs by rounding alone."""
    experiment = configuration.resolve(finished.config)
    lane = finished.swept.lanes[LOUD]
    assert (lane.seed, lane.penalty) == (1, 2.0)
    setup = jax.tree.map(lambda x: x[LOUD], setups_of(finished.swept.lanes, experiment))
    single = begin(jax.random.split(jax.random.key(lane.seed))[0], setup)
    single, measured = advance(single, setup, 1)
    row = curves(finished.swept.workdir)[LOUD]
    for name in ("shortfall", "completion", "reward"):
        expected = float(measured[f"phase_a/execution/{name}"][0])
        assert row[f"phase_a/execution/{name}"] == pytest.approx(expected, abs=1e-5)
    ours = jax.tree.map(lambda x: x[LOUD], after_one_update)
    chex.assert_trees_all_equal(ours.replay.storage.tape, single.replay.storage.tape)
    for network, other in ((ours.agents, single.agents), (ours.critic, single.critic), (ours.belief, single.belief)):
        chex.assert_trees_all_close(network, other, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def after_one_update(finished):
    """Learners of all lanes, by the program of the finished sweep."""
    experiment = configuration.resolve(finished.config)
    lanes = lanes_of(experiment)
    layout = lay_out(N_LANES, tuple(jax.devices()[:1]), 4)
    setups = layout.place(setups_of(lanes, experiment))
    state = begin_lanes(layout.place(keys_of(lanes)[0]), setups, layout=layout)
    return layout.take_back(lane_program._compile(setups.game, layout, "float32")(state, setups)[0])


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def test_two_processes_of_four_devices_equal_one_device_and_never_talk(finished, after_one_update, tmp_path):
    """After one update, read from the checkpoint they wrote together; in a process group of its own.

    Two lanes on every device there, rounds of four lanes on one device here.
    """
    workdir, port = tmp_path / "grid", free_port()
    flags = flags_of(GRID | {"training.total_timesteps": STEPS_PER_UPDATE})
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.two_processes", str(workdir), str(port), str(index), *flags],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=900)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    game = configuration.resolve(finished.config).game
    with Checkpointer(workdir / "checkpoints") as checkpoints:
        together = checkpoints.restore(lane_program.shapes(N_LANES, lane_program.one_learner(game)))
    chex.assert_trees_all_equal(together.replay.storage.tape, after_one_update.replay.storage.tape)
    chex.assert_trees_all_close(together.agents, after_one_update.agents, atol=1e-5, rtol=0)
    assert not COLLECTIVES.search((workdir / "program.txt").read_text())
    assert "10 lanes of 1 update: 2 at once on each of 8 devices" in said[0]
    assert [row["lane"] for row in read_metrics(workdir / "metrics.jsonl")] == list(range(N_LANES)), "one chief"
    for index in (0, 1):
        shared = json.loads((workdir / f"shared_{index}.json").read_text())
        assert shared == [[True, 0], [True, 1], [True, 0]], "three jobs in turn, and both have every answer"


@pytest.mark.parametrize(
    ("n_lanes", "n_devices", "at_most", "expected"),
    [
        (10, 1, 4, (4, 3, 12)),
        (10, 8, 0, (2, 1, 16)),
        (112, 1, 0, (112, 1, 112)),
        (9, 2, 3, (3, 2, 12)),
        (1, 8, 4, (1, 1, 1)),
    ],
)
def test_the_layout_by_hand(n_lanes, n_devices, at_most, expected):
    layout = lay_out(n_lanes, tuple(jax.devices()[:n_devices]), at_most)
    assert (layout.at_once, layout.rounds, layout.n_padded) == expected


def test_a_checkpoint_written_on_eight_devices_goes_on_on_three(tmp_path):
    """It holds the lanes without padding, so a layout says where they lie and not what they are."""
    lanes = {
        "key": jax.random.split(jax.random.key(5), 10),
        "weights": np.arange(40.0, dtype=np.float32).reshape(10, 4),
    }
    first, second = (lay_out(10, tuple(jax.devices()[:n]), at_most) for n, at_most in ((8, 0), (3, 2)))
    assert (first.n_padded, second.n_padded) == (16, 12)
    with Checkpointer(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, first.take_back(first.place(lanes)))
    one = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), lanes)
    with Checkpointer(tmp_path / "checkpoints") as checkpoints:
        restored = second.place(checkpoints.restore(lane_program.shapes(10, one)))
    assert len(restored["weights"].sharding.device_set) == 3
    back = second.take_back(restored)
    np.testing.assert_array_equal(back["weights"], lanes["weights"])
    np.testing.assert_array_equal(*(jax.random.key_data(tree["key"]) for tree in (back, lanes)))


def test_memory_bounds_the_lanes_at_once_and_a_lane_that_does_not_fit_is_told_with_the_sum(monkeypatch):
    gib = 2**30
    memory = SimpleNamespace(
        argument_size_in_bytes=gib, output_size_in_bytes=gib, alias_size_in_bytes=gib, temp_size_in_bytes=8 * gib
    )
    layout = Layout(8, tuple(jax.devices()[:1]), 4)  # two rounds: 2 GiB of scratch a lane, 1 GiB carried
    monkeypatch.setattr(sweep.machine, "free_bytes", lambda devices: 10 * gib)
    assert lane_program.lanes_that_fit(memory, layout) == 4
    monkeypatch.setattr(sweep.machine, "free_bytes", lambda devices: 3 * gib)
    with pytest.raises(MemoryError, match=r"2\.70 GiB usable .* 8 lanes take 1\.00 GiB, one lane at work 2\.00 GiB"):
        lane_program.lanes_that_fit(memory, layout)


def test_a_lane_that_diverges_is_confined_marked_and_named(finished, tmp_path, monkeypatch, capsys):
    """The actors' learning rate of one lane takes its parameters beyond float32."""
    lanes_of_config = sweep.lanes_of

    def with_a_broken_lane(experiment):
        lanes = lanes_of_config(experiment)
        broken = dataclasses.replace(lanes[LOUD], hypers=lanes[LOUD].hypers | {"lr_actor": 1e38})
        return [*lanes[:LOUD], broken, *lanes[LOUD + 1 :]]

    monkeypatch.setattr(sweep, "lanes_of", with_a_broken_lane)
    workdir = tmp_path / "grid"
    assert command(*flags_of(GRID), f"--workdir={workdir}") == 4
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"error: 1 of {N_LANES} lanes diverged: lane {LOUD} (lambda 2, seed 1): update 1: ")
    assert "complete" not in captured.out
    assert f"{N_LANES - 1} of {N_LANES} lanes trained and measured" in captured.out
    texts = [(folder / "lanes.csv").read_text() for folder in (workdir, finished.swept.workdir)]
    lines, healthy = (list(csv.DictReader(io.StringIO(text))) for text in texts)
    assert lines[LOUD]["status"] == "failed"
    assert lines[LOUD]["completion"] == ""
    assert lines[:LOUD] + lines[LOUD + 1 :] == healthy[:LOUD] + healthy[LOUD + 1 :], "no other lane noticed"
    rows, expected = curves(workdir), curves(finished.swept.workdir)
    assert [row for row in rows if row["lane"] != LOUD] == [row for row in expected if row["lane"] != LOUD]
    with Checkpointer(workdir / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == N_UPDATES
    kept = workdir / "postmortem" / f"lane_{LOUD}"
    assert {path.name for path in kept.parent.iterdir()} == {kept.name}
    assert json.loads((kept / "metrics.json").read_text())["update"] == 1
    with Checkpointer(kept / "state") as checkpoints:
        assert checkpoints.all_steps() == [1]


def test_a_sweep_stopped_by_a_signal_and_resumed_equals_one_that_was_not(finished, tmp_path, monkeypatch, capsys):
    """It was measured with the same numbers, too; a resumed sweep knows its grid without being told."""
    workdir = tmp_path / "grid"
    with monkeypatch.context() as patch:
        terminate_after(1, patch)
        assert command(*flags_of(GRID), f"--workdir={workdir}") == 75
    assert "stopped and saved at update 1 of 2" in capsys.readouterr().err
    assert command("--resume", f"--workdir={workdir}") == 0
    assert curves(workdir) == curves(finished.swept.workdir)
    assert (workdir / "lanes.csv").read_bytes() == (finished.swept.workdir / "lanes.csv").read_bytes()


def test_a_lane_of_the_sweep_is_evaluated_by_itself(finished):
    run = runs.load(finished.swept.workdir, LOUD)
    assert (run.update, run.seed, float(run.setup.weights.leakage_weight)) == (N_UPDATES, 1, 2.0)
    measured = evaluate.evaluate(run, n_episodes=96).measures
    assert math.isfinite(measured["eval/information/fresh_nats"].value)


def test_the_measures_of_a_lane_are_those_of_the_closing_table(finished):
    """Of a run with its seed: same episodes, same detector."""
    run = runs.load(finished.swept.workdir, LOUD)
    key = jax.random.split(jax.random.key(run.seed))[1]
    evaluation = train.evaluate_state(key, run.state, run.setup, run.experiment)
    row = finished.swept.rows[LOUD]
    for column, name in (("shortfall_ticks", "execution/shortfall_ticks"), ("completion", "execution/completion")):
        assert row[column]["value"] == pytest.approx(evaluation.metrics[name].value, abs=1e-5)
    for column in ("exact_nats", "exact_accuracy"):
        assert row[column]["value"] == pytest.approx(evaluation.metrics[f"information/{column}"].value, abs=1e-3)
    assert row["information_nats"]["value"] == pytest.approx(
        evaluation.metrics["information/fresh_nats"].value, abs=1e-3
    )


def test_a_workdir_that_holds_a_sweep_is_refused_and_a_differing_flag_too(finished, capsys):
    before = tree(finished.swept.workdir)
    assert command(*flags_of(GRID), f"--workdir={finished.swept.workdir}") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert command("--resume", f"--workdir={finished.swept.workdir}", "--seeds=3") == 2
    assert "sweep.n_seeds = 3: must be 2 to resume" in capsys.readouterr().err
    assert tree(finished.swept.workdir) == before


def test_a_second_axis_makes_arms_and_seeds_share_their_keys_across_everything():
    overrides = {"sweep.axis": "environment.latency_ms.arbitrageur", "sweep.axis_values": (1.0, 50.0), "seed": 3}
    experiment = configuration.resolve(configuration.load("configs/lambda_sweep.py:fast", overrides))
    lanes = lanes_of(experiment)
    assert len(lanes) == 2 * 6 * 2
    assert str(lanes[-1]) == "latency_arbitrageur_ms=50, lambda 4, seed 4"
    setups = setups_of(lanes, experiment)
    np.testing.assert_array_equal(setups.params.latency_arbitrageur_ms, [1.0] * 12 + [50.0] * 12)
    np.testing.assert_array_equal(setups.weights.leakage_weight, np.tile(np.repeat([0, 0.25, 0.5, 1, 2, 4], 2), 2))
    keys = jax.random.key_data(keys_of(lanes)[0])
    np.testing.assert_array_equal(keys[::2], np.broadcast_to(keys[0], (12, 2)))
    assert (keys[0] != keys[1]).any()
    with pytest.raises(ConfigError, match="lambda_leakage"):
        configuration.load("configs/default.py", {"sweep.axis": "agents.execution.lambda_leakage"})
