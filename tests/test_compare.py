"""Several runs in one figure, and their learning curves as tables."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest

from amarl_jax import compare
from amarl_jax.errors import BadInput
from amarl_jax.evaluation import curves_figure
from amarl_jax.evaluation.curves import Curve, read_curves
from amarl_jax.evaluation.figures import style
from amarl_jax.host.runlog import read_metrics

FIRST = Path(__file__).parents[1] / "experiments" / "first_run"


def write_sweep(folder):
    """Two updates of two penalties by two seeds; the shortfall of lane i at update u is 10 u + i."""
    folder.mkdir()
    lanes = [{"seed": seed, "weights": {"leakage_weight": weight}} for weight in (0.0, 2.0) for seed in (0, 1)]
    (folder / "lanes.json").write_text(json.dumps(lanes))
    rows = [
        {"update": u, "lane": i, "env_steps": 1000 * u, "phase_a/execution/shortfall": 10.0 * u + i}
        for u in (1, 2)
        for i in range(4)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_lanes_of_a_penalty_are_averaged(tmp_path):
    curves = read_curves(write_sweep(tmp_path / "sweep"))
    assert list(curves) == ["lambda 0.0", "lambda 2.0"]
    assert [curve.n_lanes for curve in curves.values()] == [2, 2]
    np.testing.assert_array_equal(curves["lambda 2.0"].over_phases("execution/shortfall"), [12.5, 22.5])
    np.testing.assert_array_equal(curves["lambda 0.0"].columns["env_steps"], [1000, 2000])


def test_lanes_are_averaged_as_far_as_all_have_come(tmp_path):
    """A sweep that is under way: lane 3 has one update less, and of penalty 0 a lane has none."""
    folder = write_sweep(tmp_path / "sweep")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    some = [row for row in rows if row["lane"] != 0 and (row["lane"], row["update"]) != (3, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (name, curve), *others = read_curves(folder).items()
    assert (name, others) == ("lambda 2.0", [])
    np.testing.assert_array_equal(curve.over_phases("execution/shortfall"), [12.5])


def test_phases_are_averaged_and_what_nobody_measured_is_nan():
    curve = Curve({"update": np.arange(2), "phase_a/x": np.array([1.0, 2.0]), "phase_b/x": np.array([3.0, 6.0])})
    np.testing.assert_array_equal(curve.over_phases("x"), [2.0, 4.0])
    assert np.isnan(curve.over_phases("y")).all()


def test_curves_are_a_data_frame():
    (curve,) = read_curves(FIRST).values()
    frame = curve.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["update"].tolist() == list(range(1, len(curve.columns["update"]) + 1))


def test_the_command_draws_every_run_and_prints_what_was_held_out(tmp_path, capsys, monkeypatch):
    drawn = {}
    monkeypatch.setattr(curves_figure, "draw_curves", lambda curves, path: drawn.update(curves) or ["drawn"])
    shutil.copytree(FIRST, tmp_path / "again")
    sweep = write_sweep(tmp_path / "sweep")
    output = tmp_path / "new" / "both.png"
    evaluation = json.loads((tmp_path / "again" / "evaluation.json").read_text())
    evaluation["metrics"]["execution/completion"] = {"value": 0.0, "stderr": 0.0}
    (tmp_path / "again" / "evaluation.json").write_text(json.dumps(evaluation))
    arguments = [str(FIRST), str(tmp_path / "again"), "--output", str(output), str(sweep)]
    assert compare.command(["compare", *arguments]) == 0
    assert list(drawn) == ["first_run", "again", "sweep lambda 0.0", "sweep lambda 2.0"]
    text = capsys.readouterr().out
    value = json.loads((FIRST / "evaluation.json").read_text())["metrics"]["execution/shortfall_ticks"]["value"]
    assert text.count(f"{value:.3f} +- ") == 2
    assert text.count("shortfall") == text.count("ticks per parent lot, of 2048 episodes") == 2
    assert text.count("nats, of 512 episodes") == 2
    assert re.search(r"again: completion +0\.000 \+- 0\.000", text)


def test_the_figure_has_a_line_for_every_run_in_every_panel(tmp_path):
    curves = {f"run {i}": read_curves(FIRST)[""] for i in range(6)}
    names = curves_figure.draw_curves(curves, tmp_path / "six")
    assert names == ["six.png", "six.pdf"]
    assert (tmp_path / "six.png").read_bytes().startswith(b"\x89PNG")


def test_the_two_lines_of_a_panel_are_named_where_they_are():
    figure = curves_figure.curves_figure(read_curves(FIRST))
    panel = next(axis for axis in figure.axes if axis.get_title() == "earnings, marked to V")
    heights = {text.get_text(): text.xy[1] for text in panel.texts}
    (maker, arbitrageur) = (line.get_ydata() for line in panel.lines)
    rows = read_metrics(FIRST / "metrics.jsonl")
    phases = [[row[f"phase_{x}/maker/pnl"] - row[f"phase_{x}/maker/adverse_selection"] for row in rows] for x in "ab"]
    np.testing.assert_allclose(maker, np.mean(phases, axis=0), atol=1e-6)
    assert heights["arbitrageur"] >= arbitrageur[-1] > maker[-1] >= heights["maker"]
    colours = {text.get_text(): text.get_color() for text in panel.texts}
    assert colours == dict(zip(("maker", "arbitrageur"), (line.get_color() for line in panel.lines), strict=True))


def test_runs_differ_by_marker_in_grey():
    curve = read_curves(FIRST)[""]
    figure = curves_figure.curves_figure({f"run {i}": curve for i in range(4)})
    assert len({line.get_marker() for line in figure.axes[0].lines}) == 4
    assert {line.get_marker() for line in curves_figure.curves_figure({"": curve}).axes[0].lines} == {"None"}


def test_no_two_curves_look_alike():
    assert len({style(i) for i in range(16)}) == 16


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--output is required"),
        (["--output=x"], "no run to compare"),
        (["no_such_run", "--output=x"], "holds no learning curves"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert compare.command(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error
    assert not list(tmp_path.iterdir())


def test_a_run_of_the_same_name_elsewhere_is_called_by_its_path(tmp_path):
    (tmp_path / "a" / "run").mkdir(parents=True)
    (tmp_path / "b" / "run").mkdir(parents=True)
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    assert compare._short(paths) == [str(path) for path in paths]


def test_a_workdir_whose_evaluation_is_none_is_bad_input(tmp_path):
    (tmp_path / "evaluation.json").write_text('{"metrics": 3}')
    with pytest.raises(BadInput, match="is not the evaluation of a run"):
        compare.held_out(tmp_path)
