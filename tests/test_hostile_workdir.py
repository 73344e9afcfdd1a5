"""Workdirs from strangers: whatever is wrong with one gives one line and exit code 2, and runs nothing.

Every class has random instances, seeded by its number; a flipped bit may also leave a checkpoint that still decodes,
as arrays carry no checksum, and then loads as the numbers it now holds.
"""

import builtins
import json
import os
import pickle
import shutil

import chex
import jax
import numpy as np
import pytest

from amarl_jax import cli
from amarl_jax.errors import BadInput, ConfigError
from amarl_jax.evaluation import runs
from amarl_jax.untrusted import MAX_JSON_BYTES
from amarl_jax.workdir import open_run

pytestmark = pytest.mark.integration


def load_command(path, lane=None):
    """Loading, as commands do it: exit code 2 and a line, or 0."""
    return cli.run(lambda values: runs.load(path, lane), "Usage.", lambda values, argv: None, argv=["load"])


def refused(path, capsys, lane=None):
    code = load_command(path, lane)
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.fixture
def copied(workdirs, tmp_path):
    """A run to damage."""
    return shutil.copytree(workdirs["run"], tmp_path / "run")


@pytest.fixture
def sweep(workdirs, tmp_path):
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
    """Each kind at the head of the checkpoint, cut in half; Orbax does without what it notes about itself."""
    where = [p for p in files_of(copied) if "ocdbt.process" not in str(p) and name in (p.name, p.parent.name)]
    assert where
    for path in where:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if name == "_CHECKPOINT_METADATA":
        assert load_command(copied) in (0, 2)
    else:
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
        state = runs.load(copied).state
        same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, state, workdirs["states"][0])
        assert all(jax.tree.leaves(same))
    else:
        capsys.readouterr()
        refused(copied, capsys)


@pytest.mark.parametrize(("setting", "value"), [("hidden_dims", [9]), ("hidden_dims", [8, 8])])
def test_wrong_shapes(setting, value, copied, capsys):
    config = json.loads((copied / "config.json").read_text())
    config["networks"]["execution_actor"][setting] = value
    (copied / "config.json").write_text(json.dumps(config))
    assert "does not fit" in refused(copied, capsys)


def link_config(path, outside):
    (path / "config.json").rename(outside)
    (path / "config.json").symlink_to(outside)


def link_checkpoints(path, outside):
    (path / "checkpoints").rename(outside)
    (path / "checkpoints").symlink_to(outside)


def link_one_array(path, outside):
    array = files_of(path)[-1]
    array.rename(outside)
    array.symlink_to(outside)


def link_in_a_circle(path, outside):
    (path / "checkpoints" / "circle").symlink_to(path)


def pipe(path, outside):
    os.mkfifo(path / "checkpoints" / "pipe")


@pytest.mark.parametrize("place", [link_config, link_checkpoints, link_one_array, link_in_a_circle, pipe])
def test_links_and_pipes(place, copied, tmp_path, capsys):
    place(copied, tmp_path / "outside")
    assert "symbolic link" in (error := refused(copied, capsys)) or "not a regular file" in error


@pytest.mark.parametrize(
    "text",
    [
        '{"exp_name": "' + "x" * MAX_JSON_BYTES + '"}',
        "[" * 100_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        '{"seed": ' + "9" * 400 + "}",
        '{"seed": ' + "9" * 5_000 + "}",
        '{"seed": NaN}',
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


@pytest.mark.parametrize(
    "lanes",
    [
        3,
        [3],
        {"0": {}},
        [{"hypers": 3}],
        [{"hypers": {"leakage_weight": "os.system"}}],
        [{"hypers": {"leakage_weight": [1]}}],
        [{"env_params": {"noise_rate": 10**400}}],
        [{"env_params": {"noise_rate": float("nan")}}],
        [{"env_params": {"__class__": 1}}],
        [{"seed": "1"}],
        [{}] * 5,
    ],
    ids=str,
)
def test_hostile_lanes(lanes, sweep, capsys):
    (sweep / "lanes.json").write_text(json.dumps(lanes))
    refused(sweep, capsys, lane=0)


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
