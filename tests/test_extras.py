"""The extras for accelerators: jax has what each asks for, and all of it resolves beside each file of constraints."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.13")  # of which there is a file of constraints
ACCELERATORS = ("cuda12", "cuda13", "tpu")
UNREACHED = "Failed to fetch|Request failed|error sending request|[Nn]etwork|dns error"  # how uv says it
PLATFORM = "x86_64-manylinux_2_31"  # the oldest that all three have wheels for


def resolved(python, *given, text=None):
    """The exit code, the pins and the words of uv's resolver, which reads metadata and downloads no wheel."""
    line = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-sources"]
    line += [f"--python-version={python}", f"--python-platform={PLATFORM}", "--only-binary=:all:", "--no-progress"]
    ended = subprocess.run([*line, *given], input=text, capture_output=True, text=True, check=False, timeout=300)
    return ended.returncode, dict(re.findall(r"^([\w.-]+)==(\S+)$", ended.stdout, re.MULTILINE)), ended.stderr


def of_extra(requirements, extra):
    """Those of a package's requirements that are for one extra alone."""
    parsed = [Requirement(line) for line in requirements]
    return [one for one in parsed if one.marker and re.search(rf"extra == ['\"]{extra}['\"]", str(one.marker))]


def pinned(python):
    """Versions that the constraints for a Python give, by name."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / f"constraints-{python}.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("extra", ACCELERATORS)
def test_an_extra_asks_for_one_that_jax_has(extra):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = extras[extra]
    assert re.match(rf"jax\[{extra}\]>=", asked)
    assert of_extra(importlib.metadata.requires("jax"), extra)


def test_there_is_a_row_for_every_file_of_constraints():
    assert {f"constraints-{python}.txt" for python in PYTHONS} == {path.name for path in ROOT.glob("constraints-*.txt")}


@pytest.mark.integration
@pytest.mark.parametrize("extra", ACCELERATORS)
@pytest.mark.parametrize("python", PYTHONS)
def test_an_extra_resolves_beside_the_constraints(python, extra):
    pytest.importorskip("uv")
    constraints, project = ROOT / f"constraints-{python}.txt", ROOT / "pyproject.toml"
    code, found, said = resolved(python, f"--extra={extra}", f"--constraints={constraints}", str(project))
    if code and (unreached := re.search(UNREACHED, resolved(python, "-", text="absl-py")[2])):
        pytest.skip(f"no package index can be reached: {unreached[0]}")
    assert code == 0, said
    assert ("libtpu" if extra == "tpu" else f"jax-{extra}-plugin") in found
    exact = pinned(python)
    assert {"jax", "jaxlib", "numpy"} <= found.keys() & exact.keys()
    assert {name: version for name, version in found.items() if exact.get(name, version) != version} == {}
