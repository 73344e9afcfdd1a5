"""Whatever a folder holds and whenever a command is interrupted: an exit code, a line, and nothing on disk is harmed.

The learner is that of tests/quick_learners.py; tests/test_train.py and tests/lanes/test_sweep.py stop the real one.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import amarl_jax
from amarl_jax import evaluate, sweep, train
from amarl_jax.errors import BadInput, Preempted
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.host import claim
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.preemption import StopRequest
from amarl_jax.lanes.behaviour import CONDUCT, FILLS, N_FILLS
from amarl_jax.lanes.measured import Measured
from amarl_jax.learn import split_update
from tests import quick_learners
from tests.quick_learners import FLAGS, N_UPDATES
from tests.tiny_runs import STEPS_PER_UPDATE, TINY, jax_settings, numbers, terminate_after, tree

__all__ = ["jax_settings"]

CODES = (0, 1, 2, 3, 4, 75)
MODULES = {"train": train, "sweep": sweep, "evaluate": evaluate}
ROOT = Path(__file__).parents[2]
PACKAGE = str(Path(amarl_jax.__file__).parent)


@pytest.fixture(scope="module", autouse=True)
def quick(jax_settings):
    with pytest.MonkeyPatch.context() as patch:
        quick_learners.install(patch)
        yield


def run(command, *arguments):
    return MODULES[command].command([command, *map(str, arguments)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, quick):
    """A run and a sweep from beginning to end, and both stopped after their third update."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        for command in ("train", "sweep"):
            assert run(command, *FLAGS, f"--workdir={folder / command}") == 0
        terminate_after(3, patch)
        for command in ("train", "sweep"):
            assert run(command, *FLAGS, f"--workdir={folder / command}_stopped") == 75
    return folder


