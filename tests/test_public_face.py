"""What the package offers by its own name, and what importing it costs."""

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import amarl_jax

ROOT = Path(__file__).parents[1]


def test_importing_the_package_imports_no_jax():
    heavy = {"jax", "numpy", "flax", "matplotlib"}
    look = f"import sys, amarl_jax; dir(amarl_jax); print(sorted({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", amarl_jax.__all__)
def test_every_name_leads_to_what_bears_it(name):
    found = getattr(amarl_jax, name)
    assert found.__name__.rpartition(".")[2] == name
    assert name in dir(amarl_jax)
    assert inspect.getdoc(found)


def test_no_name_hides_a_module():
    """``from amarl_jax import train`` is the module, whatever was imported before."""
    modules = {module.name for module in pkgutil.iter_modules(amarl_jax.__path__)}
    taken = modules & set(amarl_jax.__all__)
    assert taken == {"config", "evaluate", "sweep", "train"}
    for name in taken:
        assert getattr(amarl_jax, name) is importlib.import_module(f"amarl_jax.{name}")


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'tain'"):
        amarl_jax.tain  # noqa: B018
