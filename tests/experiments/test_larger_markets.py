"""The sweep in larger markets: what a piece is, and the table of two of them."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from amarl_jax import config as configuration

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "larger_markets"


def module(name):
    """A script of the experiment, under a name that no other experiment's has."""
    spec = importlib.util.spec_from_file_location(f"larger_markets_{name}", FOLDER / f"{name}.py")
    found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


report, run = module("report"), module("run")


@pytest.mark.parametrize(("market", "lots", "width"), [("lean", 50, 32), ("default", 100, 128)])
def test_a_piece_is_two_million_steps_of_its_market_at_five_penalties(market, lots, width):
    config = run.config_of(run.Piece(market, 3), 40, {})
    experiment = configuration.resolve(config)
    assert experiment.sweep.lambdas() == (0.0, 0.25, 1.0, 4.0, 16.0)
    assert experiment.game.steps_per_update() == report.STEPS_PER_UPDATE
    assert (experiment.n_updates, experiment.total_timesteps) == (40, 40 * report.STEPS_PER_UPDATE)
    assert experiment.market_spec.horizon == 390
    assert (config.agents.execution.inventory_lots, config.seed) == (lots, 3)
    assert config.networks.belief_transformer.d_model == width
    assert config.networks.belief_transformer.max_seq_len == 200, "the market's, not that of the debug networks"


def test_the_report_has_a_table_for_each_market(tmp_path, monkeypatch):
    measures = ("completion", "exact_accuracy", "accuracy", "information_nats")
    measures += ("fresh_efficiency", "mine_efficiency", "belief_efficiency")
    about = {"commit": "a" * 40, "seconds": {"cpu": 3600.0}, "resumed": False, "hardware": {"processor": "a core"}}
    about |= {"config": {"training": {"total_timesteps": 40 * report.STEPS_PER_UPDATE}}}
    for market, seed, nats in (("lean", 0, 0.2), ("lean", 1, 0.4), ("default", 0, 0.5)):
        row = {"lane": 0, "arm": "main", "lambda": 1.0, "seed": seed, "status": "ok", **dict.fromkeys(measures, 0.5)}
        row |= {"shortfall_units": 0.25, "shortfall_units_stderr": 0.01, "exact_nats": nats}
        row |= {f"exact_nats_{name}": value for name, value in (("lower", nats), ("upper", nats), ("stderr", 0.02))}
        with (tmp_path / "piece.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
        run.pieces.keep(tmp_path, run.Piece(market, seed), tmp_path / "piece.csv", json.loads(json.dumps(about)))
    monkeypatch.setattr(sys, "argv", ["report.py", f"--folder={tmp_path}"])
    report.main()
    text = (tmp_path / "README.md").read_text()
    assert "| 1 | 2 | 0.250 ± 0.000 | 0.500 | 0.300 ± 1.271 |" in text, "Student's t of two seeds: 12.7 x 0.1"
    assert "| 1 | 1 | 0.250 ± 0.020 | 0.500 | 0.500 ± 0.039 |" in text
    assert "3 pieces, 40 updates a lane" in text
    assert "3.0 CPU-hours" in text