@contextlib.contextmanager
def signal_at(call, number):
    """Send a signal to this process at the ``call``-th call of a function of the package; None sends none."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls += 1
            if calls == call:
                sys.setprofile(None)
                os.kill(os.getpid(), number)

    sys.setprofile(count if call else None)
    try:
        yield
    finally:
        sys.setprofile(None)


def checkpoints_of(path):
    return sorted((path / "checkpoints").iterdir(), key=lambda entry: int(entry.name))


def files_of(path):
    return sorted(
        file for file in path.rglob("*") if file.is_file() and file.stat().st_size and file.name != "config.json"
    )


def sound(path, rng):
    """Nothing is wrong."""


def flip_a_bit(path, rng):
    file = rng.choice(files_of(path))
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(content)


def cut_a_file(path, rng):
    file = rng.choice([*files_of(path), path / "config.json"])
    os.truncate(file, rng.integers(file.stat().st_size))


def remove_something(path, rng):
    entry = rng.choice(
        sorted(
            entry
            for entry in path.iterdir()
            if entry.name in ("metrics.jsonl", "checkpoints", "run.json", "config.json")
        )
    )
    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def rename_a_checkpoint(path, rng):
    entry = rng.choice(checkpoints_of(path))
    entry.rename(entry.with_name(str(rng.choice([1, 9]))))


def another_seed(path, rng):
    document = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(document | {"seed": 7}))


def rows_twice(path, rng):
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    place = rng.integers(len(lines))
    (path / "metrics.jsonl").write_text("".join([*lines[: place + 1], *lines[place:]]))


def rows_exchanged(path, rng):
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    lines[0], lines[1] = lines[1], lines[0]
    (path / "metrics.jsonl").write_text("".join(lines))


def sparse_file(path, rng):
    name = rng.choice(["manifest.ocdbt", "_sharding", "_METADATA", "_CHECKPOINT_METADATA"])
    for file in path.rglob(f"checkpoints/*/**/{name}"):
        os.truncate(file, 1 << 40)


def a_folder_in_the_way(path, rng):
    name = rng.choice(["evaluation.json", "training.png", "sweep.json", "lanes.csv"])
    (path / name).unlink(missing_ok=True)
    (path / name).mkdir()


def a_file_in_the_way(path, rng):
    (path / "postmortem").write_text("")


def foreign_lanes(path, rng):
    (path / "lanes.json").write_text('[{"seed": 1}, {"seed": 2}]')


def machine_settings(path, rng):
    document = json.loads((path / "config.json").read_text())
    document["compilation_cache_dir"], document["device"] = str(path / "planted"), "tpu"
    (path / "config.json").write_text(json.dumps(document))


DAMAGES = (
    sound,
    flip_a_bit,
    cut_a_file,
    remove_something,
    rename_a_checkpoint,
    another_seed,
    rows_twice,
    rows_exchanged,
    sparse_file,
    a_folder_in_the_way,
    a_file_in_the_way,
    foreign_lanes,
    machine_settings,
)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def learned(path):
    """What a folder holds of the run itself; of a file that is larger than any, its size."""
    evaluations = ("evaluation", "evaluation_0")
    files = {file.relative_to(path): file for file in path.rglob("*")}
    return {
        name: None if file.is_dir() else size if (size := file.stat().st_size) > 1 << 30 else file.read_bytes()
        for name, file in files.items()
        if name.parts[0] not in evaluations
    }


def same_numbers(path, whole):
    """Rows, learner and the answer of a run that was never stopped; the clock and its hash differ."""
    assert numbers(path) == numbers(whole)
    assert [entry.name for entry in checkpoints_of(path)][-1] == str(N_UPDATES)
    hashes = [json.loads((checkpoints_of(one)[-1] / "_CHECKPOINT_METADATA").read_text()) for one in (path, whole)]
    ours, theirs = (one["custom_metadata"]["amarl_jax"]["arrays"] for one in hashes)
    assert ours == theirs
    for name in ("evaluation.json", "sweep.json"):
        if (whole / name).exists() and name == "sweep.json":
            assert (path / name).read_text() == (whole / name).read_text()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("seed", range(6))
def test_a_command_ends_with_a_code_and_a_line_and_harms_nothing(damage, seed, whole, tmp_path, capfd):
    """A folder of a run or of a sweep, finished or not, with one thing wrong; a command, stopped anywhere or not."""
    rng = np.random.default_rng([seed, DAMAGES.index(damage)])
    made, state = ("train", "sweep")[seed % 2], ("", "_stopped")[seed // 2 % 2]
    path = shutil.copytree(whole / f"{made}{state}", tmp_path / "run")
    damage(path, rng)
    before = learned(path)
    command = rng.choice(["train", "sweep", "evaluate", made, made])
    arguments = ["--resume"] if command != "evaluate" else ["--lane=0"] if made == "sweep" else []
    stopped_at = int(rng.integers(1, 900)) if rng.random() < 0.6 else None
    capfd.readouterr()
    with signal_at(stopped_at, rng.choice(SIGNALS)):
        code = run(command, *arguments, f"--workdir={path}")
    error = capfd.readouterr().err
    assert code in CODES
    assert error.count("\n") == (code != 0), error
    assert "Traceback" not in error
    if code == 2 or command == "evaluate":
        assert learned(path) == before
    elif run(command, "--resume", f"--workdir={path}") == 0:
        same_numbers(path, whole / made)
        assert not (path / "planted").exists()
    else:
        assert code == 75, "what had been refused, had it not been stopped before"
        assert learned(path) == before


@pytest.mark.parametrize(("chunk", "says"), [(1, "no update was lost"), (2, "stopped and saved at update 2 of 5")])
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_signal_in_compiled_code_waits_only_for_what_can_be_saved(chunk, says, command, tmp_path, monkeypatch, capfd):
    """In the first chunk, which compiles, there is nothing; later ones are finished and saved."""
    calls, learn = [], quick_learners.learn

    def learn_and_stop(state):
        calls.append(1)
        if len(calls) == chunk:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(state)

    monkeypatch.setattr(quick_learners, "learn", learn_and_stop)
    assert run(command, *FLAGS, f"--workdir={tmp_path / 'run'}") == 75
    assert says in capfd.readouterr().err
    done = len({row["update"] for row in numbers(tmp_path / "run")})
    assert done == chunk * (chunk > 1)
    assert len(calls) == chunk


def test_lanes_measured_so_far_are_kept_and_not_measured_again(whole, tmp_path, monkeypatch, capfd):
    path, keep, kept = tmp_path / "grid", Measured.keep, []

    def keep_and_stop(measured, lane, row):
        kept.append(lane)
        row = keep(measured, lane, row)
        if len(kept) == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return row

    monkeypatch.setattr(Measured, "keep", keep_and_stop)
    assert run("sweep", *FLAGS, f"--workdir={path}") == 75
    said = "stopped by SIGUSR1: trained and saved, lanes measured so far are kept; continue with"
    assert capfd.readouterr().err == f"{said} --resume --workdir={path}\n"
    assert run("sweep", "--resume", f"--workdir={path}") == 0
    assert "all 2 lanes measured on fewer than 256 episodes\n" in capfd.readouterr().out
    assert kept == [0, 1]
    same_numbers(path, whole / "sweep")
    assert not (path / "measured.json").exists()


def test_lanes_measured_with_other_learners_are_measured_again(tmp_path):
    row = {name: {"value": 1.0, "stderr": None} for name in (*COLUMNS, "kl_nats", *CONDUCT)}
    row |= {"n_episodes": 8, FILLS: [0] * N_FILLS}
    Measured(tmp_path, {"updates": 3}).keep(0, row)
    assert Measured(tmp_path, {"updates": 3}).rows == {0: row}
    assert Measured(tmp_path, {"updates": 4}).rows == {}
    text = (tmp_path / "measured.json").read_text()
    (tmp_path / "measured.json").write_text(text.replace('"value": 1.0', '"value": "x"'))
    assert Measured(tmp_path, {"updates": 3}).rows == {}


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_two_processes_do_not_work_in_one_folder(command, whole, tmp_path, capfd):
    """A lock of another open file is what another process would have."""
    path = shutil.copytree(whole / f"{command}_stopped", tmp_path / "run")
    before = tree(path)
    with claim.claimed(path):
        assert run(command, "--resume", f"--workdir={path}") == 2
    assert "another process is at work in it" in capfd.readouterr().err
    assert tree(path) == before
    assert run(command, "--resume", f"--workdir={path}") == 0


@pytest.mark.parametrize("there", [False, True])
def test_what_fails_before_the_first_update_leaves_the_folder_free(there, tmp_path, monkeypatch, capfd):
    path = tmp_path / "run"
    if there:
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    before = tree(path)
    with monkeypatch.context() as patch:
        patch.setattr(split_update, "advance", lambda *_: (_ for _ in ()).throw(MemoryError("too wide")))
        assert run("train", *FLAGS, f"--workdir={path}") == 1
    assert path.exists() == there
    assert tree(path) == before
    assert run("train", *FLAGS, f"--workdir={path}") == 0


def test_a_reader_who_leaves_ends_nothing(whole, tmp_path, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch, os.fdopen(writer, "w") as nobody:
        patch.setattr(sys, "stdout", nobody)
        assert run("train", *FLAGS, f"--workdir={tmp_path / 'run'}") == 0
    same_numbers(tmp_path / "run", whole / "train")


def test_a_full_disk_under_the_output_is_told_at_the_end(tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr(sys, "stdout", full)
        assert run("train", *FLAGS, f"--workdir={tmp_path / 'run'}") == 1
    assert "No space left on device" in capfd.readouterr().err
    assert (tmp_path / "run" / "evaluation.json").exists()


def test_a_finished_run_is_extended_and_its_schedule_with_it(whole, tmp_path, monkeypatch, capfd):
    path = shutil.copytree(whole / "train", tmp_path / "run")
    seen = []

    def advance(state, setup, n_updates):
        seen.append((int(state.update), float(setup.hypers.n_updates)))
        return quick_learners.advance(state, setup, n_updates)

    monkeypatch.setattr(split_update, "advance", advance)
    total = f"--config.training.total_timesteps={8 * STEPS_PER_UPDATE}"
    assert run("train", "--resume", f"--workdir={path}", f"--config={TINY}", total) == 0
    assert seen == [(5, 8.0), (6, 8.0), (7, 8.0)]
    assert numbers(path)[:5] == numbers(whole / "train")
    assert len(numbers(path)) == 8
    before, after = (json.loads((one / "config.json").read_text()) for one in (whole / "train", path))
    after["training"]["total_timesteps"] = before["training"]["total_timesteps"]
    assert after == before
    assert run("train", "--resume", f"--workdir={path}") == 0
    assert run("evaluate", f"--workdir={path}") == 0
    less = total.replace(str(8 * STEPS_PER_UPDATE), str(7 * STEPS_PER_UPDATE))
    capfd.readouterr()
    assert run("train", "--resume", f"--workdir={path}", f"--config={TINY}", less) == 2
    assert f"must be {8 * STEPS_PER_UPDATE} to resume" in capfd.readouterr().err


def test_a_run_extended_beside_its_intervals_saves_as_often(whole, tmp_path, monkeypatch):
    """From update 5 on it logs after 7, 9, 11, ...: never at a multiple of 4."""
    config = [f"--config={TINY}", "--config.logging.log_interval=2", "--config.checkpoint_interval=4"]
    total = "--config.training.total_timesteps={}".format
    off = "--config.logging.use_tensorboard=False"
    assert run("train", *config, off, total(5 * STEPS_PER_UPDATE), f"--workdir={tmp_path / 'run'}") == 0
    saved = []
    save = Checkpointer.save
    monkeypatch.setattr(
        Checkpointer, "save", lambda self, step, *rest, **named: saved.append(step) or save(self, step, *rest, **named)
    )
    assert run("train", "--resume", f"--workdir={tmp_path / 'run'}", config[0], total(16 * STEPS_PER_UPDATE)) == 0
    assert saved == [9, 13, 16]


def test_settings_of_the_machine_are_those_of_the_command(whole, tmp_path, monkeypatch, capfd):
    """Planted compiled programs would run as whoever resumes."""
    path = shutil.copytree(whole / "train", tmp_path / "run")
    machine_settings(path, None)
    seen = []

    @contextlib.contextmanager
    def prepared(settings, n_devices):
        seen.append(settings)
        yield "here"

    monkeypatch.setattr(train.machine, "prepared", prepared)
    assert run("train", "--resume", f"--workdir={path}") == 0
    assert (seen[0].compilation_cache_dir, seen[0].device, seen[0].use_wandb) == ("auto", "auto", False)
    said = capfd.readouterr().out
    assert f"compilation_cache_dir = '{path / 'planted'}' is not followed" in said
    own = [f"--config={TINY}", f"--config.compilation_cache_dir={tmp_path / 'own'}", "--config.device=cpu"]
    assert run("train", "--resume", f"--workdir={path}", *own) == 0
    assert (seen[1].compilation_cache_dir, seen[1].device) == (str(tmp_path / "own"), "cpu")


def test_a_run_that_saves_while_it_is_read_is_read_again(whole, tmp_path, monkeypatch):
    path = shutil.copytree(whole / "train", tmp_path / "run")
    newest = checkpoints_of(path)[-1].rename(tmp_path / "newest")
    restore = Checkpointer.restore

    def meanwhile(checkpoints, *arguments):
        if newest.exists():
            newest.rename(path / "checkpoints" / str(N_UPDATES))
            raise BadInput("is being deleted")
        return restore(checkpoints, *arguments)

    monkeypatch.setattr(Checkpointer, "restore", meanwhile)
    assert runs.load(path).update == N_UPDATES


def test_a_request_that_somebody_swallows_is_raised_again_where_work_begins():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where these tests run under nohup
    try:
        with StopRequest() as stop:
            with contextlib.suppress(Preempted):
                os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(Preempted, match="SIGHUP"):
                stop.hold()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_a_parent_has_ignored_stays_ignored():
    """As ``nohup`` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)


