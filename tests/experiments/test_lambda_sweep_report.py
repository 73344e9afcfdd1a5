"""The report of the main experiment on made-up files: whatever arms there are it is written, and what it says is known.

Information is that of a Gaussian channel at Q / (sigma N^a), hidden in more of the steps as lambda rises.
"""

import importlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.lanes.behaviour import CONDUCT
from amarl_jax.lanes.table import lane_row, write_lanes
from amarl_jax.theory.gaussian_channel import Channel, information

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "lambda_sweep"
MODULES = ("arms", "measured", "square_root", "claims", "expected", "figures", "report")
ARM, MAIN = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0), (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
NOISE = ("noise_quarter", "noise_x4", "noise_x16", "noise_quarter_scaled", "noise_x4_scaled", "noise_x16_scaled")


@pytest.fixture(scope="module")
def code():
    """The experiment's own modules, by name; their names are free again afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        for name in MODULES:
            patch.delitem(importlib.sys.modules, name, raising=False)
        yield {name: importlib.import_module(name) for name in MODULES}
        for name in MODULES:
            importlib.sys.modules.pop(name, None)


def leaked(config, penalty, power):
    """Nats that an order of Q lots leaks in the noise of an episode, the less of it at once the larger lambda."""
    environment = config["environment"]
    n_noise = environment["noise_trader_arrival_rate"] * environment["max_steps_per_episode"]
    q = config["agents"]["execution"]["inventory_lots"]
    return float(information(40.0 * q / 20.0 * (250.0 / n_noise) ** power / 250.0**0.5 / (1.0 + penalty), Channel()))


def write_arm(code, folder, name, n_seeds, power=0.5, failed=(), noise=0.004):
    """The files of an arm as run.py keeps them, without having run it."""
    config = json.loads(code["arms"].config_of(name, "cpu").to_json())
    penalties = MAIN if name == "main" else ARM
    rng = np.random.default_rng([len(name), n_seeds])
    lines, lanes = [], []
    for i, (penalty, seed) in enumerate(itertools.product(penalties, range(n_seeds))):
        row = None
        if i not in failed:
            row = {column: {"value": float(rng.normal(1.0, 0.05)), "stderr": 0.1} for column in (*COLUMNS, *CONDUCT)}
            row |= {"kl_nats": {"value": 0.1}, "n_episodes": 512}
            nats = leaked(config, penalty, power) + noise * rng.normal()
            for exact, right in (("information_nats", "accuracy"), ("exact_nats", "exact_accuracy")):
                row[exact]["value"], row[right]["value"] = nats, 0.5 + nats / 1.4
            row["control_information_nats"]["value"] = 0.01 * seed
            row["completion"]["value"] = 0.9
        lines.append(lane_row(i, penalty, seed, row))
        lags = [None] * 10 if seed % 2 else rng.normal(0.0, 0.01, 10).tolist()
        measures = {"snipe_autocorrelations": lags, "fill_counts": [0] * 35 + [1, 2, 3, 20, 40]}
        lanes.append({"arm": "main", "lambda": penalty, "seed": seed, "measures": row and measures})
    folder.mkdir(parents=True)
    write_lanes(folder / "lanes.csv", lines)
    hardware = {"processor": "none", "devices": ["cpu"]}
    where = {"command": "none", "commit": 40 * "0", "date": "-", "hardware": hardware, "config": config}
    document = {"size": "cpu", "n_lanes": len(lines), "n_failed": len(failed), "cpu_seconds": 60.0, "lanes": lanes}
    about = {"provenance": where, "located": {"main": {"verdict": "not determined: made up"}}, "resumed": False}
    (folder / "sweep.json").write_text(json.dumps(document | about))
    rows = [f"{penalty:g},{update},{0.5 + 0.1 * update + 0.01 * penalty}" for penalty in penalties for update in (1, 2)]
    (folder / "curves.csv").write_text("\n".join(["lambda,update,phase_b/belief/final_accuracy", *rows]) + "\n")


def report(code, folder, monkeypatch):
    """What the command writes of ``folder/cpu``."""
    monkeypatch.setattr(code["report"], "HERE", folder)
    monkeypatch.setattr("sys.argv", ["report.py"])
    code["report"].main()
    return (folder / "cpu" / "results.md").read_text()


@pytest.mark.parametrize(
    "arms",
    [
        {"main": 8},
        {"main": 1, "noise_x16": 1, "loud": 1},
        {"main": 8, "loud": 2, "quiet": 4, "forced": 2, "up": 2, "down": 3, "noise_quarter": 2, "maker_late": 2},
    ],
)
def test_any_arms_make_a_report(code, arms, tmp_path, monkeypatch):
    for name, n_seeds in arms.items():
        write_arm(code, tmp_path / "cpu" / name, name, n_seeds)
    text = report(code, tmp_path, monkeypatch)
    rows = [line.split(" | ") for line in text.splitlines()]
    table = {row[0].removeprefix("| "): row for row in rows if row[0].removeprefix("| ") in code["arms"].ARMS}
    for name in code["arms"].ARMS:
        assert any(line.startswith(f"| {name} | ") for line in text.splitlines())
        assert (f"| {name} | {code['arms'].ARMS[name].why} | not measured" in text) == (name not in arms)
    assert len(table) == len(code["arms"].ARMS)
    assert "nan" not in text.lower().replace("nanos", "")
    drawn = {path.name for path in (tmp_path / "cpu").rglob("*.p*") if path.suffix in (".png", ".pdf")}
    expected = {"arms", "claims", "transition", "fills"} | ({"collapse"} if set(arms) & set(NOISE) else set())
    assert drawn == {f"{name}{suffix}" for name in expected for suffix in (".png", ".pdf")}


@pytest.mark.parametrize("older", [True, False, None])
def test_the_verdict_of_an_older_program_is_not_drawn(code, tmp_path, monkeypatch, older):
    write_arm(code, tmp_path / "main", "main", 1)
    drawn = []
    for name in ("draw_transition", "draw_frontier", "draw_lane_fills"):
        monkeypatch.setattr(code["report"], name, lambda *_, name=name: drawn.append(name))
    monkeypatch.setattr(code["report"], "is_older", lambda commit: older)
    code["report"].draw_main(tmp_path / "main")
    assert ("draw_transition" in drawn) == (not older)
    assert {"draw_frontier", "draw_lane_fills"} <= set(drawn)


def test_the_reference_s_expectations_stand_beside_the_means_and_the_last_update(code, tmp_path):
    write_arm(code, tmp_path / "main", "main", 3)
    main = code["measured"].read(tmp_path / "main")
    lines = code["expected"].beside_measured(main, tmp_path / "main" / "curves.csv")
    row = next(line for line in lines if line.startswith("| 0.5 |"))
    kl, accuracy, cost = (main.at(0.5, name) for name in ("kl_nats", "accuracy", "shortfall_units"))
    assert row == f"| 0.5 | → 0 (λ\\*) | {kl} | → 50% | 0.705 | {accuracy} | rising | {cost} |"


def test_a_seed_with_a_failed_lane_is_left_out_and_warm_starts_are_paired_by_seed(code, tmp_path):
    write_arm(code, tmp_path / "up", "up", 3, failed=(1,))  # lambda 0, seed 1
    write_arm(code, tmp_path / "down", "down", 3, failed=(0,))  # lambda 0, seed 0
    up, down = (code["measured"].read(tmp_path / name) for name in ("up", "down"))
    assert code["measured"].branches({"up": up, "down": down})[0].startswith("up against down, 1 seeds")
    assert len(up.seeds_at(np.array([0.0, 4.0]), "accuracy")) == 2
    assert len(up.seeds_at(np.array([4.0]), "accuracy")) == 3


def test_the_control_is_a_mean_over_seeds_and_not_over_lanes(code, tmp_path):
    write_arm(code, tmp_path / "main", "main", 3)
    found = code["measured"].control(code["measured"].read(tmp_path / "main"))
    assert (found.value, found.n) == (pytest.approx(0.01), 3)
    assert found.half == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)  # Student's t with two degrees of freedom


def test_the_difference_of_two_arms_is_welchs(code, tmp_path):
    from scipy import stats

    for name, n_seeds in (("main", 5), ("loud", 3)):
        write_arm(code, tmp_path / name, name, n_seeds)
    main, loud = (code["measured"].read(tmp_path / name) for name in ("main", "loud"))
    at = code["measured"].common_penalties([main, loud])
    np.testing.assert_array_equal(at, ARM)
    found = code["measured"].difference(loud, main, "shortfall_units", at)
    samples = [arm.seeds_at(at, "shortfall_units").mean(axis=1) for arm in (loud, main)]
    expected = stats.ttest_ind(*samples, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose([found.lower, found.upper], expected)


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_the_exponent_of_a_made_up_law_is_found(code, tmp_path, power):
    for name in ("main", *NOISE):
        write_arm(code, tmp_path / name, name, 8 if name == "main" else 2, power, noise=0.001)
    arms = [code["measured"].read(tmp_path / name) for name in ("main", *NOISE)]
    for penalty in (0.0, 1.0):
        found = code["square_root"].collapse_exponent(arms, penalty)
        assert found.value == pytest.approx(power, abs=0.06)
        assert found.lower <= found.value <= found.upper < found.lower + 0.3
    alone = [arm for arm in arms if "scaled" not in arm.name]
    assert str(code["square_root"].collapse_exponent(alone, 0.0)) == "not determined", "Q was not moved"


def test_an_order_that_hid_as_a_whole_bounds_what_hides_and_is_left_out(code, tmp_path):
    """At 0.9 done nothing is whole; at 0.99 it is, and no exponent is read off what the order allows."""
    for name in ("main", *NOISE[:3]):
        write_arm(code, tmp_path / name, name, 4)
    arms = [code["measured"].read(tmp_path / name) for name in ("main", *NOISE[:3])]
    at = code["measured"].common_penalties(arms)
    assert code["square_root"].hidden_lots(arms[0], at).value == pytest.approx(18.0)
    assert code["square_root"].hidden_exponent(arms, at).value == pytest.approx(0.0, abs=1e-9)
    for arm in arms:
        arm.table.columns["completion"][:] = 0.99
    assert str(code["square_root"].hidden_exponent(arms, at)) == "not determined"
