"""The measured phase diagram: its pieces, the theory at their leverage, and a report with the numbers put in."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "phase_diagram"


def module(name):
    """A script of the experiment, under a name that no other experiment's has."""
    spec = importlib.util.spec_from_file_location(f"phase_diagram_{name}", FOLDER / f"{name}.py")
    found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


report, run = module("report"), module("run")
PENALTIES = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0])
JUMPS = np.array([0.68, 0.67, 0.66, 0.65, 0.06, 0.03])  # without a coin, loud
SMOOTH = np.array([0.66, 0.55, 0.43, 0.31, 0.19, 0.07])
CURVES = {  # nats by parent order, coin, cap and start
    (80, "off", "off", "loud"): JUMPS,
    (80, "off", "off", "quiet"): np.array([0.68, 0.66, 0.31, 0.10, 0.05, 0.02]),
    (80, "on", "off", "loud"): SMOOTH,
    (10, "off", "off", "loud"): SMOOTH,
    (80, "on", "on", "quiet"): SMOOTH,
}


def write_piece(path, nats):
    """The lanes of one piece, as a sweep writes them."""
    lines = []
    for i, (penalty, leak) in enumerate(zip(PENALTIES, nats, strict=True)):
        line = {"lane": i, "arm": "main", "lambda": penalty, "seed": 0, "status": "ok"}
        line |= {"shortfall_units": 0.8 - leak, "shortfall_units_stderr": 0.01}
        lines.append(line | {"exact_nats": leak, "exact_nats_stderr": 0.01})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five pieces of one seed; what each ran with is its own configuration."""
    folder = tmp_path_factory.mktemp("phase_diagram")
    for (parent, coin, cap, start), nats in CURVES.items():
        piece = run.Piece(parent, coin, cap, start, 0)
        about = {"arm": piece.arm, "config": run.config_of(piece, 40, {}).to_dict(), "commit": "a" * 40}
        about |= {"seconds": {"cpu": 720.0}, "resumed": False, "hardware": {"processor": "a core"}}
        write_piece(folder / "piece.csv", nats)
        run.pieces.keep(folder, piece, folder / "piece.csv", about)
    shares = np.linspace(0.0, 1.0, 41)
    mix = {"sweep": "80_coin_on_loud_0", "lambda": 2.0, "seed": 0, "penalty": 1.45, "best_share": 0.5}
    mix |= {"cost_units": (1.4 - shares).tolist(), "nats": (0.69 * shares**2).tolist(), "below_line_nats": 0.172}
    mix |= {"gain_units": 0.25, "provenance": {"commit": "b" * 40, "command": "python mix.py"}}
    mix["intervals"] = {
        name: [mix[name] - 0.01, mix[name] + 0.01] for name in ("penalty", "below_line_nats", "gain_units")
    }
    (folder / "mix.jsonl").write_text(json.dumps(mix) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["report.py", f"--folder={folder}"])
        report.main()
    return folder


@pytest.fixture
def text(folder):
    return (folder / "README.md").read_text()


def row(text, start):
    """Cells of the one table row that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_piece_is_there_once_and_the_largest_leverage_comes_first():
    found = run.every_piece([0, 1])
    assert len(set(map(str, found))) == len({(piece.arm, piece.seed) for piece in found}) == 64
    assert [str(piece) for piece in found[:4]] == [
        "80_coin_off_loud_0",
        "80_coin_on_loud_0",
        "10_coin_off_loud_0",
        "10_coin_on_loud_0",
    ]
    assert {piece.seed for piece in found[:32]} == {0}


@pytest.mark.parametrize(
    ("parent", "cap", "largest", "leverage"), [(80, "off", 80, 6.64), (10, "off", 20, 0.83), (80, "on", 10, 2.35)]
)
def test_a_piece_has_the_order_the_coin_and_the_cap_of_its_name(parent, cap, largest, leverage):
    """Leverage over the steps that the whole order takes: 80 lots by tens among eight times as many noise orders."""
    config = run.config_of(run.Piece(parent, "off", cap, "quiet", 3), 40, {})
    trader = config.agents.execution
    assert (trader.inventory_lots, trader.max_order_size, trader.private_randomiser) == (parent, largest, False)
    assert trader.start_gate == config.environment.slot_rate, "the mimic's rate"
    assert trader.leakage_source == "exact"
    assert config.seed == 3
    expected = report.expected({"config": config.to_dict()}, PENALTIES)
    assert expected["leverage"] == pytest.approx(leverage, abs=0.005)
    assert (expected["linear"]["jump"] is None) == (leverage < 1.63)
    assert (expected["quadratic"]["jump"] is None) == (leverage < 4.64)
    for trader in ("linear", "quadratic", "randomising"):
        assert np.all(np.diff(expected[trader]["nats"]) <= 1e-9)