IN_COMPILED_CODE = """
import hashlib, signal, sys
from amarl_jax.host import preemption
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background has it ignored
preemption.GRACE = 0.5
with preemption.StopRequest(whole_process=True) as stop:
    if sys.argv[1] == "held":
        stop.hold()
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # half an hour in which Python handles no signal
"""


@pytest.mark.parametrize(
    ("how", "signals", "says"),
    [
        ("free", [signal.SIGTERM], "stopped by SIGTERM: before it was done"),
        ("held", [signal.SIGINT, signal.SIGINT], "stopped at once"),
    ],
)
def test_compiled_code_that_does_not_come_back_is_left(how, signals, says):
    line = [sys.executable, "-c", IN_COMPILED_CODE, how]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line, stdout=pipe, stderr=pipe, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stdout.readline() == "ready\n"
        for number in signals:
            time.sleep(0.3)
            child.send_signal(number)
        try:
            error = child.communicate(timeout=60)[1]
        finally:
            child.kill()
    assert child.returncode == 75
    assert error.count("\n") == 1
    assert error.startswith(says)


DROPPED = """
import os, signal, time
from amarl_jax.host import preemption
preemption.GRACE = 0.5

class Last:
    def __del__(self):  # where Python drops exceptions, as in the callbacks of weak references
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)

with preemption.StopRequest(whole_process=True) as stop:
    Last()
    time.sleep(60.0)
"""


def test_a_request_that_python_drops_is_answered_without_a_traceback():
    line = [sys.executable, "-c", DROPPED]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 75
    assert done.stderr == "stopped by SIGTERM: before it was done; the same command starts again\n"


def test_a_process_that_traces_its_program_ends_at_once_and_without_a_crash(tmp_path):
    """Of the real learner; taking an interpreter apart in the middle of a trace has ended in a segmentation fault."""
    line = [sys.executable, "-m", "amarl_jax.train", f"--config={TINY}", f"--workdir={tmp_path / 'run'}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=ROOT) as child:
        assert "workdir" in child.stdout.readline()
        time.sleep(1.0)
        child.terminate()
        error = child.communicate(timeout=120)[1]
    assert child.returncode == 75
    assert error == f"stopped by SIGTERM: no update was lost; continue with --resume --workdir={tmp_path / 'run'}\n"
    assert (tmp_path / "run" / "config.json").exists()
