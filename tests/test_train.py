"""The training command on a game that compiles in half a minute: what it writes, resumes, refuses and stops at."""

import contextlib
import io
import json
import os
import signal
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax import cli, train
from amarl_jax import config as configuration
from amarl_jax.checkpoint import Checkpointer, load_agent, save_agent
from amarl_jax.errors import BadInput, CheckpointMismatch
from amarl_jax.runlog import RunLog, read_metrics
from amarl_jax.trees import count_parameters
from amarl_jax.types import Agent

pytestmark = pytest.mark.integration

N_UPDATES, STEPS_PER_UPDATE = 3, 2 * 12 * 8  # two phases of one 12-step episode in 8 environments
NARROW = "(8,)"
OVERRIDES = {
    "environment.max_steps_per_episode": 12,
    "environment.book_capacity": 32,
    "environment.n_price_levels": 3,
    "environment.noise_trader_arrival_rate": 2.0,
    "environment.max_noise_orders": 6,
    "environment.initial_levels": 3,
    "agents.market_maker.n_tape_events": 4,
    "agents.execution.inventory_lots": 8,
    "networks.execution_actor.hidden_dims": NARROW,
    "networks.mm_actor.hidden_dims": NARROW,
    "networks.arb_actor.hidden_dims": NARROW,
    "networks.shared_critic.hidden_dims": NARROW,
    "networks.shared_critic.head_hidden_dim": 8,
    "networks.mine.hidden_dims": NARROW,
    "networks.predictor.hidden_dim": 4,
    "networks.belief_transformer.d_model": 8,
    "networks.belief_transformer.d_ff": 8,
    "networks.belief_transformer.n_layers": 1,
    "networks.belief_transformer.max_seq_len": 8,
    "training.n_envs": 8,
    "training.n_epochs": 1,
    "training.n_mine_steps": 2,
    "training.n_belief_steps": 1,
    "training.replay_capacity": 16,
    "training.replay_batch": 8,
    "training.alternating.exec_phase_steps": 12,
    "training.alternating.mm_arb_phase_steps": 12,
    "training.total_timesteps": N_UPDATES * STEPS_PER_UPDATE,
    "eval_episodes": 64,
    "checkpoint_interval": 2,
    "compilation_cache_dir": "auto" if "JAX_COMPILATION_CACHE_DIR" in os.environ else "off",
}
COMMAND = ["--config=configs/fast_debug.py", *(f"--config.{name}={value}" for name, value in OVERRIDES.items())]
TOUCHED = (  # by machine.prepare
    "jax_default_matmul_precision",
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


class Finished(NamedTuple):
    """One run from its first update to its closing table."""

    trained: train.Trained
    printed: str
    config: object


@pytest.fixture(scope="module", autouse=True)
def jax_settings():
    """JAX's own settings, put back afterwards; the programs of this file run for seconds, so they are not optimised."""
    before = {name: getattr(jax.config, name) for name in TOUCHED}
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Three updates by ``train.train``. Whatever else runs here reuses its compiled programs."""
    values = {name: (8,) if value == NARROW else value for name, value in OVERRIDES.items()}
    config = configuration.load("configs/fast_debug.py", values)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        trained = train.train(config, tmp_path_factory.mktemp("train") / "run")
    return Finished(trained, printed.getvalue(), config)


def command(*arguments):
    return cli.run(train.main, "Usage.", argv=["train", *arguments])


def tree(folder: Path):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def numbers(workdir: Path):
    """The rows of metrics.jsonl without the clock, in the order they were written; each update must be there once."""
    rows = read_metrics(workdir / "metrics.jsonl")
    assert len((workdir / "metrics.jsonl").read_text().splitlines()) == len(rows)
    return [{name: value for name, value in row.items() if not name.startswith("wall_")} for row in rows]


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


def terminate_after(update: int, monkeypatch):
    """Send this process SIGTERM as soon as an update's metrics have been written."""
    write = RunLog.write

    def write_and_stop(log, done, metrics):
        write(log, done, metrics)
        if done == update:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunLog, "write", write_and_stop)


