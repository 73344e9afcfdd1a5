"""What a result file says of where it came from."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amarl_jax.evaluation.markdown import programs
from amarl_jax.host import provenance as module
from amarl_jax.host.provenance import commit, is_older, provenance


def test_a_command_can_be_typed_again_on_another_machine(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(Path.cwd() / "experiments" / "x.py"), "--seed=1"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert provenance({}, 1)["command"] == "python experiments/x.py --seed=1"


def test_a_module_is_named_as_one(monkeypatch):
    class Spec:
        name = "amarl_jax.train"

    monkeypatch.setattr(sys, "argv", ["/anywhere/train.py", "--resume"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", Spec)
    assert provenance({}, None)["command"] == "python -m amarl_jax.train --resume"


def test_it_is_json_with_a_commit_and_a_machine():
    document = json.loads(json.dumps(provenance({"n": 3}, 7)))
    assert document["config"] == {"n": 3}
    assert document["seed"] == 7
    assert re.fullmatch(r"unknown|[0-9a-f]{40}\+?", commit())
    assert document["hardware"]["cores"] >= 1
    assert document["libraries"]["jax"].count(".") >= 2


@pytest.fixture
def history(tmp_path, monkeypatch):
    """Three commits of a checkout, in whose second one the program's numbers changed."""

    def git(*arguments):
        given = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
        return subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    made = []
    for message in ("before", "change", "after"):
        git("commit", "-q", "--allow-empty", "-m", message)
        made.append(git("rev-parse", "HEAD"))
    fixtures = tmp_path / "tests" / "fixtures"
    fixtures.mkdir(parents=True)
    (fixtures / "golden_metrics.json").write_text(json.dumps({"since": made[1]}))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "amarl_jax" / "host" / "provenance.py"))
    return made


def test_results_of_before_the_last_change_are_of_an_older_program(history):
    assert [is_older(one) for one in history] == [True, False, False]
    assert is_older(history[0] + "+") is True
    before, after = history[0], history[2]
    told = programs([after, before + "+", before])
    assert f"`{before[:10]}` (older program), `{before[:10]}+` (older program)" in told
    assert f"`{after[:10]}`" in told
    assert f"`{after[:10]}` (older" not in told
    assert told.count("`") == 6


def test_the_age_of_a_program_is_unknown_without_its_history(history, tmp_path):
    assert is_older("unknown") is None
    assert is_older("f" * 40) is None
    (tmp_path / "tests" / "fixtures" / "golden_metrics.json").unlink()
    assert is_older(history[0]) is None
    assert programs(["unknown"]) == "`unknown`"
