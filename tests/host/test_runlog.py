import hashlib
import io
import json
import math
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from amarl_jax import config as configuration
from amarl_jax.errors import BadInput
from amarl_jax.host import runlog
from amarl_jax.host.runlog import Progress, RunLog, closing_table, duration, read_metrics
from amarl_jax.host.tensorboard import MOST_LANES, grouped
from amarl_jax.host.workdir import open_run
from tests.tiny_runs import shown_in


@pytest.fixture
def run(tmp_path):
    config = configuration.load("configs/fast_debug.py", {"logging.use_tensorboard": False})
    return open_run(config, tmp_path / "run")


def test_rows_are_strict_json_with_null_for_what_is_not_finite(run):
    with RunLog(run) as log:
        log.write(1, {"loss": np.float32(0.5), "mi": math.nan, "cost": math.inf, "none": None})
    line = (run.path / "metrics.jsonl").read_text()
    assert line == '{"update": 1, "loss": 0.5, "mi": null, "cost": null, "none": null}\n'
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_torn_last_line_is_cut_and_the_rest_kept(run):
    file = run.path / "metrics.jsonl"
    file.write_text('{"update": 1, "loss": 1.0}\n{"update": 2, "lo')
    assert read_metrics(file) == [{"update": 1, "loss": 1.0}]
    with RunLog(run, done=1) as log:
        log.write(2, {"loss": 2.0})
    assert read_metrics(file) == [{"update": 1, "loss": 1.0}, {"update": 2, "loss": 2.0}]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[1]",
        b"{}",
        b'{"update": null}',
        b'{"update": NaN}',
        b'{"update": "1"}',
        b'{"update": 1, "loss": []}',
        b'{"update": 1, "loss": 1' + b"0" * 400 + b"}",
        b'{"update": 2, "lo',
        b"[" * 100_000,
        b"\xff\xfe\0",
    ],
    ids=lambda line: str(line[:24]),
)
def test_a_line_that_no_run_wrote_is_named_and_nothing_is_cut(line, seed, run):
    """At a place of its own among good ones."""
    place = int(np.random.default_rng(seed).integers(5))
    lines = [b'{"update": %d, "loss": 1.0}' % i for i in range(5)]
    text = b"\n".join([*lines[:place], line, *lines[place:]]) + b"\n"
    (run.path / "metrics.jsonl").write_bytes(text)
    with pytest.raises(BadInput, match=f"metrics.jsonl: line {place + 1} is not the metrics of an update"):
        RunLog(run, done=2)
    assert (run.path / "metrics.jsonl").read_bytes() == text


def test_rows_beyond_the_update_that_a_run_continues_from_are_cut(run):
    with RunLog(run) as log:
        for update in (1, 2, 3):
            log.write(update, {"loss": float(update)})
    with RunLog(run, done=1) as log:
        log.write(2, {"loss": 20.0})
    assert read_metrics(run.path / "metrics.jsonl") == [{"update": 1, "loss": 1.0}, {"update": 2, "loss": 20.0}]


OUT_OF_ORDER = {
    "twice": ([1, 1, 2], "line 2 is not update 2"),
    "exchanged": ([2, 1, 3], "line 1 is not update 1"),
    "missing": ([1, 3], "line 2 is not update 2"),
    "too few": ([1], "holds 1 rows; the checkpoint of update 2 has 2"),
}


@pytest.mark.parametrize("case", OUT_OF_ORDER)
def test_rows_out_of_order_are_named_and_nothing_is_cut(case, run):
    """Two processes that wrote into one folder left such a file; a cut by counting rows would fall anywhere."""
    updates, says = OUT_OF_ORDER[case]
    text = "".join(f'{{"update": {update}, "loss": 1.0}}\n' for update in updates)
    (run.path / "metrics.jsonl").write_text(text)
    with pytest.raises(BadInput, match=says):
        RunLog(run, done=2)
    assert (run.path / "metrics.jsonl").read_text() == text


