"""The evaluate command on an untrained run and on a sweep of two: what it loads, writes, draws and refuses."""

import csv
import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from amarl_jax import evaluate
from amarl_jax.errors import BadInput
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation.baselines import COLUMNS
from amarl_jax.evaluation.report import (
    ALIASES,
    NO_INTERVAL,
    UNITS,
    Measure,
    order_columns,
    order_divergence,
    spread_toxicity,
)
from amarl_jax.flow.facts import UNITS as FACTS
from amarl_jax.host import cli
from amarl_jax.lanes.table import lane_row, read_lanes, write_lanes
from amarl_jax.policies.baselines import make_baselines
from tests.tiny_runs import jax_settings

__all__ = ["jax_settings"]

pytestmark = pytest.mark.integration

REFERENCE_KEYS = [
    "eval/exec/implementation_shortfall_mean",
    "eval/exec/implementation_shortfall_std",
    "eval/exec/completion_rate_mean",
    "eval/exec/mi_estimate_mean",
    "eval/exec/kl_divergence_mean",
    "eval/exec/flow_entropy_mean",
    "eval/mm/pnl_mean",
    "eval/mm/adverse_selection_mean",
    "eval/mm/belief_accuracy_mean",
    "eval/mm/avg_spread_mean",
    "eval/arb/pnl_mean",
    "eval/market/realized_vol_mean",
    "eval/market/total_volume_mean",
]
N_EPISODES = 96


def command(*arguments):
    return cli.run(evaluate.main, "Usage.", evaluate.define_flags, argv=["evaluate", *map(str, arguments)])


