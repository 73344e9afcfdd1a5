"""Every foreseeable mistake is exactly one line on stderr and exit code 2, and nothing is written."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import pytest
from absl import flags

from amarl_jax import __main__ as main_module
from amarl_jax import compare, evaluate, fit_flow, leakage, random_play, replay_lobster, sweep, train
from amarl_jax import config as configuration
from amarl_jax.errors import BadInput, CheckpointMismatch, Diverged, Preempted
from amarl_jax.host import cli
from amarl_jax.host.preemption import StopRequest
from amarl_jax.host.workdir import open_run
from amarl_jax.lanes import program as lane_program
from tests.tiny_runs import jax_settings

__all__ = ["jax_settings"]

ROOT = Path(__file__).parents[2]
DEBUG = "--config=configs/fast_debug.py"
GRID = "--config=configs/lambda_sweep.py:fast"
COMMANDS = {"train": train, "sweep": sweep, "evaluate": evaluate}
HERE = "--workdir=first"  # a run of seed 5 without a checkpoint; "lanes" is a sweep of two lanes

MISTAKES = [  # class of mistake, command, arguments, what the line says
    ("unknown key", "train", [DEBUG, "--config.training.lr_acto=1"], "did you mean training.lr_actor"),
    ("unknown key", "train", [DEBUG, "--config.training.rollout_length=2048"], "whole episodes"),
    ("unknown key", "train", [DEBUG, "--workdri=x"], "Did you mean: workdir"),
    ("unknown key", "train", [DEBUG, "seed=3"], "unexpected argument 'seed=3'"),
    ("unknown key", "train", [DEBUG, "--lambda_leakage=1"], "is --config.agents.execution.lambda_leakage"),
    ("unknown key", "sweep", [GRID, "--config.sweep.lambdas=3"], "sweep.lambdas: no such setting"),
    ("unknown key", "evaluate", [HERE, "--episodes=100"], "Unknown command line flag 'episodes'"),
    ("wrong type", "train", [DEBUG, "--config.seed=abc"], "seed = 'abc': must be an integer"),
    ("wrong type", "train", [DEBUG, "--config.training.n_envs=1.5"], "must be an integer"),
    ("wrong type", "train", [DEBUG, "--config.training=3"], "is a section"),
    ("wrong type", "train", [DEBUG, "--config.training.gamma=(1.0,'x',0.9)"], "3 finite numbers"),
    ("wrong type", "train", [DEBUG, "--config.training.gamma=0.9"], "3 finite numbers"),
    ("wrong type", "train", [DEBUG, "--config.logging.use_wandb=maybe"], "True or False"),
    ("wrong type", "sweep", [GRID, "--n_lambdas=x"], "flag --n_lambdas=x"),
    ("wrong type", "evaluate", [HERE, "--n_episodes=many"], "flag --n_episodes=many"),
    ("out of range", "train", [DEBUG, "--config.training.n_envs=-64"], ">= 2"),
    ("out of range", "train", [DEBUG, "--config.environment.latency_ms.arbitrageur=-1"], ">= 0 and < 60000"),
    ("out of range", "train", [DEBUG, "--config.environment.latency_ms.arbitrageur=60000"], ">= 0 and < 60000"),
    ("out of range", "train", [f"{DEBUG}:huge"], "unknown variant 'huge'"),
    ("out of range", "sweep", [GRID, "--lambda_min=-1"], "sweep.lambda_min = -1.0: must be a finite number >= 0"),
    ("out of range", "sweep", [GRID, "--seeds=0"], "sweep.n_seeds = 0: must be an integer >= 1"),
    ("out of range", "train", [DEBUG, "--config.networks.mine.hidden_dims=(" + "9" * 31 + ",)"], "<= 16384"),
    ("out of range", "train", [DEBUG, "--config.agents.execution.is_unit_ticks=1e-60"], ">= 0.001"),
    ("out of range", "sweep", [GRID, "--seeds=8", f"--config.seed={2**31 - 1}"], "the last of 8 seeds"),
    ("out of range", "evaluate", [HERE, "--n_episodes=7"], "n_episodes"),
    ("out of range", "evaluate", [HERE, "--seed=-1"], "seed"),
    ("nan", "train", [DEBUG, "--config.training.lr_actor=nan"], "finite number > 0"),
    ("nan", "train", [DEBUG, "--config.agents.execution.lambda_leakage=inf"], "finite number >= 0"),
    ("nan", "sweep", [GRID, "--lambda_max=nan"], "sweep.lambda_max = nan: must be a finite number > 0"),
    ("nan", "evaluate", [HERE, "--n_episodes=nan"], "flag --n_episodes=nan"),
    ("inconsistent pair", "train", [DEBUG, "--config.training.n_minibatches=3"], "a divisor of n_envs = 64"),
    (
        "inconsistent pair",
        "train",
        [DEBUG, "--config.agents.execution.horizon=20", "--config.environment.max_steps_per_episode=30"],
        "other name",
    ),
    ("inconsistent pair", "train", ["--config.seed=1"], "give --config=PATH first"),
    ("inconsistent pair", "sweep", [GRID, "--n_lambdas=5", "--config.sweep.n_lambdas=6"], "must be 5, which its own"),
    ("inconsistent pair", "sweep", [GRID, "--config.logging.use_wandb"], "must be False in a sweep: W&B"),
    (
        "inconsistent pair",
        "sweep",
        [GRID, "--config.agents.execution.lambda_leakage=2"],
        "lambda_leakage = 2.0: must be left out of a sweep",
    ),
    ("inconsistent pair", "sweep", [GRID, "--lambda_min=5"], "sweep.lambda_min = 5.0: must be below lambda_max"),
    (
        "inconsistent pair",
        "sweep",
        [GRID, "--config.sweep.axis=environment.book_capacity"],
        "sweep.axis = 'environment.book_capacity': must be none, or",
    ),
    (
        "inconsistent pair",
        "sweep",
        [GRID, "--config.sweep.axis=environment.slot_rate", "--config.sweep.axis_values=(2.0,)"],
        "sweep.axis_values = 2.0",
    ),
    ("inconsistent pair", "evaluate", [HERE, "--lane=0"], "holds a single run, which has no lanes"),
    ("missing file", "train", ["--config=configs/absent.py"], "configs/absent.py"),
    ("missing file", "train", [], "--config is required"),
    ("missing file", "sweep", ["--config=configs/absent.py"], "configs/absent.py"),
    ("missing file", "evaluate", [], "--workdir is required"),
    ("missing file", "train", ["--flagfile=absent"], "Unable to open flagfile"),
    ("unreadable file", "train", ["--config=ends.py"], "a configuration that loads (line 2, SystemExit"),
    ("unreadable file", "train", ["--config=first"], "a readable Python file"),
    ("unreadable file", "train", ["--config=torn/config.json"], "torn/config.json"),
    ("unreadable file", "sweep", ["--config=torn/config.json"], "torn/config.json"),
    ("unreadable file", "evaluate", ["--workdir=torn"], "must be a configuration that a run saved"),
    ("wrong workdir", "train", [DEBUG, "--workdir=file"], "not a folder"),
    ("wrong workdir", "train", [DEBUG, "--workdir="], "--workdir=: is empty, must be a path"),
    ("wrong workdir", "train", [DEBUG, "--workdir=$SCRATCH_OF_NOBODY/run"], "holds a variable that is not set"),
    ("wrong workdir", "train", [DEBUG, "--workdir=~nobody-here/run"], "begins with the home of nobody known here"),
    ("wrong workdir", "train", [DEBUG, "--workdir=blocked"], "blocked/evaluation.json: is a folder"),
    ("wrong workdir", "train", ["--resume", "--workdir=lanes"], "was made by sweep"),
    ("wrong workdir", "train", ["--resume", "--workdir=unknown"], "has no run.json"),
    ("wrong workdir", "train", [DEBUG, "--resume", HERE, f"--init_from={HERE}"], "has its own networks"),
    ("wrong workdir", "train", [DEBUG, "--init_from="], "--init_from=: is empty, must be a path"),
    ("wrong workdir", "train", [DEBUG, "--workdir=" + "x" * 300], "must be names of at most 255 bytes"),
    ("wrong workdir", "train", [DEBUG, "--workdir=not_utf8_\udcff"], "must be text in UTF-8"),
    ("wrong workdir", "train", [DEBUG, HERE], "already holds a run (config.json)"),
    ("wrong workdir", "train", [DEBUG, HERE, "--config.seed=5"], "already holds a run"),
    ("wrong workdir", "train", [DEBUG, "--resume", "--workdir=empty"], "no run to resume"),
    ("wrong workdir", "train", [DEBUG, HERE, "--resume", "--config.seed=6"], "seed = 6: must be 5 to resume"),
    ("wrong workdir", "sweep", ["--resume", HERE], "was made by train"),
    ("wrong workdir", "sweep", [GRID, "--workdir=${RUNS}"], "holds a variable that is not set"),
    ("wrong workdir", "sweep", [GRID, "--workdir=lanes"], "already holds a run"),
    ("wrong workdir", "sweep", ["--resume", "--workdir=lanes", "--seeds=3"], "sweep.n_seeds = 3: must be 8 to resume"),
    ("wrong workdir", "evaluate", ["--workdir=nowhere"], "holds no run"),
    ("wrong workdir", "evaluate", ["--workdir= "], "must be a path"),
    ("wrong workdir", "evaluate", ["--workdir=file"], "holds no run"),
    ("wrong workdir", "evaluate", [HERE], "holds no checkpoint"),
    ("unknown key", "evaluate", [HERE, "--estimator=nobody:It"], "must be module:name of an estimator of yours"),
    ("inconsistent pair", "evaluate", [HERE, "--estimator=smile"], "the run was trained with 'mine'; leave it out"),
    ("inconsistent pair", "train", ["--resume", HERE, "--estimator=smile"], "must be 'mine' to resume"),
    ("wrong lane", "evaluate", ["--workdir=lanes"], "--lane is needed"),
    ("wrong lane", "evaluate", ["--workdir=lanes", "--lane=2"], "--lane=2 does not exist"),
    ("wrong lane", "evaluate", ["--workdir=lanes", "--lane=-1"], "--lane=-1 does not exist"),
    ("wrong lane", "train", [DEBUG, "--init_lane=0"], "is of the sweep that --init_from names"),
    ("wrong lane", "train", [DEBUG, "--lane=0"], "Unknown command line flag 'lane'"),
    ("device count", "train", [DEBUG, "--config.device=tpu"], "device = 'tpu': must be present on this machine"),
    ("device count", "sweep", [GRID, "--config.device=gpu"], "device = 'gpu': must be present on this machine"),
    ("device count", "sweep", [GRID, "--n_devices=9"], "--n_devices=9: must be from 1 to 8, what cpu has here"),
    ("device count", "sweep", [GRID, "--n_devices=0"], "--n_devices=0: must be from 1 to 8"),
    ("device count", "train", [DEBUG, "--n_devices=9"], "--n_devices=9: must be from 1 to 8, what cpu has here"),
    ("device count", "train", [DEBUG, "--n_devices=3"], "training.n_envs = 64: must be a multiple of 3 x "),
    (
        "device count",
        "train",
        [DEBUG, "--n_devices=4", "--config.training.replay_capacity=130"],
        "training.replay_capacity = 130: must be a multiple of n_devices = 4",
    ),
    ("device count", "train", ["--resume", "--workdir=pair", "--n_devices=4"], "the run began on 2, and is continued"),
    ("device count", "train", ["--resume", HERE, "--n_devices=4"], "the run began on 1, and is continued on as many"),
    ("device count", "train", ["--resume", "--workdir=odd"], "n_devices = -2: must be a whole number from 1"),
    ("device count", "evaluate", [HERE, "--device=tpu"], "device = 'tpu': must be present on this machine"),
]
OF_THE_PROCESS = [  # command, arguments, environment, what the line says
    ("train", [DEBUG, "--config.sed=1"], {}, "sed: no such setting"),
    ("train", [DEBUG, HERE], {}, "already holds a run"),
    ("train", [DEBUG], {"JAX_PLATFORMS": "cuda"}, "device = 'auto': must be present on this machine"),
    ("train", [DEBUG], {"JAX_NUM_CPU_DEVICES": "x"}, 'JAX does not start: Invalid value "x"'),
    ("sweep", [GRID, "--distributed"], {}, "no launcher says which processes there are"),
    ("sweep", [GRID, "--n_devices=3"], {"JAX_NUM_CPU_DEVICES": "2"}, "--n_devices=3: must be from 1 to 2"),
    ("evaluate", ["--workdir=lanes", "--lane=9"], {}, "--lane=9 does not exist"),
]


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


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A run and a sweep as they are before their first checkpoint, a file, and a workdir that is not one."""
    folder = tmp_path_factory.mktemp("furnished")
    open_run(configuration.load("configs/fast_debug.py", {"seed": 5}), folder / "first")
    open_run(configuration.load("configs/fast_debug.py", {"seed": 5}), folder / "pair", n_devices=2)
    shutil.copytree(folder / "pair", folder / "odd")
    (folder / "odd" / "run.json").write_text('{"command": "train", "n_devices": -2}')
    open_run(configuration.load("configs/lambda_sweep.py"), folder / "lanes", command="sweep")
    (folder / "lanes" / "lanes.json").write_text('[{"seed": 0}, {"seed": 1}]')
    (folder / "file").write_text("")
    (folder / "blocked" / "evaluation.json").mkdir(parents=True)
    shutil.copytree(folder / "first", folder / "unknown")
    (folder / "unknown" / "run.json").unlink()
    (folder / "ends.py").write_text("import sys\nsys.exit(0)")
    (folder / "torn").mkdir()
    (folder / "torn" / "config.json").write_text('{"seed": ')
    return folder


