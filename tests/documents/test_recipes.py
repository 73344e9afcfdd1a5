"""The recipes: their Python and their commands run, in a folder that has what they name, and are short.

What trains in them is a learner of one number; tests/test_own_estimator.py looks at what the estimator is asked.
"""

import importlib
import re
import shlex
import shutil
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax import leakage, train
from amarl_jax.evaluation import frozen_run, scripted
from amarl_jax.information import estimators
from amarl_jax.learn.update import begin
from tests import quick_learners
from tests.tiny_runs import STEPS_PER_UPDATE, TINY, jax_settings, numbers

__all__ = ["jax_settings"]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text()
PYTHON = [  # recipes, of blocks that follow each other without a word between
    re.findall(r"```python\n(.*?)```", chain, re.DOTALL)
    for chain in re.findall(r"(?:```python\n(?!# \w+\.py\n)(?:(?!```).)*```\n+)+", PAGE, re.DOTALL)
]
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))  # a block that begins with its name
SMALL = {"configs/fast_debug.py": "configs/fast_debug.py:tiny"}
COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
LONGEST = 10  # lines that are not empty


def length(text):
    return len([line for line in text.splitlines() if line])


@pytest.fixture
def folder(tmp_path, monkeypatch, workdirs):
    """Two runs, the second with checkpoints, two sweeps and a file of orders."""
    shutil.copytree(ROOT / "experiments" / "first_run", tmp_path / "runs" / "first")
    shutil.copytree(workdirs["run"], tmp_path / "runs" / "second")
    sweeps = ROOT / "experiments/lambda_sweep/cpu"
    for name, arm in (("sweep", "main"), ("latency", "loud")):
        (tmp_path / "runs" / name).mkdir()
        shutil.copy(sweeps / arm / "lanes.csv", tmp_path / "runs" / name)
    _, *quiet = (sweeps / "quiet" / "lanes.csv").read_text().splitlines(keepends=True)
    with (tmp_path / "runs/latency/lanes.csv").open("a") as table:  # a second arm
        table.writelines(line.replace(",main,", ",quiet,") for line in quiet)
    lots = np.random.default_rng(0).normal(size=(50, 3))
    rows = [f"{day},{day % 2},{x},{abs(x)}" for day in range(50) for x in lots[day]]
    (tmp_path / "orders.csv").write_text("\n".join(["day,z,lots,gap", *rows]) + "\n")
    for name, text in FILES.items():
        assert length(text) <= LONGEST
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimators, "REGISTRY", dict(estimators.REGISTRY))
    monkeypatch.syspath_prepend(tmp_path)  # where Python finds the files
    quick_learners.install(monkeypatch)
    monkeypatch.setattr(frozen_run, "begin", begin)  # what a real checkpoint holds
    load = configuration.load
    monkeypatch.setattr(configuration, "load", lambda path, *given: load(SMALL.get(path, path), *given))
    measure = scripted.measure_policies
    monkeypatch.setattr(measure, "__kwdefaults__", measure.__kwdefaults__ | {"n_episodes": 64, "batch": 32})
    mpl.use("agg")
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.parametrize("place", range(len(PYTHON)))
def test_a_recipe_runs_and_is_short(place, folder, capsys):
    found = {"__name__": "__main__"}
    for text in PYTHON[place]:
        assert length(text) <= LONGEST
        exec(compile(text, "recipes.md", "exec"), found)
    assert capsys.readouterr().out or (folder / "latency.png").read_bytes().startswith(b"\x89PNG")
    if "image" in found:
        assert found["image"].get_array().shape == (2, 5), "arms by penalties"
        assert [label.get_text() for label in found["axis"].get_yticklabels()] == ["main", "quiet"]
        assert found["axis"].get_ylabel()


def trained(folder, *more):
    """The run that a recipe starts from, of five updates of the learner of one number."""
    assert train.command(["train", *quick_learners.FLAGS, f"--workdir={folder}", *more]) == 0


@pytest.mark.parametrize("block", COMMANDS)
def test_a_command_runs_and_is_short(block, folder, capsys, monkeypatch):
    """As typed, in the tiny market; what a longer run is told is twice as long as the first was."""
    assert length(block) <= LONGEST
    for name in ("first", "second"):
        shutil.rmtree(folder / "runs" / name)
        trained(f"runs/{name}")
    if "runs/own" in block:
        trained("runs/own", "--estimator=my_estimators:ChiSquared")
    if "runs/latency" in block:
        shutil.rmtree(folder / "runs/latency")
    monkeypatch.setattr(frozen_run, "begin", quick_learners.begin)
    monkeypatch.setattr(train, "begin_with", take_over)
    monkeypatch.setattr(leakage, "measure", lambda flow, *_, **__: told(flow))
    longer = 2 * quick_learners.N_UPDATES * STEPS_PER_UPDATE
    here = block.replace("768000", str(longer)).replace("configs/fast_debug.py", TINY)
    for line in here.replace("\\\n", " ").splitlines():
        python, _, module, *arguments = shlex.split(line)
        assert python == "python"
        assert importlib.import_module(module).command([module, *arguments]) == 0, line
    assert capsys.readouterr().out
    left = {
        "compare": "runs/both.png",
        "latency": "runs/latency/sweep.json",
        "frozen": "runs/all/checkpoints",
        "--best": "runs/first/best/eval_metrics.json",
    }
    for word, path in left.items():
        if word in block:
            assert (folder / path).exists()
    if "768000" in block:
        assert numbers(folder / "runs/first")[-1]["env_steps"] == longer


def take_over(state, workdir, lane):
    """One number has no networks to take over, but there must be a run to take them from."""
    assert any((Path(workdir) / "checkpoints").iterdir())
    return state


def told(flow):
    """What is measured of a flow of two columns, without the measuring: tests/test_leakage.py."""
    assert any("gap" in name for name in flow.names)
    numbers = {"value": 0.1, "stderr": 0.1, "ceiling": 0.6, "lower": 0.0, "upper": 0.2}
    names = ("information_nats", "kl_nats", "total_variation")
    return dict.fromkeys(names, numbers) | {"n_episodes": 50, "n_labelled_1": 25, "verdict": "none"}
