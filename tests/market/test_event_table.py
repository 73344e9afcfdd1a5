"""A step's table cleared at once gives what its messages give one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts
from amarl_jax.market import events
from amarl_jax.market.env import Market
from amarl_jax.market.events import arrival_order
from amarl_jax.policies.uniform import Uniform
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent
from tests.market.conftest import PARAMS, SPEC
from tests.market.sequential import SequentialMarket

N_EPISODES = 192
EVERYONE = Players(*(Uniform(SPEC, agent) for agent in Agent))
TIGHT = PARAMS.replace(parent_lots=4, maker_inventory_limit=6, arbitrageur_position_limit=3)
SETTINGS = {
    "as configured": PARAMS,
    "limits that bind": TIGHT,
    "everyone late and shuffled": PARAMS.replace(
        latency_arbitrageur_ms=2e4, latency_maker_ms=1e4, latency_execution_ms=3e4, jitter_ms=2e4
    ),
    "limits that bind, shuffled": TIGHT.replace(latency_arbitrageur_ms=2e4, latency_maker_ms=1e4, jitter_ms=2e4),
}


@pytest.fixture(scope="module")
def played():
    """Episodes of either market under the same keys; params are traced, so each compiles once."""

    def play(market):
        return jax.jit(lambda keys, z, params: rollouts(keys, market, EVERYONE, PriorBelief(), z, params))

    return play(Market(SPEC, keeps_records=True)), play(SequentialMarket(SPEC, keeps_records=True))


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_table_cleared_at_once_is_its_messages_one_by_one(played, setting):
    """Every output, account, the tape and the record are equal to the last bit, with crossing orders all along."""
    params = as_arrays(SETTINGS[setting])
    fast, slow = (
        play(jax.random.split(jax.random.key(5), N_EPISODES), jnp.arange(N_EPISODES) % 2, params) for play in played
    )
    ours, theirs = (jax.tree_util.tree_leaves_with_path((run.output, run.final.accounts)) for run in (fast, slow))
    for (path, left), (_, right) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(left, right, err_msg=jax.tree_util.keystr(path))
    traded = np.asarray(fast.output.traded_lots)
    assert (traded > 0).mean() > 0.5, "most steps trade, or this shows nothing"
    if setting == "limits that bind":
        assert (np.abs(fast.output.inventory) == 6).any(), "the maker meets its limit"
    for name in ("unknown_cancel", "invalid", "refused", "evicted"):
        counts = (getattr(run.final.book.counters, name) for run in (fast, slow))
        np.testing.assert_array_equal(*counts, err_msg=name)


def test_a_table_in_one_kernel_is_its_messages_one_by_one(played, monkeypatch):
    """The program of a GPU, its kernel interpreted, to the last bit."""
    traced, kernel, n_episodes = [], events.match_in_one_kernel, 24

    def interpreted(*operands, **limits):
        traced.append(True)
        return kernel(*operands, **limits, interpret=True)

    monkeypatch.setattr(events, "match_in_one_kernel", interpreted)
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *x, default, cuda=None, **_: (cuda or default)(*x))
    market = Market(SPEC, keeps_records=True)
    played_on_gpu = jax.jit(functools.partial(rollouts, market=market, players=EVERYONE, belief=PriorBelief()))
    keys, z = jax.random.split(jax.random.key(5), N_EPISODES), jnp.arange(N_EPISODES) % 2
    params = as_arrays(SETTINGS["limits that bind, shuffled"])
    found = played_on_gpu(keys[:n_episodes], z=z[:n_episodes], params=params)
    assert traced
    expected = jax.tree.map(lambda x: x[:n_episodes], played[0](jax.random.clone(keys), z, params))
    ours, theirs = (jax.tree.leaves((run.output, run.final.accounts, run.final.book)) for run in (found, expected))
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (np.asarray(found.output.traded_lots) > 0).mean() > 0.5


def test_simultaneous_messages_keep_their_rank():
    times = jnp.array([3.0, 1.0, 3.0, 0.5, 1.0, 3.0])
    assert arrival_order(times).tolist() == [3, 1, 4, 0, 2, 5]