def test_finer_penalties_lie_in_the_gap_and_join_the_curve():
    """Lanes that both grids have stand once, as the octaves measured them."""
    octaves, fine = (
        run.configuration.resolve(run.config_of(run.Piece(80, "off", "off", "loud", 0, fine), 40, {})).sweep.lambdas()
        for fine in (False, True)
    )
    assert np.allclose(fine, [0.0, 1.0, 2**0.25, 2**0.5, 2**0.75])
    columns = {
        "arm": np.array(["80 lots, coin off, loud" + run.FINE] * 5 + ["80 lots, coin off, loud"] * 9),
        "lambda": np.array([*fine, *octaves]),
        "seed": np.zeros(14),
        "status": np.array(["ok"] * 14),
        "nats": np.array([0.9, 0.9, 0.5, 0.4, 0.2, *np.linspace(0.68, 0.6, 6), 0.1, 0.05, 0.02]),
    }
    joined = report.with_fine(report.LaneTable(columns))
    assert joined.arms() == ["80 lots, coin off, loud"]
    penalties, nats = joined.grid("nats")
    assert penalties.tolist() == pytest.approx([0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, *fine[2:], 2.0, 4.0, 8.0])
    assert nats[0].tolist() == pytest.approx([0.68, 0.664, 0.648, 0.632, 0.616, 0.6, 0.5, 0.4, 0.2, 0.1, 0.05, 0.02])


def test_starts_are_compared_at_the_penalties_that_both_have():
    """The loud start has one more; where it is largest at the others the difference is told."""
    loud, quiet = {1.0: 0.69, 1.19: 0.68, 2.0: 0.12}, {1.0: 0.59, 2.0: 0.10}
    rows = [(start, *each) for start, curve in (("loud", loud), ("quiet", quiet)) for each in curve.items()]
    columns = {
        "arm": np.array([f"80 lots, coin off, {start}" for start, _, _ in rows]),
        "lambda": np.array([penalty for _, penalty, _ in rows]),
        "seed": np.zeros(5),
        "status": np.array(["ok"] * 5),
        report.I: np.array([nats for _, _, nats in rows]),
        f"{report.I}_stderr": np.full(5, 0.01),
    }
    found = report.starts_differ(report.LaneTable(columns), "80 lots, coin off")
    assert found == {"lambda": 1.0, "nats": pytest.approx(0.1), "half": pytest.approx(0.0277, abs=1e-4), "n_seeds": 1}


def test_the_table_has_the_largest_drop_with_its_interval_and_the_theorys(text):
    """Errors of 0.01 of two measurements: the interval's half is 1.96 times 0.0141."""
    cells = row(text, "| 80 lots, coin off | loud |")
    assert cells[3] == "0.680 to 0.030"
    assert cells[5] == "0.590 ± 0.028"
    assert cells[6] == "1 to 2"
    at = json.loads(row(text, "| 80 | 80 |")[4].split(" at ")[1])
    assert 1.0 < at < 2.0, "so the theory's drop lies between the same penalties"
    assert cells[8] == "1 to 2"
    assert float(cells[7]) > 0.6
    with_coin = row(text, "| 80 lots, coin on | loud |")
    assert float(with_coin[7]) < 0.3, "the randomising trader does not jump"
    assert row(text, "| 10 | 20 |")[4:] == ["none", "none"]
    assert row(text, "| 10 lots, coin off | loud |")[7:] == ["none", ""], "so little is worth its whole leak up to 4"


def test_what_the_coin_and_the_start_do_is_said_with_intervals(text):
    assert "80 lots, loud: largest drop without it less with it +0.470 ± 0.039 nats: smaller with it." in text
    assert "80 lots, coin off: +0.550 ± 0.028 nats at lambda 1." in text
    assert "10 lots, coin off: +" not in text, "one start alone"
    assert "5 pieces, 40 updates a lane" in text
    assert "1.0 CPU-hours" in text


def test_a_mix_is_told_with_its_best_share_at_every_penalty(text):
    """I = 0.69 q^2 and C = 1.4 - q: the best share is 1 / (1.38 lambda), up to the grid of shares."""
    assert "| 2 | 80_coin_on_loud_0 | 1.400 | 0.000 | 0.400 | 0.690 | 1.45 [1.44, 1.46] | 0.50 |" in text
    assert "| 80_coin_on_loud_0 | 0.5 | 1.000 | 0.690 | 0.400 | 0.745 | 0.745 |" in text
    assert "| 80_coin_on_loud_0 | 2 | 0.350 | 0.085 | 1.050 | 1.219 | 1.400 |" in text


def test_the_figure_has_a_panel_for_every_market(folder):
    assert (folder / "phase_diagram.png").stat().st_size > 10_000
    markets = json.loads((folder / "answer.json").read_text())
    assert list(markets) == ["10 lots, coin off", "80 lots, coin off", "80 lots, coin on", "80 lots, coin on, capped"]
    assert markets["80 lots, coin off"]["frontier"]["statement"]
