"""Workdirs from strangers: whatever is wrong with one gives one line and exit code 2, and runs nothing.

Every class has random instances, seeded by its number; a flipped bit may also hit what is not read.
"""

import builtins
import json
import os
import pickle
import shutil
from types import SimpleNamespace

import chex
import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax import evaluate, sweep, train
from amarl_jax.config import save_json
from amarl_jax.errors import BadInput, ConfigError
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.host import cli
from amarl_jax.host.untrusted import MAX_JSON_BYTES
from amarl_jax.host.workdir import open_run
from tests.tiny_runs import edit_config, jax_settings, tree

__all__ = ["jax_settings"]

pytestmark = pytest.mark.integration


def load_command(path, lane=None):
    """Loading, as commands do it: exit code 2 and a line, or 0."""
    return cli.run(lambda values: runs.load(path, lane), "Usage.", lambda values, argv: None, argv=["load"])


def one_line(code, capsys):
    """The error of a command that ended with exit code 2."""
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def refused(path, capsys, lane=None):
    return one_line(load_command(path, lane), capsys)


@pytest.fixture
def copied(workdirs, tmp_path):
    """A run to damage."""
    return shutil.copytree(workdirs["run"], tmp_path / "run")


@pytest.fixture
def copied_sweep(workdirs, tmp_path):
    return shutil.copytree(workdirs["sweep"], tmp_path / "sweep")


def files_of(path):
    return sorted(p for p in (path / "checkpoints").rglob("*") if p.is_file() and p.stat().st_size)


def test_an_undamaged_copy_loads_and_nothing_is_executed_or_unpickled(copied, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a workdir reached the interpreter")

    runs.load(copied)  # once before, so that what is compiled is
    for module, name in ((pickle, "load"), (pickle, "loads"), (builtins, "eval")):
        monkeypatch.setattr(module, name, forbidden)
    (copied / "config.py").write_text("raise SystemExit('executed')")
    (copied / "sitecustomize.py").write_text("raise SystemExit('executed')")
    assert load_command(copied) == 0


@pytest.mark.parametrize("seed", range(4))
def test_truncated_files(seed, copied, workdirs, capsys):
    """A line, or, where the file was none that is read (Orbax keeps one copy too many), what was saved bit for bit."""
    rng = np.random.default_rng(seed)
    path = copied / "config.json" if seed == 0 else rng.choice(files_of(copied))
    path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])
    if load_command(copied) != 0:
        capsys.readouterr()
        refused(copied, capsys)
    else:
        chex.assert_trees_all_equal(runs.load(copied).state.agents, workdirs["states"][0].agents)


@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt", "_CHECKPOINT_METADATA", "d"])
def test_files_that_are_read_may_not_be_short(name, copied, capsys):
    """Each kind at the head of the checkpoint, cut in half."""
    where = [p for p in files_of(copied) if "ocdbt.process" not in str(p) and name in (p.name, p.parent.name)]
    assert where
    for path in where:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(copied, capsys)


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bits(seed, copied, workdirs, capsys):
    rng = np.random.default_rng(100 + seed)
    for path in rng.choice(files_of(copied), 3):
        content = bytearray(path.read_bytes())
        for place in rng.integers(len(content), size=3):
            content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
    if load_command(copied) == 0:
        chex.assert_trees_all_equal(runs.load(copied).state.agents, workdirs["states"][0].agents)
    else:
        capsys.readouterr()
        refused(copied, capsys)


@pytest.mark.parametrize("seed", range(4))
def test_wrong_shapes(seed, copied, capsys):
    """One network of other widths, or of another depth, than the arrays that were saved."""
    rng = np.random.default_rng(200 + seed)
    networks = json.loads((copied / "config.json").read_text())["networks"]
    name = rng.choice(sorted(name for name, network in networks.items() if "hidden_dims" in network))
    widths = {"hidden_dims": rng.integers(9, 40, size=rng.integers(1, 4)).tolist()}  # it has (8,)
    edit_config(copied, lambda config: config["networks"][name].update(widths))
    assert "does not fit" in refused(copied, capsys)


