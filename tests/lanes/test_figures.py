"""What figures drawn from tables show, read off the figure before it is written."""

import json

import numpy as np
import pytest

from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.lanes import plane_figure, transition_figure
from amarl_jax.lanes.table import lane_row, write_lanes

ARMS = ("main", "loud", "quiet", "frozen", "alone")


def row(nats=0.1):
    """A row as the baselines' table has it: ``nats`` everywhere."""
    return {name: {"value": nats, "stderr": 0.01} for name in (*COLUMNS, "kl_nats")} | {"n_episodes": 512}


def kept(monkeypatch, module):
    """List to which the module's figures go, in place of files."""
    figures = []
    monkeypatch.setattr(module, "save", lambda figure, path: figures.append(figure) or [])
    return figures


def test_a_transition_figure_of_five_arms_has_five_lines_that_differ(monkeypatch, tmp_path):
    lanes = [(arm, penalty) for arm in ARMS for penalty in (0.0, 1.0, 4.0)]
    rows = [lane_row(i, x, 0, row(0.1 * (1 + ARMS.index(arm))), arm) for i, (arm, x) in enumerate(lanes)]
    write_lanes(tmp_path / "lanes.csv", rows)
    figures = kept(monkeypatch, transition_figure)
    transition_figure.draw_transition(tmp_path / "lanes.csv", tmp_path / "transition")
    for axis in figures[0].axes[: len(transition_figure.PANELS)]:
        lines = [line for line in axis.lines if "mean of" in str(line.get_label())]
        assert [line.get_label().split(",")[0] for line in lines] == list(ARMS)
        assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(ARMS)
        np.testing.assert_allclose([np.ptp(line.get_ydata()) for line in lines], 0.0, atol=1e-12)
        assert len({float(line.get_ydata()[0]) for line in lines}) == len(ARMS)


@pytest.mark.parametrize(
    ("counts", "title"), [((1536, 1536), "small, 1,536 episodes a policy"), ((64, 1536), "small, 64 to 1,536 episodes")]
)
def test_the_plane_of_baselines_says_how_many_episodes_it_rests_on(monkeypatch, tmp_path, counts, title):
    rows = {name: row(0.1 * n) | {"n_episodes": n} for name, n in zip(("twap", "mimic"), counts, strict=True)}
    (tmp_path / "rows.json").write_text(json.dumps({"markets": {"small": rows}}))
    figures = kept(monkeypatch, plane_figure)
    plane_figure.draw_plane(tmp_path / "rows.json", tmp_path / "plane")
    assert figures[0].axes[0].get_title().startswith(title)
