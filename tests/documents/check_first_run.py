"""The README's first run, checked: ``AMARL_FIRST_RUN=runs/first python -m pytest tests/documents/check_first_run.py``.

``.ci/run`` calls it on what the command wrote. Not collected otherwise: a run takes minutes.
"""

import json
import os
from pathlib import Path

import pytest

if "AMARL_FIRST_RUN" not in os.environ:
    pytest.exit("AMARL_FIRST_RUN names no folder of a run", returncode=2)
FOLDER = Path(os.environ["AMARL_FIRST_RUN"])


@pytest.fixture(scope="module")
def rows():
    """Metrics by update."""
    return [json.loads(line) for line in (FOLDER / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def value():
    """The closing table, held out."""
    metrics = json.loads((FOLDER / "evaluation.json").read_text())["metrics"]
    return {name: row["value"] for name, row in metrics.items()}


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "checkpoints", "evaluation.json", "training.png"])
def test_it_left(name):
    path = FOLDER / name
    assert any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0


def test_every_loss_gradient_step_and_parameter_is_finite(rows):
    assert len(rows) == 30
    assert not {name for row in rows for name, x in row.items() if x is None or (name.startswith("finite/") and x != 1)}


def test_no_more_information_than_there_is(value):
    assert value["information/fresh_nats"] < 0.7


def test_execution_learns(value):
    """TWAP and VWAP pay 13.1 and 12.6 ticks a lot in this market (experiments/market_probes)."""
    assert value["execution/completion"] > 0.95
    assert value["execution/shortfall_ticks"] < 6.0


def test_the_arbitrageur_learns(value, rows):
    """It begins by losing; the best rule earns 375 tick-lots there."""
    assert value["arbitrageur/pnl_tick_lots"] > 0.8 * 375
    assert rows[0]["phase_b/arbitrageur/pnl"] < 0.2


def test_the_maker_learns_not_to_be_picked_off(rows):
    first, last = (row["phase_b/maker/adverse_selection"] for row in (rows[0], rows[-1]))
    assert last < 0.3 < first


def test_mine_and_the_belief_read_the_flow(value):
    """As a fresh detector reads it, the belief a third of it."""
    assert 0.7 * value["information/fresh_nats"] > 0.05
    assert value["information/mine_nats"] > 0.7 * value["information/fresh_nats"]
    assert value["information/belief_nats"] > 0.3 * value["information/fresh_nats"]