def link_config(path, outside):
    (path / "config.json").rename(outside)
    (path / "config.json").symlink_to(outside)


def link_checkpoints(path, outside):
    (path / "checkpoints").rename(outside)
    (path / "checkpoints").symlink_to(outside)


def link_in_a_circle(path, outside):
    (path / "checkpoints" / "circle").symlink_to(path)


def pipe(path, outside):
    os.mkfifo(path / "checkpoints" / "pipe")


@pytest.mark.parametrize("place", [link_config, link_checkpoints, link_in_a_circle, pipe])
def test_links_and_pipes(place, copied, tmp_path, capsys):
    place(copied, tmp_path / "outside")
    assert "symbolic link" in (error := refused(copied, capsys)) or "not a regular file" in error


@pytest.mark.parametrize("seed", range(4))
def test_one_file_or_folder_of_a_checkpoint_lies_elsewhere(seed, copied, tmp_path, capsys):
    entry = np.random.default_rng(300 + seed).choice(sorted((copied / "checkpoints").rglob("*")))
    entry.rename(tmp_path / "outside")
    entry.symlink_to(tmp_path / "outside")
    assert f"{entry}: is a symbolic link" in refused(copied, capsys)


WRITTEN = [
    "checkpoints",
    "config.json",
    "evaluation.json",
    "metrics.jsonl",
    "postmortem",
    "tensorboard",
    "training.png",
]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_run_that_goes_on_follows_no_link(name, copied, tmp_path, capsys):
    """It would cut, replace or delete what is there."""
    outside = tmp_path / "outside"
    if (copied / name).exists():
        (copied / name).rename(outside)
    else:
        outside.mkdir()
        (outside / name).write_text("somebody's")
    (copied / name).symlink_to(outside)
    before = tree(tmp_path)
    for module in (train, sweep):
        error = one_line(module.command(["command", "--resume", f"--workdir={copied}"]), capsys)
        assert f"{copied / name}: is a symbolic link" in error
    assert tree(tmp_path) == before


def test_a_run_goes_on_beside_the_links_of_weights_and_biases(copied, tmp_path):
    """Which are inside its own folder; the folder itself may be none."""
    (copied / "wandb").mkdir()
    (copied / "wandb" / "latest-run").symlink_to(copied)
    assert open_run(None, copied, resume=True).resume
    (copied / "wandb").rename(tmp_path / "outside")
    (copied / "wandb").symlink_to(tmp_path / "outside")
    with pytest.raises(BadInput, match="wandb: is a symbolic link"):
        open_run(None, copied, resume=True)


def test_an_evaluation_is_not_written_through_a_link(copied, tmp_path, capsys):
    (tmp_path / "outside").mkdir()
    (copied / "evaluation").symlink_to(tmp_path / "outside")
    assert "is a symbolic link" in one_line(evaluate.command(["evaluate", f"--workdir={copied}"]), capsys)


def test_a_run_does_not_go_on_from_metrics_that_are_none(copied, capsys):
    """The file stays as it is; tests/host/test_runlog.py has what may stand in a line."""
    text = '{"update": 1, "loss": "low"}\n'
    (copied / "metrics.jsonl").write_text(text)
    assert "line 1 is not" in one_line(train.command(["train", "--resume", f"--workdir={copied}"]), capsys)
    assert (copied / "metrics.jsonl").read_text() == text