def test_the_rows_of_a_sweep_are_of_every_lane_in_order(run):
    lines = [f'{{"update": {update}, "lane": {lane}}}\n' for update in (1, 2) for lane in (0, 1)]
    file = run.path / "metrics.jsonl"
    file.write_text("".join(lines))
    RunLog(run, done=1, n_lanes=2).close()
    assert file.read_text() == "".join(lines[:2])
    file.write_text("".join([lines[0], lines[2], lines[3]]))
    with pytest.raises(BadInput, match="line 2 is not update 1 of lane 1"):
        RunLog(run, done=2, n_lanes=2)


def test_what_a_checkpoint_is_told_of_the_rows_is_what_stands_there(run):
    with RunLog(run) as log:
        log.write(1, {"loss": 1.0})
    with RunLog(run, done=1) as log:
        log.write(2, {"loss": 2.0})
        training = log.training("abc")
    assert (training.rows, training.rows_hash) == (2, hashlib.sha256(log.path.read_bytes()).hexdigest())


def test_a_line_without_an_end_is_not_read_whole(run):
    with (run.path / "metrics.jsonl").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInput, match="line 1 is not the metrics of an update"):
        read_metrics(run.path / "metrics.jsonl")


def test_tensorboard_events_are_written(tmp_path):
    run = open_run(configuration.load("configs/fast_debug.py"), tmp_path / "run")
    with RunLog(run) as log:
        log.write(1, {"loss": 1.0, "mi": math.nan})
    (events,) = (run.path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("phase_a/execution/shortfall", "execution/shortfall/phase_a"),
        ("joint/maker/pnl", "maker/pnl/joint"),
        ("phase_b/maker/entropy", "losses/maker/entropy/phase_b"),
        ("phase_a/critic/loss", "losses/critic/loss/phase_a"),
        ("phase_b/belief/mean", "information/belief/mean/phase_b"),
        ("wall_seconds", "speed/wall_seconds"),
        ("objective", "execution/objective"),
        ("finite/critic", "losses/finite/critic"),
        ("held_out/execution/completion", "held_out/execution/completion"),
    ],
)
def test_loggers_group_metrics_as_one_looks_for_them(name, shown):
    assert grouped(name) == shown


def test_held_out_numbers_reach_the_loggers_and_add_no_row(tmp_path):
    run = open_run(configuration.load("configs/fast_debug.py"), tmp_path / "run")
    with RunLog(run) as log:
        log.write(1, {"loss": 1.0})
        log.held_out(1, {"execution/completion": 0.5, "information/exact_nats": math.nan})
    scalars = {value.tag for _, value in shown_in(run.path / "tensorboard") if value.WhichOneof("value")}
    assert scalars == {"loss", "held_out/execution/completion"}
    assert len(read_metrics(run.path / "metrics.jsonl")) == 1


def test_tensorboard_has_the_settings_and_the_pictures_of_a_run(tmp_path):
    run = open_run(configuration.load("configs/fast_debug.py"), tmp_path / "run")
    png = tmp_path / "drawn.png"
    figure = Figure(figsize=(2, 1))
    figure.savefig(png, dpi=50)
    with RunLog(run) as log:
        assert log.shows_pictures
        log.picture(7, "episode", png)
    values = shown_in(run.path / "tensorboard")
    ((step, picture),) = ((step, value.image) for step, value in values if value.tag == "episode")
    assert (step, picture.width, picture.height) == (7, 100, 50)
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    starts = [value for _, value in values if "session_start" in value.tag]
    settings = HParamsPluginData.FromString(starts[0].metadata.plugin_data.content).session_start_info.hparams
    assert settings["training.lr_actor"].number_value == run.config.training.lr_actor
    assert settings["training.gamma"].string_value == str(run.config.training.gamma)


def test_a_run_without_loggers_shows_no_pictures(run):
    with RunLog(run) as log:
        assert not log.shows_pictures


