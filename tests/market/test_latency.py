"""Latency is the order of play: a slow arbitrageur never meets an old quote."""

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.market.events import arrival_times
from amarl_jax.market.params import STEP_MS
from tests.market.conftest import compiled_rollouts


def test_sniping_vanishes_when_the_arbitrageur_is_slower_than_the_maker(params):
    """Arbitrageur latencies swept by vmap around the maker's 10 ms, without jitter."""
    latencies = jnp.array([1.0, 9.9, 10.1, 500.0])
    lanes = jax.vmap(lambda ms: params.replace(latency_arbitrageur_ms=ms, jitter_ms=0.0))(latencies)
    keys = jax.random.split(jax.random.key(3), 64)
    play = compiled_rollouts("uniform")
    sniped = jax.vmap(lambda lane: play(keys, jnp.zeros(64, jnp.int32), lane).output)(lanes)
    lots = np.asarray(sniped.snipe_lots.sum(axis=(1, 2)))
    traded = np.asarray(sniped.arbitrageur_traded.sum(axis=(1, 2)))
    assert (traded > 100).all(), "it goes on trading at every latency"
    assert (lots[:2] > 0).all()
    np.testing.assert_array_equal(lots[2:], 0)


def test_arrivals_by_hand(params):
    fast = params.replace(jitter_ms=2.0)
    times = np.asarray(arrival_times(jnp.array([0.0, 0.5, 0.25]), jnp.array([0.0, 1.0, 2.0]), fast))
    np.testing.assert_allclose(times[:5], [1.0, 12.0, 12.0, 12.0, 12.0])  # latency + jitter * draw
    np.testing.assert_allclose(times[5], 104.0)  # the slot at uniform 0: its latency and jitter
    np.testing.assert_allclose(times[6:], [0.5 * STEP_MS, 0.25 * STEP_MS])
    late = np.asarray(arrival_times(jnp.array([0.999999]), jnp.array([0.0, 0.0, 1e9]), fast))
    assert late[5] <= STEP_MS, "a slot message always lands within its step"