@pytest.mark.parametrize("row", [{"update": 1}, {"update": 1, "lane": None}, {"update": 1, "lane": 2}], ids=str)
def test_the_curves_of_a_sweep_are_of_its_lanes(row, copied_sweep):
    (copied_sweep / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(BadInput, match=r"metrics\.jsonl: lane .*must be from 0 to 1"):
        sweep._failures_on_record(SimpleNamespace(path=copied_sweep), 3, None, 2)


@pytest.mark.parametrize(
    "text",
    [
        '{"exp_name": "' + "x" * MAX_JSON_BYTES + '"}',
        "[" * 100_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        '{"seed": ' + "9" * 400 + "}",
        '{"seed": ' + "9" * 5_000 + "}",
        '{"seed": NaN}',
        '{"networks": {"belief_transformer": {"n_layers": 1000000000}}}',
        '{"networks": {"mine": {"hidden_dims": [' + "8," * 200_000 + "8]}}}",
        "[1, 2]",
        "null",
        "",
        '{"seed": {"a": 1}}',
        '{"training": 3}',
        '{"__class__": "os.system"}',
        "\x00\x01",
    ],
    ids=lambda text: text[:12],
)
def test_hostile_configurations(text, copied, capsys):
    (copied / "config.json").write_text(text)
    refused(copied, capsys)
    (copied / "config.json").write_bytes(b"\xff\xfe" + text.encode()[:10])
    refused(copied, capsys)


@pytest.mark.parametrize("seed", range(6))
def test_a_configuration_with_one_hostile_value_or_too_much_of_it(seed, copied, capsys):
    rng = np.random.default_rng(400 + seed)
    depth, excess = int(rng.integers(2, 400)), int(rng.integers(1, 1 << 20))
    config = json.loads((copied / "config.json").read_text())
    section = config[rng.choice(["training", "environment", "networks"])]
    section[rng.choice(sorted(section))] = [10**400, json.loads("[" * depth + "]" * depth), {"eval": "exit()"}][
        seed % 3
    ]
    text = json.dumps(config)
    (copied / "config.json").write_text(text)
    refused(copied, capsys)
    sound = json.dumps(json.loads(save_json(configuration.load("configs/fast_debug.py"))))
    (copied / "config.json").write_text(sound + " " * (MAX_JSON_BYTES - len(sound) + excess))
    assert "is larger than" in refused(copied, capsys)


@pytest.mark.parametrize(
    "lanes",
    [
        3,
        [3],
        {"0": {}},
        [{"hypers": 3}],
        [{"weights": {"leakage_weight": "os.system"}}],
        [{"weights": {"leakage_weight": [1]}}],
        [{"env_params": {"noise_rate": 10**400}}],
        [{"env_params": {"noise_rate": float("nan")}}],
        [{"env_params": {"__class__": 1}}],
        [{"seed": "1"}],
        [{"seed": 10**30}],
        [{"seed": -1}],
        [{"seed": True}],
        [{"hypers": {"lr_final_fraction": 0.0}}],  # no number of a setting
        [{"weights": {"leakage_weight": 2.0**31}}],
        [{"env_params": {"informed_probability": 0}}],
        [{"env_params": {"informed_probability": 0.01}}],  # none of 8 episodes
        [{"env_params": {"is_unit_ticks": 0}}],
        [{"env_params": {"parent_lots": 1.5}}],
        [{"env_params": {"noise_rate": 5.0}}],  # more than max_noise_orders lets through
        [{}] * 5,
    ],
    ids=str,
)
def test_hostile_lanes(lanes, copied_sweep, capsys):
    (copied_sweep / "lanes.json").write_text(json.dumps(lanes))
    refused(copied_sweep, capsys, lane=0)


def test_paths_from_a_configuration_stay_where_they_belong(copied, tmp_path, monkeypatch):
    """The name of an experiment is a folder of runs/; machine code comes from no folder that a workdir names."""
    run = runs.load(copied)
    monkeypatch.chdir(tmp_path)
    for name in ("../up", "/tmp/absolute", "a/../../up", "nul\0"):
        config = run.config.copy_and_resolve_references()
        with config.unlocked():
            config.exp_name = name
        with pytest.raises(ConfigError, match="exp_name"):
            open_run(config)
    saved = json.loads((copied / "config.json").read_text())
    saved["compilation_cache_dir"] = str(tmp_path / "cache")
    (copied / "config.json").write_text(json.dumps(saved))
    assert runs.load(copied).experiment.run.compilation_cache_dir == "auto"
    with pytest.raises(BadInput):
        runs.load(copied, -1)
