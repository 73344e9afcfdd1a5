"""Imports point down, and no module hides behind the name utils."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import amarl_jax

PACKAGE = Path(amarl_jax.__file__).parent
LAYERS = [  # bottom first; a name covers its submodules, the longest name counts
    {"types", "errors", "strict_json"},
    {"trees", "draws", "kernels", "lapack", "side_by_side", "transition"},
    {"lob", "nets", "theory"},
    {"flow", "information"},
    {"market"},
    {"policies"},
    {"posterior"},
    {"learn"},
    {"covert"},
    {"ground_truth", "testing"},
    {"config"},
    {"host"},
    {"evaluation", "adapters", "dry_run"},
    {"lanes"},
    {"train", "evaluate", "sweep", "random_play", "replay_lobster", "fit_flow", "compare", "leakage", "__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" and "configs" not in path.parts)


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def rank_of(module):
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((RANK[name] for name in names if name in RANK), None)


def imported_modules(tree):
    """Modules of this package that a syntax tree imports, wherever in the file it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("amarl_jax.") for name in names if name.startswith("amarl_jax."))


def violations(importer, source):
    """Imports of ``source`` that do not point down, nor stay in the importer's own package."""
    own, rank = importer.split(".")[0], rank_of(importer)
    for imported in imported_modules(ast.parse(source)):
        target = rank_of(imported)
        if target is None or target < rank or (target == rank and imported.split(".")[0] == own):
            continue
        yield f"{importer} imports {imported}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path):
    assert rank_of(module_name(path)) is not None, "a module outside the layers: give it a place in LAYERS"
    assert not list(violations(module_name(path), path.read_text()))


def test_the_check_sees_an_import_that_points_up_even_inside_a_function():
    up = "def f():\n    from amarl_jax.learn.update import update\n"
    assert list(violations("market.env", up)) == ["market.env imports learn.update.update"]
    assert list(violations("lob.book", "import amarl_jax.nets.heads")) == ["lob.book imports nets.heads"]
    assert not list(violations("learn.update", "from amarl_jax.learn.returns import gae"))


def test_no_module_is_called_utils():
    words = {"utils", "util", "helpers", "common", "misc"}
    assert not [path for path in PACKAGE.rglob("*.py") if words & set(path.with_suffix("").parts[-2:])]


def test_distrax_is_imported_in_one_module_only():
    users = [module_name(path) for path in FILES if "import distrax" in path.read_text()]
    assert users == ["nets.heads"]


def test_commands_import_at_once_only_what_every_run_needs():
    """``--help``, a typo and an interactive import wait for none of what is drawn, saved or fitted later."""
    commands = ("train", "sweep", "evaluate", "random_play", "replay_lobster", "compare", "leakage")
    later = ("matplotlib", "orbax", "distrax", "tensorflow_probability", "scipy.stats", "wandb", "IPython")
    code = f"import {', '.join(f'amarl_jax.{name}' for name in commands)}, sys\n"
    code += f"print([name for name in {later} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_computes_when_it_is_imported():
    """A backend that starts at import is chosen before a command says which, and too early to join other processes.

    The adapters are left out: gymnax computes when it is imported, and jaxmarl imports gymnax.
    """
    modules = [name for name in map(module_name, FILES) if not name.startswith("adapters.")]
    lines = ["import importlib", *(f"importlib.import_module('amarl_jax.{name}')" for name in modules)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "JAX_PLATFORMS": "none_of_these"}
    line = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
