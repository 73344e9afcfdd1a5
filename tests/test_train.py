"""The training command on a game that compiles in half a minute: what it writes, resumes, refuses and stops at.

One long file: its tests share one trained run and one compiled program, and pytest shares them by module.
"""

import contextlib
import dataclasses
import errno
import io
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax import dry_run, evaluate, train
from amarl_jax.config.settings import SETTINGS
from amarl_jax.errors import BadInput
from amarl_jax.evaluation.training_metrics import LEARNING, OF_ACTORS, ROLLOUT, UPDATE
from amarl_jax.host import cli
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.runlog import read_metrics
from amarl_jax.lanes import warm_start
from amarl_jax.learn import split_update
from amarl_jax.learn.finite import finite_networks, networks
from amarl_jax.learn.phases import metrics_measured
from amarl_jax.trees import count_parameters
from amarl_jax.types import Agent
from tests.tiny_runs import (
    STEPS_PER_UPDATE,
    TINY,
    edit_config,
    jax_settings,
    numbers,
    shown_in,
    terminate_after,
    tree,
)

__all__ = ["jax_settings"]

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
COMMAND = [f"--config={TINY}"]


class Finished(NamedTuple):
    """One run from its first update to its closing table."""

    trained: train.TrainResult
    printed: str
    config: object
    compiled: list[str]  # what was compiled, by its name


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Three updates by ``train.train``. Whatever else runs here reuses its compiled programs."""
    config, compiled = configuration.load(TINY), []

    def heard(event, seconds, **about):
        if event.endswith("backend_compile_duration"):
            compiled.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(heard)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        trained = train.train(config, tmp_path_factory.mktemp("train") / "run")
    jax.monitoring.unregister_event_duration_listener(heard)
    return Finished(trained, printed.getvalue(), config, compiled)


def command(*arguments):
    return cli.run(train.main, "Usage.", train.define_flags, argv=["train", *arguments])


def saved_state(workdir: Path, like):
    with Checkpointer(workdir / "checkpoints") as checkpoints:
        return checkpoints.restore(like)


def assert_equal_states(left, right):
    """Bit for bit, random keys included."""
    plain = [
        jax.tree.map(
            lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x, state
        )
        for state in (left, right)
    ]
    chex.assert_trees_all_equal(*plain)


def test_a_run_leaves_its_configuration_metrics_events_and_checkpoints(finished):
    workdir = finished.trained.workdir
    saved = configuration.load_json((workdir / "config.json").read_text())
    assert configuration.flatten(saved) == configuration.flatten(finished.config) | {"prng_impl": "threefry2x32"}
    shown = {value.tag: value.WhichOneof("value") for _, value in shown_in(workdir / "tensorboard")}
    assert shown["execution/shortfall/phase_a"] == "simple_value"
    assert shown["held_out/information/exact_nats"] == "simple_value", "what was measured at the end"
    assert [name for name, kind in shown.items() if kind == "image"] == ["learning_curves", "episode"]
    with train.open_checkpoints(SimpleNamespace(checkpoints=workdir / "checkpoints")) as checkpoints:
        assert checkpoints.all_steps() == [2, 3], "at the interval and at the end"
        objective = {row["update"]: row["objective"] for row in read_metrics(workdir / "metrics.jsonl")}
        assert checkpoints.best_step() == max((2, 3), key=objective.get)
    assert sorted(path.name for path in workdir.iterdir()) == [
        "checkpoints",
        "config.json",
        "episode.pdf",
        "episode.png",
        "evaluation.json",
        "metrics.jsonl",
        "run.json",
        "tensorboard",
        "training.pdf",
        "training.png",
    ]
    assert (workdir / "training.png").read_bytes().startswith(b"\x89PNG")


def test_the_evaluation_is_kept_as_strict_json_with_null_for_what_has_no_error(finished):
    text = (finished.trained.workdir / "evaluation.json").read_text()
    kept = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    metrics = finished.trained.evaluation.metrics
    assert kept["metrics"].keys() == metrics.keys()
    assert kept["metrics"]["market/spread_ticks"] == metrics["market/spread_ticks"]._asdict()
    assert kept["metrics"]["information/fresh_kl_nats"]["stderr"] is None
    assert (kept["n_episodes"], kept["n_informed"]) == (64, 32)


def test_every_update_writes_one_finite_row_with_the_promised_names(finished):
    rows = read_metrics(finished.trained.workdir / "metrics.jsonl")
    assert [row["update"] for row in rows] == [1, 2, 3]
    assert [row["env_steps"] for row in rows] == [STEPS_PER_UPDATE, 2 * STEPS_PER_UPDATE, 3 * STEPS_PER_UPDATE]
    promised = {"wall_seconds", "wall_steps_per_second", "objective", "phase_b/belief/final_accuracy"}
    promised |= {f"phase_a/execution/{name}" for name in ("shortfall", "completion", "leakage", "reward", "entropy")}
    promised |= {f"phase_b/{agent}/{name}" for agent in ("maker", "arbitrageur") for name in ("pnl", "approx_kl")}
    promised |= {"phase_a/mine/loss", "phase_a/predictor/loss", "phase_b/belief/loss", "phase_b/critic/loss"}
    promised |= {f"finite/{name}" for name in ("execution", "maker", "arbitrageur", "critic", "belief", "statistics")}
    for row in rows:
        assert promised <= row.keys()
        assert all(value is not None and np.isfinite(value) for value in row.values())
        assert row["wall_seconds"] > 0
        assert "phase_a/belief/loss" not in row, "what a phase does not measure is not reported"


def test_what_is_compiled_ahead_is_not_compiled_again(finished):
    """The update while the first learner is made, what measures the run while it trains."""
    for name in ("advance", "play_frozen", "held_out_log_ratios", "summarise"):
        assert sum(name in compiled for compiled in finished.compiled) == 1, finished.compiled


def test_every_metric_of_an_update_is_on_the_page_of_metrics(finished):
    row = read_metrics(finished.trained.workdir / "metrics.jsonl")[0]
    names = {name.removeprefix("phase_a/").removeprefix("phase_b/") for name in row if not name.startswith("finite/")}
    actors = {f"{name}/{term}" for name in ("execution", "maker", "arbitrageur") for term in OF_ACTORS}
    assert names == (UPDATE.keys() - {"lane"}) | ROLLOUT.keys() | LEARNING.keys() | actors


def test_the_objective_is_what_the_last_phase_paid_and_leaked(finished):
    """``-IS - lambda I`` by hand, with the larger claim; its own bound is ln 2, and the return is another number."""
    weight = float(finished.trained.setup.weights.leakage_weight)
    for row in read_metrics(finished.trained.workdir / "metrics.jsonl"):
        claims = [row[f"phase_b/information/{name}_nats"] for name in ("source", "belief")]
        expected = -row["phase_b/execution/shortfall"] - weight * max(0.0, *claims)
        assert row["objective"] == pytest.approx(expected, abs=1e-5)
        assert max(claims) <= math.log(2) + 1e-6
        assert row["objective"] != row["phase_b/execution/reward"]


def test_the_progress_line_shows_a_joint_run_too(finished):
    """Every metric of an update leads with the name of its phase; a joint one has a single phase."""
    game = finished.trained.setup.game
    row = read_metrics(finished.trained.workdir / "metrics.jsonl")[0]
    shown = train.shown_metrics(row, game)
    assert shown == {
        "shortfall (units)": row["phase_a/execution/shortfall"],
        "completion": row["phase_a/execution/completion"],
        "belief right": row["phase_b/belief/final_accuracy"],
    }
    joint = dataclasses.replace(game, learn=dataclasses.replace(game.learn, alternating=False))
    renamed = {f"joint/{name.partition('/')[2]}": value for name, value in row.items()}
    assert renamed.keys() >= {f"joint/{name}" for name in metrics_measured(joint.phases()[0], joint)}
    assert train.shown_metrics(renamed, joint).keys() == shown.keys()


def test_the_first_line_says_what_the_run_computes_on_and_where_it_writes(finished):
    device, precision, cache, workdir = finished.printed.splitlines()[0].split(" | ")[1:]
    assert (device, precision) == ("1 of 8 x cpu", "matmul float32"), "a run takes one device unless it is told"
    assert cache.startswith("compilation cache ")
    assert workdir == f"workdir {finished.trained.workdir}"


def test_the_closing_table_reports_the_evaluation(finished):
    table = finished.printed[finished.printed.index("64 fresh episodes, 32 informed") :]
    wanted = {
        "implementation shortfall": "execution/shortfall_ticks",
        "completion": "execution/completion",
        "information ": "information/exact_nats",
        "accuracy ": "information/exact_accuracy",
        "fresh detector": "information/fresh_nats",
        "maker's belief": "information/belief_nats",
        "spread": "market/spread_ticks",
        "maker PnL": "maker/pnl_tick_lots",
        "arbitrageur PnL": "arbitrageur/pnl_tick_lots",
    }
    for name, metric in wanted.items():
        estimate = finished.trained.evaluation.metrics[metric]
        (line,) = [line for line in table.splitlines() if line.startswith(name)]
        assert f"{estimate.value:.3f} +- {estimate.stderr:.3f}" in line
    metrics = finished.trained.evaluation.metrics
    bounds = [metrics[f"information/exact_nats_{end}"].value for end in ("lower", "upper")]
    assert "{:.3f} from below, {:.3f} from above".format(*bounds) in table


def test_a_closing_table_without_an_exact_value_says_why(finished):
    evaluation = finished.trained.evaluation
    others = {name: x for name, x in evaluation.metrics.items() if "exact" not in name and "efficiency" not in name}
    unread = evaluation._replace(metrics=others, unread="no exact value: Silent states no law")
    rows = train.closing_rows(unread, finished.trained.setup.game.learn)[1]
    assert ("information", "-", "no exact value: Silent states no law") in rows
    assert not [row for row in rows if "of the information" in row[2]]


def test_the_same_seed_gives_the_same_run(finished, tmp_path):
    again = train.train(finished.config, tmp_path / "again")
    assert numbers(again.workdir) == numbers(finished.trained.workdir)
    assert_equal_states(again.state, finished.trained.state)
    metrics = finished.trained.evaluation.metrics
    assert again.evaluation.metrics.keys() == metrics.keys()
    for name, estimate in metrics.items():
        np.testing.assert_array_equal(again.evaluation.metrics[name], estimate, err_msg=name)


SWEPT = [  # everything that may be swept without compiling again without compiling again
    "--config.seed=1",
    "--config.agents.execution.lambda_leakage=2.0",
    "--config.training.lr_actor=1e-4",
    "--config.training.lr_belief=1e-4",
    "--config.environment.latency_ms.arbitrageur=50.0",
    "--config.environment.latency_ms.market_maker=5.0",
    "--config.environment.noise_trader_arrival_rate=1.5",
    f"--config.training.total_timesteps={2 * STEPS_PER_UPDATE}",
]


def test_another_seed_and_other_swept_numbers_give_another_run_of_the_same_program(finished, tmp_path):
    compiled = split_update.advance._cache_size()
    assert command(*COMMAND, f"--workdir={tmp_path / 'other'}", *SWEPT) == 0
    assert split_update.advance._cache_size() == compiled, (
        "lambda, rates, latencies and seeds are numbers, not programs"
    )
    ours, theirs = numbers(finished.trained.workdir)[0], numbers(tmp_path / "other")[0]
    assert ours["phase_a/execution/shortfall"] != theirs["phase_a/execution/shortfall"]


def test_a_run_stopped_by_a_signal_and_resumed_equals_one_that_was_not(finished, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch:
        terminate_after(1, patch)
        assert command(*COMMAND, f"--workdir={workdir}") == 75
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error == f"stopped and saved at update 1 of 3; continue with --resume --workdir={workdir}\n"
    assert [row["update"] for row in numbers(workdir)] == [1]
    compiled = split_update.advance._cache_size()
    assert command("--resume", f"--workdir={workdir}") == 0
    assert split_update.advance._cache_size() == compiled, "a restored state runs the program of a fresh one"
    assert numbers(workdir) == numbers(finished.trained.workdir)
    assert_equal_states(saved_state(workdir, finished.trained.state), finished.trained.state)


def test_a_run_that_died_between_row_and_checkpoint_repeats_the_update(finished, tmp_path, monkeypatch, capsys):
    """The workdir turns read-only: simulated, as permission bits do not bind a test that root runs."""
    workdir = tmp_path / "run"
    save = Checkpointer.save

    def read_only(checkpoints, step, *arguments):
        if step == 3:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(workdir))
        save(checkpoints, step, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", read_only)
        assert command(*COMMAND, f"--workdir={workdir}") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Read-only file system" in error
    assert [row["update"] for row in numbers(workdir)] == [1, 2, 3], "update 3 is on record, and not saved"
    assert command("--resume", f"--workdir={workdir}") == 0
    assert numbers(workdir) == numbers(finished.trained.workdir)


def test_a_killed_run_is_continued_by_another_process_as_if_nothing_had_been(finished, tmp_path):
    """SIGKILL in the second save or later; the metrics file and the learner equal those of one process, bit for bit."""
    workdir = tmp_path / "run"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_NUM_CPU_DEVICES": str(jax.config.jax_num_cpu_devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    trainer = [sys.executable, "-m", "amarl_jax.train", *COMMAND, f"--workdir={workdir}"]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [*trainer, "--config.checkpoint_interval=1"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
        deadline = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < deadline:
            if (workdir / "checkpoints" / "1").exists() and any(workdir.glob("checkpoints/*orbax-checkpoint-tmp")):
                process.kill()
                break
            time.sleep(0.0005)
        assert process.wait(timeout=60) == -signal.SIGKILL, (tmp_path / "output").read_text()
    with Checkpointer(workdir / "checkpoints") as checkpoints:
        saved = checkpoints.latest_step()
    assert saved in (1, 2)
    assert command("--resume", f"--workdir={workdir}") == 0
    assert numbers(workdir) == numbers(finished.trained.workdir)
    assert_equal_states(saved_state(workdir, finished.trained.state), finished.trained.state)


def test_a_workdir_of_other_shapes_is_refused_with_the_differing_arrays_named(finished, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished.trained.workdir, workdir)
    edit_config(workdir, lambda config: config["networks"]["execution_actor"].update(hidden_dims=[9]))
    before = tree(workdir)
    assert command("--resume", f"--workdir={workdir}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    layers = "agents/execution/params/params/MLP_0"
    assert f"{layers}/Dense_0/kernel (float32[24, 8] saved, float32[24, 9] here)" in error
    assert f"{layers}/Dense_1/kernel (float32[8, 7] saved, float32[9, 7] here)" in error
    assert "maker" not in error
    assert "critic" not in error
    assert tree(workdir) == before


def test_resuming_a_finished_run_repeats_the_table_and_changes_no_metric(finished, capsys):
    workdir = finished.trained.workdir
    before = (workdir / "metrics.jsonl").read_bytes()
    assert command("--resume", f"--workdir={workdir}") == 0
    assert (workdir / "metrics.jsonl").read_bytes() == before
    table = "64 fresh episodes, 32 informed"
    assert capsys.readouterr().out.partition(table)[2] == finished.printed.partition(table)[2]


@pytest.mark.parametrize(
    ("rates", "term", "broken"),
    [
        # advantages without bound, less their mean, are no number
        (
            {"gae_lambda": 3e38},
            "phase_a/critic/loss, phase_a/execution/approx_kl",
            ["arbitrageur", "critic", "execution", "maker"],
        ),
        ({"lr_belief": 1e38, "weight_decay": 100.0}, None, ["belief"]),  # the others decay by a tenth per step
        # MINE's second step meets the result of its first; phase B then pays a leakage that is no number to the critic
        ({"lr_mine": 1e38}, "phase_a/mine/loss", ["critic", "predictor", "statistics"]),
    ],
)
def test_what_is_not_finite_stops_the_run_by_name(rates, term, broken, finished, tmp_path, capsys, monkeypatch):
    """Settings that take numbers beyond float32 in the first update, those of the belief in its last step.

    Networks with parameters of 3e38 may still have outputs, by the order in which a processor adds them up.
    """
    for name in rates:  # which no configuration may have
        unbounded = dataclasses.replace(SETTINGS[f"training.{name}"], high=math.inf)
        monkeypatch.setitem(SETTINGS, f"training.{name}", unbounded)
    workdir = tmp_path / "run"
    overrides = [f"--config.training.{name}={value}" for name, value in rates.items()]
    assert command(*COMMAND, f"--workdir={workdir}", "--config.checkpoint_interval=1", *overrides) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"error: update 1: {term or 'parameters of belief not finite'}")
    assert f"parameters of {', '.join(broken)}" in error
    (row,) = read_metrics(workdir / "metrics.jsonl")
    assert {name for name, value in row.items() if name.startswith("finite/") and not value} == {
        f"finite/{name}" for name in broken
    }, "the row that shows it has been written"
    assert f"kept in {workdir / 'postmortem'}" in error
    kept = json.loads((workdir / "postmortem" / "metrics.json").read_text())
    assert kept["update"] == 1
    assert {name for name, value in kept.items() if value in ("nan", "inf", "-inf")} == {
        name for name, value in row.items() if value is None
    }
    with Checkpointer(workdir / "postmortem" / "state") as checkpoints:
        state = checkpoints.restore(finished.trained.state)
    assert {name for name, ok in finite_networks(state).items() if not ok} == {f"finite/{name}" for name in broken}
    assert not list((workdir / "checkpoints").glob("*")), "nothing of it is where a resume would look"


def test_a_workdir_that_holds_a_run_is_refused_and_stays_as_it_is(finished, capsys):
    before = tree(finished.trained.workdir)
    with pytest.raises(BadInput, match="already holds a run"):
        train.train(finished.config, finished.trained.workdir)
    assert command(*COMMAND, f"--workdir={finished.trained.workdir}") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert tree(finished.trained.workdir) == before


def as_if_compiled(cost, *_):
    """In place of a second compilation, of many environments; test_cost.py has what it is asked for."""
    return dataclasses.replace(cost, more_envs=16_384, more_scratch_bytes=2048 * cost.scratch_bytes)


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry_run, "measure_more", as_if_compiled)
    assert command(*COMMAND, "--dry_run") == 0
    text = capsys.readouterr().out
    assert not tree(tmp_path)
    assert "runs/tiny: 3 updates of 192 environment steps (8 environments x 12 steps)" in text
    state = finished.trained.state
    for name, network in networks(state).items():
        assert re.search(rf"{name} +{count_parameters(network.params):,} ", text), name
    assert re.search(r"execution +263 +24x8, 8x7 *\n", text)
    (state_mib,) = re.findall(r"learner +([\d.]+) MiB +per lane", text)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state.replace(key=jax.random.key_data(jax.random.key(0)))))
    assert float(state_mib) * 2**20 == pytest.approx(held, rel=0.1), "XLA's arguments are the learner"
    assert re.search(r"scratch +[\d.]+ MiB +per environment", text)
    assert "a lane of other sizes, by those of 8 and of 16,384 environments; 1 x cpu" in " ".join(text.split()), (
        "one is used"
    )
    takes = [float(mib.replace(",", "")) for mib in re.findall(r"^ *[\d,]+ environments +([\d,.]+) MiB", text, re.M)]
    assert len(takes) == 8
    assert all(1.8 < more / less < 2.2 for less, more in itertools.pairwise(takes)), (
        "nearly all of it is by environment"
    )
    assert re.search(r"environments that fit +[\d,]+ +in one lane", text)
    assert re.search(r"lanes that fit +[\d,]+ +in 90% of the [\d.]+ GiB that are free, of 8 environments", text)
    parts = {name: float(flops) for name, flops in re.findall(r"(.+?)  +([\d.]+) +MFLOP per environment step", text)}
    assert parts.pop("all") == pytest.approx(sum(parts.values()), abs=0.005)
    assert {
        "belief, one token per step",
        "PPO, the actors",
        "training the critic",
        "training the belief",
    } <= parts.keys()


def test_the_parameters_of_one_agent_are_counted(finished):
    parameters = finished.trained.state.agents.execution.params
    n_seen = 4 * 3 + 12  # three levels of two sides, distance and size, and twelve scalars
    assert count_parameters(parameters) == (n_seen * 8 + 8) + (8 * 7 + 7)


def test_training_moved_every_agent_away_from_its_start(finished):
    trained = finished.trained
    key_run, _ = jax.random.split(jax.random.key(0))  # its seed
    start = train.begin(key_run, trained.setup)
    for agent in Agent:
        left, right = (jax.tree.leaves(state.agents[agent].params) for state in (start, trained.state))
        moved = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(left, right, strict=True))
        assert 0 < moved < 1, agent.name


def test_a_run_begins_with_the_networks_of_another(finished, tmp_path, monkeypatch, capsys):
    """They are its checkpoint 0: stopped before anything else is saved, it goes on with them."""
    workdir, begun = tmp_path / "run", []
    monkeypatch.setattr(
        split_update, "advance", lambda state, *_: begun.append(state) or os.kill(os.getpid(), signal.SIGTERM)
    )
    flags = [f"--init_from={finished.trained.workdir}", "--config.seed=4"]
    assert command(*COMMAND, f"--workdir={workdir}", *flags) == 75
    assert command("--resume", f"--workdir={workdir}") == 75
    source, key_run = finished.trained.state, jax.random.split(jax.random.key(4))[0]
    fresh = train.begin(key_run, finished.trained.setup)
    assert len(begun) == 2
    for state in begun:
        assert int(state.update) == 0
        chex.assert_trees_all_equal(warm_start.networks_of(state), warm_start.networks_of(source))
        chex.assert_trees_all_equal(state.belief.opt_state, fresh.belief.opt_state)
        chex.assert_trees_all_equal(state.replay, fresh.replay)
    shutil.rmtree(workdir / "checkpoints")
    capsys.readouterr()
    assert command("--resume", f"--workdir={workdir}") == 2
    assert "began with another run's networks and holds no checkpoint" in capsys.readouterr().err


def test_networks_of_other_shapes_are_named_and_no_folder_is_left(finished, tmp_path, capsys):
    widths = "--config.networks.execution_actor.hidden_dims=(9,)"
    arguments = [*COMMAND, f"--workdir={tmp_path / 'run'}", f"--init_from={finished.trained.workdir}"]
    assert command(*arguments, widths) == 2
    assert (
        "execution/params/MLP_0/Dense_0/kernel (float32[24, 8] saved, float32[24, 9] here)" in capsys.readouterr().err
    )
    assert command(*arguments, "--init_lane=0") == 2
    assert "holds a single run, which has no lanes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_two_devices_train_stop_go_on_are_extended_and_evaluated(finished, tmp_path, monkeypatch, capsys):
    """What they play is what one device plays; stopped or not, and extended or not, they learn the same."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert command(*COMMAND, "--n_devices=2", f"--workdir={whole}") == 0
    assert capsys.readouterr().out.splitlines()[0].split(" | ")[1] == "2 of 8 x cpu"
    rows, alone = numbers(whole), numbers(finished.trained.workdir)
    for name in ROLLOUT:  # of the first episodes, before they were learned from
        assert rows[0][f"phase_a/{name}"] == pytest.approx(alone[0][f"phase_a/{name}"], rel=1e-4, abs=1e-5), name
    assert rows[0]["phase_a/execution/entropy"] != alone[0]["phase_a/execution/entropy"], "their own minibatches"
    compiled = split_update.advance_split._cache_size()
    with monkeypatch.context() as patch:
        terminate_after(1, patch)
        assert command(*COMMAND, "--n_devices=2", f"--workdir={stopped}") == 75
    assert command("--resume", f"--workdir={stopped}") == 0
    assert numbers(stopped) == rows
    like = finished.trained.state
    assert_equal_states(saved_state(stopped, like), saved_state(whole, like))
    total = f"--config.training.total_timesteps={4 * STEPS_PER_UPDATE}"
    assert command("--resume", f"--workdir={stopped}", *COMMAND, total) == 0
    assert split_update.advance_split._cache_size() == compiled
    assert numbers(stopped)[:3] == rows
    assert [row["update"] for row in numbers(stopped)] == [1, 2, 3, 4]
    evaluated = evaluate.evaluate(stopped, finished.config.eval_episodes)
    assert evaluated.evaluation.n_episodes == finished.config.eval_episodes
    for name in ("execution/shortfall_ticks", "information/exact_nats", "maker/pnl_tick_lots"):
        assert np.isfinite(evaluated.measures[f"eval/{name}"].value)
