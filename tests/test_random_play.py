"""The random-play command, and that its check would notice."""

import jax
import jax.numpy as jnp
import pytest

from amarl_jax import random_play
from amarl_jax.host import cli
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.trees import as_arrays
from amarl_jax.types import Owner

pytestmark = pytest.mark.integration

SPEC = MarketSpec(horizon=8, book_capacity=24, max_noise_orders=4, n_levels=2, n_tape_events=4, initial_levels=3)
N_ENVS = 1024
SMALL = {
    "training.n_envs": N_ENVS,
    "environment.max_steps_per_episode": SPEC.horizon,
    "environment.book_capacity": SPEC.book_capacity,
    "environment.max_noise_orders": SPEC.max_noise_orders,
    "environment.noise_trader_arrival_rate": 1.0,
    "environment.n_price_levels": SPEC.n_levels,
    "environment.initial_levels": SPEC.initial_levels,
    "agents.market_maker.n_tape_events": SPEC.n_tape_events,
}


def command(**more):
    overrides = [f"--config.{name}={value}" for name, value in (SMALL | more).items()]
    argv = ["random_play", "--config=configs/fast_debug.py", *overrides]
    return cli.run(random_play.main, "Usage.", random_play.define_flags, argv)


@pytest.fixture(scope="module")
def params():
    return as_arrays(EnvParams(noise_rate=1.0, parent_lots=20, max_spread_ticks=5))


@pytest.fixture(scope="module")
def trajectory(params):
    return random_play.play(jax.random.key(4), params, SPEC, N_ENVS)


def test_the_command_plays_prints_and_reports_that_the_books_balance(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command() == 0
    printed = capsys.readouterr()
    assert "1024 random episodes of 8 steps" in printed.out
    for row in ("speed", "spread", "sniped", "resting orders", "noise cut off"):
        assert any(line.startswith(row) for line in printed.out.splitlines()), row
    assert "cash and lots sum to 0 over all owners after every step; no position limit was broken" in printed.out
    assert not printed.err
    assert not list(tmp_path.iterdir()), "it writes nothing"


def test_a_broken_rule_ends_the_command_with_its_name(monkeypatch):
    monkeypatch.setattr(random_play, "broken_rules", lambda trajectory, params: ["cash does not sum to 0"])
    with pytest.raises(RuntimeError, match="cash does not sum to 0"):
        command()


def test_without_a_configuration_it_is_bad_input(capsys):
    assert cli.run(random_play.main, "Usage.", random_play.define_flags, ["random_play"]) == 2
    assert "--config is required" in capsys.readouterr().err


def test_an_honest_market_breaks_no_rule(trajectory, params):
    assert random_play.broken_rules(trajectory, params) == []


@pytest.mark.parametrize(
    ("name", "owner", "value", "says"),
    [
        ("cash_change", Owner.NOISE, 10_000, "cash does not sum to 0 over owners"),
        ("inventory_change", Owner.PROVIDER, 10_000, "lots do not sum to 0 over owners"),
        ("inventory", Owner.SLOT, 21, "the slot went beyond 20 lots"),
        ("inventory", Owner.MAKER, -101, "the maker went beyond 100 lots"),
        ("inventory", Owner.ARBITRAGEUR, 21, "the arbitrageur went beyond 20 lots"),
    ],
)
def test_one_wrong_number_in_one_step_of_one_episode_is_noticed(name, owner, value, says, trajectory, params):
    column = getattr(trajectory.output, name).at[17, 5, owner].set(jnp.int32(value))
    planted = trajectory.replace(output=trajectory.output.replace(**{name: column}))
    assert random_play.broken_rules(planted, params) == [says]


def test_noise_may_hold_any_number_of_lots(trajectory, params):
    column = trajectory.output.inventory.at[17, 5, Owner.NOISE].set(10_000)
    planted = trajectory.replace(output=trajectory.output.replace(inventory=column))
    assert random_play.broken_rules(planted, params) == []