def test_a_run_leaves_its_configuration_metrics_events_and_checkpoints(finished):
    workdir = finished.trained.workdir
    saved = configuration.load_json((workdir / "config.json").read_text())
    assert configuration.flatten(saved) == configuration.flatten(finished.config)
    (events,) = (workdir / "tensorboard").iterdir()
    assert b"phase_a/execution/shortfall" in events.read_bytes()
    with Checkpointer(workdir / "checkpoints") as checkpoints:
        assert checkpoints.all_steps() == [2, 3], "at the interval and at the end"
    assert sorted(path.name for path in workdir.iterdir()) == [
        "checkpoints",
        "config.json",
        "evaluation.json",
        "metrics.jsonl",
        "tensorboard",
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
    promised = {"wall_seconds", "wall_steps_per_second", *train.SHOWN.values()}
    promised |= {f"phase_a/execution/{name}" for name in ("shortfall", "completion", "leakage", "reward", "entropy")}
    promised |= {f"phase_b/{agent}/{name}" for agent in ("maker", "arbitrageur") for name in ("pnl", "approx_kl")}
    promised |= {"phase_a/mine/loss", "phase_a/predictor/loss", "phase_b/belief/loss", "phase_b/critic/loss"}
    promised |= {f"finite/{name}" for name in ("execution", "maker", "arbitrageur", "critic", "belief", "statistics")}
    for row in rows:
        assert promised <= row.keys()
        assert all(value is not None and np.isfinite(value) for value in row.values())
        assert row["wall_seconds"] > 0
        assert "phase_a/belief/loss" not in row, "what a phase does not measure is not reported"


def test_the_closing_table_reports_the_evaluation(finished):
    table = finished.printed[finished.printed.index("64 fresh episodes, 32 informed") :]
    wanted = {
        "implementation shortfall": "execution/shortfall_ticks",
        "completion": "execution/completion",
        "information, fresh detector": "information/fresh_nats",
        "accuracy, maker's belief": "information/belief_accuracy",
        "spread": "market/spread_ticks",
        "maker PnL": "maker/pnl_tick_lots",
        "arbitrageur PnL": "arbitrageur/pnl_tick_lots",
    }
    for name, metric in wanted.items():
        estimate = finished.trained.evaluation.metrics[metric]
        (line,) = [line for line in table.splitlines() if line.startswith(name)]
        assert f"{estimate.value:.3f} +- {estimate.stderr:.3f}" in line


def test_the_same_seed_gives_the_same_run(finished, tmp_path):
    again = train.train(finished.config, tmp_path / "again")
    assert numbers(again.workdir) == numbers(finished.trained.workdir)
    assert_equal_states(again.state, finished.trained.state)
    metrics = finished.trained.evaluation.metrics
    assert again.evaluation.metrics.keys() == metrics.keys()
    for name, estimate in metrics.items():
        np.testing.assert_array_equal(again.evaluation.metrics[name], estimate, err_msg=name)


def test_another_seed_gives_another_run(finished, tmp_path):
    assert command(*COMMAND, f"--workdir={tmp_path / 'other'}", "--config.seed=1") == 0
    ours, theirs = numbers(finished.trained.workdir)[0], numbers(tmp_path / "other")[0]
    assert ours["phase_a/execution/shortfall"] != theirs["phase_a/execution/shortfall"]


def test_a_run_stopped_by_a_signal_and_resumed_equals_one_that_was_not(finished, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch:
        terminate_after(1, patch)
        assert command(*COMMAND, f"--workdir={workdir}") == 75
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"stopped at update 1 of 3; continue with --resume --workdir={workdir}" in error
    assert [row["update"] for row in numbers(workdir)] == [1]
    compiled = train.advance._cache_size()
    assert command("--resume", f"--workdir={workdir}") == 0
    assert train.advance._cache_size() == compiled, "a restored state runs the program of a fresh one"
    assert numbers(workdir) == numbers(finished.trained.workdir)
    assert_equal_states(saved_state(workdir, finished.trained.state), finished.trained.state)


def test_a_run_that_died_between_row_and_checkpoint_repeats_the_update(finished, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    save = Checkpointer.save

    def full_disk(checkpoints, step, state, metrics=None):
        if step == 3:
            raise OSError(28, "No space left on device")
        save(checkpoints, step, state, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", full_disk)
        assert command(*COMMAND, f"--workdir={workdir}") == 1
    assert "No space left" in capsys.readouterr().err
    assert command("--resume", f"--workdir={workdir}") == 0
    written = (workdir / "metrics.jsonl").read_text().splitlines()
    assert len(written) == 4, "update 3 was written twice, and the last one counts"
    clockless = [{k: v for k, v in row.items() if "wall_" not in k} for row in read_metrics(workdir / "metrics.jsonl")]
    assert clockless == numbers(finished.trained.workdir)


def test_resuming_a_finished_run_repeats_the_table_and_changes_no_metric(finished, capsys):
    workdir = finished.trained.workdir
    before = (workdir / "metrics.jsonl").read_bytes()
    assert command("--resume", f"--workdir={workdir}") == 0
    assert (workdir / "metrics.jsonl").read_bytes() == before
    table = "64 fresh episodes, 32 informed"
    assert capsys.readouterr().out.partition(table)[2] == finished.printed.partition(table)[2]


@pytest.mark.parametrize(
    ("rates", "broken"),
    [
        ({"lr_actor": 1e38}, ["arbitrageur", "execution", "maker"]),
        ({"lr_belief": 1e38, "weight_decay": 100.0}, ["belief"]),  # the others decay by a tenth per step
    ],
)
def test_networks_that_are_not_finite_stop_the_run_by_name(rates, broken, finished, tmp_path, capsys):
    """Learning rates that take parameters beyond float32 in the first update, those of the belief in its last step."""
    overrides = [f"--config.training.{name}={value}" for name, value in rates.items()]
    assert command(*COMMAND, f"--workdir={tmp_path / 'run'}", *overrides) == 3
    error = capsys.readouterr().err
    assert error == f"error: update 1: parameters of {', '.join(broken)} are not finite\n"
    (row,) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert sorted(name for name, value in row.items() if name.startswith("finite/") and not value) == [
        f"finite/{name}" for name in broken
    ], "the row that shows it has been written"


def test_a_workdir_that_holds_a_run_is_refused_and_stays_as_it_is(finished, capsys):
    before = tree(finished.trained.workdir)
    with pytest.raises(BadInput, match="already holds a run"):
        train.train(finished.config, finished.trained.workdir)
    assert command(*COMMAND, f"--workdir={finished.trained.workdir}") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert tree(finished.trained.workdir) == before


def test_a_dry_run_says_what_would_run_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(*COMMAND, "--dry_run") == 0
    assert "runs/fast_debug: 3 updates of 192 environment steps (8 environments x 12 steps)" in capsys.readouterr().out
    assert not tree(tmp_path)


def test_one_agent_is_counted_saved_and_loaded(finished, tmp_path):
    parameters = finished.trained.state.agents.execution.params
    n_seen = 4 * 3 + 12  # three levels of two sides, distance and size, and twelve scalars
    assert count_parameters(parameters) == (n_seen * 8 + 8) + (8 * 7 + 7)
    save_agent(tmp_path / "execution.npz", parameters)
    loaded = load_agent(tmp_path / "execution.npz", jax.eval_shape(lambda: parameters))
    chex.assert_trees_all_equal(loaded, parameters)
    with pytest.raises(CheckpointMismatch):
        load_agent(tmp_path / "execution.npz", finished.trained.state.agents.maker.params)


def test_training_moved_every_agent_away_from_its_start(finished):
    trained = finished.trained
    key_run, _ = jax.random.split(jax.random.key(0))  # the seed of fast_debug
    start = train.begin(key_run, trained.hypers, trained.params, trained.game)
    for agent in Agent:
        left, right = (jax.tree.leaves(state.agents[agent].params) for state in (start, trained.state))
        moved = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(left, right, strict=True))
        assert 0 < moved < 1, agent.name
