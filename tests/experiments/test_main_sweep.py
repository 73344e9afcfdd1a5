"""The pieces of the main sweep: kept one by one, and reported with the numbers that were put in."""

import csv
import importlib.util
import json
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


report, run = module("report"), module("run")
PENALTIES = np.array([0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0])
MEASURES = ("completion", "exact_accuracy", "accuracy", "information_nats", "fresh_efficiency")
MEASURES += ("mine_efficiency", "belief_efficiency")


def leaks(penalty):
    """Nats of whoever pays ``C = 1 / (1 + 3 I)``: where ``-dC/dI`` is the penalty, at most 0.69."""
    return np.clip((np.sqrt(3.0 / np.maximum(penalty, 0.1)) - 1.0) / 3.0, 0.02, 0.69)


def write_piece(path, seed, extra=0.0):
    """The lanes of one seed, as a sweep writes them."""
    rng = np.random.default_rng(seed)
    lines = []
    for i, penalty in enumerate(PENALTIES):
        nats = leaks(penalty) + extra + 0.002 * rng.normal()
        line = {"lane": i, "arm": "main", "lambda": penalty, "seed": seed, "status": "ok"}
        line |= dict.fromkeys(MEASURES, 0.8) | {"shortfall_units": 1.0 / (1.0 + 3.0 * nats), "exact_nats": nats}
        lines.append(line | {"exact_nats_lower": nats - 0.01, "exact_nats_upper": nats + 0.01})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


@pytest.fixture
def folder(tmp_path):
    """Three seeds from the loud start, two from the quiet one, which leaks 0.03 nats more."""
    about = {"commit": "a" * 40, "seconds": {"cpu": 1800.0}, "resumed": False, "hardware": {"processor": "a core"}}
    about |= {"config": {"training": {"total_timesteps": 1_024_000}}}
    for seed, start in ((2, "loud"), (0, "loud"), (1, "loud"), (0, "quiet"), (1, "quiet")):
        write_piece(tmp_path / "piece.csv", seed, 0.03 if start == "quiet" else 0.0)
        run.pieces.keep(tmp_path, run.Piece("exact", start, seed), tmp_path / "piece.csv", about)
    return tmp_path


def test_a_piece_that_is_run_again_takes_the_place_of_its_own_rows(folder):
    before = (folder / "lanes.csv").read_text()
    write_piece(folder / "piece.csv", 1)
    run.pieces.keep(folder, run.Piece("exact", "loud", 1), folder / "piece.csv", {"commit": "b" * 40})
    assert (folder / "lanes.csv").read_text() == before
    assert run.pieces.read_pieces(folder)["exact_loud_1"] == {"commit": "b" * 40}
    assert len(before.splitlines()) == 1 + 5 * len(PENALTIES)


def test_the_report_has_the_numbers_of_the_lanes(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["report.py", f"--folder={folder}"])
    report.main()
    text = (folder / "README.md").read_text()
    at_one = next(line for line in text.splitlines() if line.startswith("| 1 | 3 |")).split(" | ")
    assert at_one[4].startswith(f"{leaks(1.0):.2f}"), "the mean over three seeds"
    total = float(at_one[-1].split(" ±")[0])
    assert total == pytest.approx(1.0 / (1.0 + 3.0 * leaks(1.0)) + leaks(1.0), abs=0.005)
    paired = text[text.index("## Loud less quiet") :]
    assert "| 1 | 2 | -0.030 ± 0.000 |" in paired, "seeds share their noise, so the difference has none"
    assert "not determined: 3 seeds" in text
    assert "5 pieces, 80 updates a lane" in text
    assert "2.5 CPU-hours" in text
    located = json.loads((folder / "answer.json").read_text())["located"]["exact, loud"]
    assert [slope["agrees"] for slope in located["trade_off"]["envelope"]][1:] != [None] * 6
    assert (folder / "frontier.png").exists()


def test_a_piece_begins_where_its_name_says():
    quiet, loud = (run.config_of(run.Piece("exact", start, 3), 80, {}) for start in ("quiet", "loud"))
    assert quiet.agents.execution.start_gate == quiet.environment.slot_rate, "the mimic's rate"
    assert (loud.seed, loud.training.total_timesteps) == (3, 1_024_000)
    assert loud.agents.execution.start_gate == 0.9
