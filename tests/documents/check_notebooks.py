"""The notebooks, each from top to bottom at its smallest: ``python -m pytest tests/documents/check_notebooks.py``.

``.ci/run`` calls it with the jax that Colab has and with the newest. Not collected otherwise: it takes minutes.
"""

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from amarl_jax.information import estimators

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module", autouse=True)
def smallest():
    """The smallest sizes, and figures that are closed where they would be shown."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMARL_NOTEBOOK_SIZE", "tiny")
        patch.setattr(plt, "show", lambda: plt.close("all"))
        patch.setattr(estimators, "REGISTRY", dict(estimators.REGISTRY))
        plt.switch_backend("Agg")
        yield


def code(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for i, cell in enumerate(code(path)):
        exec(compile(cell, f"{path.name}, code cell {i}", "exec"), namespace)
    assert namespace["TINY"] is True
    assert plt.get_fignums() == [], "every figure is shown"
    assert capsys.readouterr().out
