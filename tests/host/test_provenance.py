"""What a result file says of where it came from."""

import json
import re
import sys
from pathlib import Path

from amarl_jax.host.provenance import commit, provenance


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