def assert_same_parameters(left, right):
    for a, b in zip(jax.tree.leaves(left.agents), jax.tree.leaves(right.agents), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_is_loaded_as_it_was_saved(workdirs):
    run = runs.load(workdirs["run"])
    assert_same_parameters(run.state, workdirs["states"][0])
    assert (run.lane, run.seed, float(run.setup.params.noise_rate)) == (None, 0, 2.0)


def test_a_lane_has_its_own_state_and_what_it_changes(workdirs):
    first, second = (runs.load(workdirs["sweep"], lane) for lane in (0, 1))
    assert_same_parameters(first.state, workdirs["states"][0])
    assert_same_parameters(second.state, workdirs["states"][1])
    for run, expected in ((first, (4, 0.25, 2.0)), (second, (5, 0.5, 1.5))):
        setup = run.setup
        assert (run.seed, float(setup.weights.leakage_weight), float(setup.params.noise_rate)) == expected


def test_a_workdir_without_a_checkpoint_or_with_foreign_lanes_is_bad_input(workdirs, tmp_path):
    for name in ("config.json", "run.json"):
        shutil.copy(workdirs["run"] / name, tmp_path)
    with pytest.raises(BadInput, match="holds no checkpoint"):
        runs.load(tmp_path)
    shutil.copy(workdirs["sweep"] / "run.json", tmp_path)
    (tmp_path / "lanes.json").write_text('[{"weights": {"lambda": 1.0}}]')
    with pytest.raises(BadInput, match="weights has no 'lambda'"):
        runs.load(tmp_path, 0)


@pytest.fixture(scope="module")
def written(workdirs, tmp_path_factory):
    """What the command writes of the run, figures included."""
    folder = tmp_path_factory.mktemp("written")
    assert (
        command(f"--workdir={workdirs['run']}", f"--output={folder}", f"--n_episodes={N_EPISODES}", "--plot", "--facts")
        == 0
    )
    return folder


def test_every_measure_has_one_name_and_the_json_has_the_references_too(written):
    numbers = json.loads((written / "eval_metrics.json").read_text(), parse_constant=lambda x: pytest.fail(x))
    assert list(ALIASES) == REFERENCE_KEYS
    for key, ours in ALIASES.items():
        assert isinstance(numbers[key], float)
        assert numbers[key] == numbers[ours]
    for key in ("information/fresh_nats", "execution/shortfall_bps", "maker/spread_toxicity_correlation"):
        low, value, high = (numbers[f"eval/{key}{part}"] for part in ("_lower", "", "_upper"))
        assert low < value < high
    with (written / "eval_metrics.csv").open() as file:
        table = {row["name"]: row for row in csv.DictReader(file)}
    assert set(table) == {key for key in numbers if not key.endswith(("_lower", "_upper"))} - set(ALIASES)
    assert set(table) == {f"eval/{name}" for name in UNITS}, "no measure without a unit, no unit without a measure"
    assert all(row["unit"] and row["meaning"] for row in table.values())
    ticks, bps = (numbers[f"eval/execution/shortfall_{unit}"] for unit in ("ticks", "bps"))
    assert 0 < numbers["eval/execution/sent_orders"] <= numbers["eval/execution/child_orders"]
    assert bps == pytest.approx(ticks), "a tick of 0.01 at 100 is one basis point"
    low, nats, high = (numbers[f"eval/information/exact_nats{part}"] for part in ("_lower", "", "_upper"))
    assert low < nats < high
    assert 0 <= numbers["eval/information/exact_accuracy"] <= 1
    assert 0 < numbers["eval/information/belief_brier"] < 1
    assert 0 < numbers["eval/information/belief_calibration_error"] < 1
    where = json.loads((written / "provenance.json").read_text())["provenance"]
    assert where["config"]["training"]["n_envs"] == 8


@pytest.mark.parametrize(
    ("flags", "sent", "noted"), [(["--deterministic"], 0.0, True), (["--deterministic"], 0.5, False), ([], 0.0, False)]
)
def test_a_mode_that_trades_nothing_is_noted(flags, sent, noted, workdirs, tmp_path, monkeypatch, capsys):
    """What is measured is given; nothing is played."""
    orders = Measure(sent, *NO_INTERVAL, *UNITS["execution/sent_orders"])
    evaluation = SimpleNamespace(n_episodes=N_EPISODES, n_read=N_EPISODES // 2, unread="")
    found = SimpleNamespace(measures={"eval/execution/sent_orders": orders}, evaluation=evaluation)
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: found)
    monkeypatch.setattr(evaluate, "write", lambda *_: None)
    assert command(f"--workdir={workdirs['run']}", f"--output={tmp_path}", *flags) == 0
    note = "note: the mode of this execution policy sends no order: it trades by chance alone\n"
    printed = capsys.readouterr().out
    assert (note in printed) == noted
    assert f"{N_EPISODES} fresh episodes, the first {N_EPISODES // 2} read exactly, " in printed


def test_the_markets_facts_are_those_of_all_agents_and_of_noise_alone(written):
    """Nobody recorded this market, so there is no distance."""
    facts = json.loads((written / "facts.json").read_text(), parse_constant=lambda x: pytest.fail(x))
    assert set(facts["simulated"]) == {"all agents", "noise alone"}
    assert facts["recorded"] is None
    assert facts["distances"] == {}
    for market in facts["simulated"].values():
        assert set(market["quantiles"]) | set(market["curves"]) == set(FACTS)
        assert 1 <= market["quantiles"]["size"][0] <= market["quantiles"]["size"][-1] <= 20
    assert all((written / f"facts.{kind}").stat().st_size > 1000 for kind in ("png", "pdf"))


def test_every_baseline_and_the_learned_policy_have_a_row_and_figures_are_drawn(written, workdirs):
    rows = json.loads((written / "baselines.json").read_text())["rows"]
    spec = runs.load(workdirs["run"]).setup.game.market_spec
    assert list(rows) == ["learned", *make_baselines(spec)]
    assert rows["sweep"]["completion"]["value"] > rows["mimic"]["completion"]["value"]
    assert rows["mimic"]["exact_nats_lower"]["value"] == pytest.approx(0.0, abs=1e-5), "its law is the noise law"
    assert rows["sweep"]["exact_nats"]["value"] > 0.05
    for row in rows.values():
        assert row["exact_nats"]["value"] is not None
        assert row["n_episodes"] == N_EPISODES
        assert {"shortfall_ticks", "completion", "information_nats", "accuracy", "kl_nats"} <= set(row)
    for name in ("episode", "flow", "fills", "baselines"):
        assert (written / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (written / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_function_gives_the_commands_numbers_and_another_seed_others(written, workdirs):
    numbers = json.loads((written / "eval_metrics.json").read_text())
    again = evaluate.evaluate(workdirs["run"], N_EPISODES)
    assert again.measures["eval/maker/pnl_tick_lots"].value == numbers["eval/mm/pnl_mean"]
    other = evaluate.evaluate(runs.load(workdirs["run"]), N_EPISODES, seed=1)
    assert other.measures["eval/maker/pnl_tick_lots"].value != numbers["eval/mm/pnl_mean"]
    assert again.episodes.summary.z.sum() == N_EPISODES / 2, "stratified"


def test_a_lane_of_a_finished_sweep_is_drawn_beside_its_own_frontier(workdirs, tmp_path):
    run = runs.load(workdirs["sweep"], 1)
    assert (run.arm, evaluate._frontier(tmp_path, run)) == ("main", None)
    finished = dataclasses.replace(run, path=tmp_path / "sweep")
    finished.path.mkdir()
    row = {name: {"value": 0.5, "stderr": 0.1} for name in (*COLUMNS, "kl_nats")} | {"n_episodes": 512}
    write_lanes(finished.path / "lanes.csv", [lane_row(i, 0.5 * i, 0, row) for i in range(2)])
    copy = evaluate._frontier(tmp_path, finished)
    assert read_lanes(copy).grid("information_nats", run.arm)[1].tolist() == [[0.5, 0.5]]
    (finished.path / "lanes.csv").write_text("lane,arm\n0,main\n")
    with pytest.raises(BadInput, match="is not the table of a sweep"):
        evaluate._frontier(tmp_path, finished)


def test_orders_are_read_off_the_episodes_that_sent_them(workdirs):
    episodes = evaluate.evaluate(workdirs["run"], N_EPISODES).episodes
    rows = episodes.summary
    columns = order_columns(episodes.orders, rows.z == 1)
    assert 0 < len(columns) <= rows.child_orders[rows.z == 1].sum(), "the position limit leaves nothing of some"
    assert columns[:, 0].min() >= 1
    divergence = order_divergence(episodes.orders, rows.z)
    assert divergence.kl_nats > 0
    nothing = jax.tree.map(np.zeros_like, episodes.orders)
    assert order_divergence(nothing, rows.z) is None


def test_the_spread_toxicity_correlation_pools_episodes():
    """Against numpy over all steps of all episodes; a spread that never varies has none."""
    rng = np.random.default_rng(0)
    belief = rng.uniform(size=(200, 30))
    spread = 2.0 + belief + rng.normal(size=(200, 30))
    moments = np.stack([m.mean(axis=1) for m in (spread, belief, spread**2, belief**2, spread * belief)], axis=1)
    value, lower, upper = spread_toxicity(rng, moments)
    assert value == pytest.approx(np.corrcoef(spread.ravel(), belief.ravel())[0, 1])
    assert lower < value < upper < value + 0.1
    moments[:, [0, 2, 4]] = np.stack([np.full(200, 2.0), np.full(200, 4.0), 2.0 * moments[:, 1]], axis=1)
    assert np.isnan(spread_toxicity(rng, moments)).all()
