"""What all notebooks must begin with, and what of their outputs may be committed; check_notebooks.py runs them."""

import json
import os
import re
import tomllib
from pathlib import Path

import pytest

import amarl_jax

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 300_000  # bytes


def code(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_takes_little_of_the_package_by_name(path):
    lines = [line for cell in code(path) for line in cell.splitlines() if re.match(r"(from|import) amarl_jax\b", line)]
    assert 1 <= len(lines) <= 5


def test_there_are_seven():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_ready_for_colab_and_light(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address = project["urls"]["Repository"]
    notebook = json.loads(path.read_text())
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    heading = "".join(notebook["cells"][0]["source"])
    place = f"{address.removeprefix('https://github.com/')}/blob/main/notebooks/{path.name}"
    assert f"(https://colab.research.google.com/github/{place})" in heading
    first = code(path)[0]
    assert f'package = "git+{address}"' in first
    assert first == code(NOTEBOOKS[0])[0], "the same beginning in all of them"
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert os.path.getsize(path) < LARGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_it_shows_is_of_this_version_and_of_all_its_cells_or_none(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    said = "".join(json.dumps([output.get("text"), output.get("data", {}).get("text/plain")]) for output in outputs)
    assert not re.search(r"/(root|home|tmp|work)/", said)
    assert set(re.findall(r"amarl_jax (\d[\w.]*) \|", said)) <= {amarl_jax.__version__}, "run it again, or clear it"
    figures = [output["data"] for output in outputs if "<Figure" in json.dumps(output)]
    assert all("image/png" in data for data in figures), "a figure that is shown by its name"
    assert not [output for output in outputs if output.get("name") == "stderr"], "what it printed is the machine's"
    ran = [cell["execution_count"] is not None for cell in cells]
    assert all(ran) or not any(cell["outputs"] for cell in cells)
