"""Every foreseeable mistake is exactly one line on stderr and exit code 2, and nothing is written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from amarl_jax import cli
from amarl_jax.errors import BadInput, CheckpointMismatch, Diverged, Preempted
from amarl_jax.preemption import StopRequest

ROOT = Path(__file__).parents[1]
DEBUG = "--config=configs/fast_debug.py"


def open_only(values):
    cli.open_from_flags(values)


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def invoke(arguments, main=open_only):
    return cli.run(main, "Usage.", argv=["command", *arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder in which the default workdir would appear."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


MISTAKES = {
    "wrong key": ([DEBUG, "--config.training.lr_acto=1"], "did you mean training.lr_actor"),
    "reference name": ([DEBUG, "--config.training.rollout_length=2048"], "whole episodes"),
    "section as value": ([DEBUG, "--config.training=3"], "is a section"),
    "wrong type": ([DEBUG, "--config.seed=abc"], "seed = 'abc': must be an integer"),
    "float for integer": ([DEBUG, "--config.training.n_envs=1.5"], "must be an integer"),
    "wrong element type": ([DEBUG, "--config.training.gamma=(1.0,'x',0.9)"], "3 finite numbers"),
    "not a tuple": ([DEBUG, "--config.training.gamma=0.9"], "3 finite numbers"),
    "not a boolean": ([DEBUG, "--config.logging.use_wandb=maybe"], "True or False"),
    "nan": ([DEBUG, "--config.training.lr_actor=nan"], "finite number > 0"),
    "infinite": ([DEBUG, "--config.agents.execution.lambda_leakage=inf"], "finite number >= 0"),
    "negative size": ([DEBUG, "--config.training.n_envs=-64"], ">= 2"),
    "negative latency": ([DEBUG, "--config.environment.latency_ms.arbitrageur=-1"], ">= 0 and < 60000"),
    "latency of a step": ([DEBUG, "--config.environment.latency_ms.arbitrageur=60000"], ">= 0 and < 60000"),
    "minibatches": ([DEBUG, "--config.training.n_minibatches=3"], "a divisor of n_envs = 64"),
    "two horizons": (
        [DEBUG, "--config.agents.execution.horizon=20", "--config.environment.max_steps_per_episode=30"],
        "other name",
    ),
    "unknown variant": ([f"{DEBUG}:huge"], "unknown variant 'huge'"),
    "missing file": (["--config=configs/absent.py"], "configs/absent.py"),
    "no configuration": ([], "--config is required"),
    "override first": (["--config.seed=1"], "give --config=PATH first"),
    "unknown flag": ([DEBUG, "--workdri=x"], "Did you mean: workdir"),
    "stray argument": ([DEBUG, "seed=3"], "unexpected argument 'seed=3'"),
    "nothing to resume": ([DEBUG, "--resume", "--workdir=empty"], "no run to resume"),
    "workdir is a file": ([DEBUG, f"--workdir={ROOT / 'pyproject.toml'}"], "not a folder"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(name, folder, capsys):
    arguments, says = MISTAKES[name]
    assert invoke(arguments) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert says in output.err
    assert not output.out
    assert not tree(folder)


@pytest.fixture
def occupied(folder):
    """A workdir with a run of seed 5 in it."""
    assert invoke([DEBUG, "--workdir=first", "--config.seed=5"]) == 0
    (folder / "first" / "metrics.jsonl").write_text('{"update": 1}\n')
    return folder


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([DEBUG, "--workdir=first"], "already holds a run (config.json)"),
        ([DEBUG, "--workdir=first", "--config.seed=5"], "already holds a run"),
        ([DEBUG, "--workdir=first", "--resume", "--config.seed=6"], "seed = 6: must be 5 to resume"),
    ],
)
def test_another_run_is_never_written_over(arguments, says, occupied, capsys):
    before = tree(occupied)
    assert invoke(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert tree(occupied) == before


@pytest.mark.parametrize("arguments", [["--workdir=first"], [DEBUG, "--workdir=first", "--config.seed=5"]])
def test_resume_takes_the_saved_configuration(arguments, occupied):
    runs = []
    before = tree(occupied)
    assert invoke([*arguments, "--resume"], main=lambda values: runs.append(cli.open_from_flags(values))) == 0
    assert runs[0].experiment.run.seed == 5
    assert runs[0].resume
    assert tree(occupied) == before


def test_the_default_workdir_is_named_by_the_experiment(folder):
    assert invoke([DEBUG, "--config.exp_name=mine"]) == 0
    assert list(tree(folder)) == [Path("runs"), Path("runs/mine"), Path("runs/mine/config.json")]


def test_a_dry_run_writes_nothing(folder):
    assert invoke([DEBUG, "--dry_run"]) == 0
    assert not tree(folder)


def test_help_shows_the_usage_and_every_flag(folder, capsys):
    assert invoke(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage.")
    assert all(f"--{name}" in text for name in ("config", "workdir", "resume", "dry_run"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("x"), 2),
        (CheckpointMismatch("x"), 2),
        (Diverged("x"), 3),
        (Preempted("x"), 75),
        (OSError(28, "No space left on device"), 1),
        (PermissionError(13, "Permission denied"), 1),
        (MemoryError(), 1),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte"), 1),
    ],
)
def test_exit_codes(error, code, folder, capsys):
    def fail(values):
        raise error

    assert invoke([DEBUG], main=fail) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_defect_keeps_its_traceback(folder):
    def fail(values):
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        invoke([DEBUG], main=fail)


def test_a_stop_request_is_noticed_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.integration
@pytest.mark.parametrize("mistake", ["wrong key", "another run"])
def test_the_train_command_itself(mistake, folder):
    arguments = [DEBUG, "--workdir=first"]
    if mistake == "wrong key":
        arguments.append("--config.sed=1")
    else:
        (folder / "first").mkdir()
        (folder / "first" / "config.json").write_text("{}")
    before = tree(folder)
    command = [sys.executable, "-m", "amarl_jax.train", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert tree(folder) == before
