"""The pieces of the main sweep: kept one by one, and reported with the numbers that were put in."""

import csv
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "main_sweep"


def module(name):
    """A script of the experiment, under a name that no other experiment's has."""
    spec = importlib.util.spec_from_file_location(f"main_sweep_{name}", FOLDER / f"{name}.py")
    found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


report, run, readings = module("report"), module("run"), module("readings")
PENALTIES = np.array([0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0])
MEASURES = ("completion", "exact_accuracy", "accuracy", "information_nats", "fresh_efficiency")
MEASURES += ("mine_efficiency", "belief_efficiency")
ERRORS = {"exact_nats_stderr": 0.01, "shortfall_units_stderr": 0.02}


def leaks(penalty):
    """Nats of whoever pays ``C = 1 / (1 + 3 I)``: where ``-dC/dI`` is the penalty, at most 0.69."""
    return np.clip((np.sqrt(3.0 / np.maximum(penalty, 0.1)) - 1.0) / 3.0, 0.02, 0.69)


def write_piece(path, seed, extra=0.0, penalties=PENALTIES):
    """The lanes of one seed, as a sweep writes them."""
    rng = np.random.default_rng(seed)
    lines = []
    for i, penalty in enumerate(penalties):
        nats = leaks(penalty) + extra + 0.002 * rng.normal()
        line = {"lane": i, "arm": "main", "lambda": penalty, "seed": seed, "status": "ok"}
        line |= dict.fromkeys(MEASURES, 0.8) | {"shortfall_units": 1.0 / (1.0 + 3.0 * nats), "exact_nats": nats}
        lines.append(line | {"exact_nats_lower": nats - 0.01, "exact_nats_upper": nats + 0.01} | ERRORS)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three seeds from the loud start, two from the quiet one, which leaks 0.03 nats more, and one paid by MINE."""
    tmp_path = tmp_path_factory.mktemp("main_sweep")
    about = {"commit": "a" * 40, "seconds": {"cpu": 1800.0}, "resumed": False, "hardware": {"processor": "a core"}}
    about |= {"config": {"training": {"total_timesteps": 1_024_000}}}
    for seed, start in ((2, "loud"), (0, "loud"), (1, "loud"), (0, "quiet"), (1, "quiet")):
        write_piece(tmp_path / "piece.csv", seed, 0.03 if start == "quiet" else 0.0)
        run.pieces.keep(tmp_path, run.Piece("exact", start, seed), tmp_path / "piece.csv", about)
    write_piece(tmp_path / "piece.csv", 0, 0.1)
    run.pieces.keep(tmp_path, run.Piece("mine", "loud", 0), tmp_path / "piece.csv", about)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["report.py", f"--folder={tmp_path}"])
        report.main()
    return tmp_path


def test_a_piece_that_is_run_again_takes_the_place_of_its_own_rows(folder, tmp_path):
    before = (folder / "lanes.csv").read_text()
    folder = Path(shutil.copytree(folder, tmp_path / "copy"))
    write_piece(folder / "piece.csv", 1)
    run.pieces.keep(folder, run.Piece("exact", "loud", 1), folder / "piece.csv", {"commit": "b" * 40})
    assert (folder / "lanes.csv").read_text() == before
    assert run.pieces.read_pieces(folder)["exact_loud_1"] == {"commit": "b" * 40}
    assert len(before.splitlines()) == 1 + 6 * len(PENALTIES)


def test_folders_of_two_processes_are_joined(folder, tmp_path):
    one, other = (run.Piece("exact", start, 5) for start in ("loud", "quiet"))
    for piece in (one, other):
        write_piece(tmp_path / "piece.csv", 5)
        run.pieces.keep(tmp_path / piece.start, piece, tmp_path / "piece.csv", {"commit": piece.start})
    into = Path(shutil.copytree(folder, tmp_path / "into"))
    run.pieces.join([tmp_path / "loud", tmp_path / "quiet"], into)
    run.pieces.join([tmp_path / "loud"], into)
    lanes = report.read_lanes(into / "lanes.csv").columns
    assert len(lanes["lane"]) == (6 + 2) * len(PENALTIES)
    assert np.array_equal(lanes["lane"], np.arange(len(lanes["lane"])))
    assert {tuple(each) for each in zip(lanes["arm"], lanes["seed"], strict=True)} >= {
        ("exact, loud", 5),
        ("exact, quiet", 5),
        ("mine, loud", 0),
    }
    assert run.pieces.read_pieces(into)["exact_quiet_5"] == {"commit": "quiet"}


def test_the_report_has_the_numbers_of_the_lanes(folder):
    text = (folder / "README.md").read_text()
    at_one = next(line for line in text.splitlines() if line.startswith("| 1 | 3 |")).split(" | ")
    assert at_one[4].startswith(f"{leaks(1.0):.2f}"), "the mean over three seeds"
    total = float(at_one[-1].split(" ±")[0])
    assert total == pytest.approx(1.0 / (1.0 + 3.0 * leaks(1.0)) + leaks(1.0), abs=0.005)
    paired = text[text.index("## exact, loud less exact, quiet") :]
    assert "| 1 | 2 | -0.030 ± 0.000 |" in paired, "seeds share their noise, so the difference has none"
    assert "2 seeds find" in paired
    one_seed = text[text.index("## mine, loud less exact, loud") :]
    assert "| 1 | 1 | 0.100 ± 0.028 |" in one_seed, "two measurements of one seed, with errors of 0.01 each"
    assert "## mine, quiet" not in text
    assert "- mine, quiet" not in text
    assert "not determined: 3 seeds" in text
    assert "6 pieces, 80 updates a lane" in text
    assert "3.0 CPU-hours" in text
    located = json.loads((folder / "answer.json").read_text())["located"]["exact, loud"]
    assert [slope["agrees"] for slope in located["trade_off"]["envelope"]][1:] != [None] * 6
    assert (folder / "frontier.png").exists()


def test_a_piece_begins_where_its_name_says():
    quiet, loud = (run.config_of(run.Piece("exact", start, 3), 80, {}) for start in ("quiet", "loud"))
    assert quiet.agents.execution.start_gate == quiet.environment.slot_rate, "the mimic's rate"
    assert (loud.seed, loud.training.total_timesteps) == (3, 1_024_000)
    assert loud.agents.execution.start_gate == 0.9


def test_the_report_says_what_the_envelope_and_the_hull_say(folder):
    """``C = 1 / (1 + 3 I)`` is convex: neighbours pay a slope between their penalties, and no policy is passed over."""
    text = (folder / "README.md").read_text()
    arm = text[text.index("## exact, loud\n") :].split("\n## ")[0]
    rows = [line.split(" | ") for line in arm.splitlines() if " to " in line and line.count("|") == 5]
    assert [row[0] for row in rows][1:3] == ["| 0.5 to 0.7", "| 0.7 to 1"]
    assert all(0.7 < float(row[1]) < 1.3 for row in rows[1:5]), "where the curve is not cut off"
    assert rows[2][3].startswith("yes")
    low, high = map(float, rows[2][2].split(" to "))
    assert low < float(rows[2][1]) < high
    assert "of 2 of every third penalty:" in arm
    assert rows[7][0] == "| 0 to 1", "then the first and the fourth"
    assert "lambda*: below 0.01 nats from" in arm
    assert "Learned I less what the hull predicts (Legendre), where most:" in arm
    alone = next(line for line in text.splitlines() if line.startswith("- Hull of `exact, loud`"))
    assert "longest straight piece 0.21 (not determined) nats" in alone, (
        "I falls by 0.69 less 0.48 to the first penalty"
    )
    assert alone.endswith("gap.")
    together = next(line for line in text.splitlines() if line.startswith("- Hull of all starts, `exact`"))
    size = re.search(r"longest straight piece (\d.\d\d) \[(\d.\d\d), (\d.\d\d)\] nats", together).groups()
    assert float(size[1]) <= float(size[0]) <= float(size[2])
    assert arms_of_hull(json.loads((folder / "answer.json").read_text())) == {"exact, loud", "exact, quiet"}


def arms_of_hull(answer):
    """Arms whose policies the hull of all starts is of."""
    return {policy["name"].split(", lambda")[0] for policy in answer["hulls"]["exact"]["policies"]}


def test_a_number_with_and_without_its_interval_is_told():
    told = {"value": 0.5, "lower": 0.25, "upper": "not reached", "note": ""}
    assert readings.place(told) == "0.50 [0.25, not reached]"
    assert readings.place(told | {"lower": None, "note": "not determined"}) == "0.50 (not determined)"
    assert readings.place({"value": None, "lower": None, "upper": None, "note": "not determined"}) == "not determined"


def test_longer_lanes_take_the_place_of_the_shorter_ones_up_to_their_largest_penalty(folder, tmp_path, monkeypatch):
    """They leak 0.05 nats more, and decide once every seed has them."""
    into = Path(shutil.copytree(folder, tmp_path / "into"))
    low = PENALTIES[[0, 2]] * (1 + 1e-15)  # as another grid has them
    for seed in (0, 2, 1):
        if seed == 1:
            two = report.read(into / "lanes.csv")
            assert two.by_seed(report.I, f"exact, loud, {report.JOINED}")[0].tolist() == [0, 2]
            assert arms_of_hull(report.answer(two)) == {"exact, loud", "exact, quiet"}
        piece = run.Piece("exact", "loud", seed, 80)
        write_piece(tmp_path / "piece.csv", seed, 0.05, low)
        about = run.pieces.read_pieces(folder)["exact_loud_0"]
        run.pieces.keep(into, piece, tmp_path / "piece.csv", about)
    assert (str(piece), piece.arm) == ("exact_loud_1_80_updates", "exact, loud, 80 updates")
    monkeypatch.setattr(sys, "argv", ["report.py", f"--folder={into}"])
    report.main()
    text = (into / "README.md").read_text()
    moved = text[text.index("## exact, loud, 80 updates less exact, loud") :].splitlines()[4:6]
    assert [line.split(" | ")[2][:5] for line in moved] == ["0.050"] * 2
    table = report.read(into / "lanes.csv")
    short, joined = (table.by_seed(report.I, arm) for arm in ("exact, loud", f"exact, loud, {report.JOINED}"))
    assert np.array_equal(joined[1], np.delete(short[1], 1))  # what lies between longer lanes and is short is left out
    np.testing.assert_array_equal(joined[2][:, :2], table.by_seed(report.I, piece.arm)[2])
    np.testing.assert_array_equal(joined[2][:, 2:], short[2][:, 3:])
    found = json.loads((into / "answer.json").read_text())
    assert set(found["located"]) == {"exact, loud", "exact, quiet", "mine, loud", f"exact, loud, {report.JOINED}"}
    assert arms_of_hull(found) == {f"exact, loud, {report.JOINED}", "exact, quiet"}


def test_every_second_of_the_lowest_penalties_is_of_the_whole_grid():
    whole, lowest = (
        run.configuration.resolve(run.config_of(run.Piece("exact", "loud", 0, longer), 40, {})) for longer in (None, 80)
    )
    assert lowest.total_timesteps == 2 * whole.total_timesteps
    assert lowest.sweep.lambdas()[1::2] == pytest.approx(whole.sweep.lambdas()[5:8], rel=1e-12)
    assert lowest.sweep.lambdas()[0] == whole.sweep.lambdas()[0] == 0.0
