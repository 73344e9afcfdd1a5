"""The extras for accelerators: jax has what each asks for, and the index has what the pinned jax wants for it."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.13")  # of which there is a file of constraints
ACCELERATORS = ("cuda12", "cuda13", "tpu")


def pip(*arguments, python=None):
    """The output of a quick pip command for wheels of a Python, None where it fails."""
    line = [sys.executable, "-m", "pip", *arguments, "--retries=0", "--timeout=15", "--disable-pip-version-check"]
    line += ["--only-binary=:all:", *([f"--python-version={python}"] if python else [])]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    return ended.stdout if ended.returncode == 0 else None


def of_extra(requirements, extra):
    """Those of a package's requirements that are for one extra alone."""
    parsed = [Requirement(line) for line in requirements]
    return [one for one in parsed if one.marker and re.search(rf"extra == ['\"]{extra}['\"]", str(one.marker))]


def pinned_jax(python):
    """Version of jax that the constraints for a Python give."""
    (version,) = re.findall(r"^jax==(\S+)$", (ROOT / f"constraints-{python}.txt").read_text(), re.MULTILINE)
    return version


@pytest.mark.parametrize("extra", ACCELERATORS)
def test_an_extra_asks_for_one_that_jax_has(extra):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = extras[extra]
    assert re.match(rf"jax\[{extra}\]>=", asked)
    assert of_extra(importlib.metadata.requires("jax"), extra)


def test_there_is_a_row_for_every_file_of_constraints():
    assert {f"constraints-{python}.txt" for python in PYTHONS} == {path.name for path in ROOT.glob("constraints-*.txt")}


@pytest.mark.integration
@pytest.mark.parametrize("python", PYTHONS)
def test_the_index_has_wheels_of_what_the_pinned_jax_wants_for_accelerators(python, tmp_path):
    """What the jax of a file of constraints asks for itself; the plugins' own, of gigabytes, are not looked at."""
    pinned = f"jax=={pinned_jax(python)}"
    if pip("download", "--no-deps", f"--dest={tmp_path}", "-q", pinned, python=python) is None:
        assert pip("download", "--no-deps", f"--dest={tmp_path}", "-q", "absl-py") is None, f"no {pinned}"
        pytest.skip("no package index can be reached")
    (wheel,) = tmp_path.glob("jax-*.whl")
    with zipfile.ZipFile(wheel) as inside:
        (name,) = (name for name in inside.namelist() if name.endswith(".dist-info/METADATA"))
        lines = re.findall(r"^Requires-Dist: (.+)$", inside.read(name).decode(), re.MULTILINE)
    for extra in ACCELERATORS:
        wanted = of_extra(lines, extra)
        assert wanted
        for one in wanted:
            said = pip("index", "versions", one.name, python=python) or ""
            (versions,) = re.findall(r"^Available versions: (.+)$", said, re.MULTILINE) or [""]
            assert any(one.specifier.contains(version.strip()) for version in versions.split(",")), (extra, str(one))