def test_each_lane_of_a_sweep_is_a_run_of_tensorboard(tmp_path):
    run = open_run(configuration.load("configs/fast_debug.py"), tmp_path / "run")
    varied = [{"lambda": 0.5 * lane, "seed": 3, "arm": "main"} for lane in range(MOST_LANES + 1)]
    with RunLog(run, n_lanes=MOST_LANES + 1, of_lanes=varied) as log:
        for lane in (0, 1, MOST_LANES):
            log.write(1, {"lane": lane, "loss": 1.0})
    folders = sorted((run.path / "tensorboard").iterdir())
    assert [folder.name for folder in folders] == sorted(f"lane_{lane}" for lane in range(MOST_LANES))
    for folder in folders[:2]:
        values = [value for _, value in shown_in(folder)]
        assert "loss" in {value.tag for value in values}
        (start,) = (value for value in values if "session_start" in value.tag)
        told = HParamsPluginData.FromString(start.metadata.plugin_data.content).session_start_info.hparams
        assert told["lambda"].number_value == 0.5 * int(folder.name.removeprefix("lane_"))
        assert "lane" not in {value.tag for value in values}


WANDB = {"logging.use_wandb": True, "logging.use_tensorboard": False, "logging.wandb_project": "hiding"}


def test_wandb_without_the_extra_is_bad_input_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(BadInput, match=r"pip install -e '.\[wandb\]'"):
        open_run(configuration.load("configs/fast_debug.py", WANDB), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_wandb_gets_every_finite_number_and_a_resumed_run_its_old_name(tmp_path, monkeypatch):
    """A module of our own in W&B's place: what it is asked for is the whole of what we rely on."""
    opened, logged = [], []

    def init(**settings):
        opened.append(settings)
        return SimpleNamespace(log=lambda row, step: logged.append((step, row)), finish=lambda: logged.append("end"))

    module = ModuleType("wandb")
    module.init, module.__spec__ = init, ModuleSpec("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", module)
    for resume in (False, True):
        run = open_run(configuration.load("configs/fast_debug.py", WANDB), tmp_path / "run", resume=resume)
        with RunLog(run, done=int(resume)) as log:
            log.write(1 + resume, {"loss": 0.5, "mi": math.nan})
    assert logged == [(1, {"loss": 0.5}), "end", (2, {"loss": 0.5}), "end"]
    first, second = opened
    assert first == second
    assert (first["project"], first["name"], first["resume"]) == ("hiding", "fast_debug", "allow")
    assert first["dir"] == str(tmp_path / "run")
    assert first["config"]["logging"]["use_wandb"]


def test_the_compiling_chunk_is_left_out_of_the_eta(monkeypatch):
    clock = iter([0.0, 100.0, 102.0, 102.0])  # opened; compiling took 100 s; then 2 s per update
    monkeypatch.setattr(runlog.time, "perf_counter", lambda: next(clock))
    console = Console(file=io.StringIO(), width=200)
    with Progress(n_updates=11, steps_per_update=1000, console=console) as progress:
        progress.advance(1, {})
        progress.advance(2, {"I": 0.123456})
    first, second = console.file.getvalue().splitlines()
    assert first == "update 1/11 | 1,000 steps | first chunk: 1m 40s"
    assert second == "update 2/11 | 2,000 steps | 500 steps/s | ETA 18s | I 0.123"  # 9 updates of 2 s


def test_a_quiet_run_prints_nothing():
    console = Console(file=io.StringIO())
    with Progress(3, 10, verbose=False, console=console) as progress:
        progress.advance(1, {})
    assert not console.file.getvalue()


def test_a_terminal_gets_one_live_line():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(2, 10, console=console) as progress:
        progress.advance(1, {"I": 0.5})
        progress.advance(2, {"I": 0.25})
    assert "update 2/2" in console.file.getvalue()
    assert "━" * 16 in console.file.getvalue(), "a bar of the updates done"
    assert "\x1b[2K" in console.file.getvalue()  # the line is erased and redrawn


def test_closing_table_shows_every_row():
    console = Console(file=io.StringIO(), width=100)
    rows = [("shortfall", 12.3456, "ticks per lot"), ("verdict", "not determined", ""), ("I", math.nan, "nats")]
    closing_table("Held out", rows, console)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0] == ["Held", "out"]
    assert ["shortfall", "12.346", "ticks", "per", "lot"] in lines
    assert ["verdict", "not", "determined"] in lines
    assert ["I", "-", "nats"] in lines


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.6, "1m 00s"), (200, "3m 20s"), (7500, "2h 05m")])
def test_duration(seconds, text):
    assert duration(seconds) == text
