"""The extras for accelerators: jax has what each asks for, and the index has what the pinned jax wants for it."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / f"constraints-{sys.version_info.major}.{sys.version_info.minor}.txt"
ACCELERATORS = ("cuda12", "cuda13", "tpu")


def pip(*requirements):
    """Whether the index has them for this Python: what pip would install, without what they need themselves."""
    quick = ["--retries=0", "--timeout=15", "--disable-pip-version-check", "-q"]
    line = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed", *quick]
    line += ["--only-binary=:all:", *([f"--constraint={CONSTRAINTS}"] if CONSTRAINTS.exists() else []), *requirements]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def wanted_by_jax(extra):
    """What the jax that is installed asks for with an extra, without the marker."""
    asked = [line.split(";") for line in importlib.metadata.requires("jax")]
    return [name.strip() for name, *marker in asked if marker and re.search(rf"extra == ['\"]{extra}['\"]", marker[0])]


@pytest.mark.parametrize("extra", ACCELERATORS)
def test_an_extra_asks_for_one_that_jax_has(extra):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = extras[extra]
    assert re.match(rf"jax\[{extra}\]>=", asked)
    assert wanted_by_jax(extra)


@pytest.mark.integration
def test_the_index_has_what_jax_wants_for_its_accelerators():
    wanted = [name for extra in ACCELERATORS for name in wanted_by_jax(extra) if not re.match(r"jaxlib\b", name)]
    assert len(wanted) >= len(ACCELERATORS)
    found = pip(*wanted)
    if found.returncode and pip("absl-py").returncode:
        pytest.skip("no package index can be reached")
    assert found.returncode == 0, found.stderr
