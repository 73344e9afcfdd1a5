"""The first batches of fresh episodes are read exactly, the others not, and reading changes no episode."""

import dataclasses

import jax
import numpy as np
import pytest

from amarl_jax.evaluation.episodes import fresh_episodes, summarise
from amarl_jax.evaluation.exact_reading import exact_reading
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.market.env import Market
from amarl_jax.market.noise import orders
from amarl_jax.policies.camouflage import Camouflage
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.twap import Twap
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.exact import ExactSpec, why_unread
from tests.market.conftest import SPEC, params
from tests.tiny_runs import jax_settings

__all__ = ["jax_settings", "params"]

N_EPISODES, BATCH = 12, 4
READ = ExactSpec(n_episodes=6, n_particles=4, n_private=1)  # two batches of three


@dataclasses.dataclass(frozen=True)
class Silent:
    """A policy that plays like the mimic and says nothing of its law."""

    def init(self, params):
        return ()

    def act(self, key, carry, view, params):
        return Mimic(SPEC).act(key, carry, view, params)


def player_of(policy, spec, params):
    """Summaries and all rows of the fresh episodes of a key, and the reading."""
    reading = exact_reading(Market(SPEC), policy, spec, N_EPISODES, BATCH)

    def read(trajectories, batch):
        rows = jax.vmap(lambda one: summarise(one, params))(trajectories)
        return rows, reading.read(trajectories, batch, params)

    def play(key):
        players = Players(policy, ConstantSpread(), ValueRule())
        return fresh_episodes(key, reading.market, players, PriorBelief(), params, N_EPISODES, BATCH, read)

    return play, reading


def test_the_first_batches_are_read_and_no_episode_changes(params):
    play, reading = player_of(Twap(SPEC, 4), READ, params)
    summaries, rows = jax.jit(play)(jax.random.key(3))
    assert rows.log_ratio.shape == (N_EPISODES, SPEC.horizon)
    assert (np.abs(rows.log_ratio[:8]).max(axis=1) > 0).all(), "six, rounded up to whole batches"
    assert not np.asarray(rows.log_ratio[8:]).any()
    assert (np.asarray(rows.lawless_step) == -1).all()
    kept = reading.only_read(rows)
    assert kept.log_ratio.shape == (8, SPEC.horizon)
    np.testing.assert_array_equal(kept.log_ratio_above, rows.log_ratio_above[:8])
    plain, nothing = player_of(Twap(SPEC, 4), None, params)
    alone, unread = jax.jit(plain)(jax.random.key(3))
    assert unread is None
    assert nothing.only_read(unread) is None
    for name in ("z", "completion", "shortfall_ticks", "messages"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(summaries, name), err_msg=name)


def inside(equation):
    """The programs within an equation."""
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def length(program):
    """Number of a program's equations, those within them included."""
    return sum(1 + sum(length(inner) for inner in inside(equation)) for equation in program.eqns)


def branches(program):
    """Predicate's shape and lengths of the programs of every conditional of a traced program."""
    for equation in program.eqns:
        if equation.primitive.name == "cond":
            yield equation.invars[0].aval.shape, [length(branch.jaxpr) for branch in equation.params["branches"]]
        for inner in inside(equation):
            yield from branches(inner)


def test_lanes_skip_what_is_not_read(params):
    """Mapped over lanes the branch stays a branch: a select would read every episode."""
    play, _ = player_of(Mimic(SPEC), READ, params)
    program = jax.make_jaxpr(jax.vmap(play))(jax.random.split(jax.random.key(0), 3))
    sizes = [sizes for shape, sizes in branches(program.jaxpr) if shape == ()]
    assert any(min(found) < 20 < 100 < max(found) for found in sizes), "one reads, the other makes zeros"


@pytest.mark.parametrize("policy", [Silent(), Camouflage(Silent(), Mimic(SPEC), 0.5)])
def test_a_policy_without_a_law_is_named_and_nothing_is_recorded(policy):
    reading = exact_reading(Market(SPEC), policy, READ, N_EPISODES, BATCH)
    assert reading.reader is None
    assert not reading.market.keeps_records
    assert why_unread(policy, orders) == "no exact value: Silent states no law"


def test_a_noise_law_without_one_is_named_and_a_law_needs_no_excuse():
    def round_lots():
        """Nothing but a name."""

    assert why_unread(Mimic(SPEC), round_lots) == "no exact value: the noise law round_lots states no law of its marks"
    assert why_unread(Camouflage(Twap(SPEC, 4), Mimic(SPEC), 0.5), orders) == ""