@pytest.fixture
def here(furnished, tmp_path, monkeypatch):
    """A copy of it, as the current folder."""
    monkeypatch.chdir(shutil.copytree(furnished, tmp_path / "here"))
    return tmp_path / "here"


@pytest.mark.parametrize(("kind", "command", "arguments", "says"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_is_one_line_and_exit_2(kind, command, arguments, says, here, capsys, monkeypatch):
    for module, work in ((train, "run_training"), (sweep, "run_sweep"), (evaluate, "evaluate")):
        monkeypatch.setattr(module, work, lambda *_, **__: pytest.fail("went on"))
    before = tree(here)
    assert COMMANDS[command].command([command, *arguments]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert says in output.err
    assert not output.out
    assert tree(here) == before


def test_every_class_of_mistake_is_tried_on_every_command_that_has_it():
    tried = {(kind, command) for kind, command, _, _ in MISTAKES}
    missing = {(kind, command) for kind, *_ in MISTAKES for command in COMMANDS} - tried
    assert missing == {("wrong lane", "sweep")}  # a sweep trains all of its lanes


@pytest.mark.parametrize("arguments", [["--workdir=first"], [DEBUG, "--workdir=first", "--config.seed=5"]])
def test_resume_takes_the_saved_configuration(arguments, here):
    runs = []
    before = tree(here)
    assert invoke([*arguments, "--resume"], main=lambda values: runs.append(cli.open_from_flags(values))) == 0
    assert runs[0].experiment.run.seed == 5
    assert runs[0].resume
    assert tree(here) == before


def test_the_default_workdir_is_named_by_the_experiment(folder):
    assert invoke([DEBUG, "--config.exp_name=mine"]) == 0
    assert {path.as_posix() for path in tree(folder)} == {
        "runs",
        "runs/mine",
        "runs/mine/config.json",
        "runs/mine/run.json",
    }


def test_a_sweep_takes_as_many_devices_as_it_was_told_to(folder):
    config = configuration.load("configs/lambda_sweep.py:fast")
    assert lane_program.devices_of(open_run(config, "two", n_devices=2)) == tuple(jax.devices()[:2])
    assert lane_program.devices_of(open_run(config, "all")) == tuple(jax.devices())


def test_a_run_is_continued_on_as_many_devices_as_it_began_on(here):
    found = {name: open_run(None, name, resume=True).n_devices for name in ("first", "pair")}
    assert found == {"first": None, "pair": 2}
    assert [len(train.devices_sharing(open_run(None, name, resume=True))) for name in found] == [1, 2]


def test_a_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert invoke([DEBUG, "--workdir=~/runs"]) == 0
    assert (folder / "home" / "runs" / "config.json").exists()
    assert cli.user_path("--output", "~") == folder / "home"


def test_whole_numbers_and_flags_from_a_file(folder):
    (folder / "flags").write_text(f"{DEBUG}\n--config.training.total_timesteps=2.56e4\n")
    runs = []
    assert invoke(["--flagfile=flags"], main=lambda values: runs.append(cli.open_from_flags(values))) == 0
    assert runs[0].experiment.total_timesteps == 25_600
    assert runs[0].experiment.n_updates == 2


def test_a_link_that_leads_nowhere_is_the_users(folder, capsys):
    (folder / "dangling").symlink_to("nowhere")
    assert invoke([DEBUG, "--workdir=dangling"]) == 2
    assert "not a folder" in capsys.readouterr().err
    assert os.readlink(folder / "dangling") == "nowhere"


def test_a_terminal_that_lacks_a_letter_gets_its_number(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert invoke([DEBUG], main=lambda values: print("run \u00fc")) == 0
    assert terminal.buffer.getvalue() == b"run \\xfc\n"


def test_a_dry_run_writes_nothing(folder):
    assert invoke([DEBUG, "--dry_run"]) == 0
    assert not tree(folder)


@pytest.mark.parametrize("module", [train, sweep, evaluate, random_play, replay_lobster, fit_flow, compare, leakage])
@pytest.mark.parametrize("configured", [False, True])
def test_help_reads_as_documentation(module, configured, folder, capsys):
    takes_config = module in (train, sweep, random_play)
    assert module.command(["command", *([DEBUG] if configured and takes_config else []), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == module.__doc__.splitlines()[0].replace("``", "")
    assert max(map(len, lines)) <= 120
    assert not any("``" in line or ">: " in line for line in lines)
    own = flags.FlagValues()
    getattr(module, "define_flags", cli.define_run_flags)(own, [])
    flag_lines = [line for line in lines[lines.index("Flags:") :] if line.startswith("  --")]
    shown = [re.match(r"  --(\w+)(?:=[\w|:]+)? {2,}\S", line)[1] for line in flag_lines]
    assert sorted(shown) == sorted({*own} | {"help"})  # each of ours, none of an imported module
    assert "75" in lines[-1]
    assert not tree(folder)


def test_the_package_lists_its_commands(capsys):
    assert main_module.main(["amarl_jax"]) == 0
    text = capsys.readouterr().out
    others = ("random_play", "fit_flow", "replay_lobster", "compare", "leakage")
    assert all(f"python -m amarl_jax.{name}" in text for name in (*COMMANDS, *others))
    assert main_module.main(["amarl_jax", "train"]) == 2
    assert capsys.readouterr().err == "error: train: write python -m amarl_jax.train\n"


def test_console_scripts_are_the_commands():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {main_module.console_name(name): f"amarl_jax.{name}:command" for name in main_module.COMMANDS}
    assert scripts["amarl-random-play"] == "amarl_jax.random_play:command"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("x"), 2),
        (CheckpointMismatch("x"), 2),
        (Diverged("x"), 3),
        (Preempted("x"), 75),
        (OSError(28, "No space left on device"), 1),
        (OSError(36, "File name too long"), 2),
        (OSError(40, "Too many levels of symbolic links"), 2),
        (RuntimeError("can't start new thread"), 1),
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
        stop.hold()
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.integration
@pytest.mark.parametrize(("command", "arguments", "variables", "says"), OF_THE_PROCESS)
def test_the_commands_themselves(command, arguments, variables, says, here):
    before = tree(here)
    line = [sys.executable, "-m", f"amarl_jax.{command}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **variables}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=here, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr
    assert tree(here) == before


@pytest.mark.parametrize(("argv", "changes"), [("None", True), ("['command']", False)])
def test_the_collector_is_set_in_a_process_of_its_own_alone(argv, changes):
    program = f"""
import gc, sys
sys.argv = ["command"]
from amarl_jax.host import cli
before = gc.get_threshold()
code = cli.run(lambda values: print(gc.get_threshold() != before), "Usage.", lambda values, argv: None, argv={argv})
sys.exit(code)
"""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, f"{changes}\n"), done.stderr
