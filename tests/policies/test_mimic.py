"""The mimic's decisions, read back by the market, are the slot's own; and they follow the stated law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from amarl_jax.market import observe
from amarl_jax.market.noise import buy_probability
from amarl_jax.market.slot import decode_action, noise_decision
from amarl_jax.policies.mimic import Mimic
from tests.market.conftest import SPEC

N = 20_000
STANDARD_ERRORS = 5.0


@pytest.fixture(scope="module")
def state(market, params):
    """A market whose public value stands 2.5 ticks above a half-tick mid, with a seller's parent order."""
    state = market.reset(jax.random.key(0), params, jnp.int32(1))
    return state.replace(news=jnp.float32(4.0), mid2=jnp.int32(3), direction=jnp.int32(-1))


@pytest.fixture(scope="module")
def decisions(state, params):
    """What the market makes of the mimic's actions, and what the slot does with the same keys."""
    policy = Mimic(SPEC)
    view = observe.views(state, jnp.float32(0.5), params, SPEC).execution

    def pair(seed):
        _, decision = policy.act(jax.random.key(seed), policy.init(params), view, params)
        p_buy = buy_probability(state.news, state.mid2, params)
        slot = noise_decision(jax.random.key(seed), p_buy, state.size_cdf, params, SPEC)
        return decode_action(decision.action, state.direction, SPEC), slot

    return jax.tree.map(np.asarray, jax.vmap(pair)(jnp.arange(N)))


def test_every_decision_survives_the_way_through_the_action(decisions):
    mimic, slot = decisions
    np.testing.assert_array_equal(mimic.acts, slot.acts)
    for name in ("side", "lots", "offset_ticks", "is_limit"):
        np.testing.assert_array_equal(getattr(mimic, name)[slot.acts], getattr(slot, name)[slot.acts], err_msg=name)


def test_the_law_is_the_noise_traders(decisions, params):
    mimic, _ = decisions
    acts = mimic.acts
    n_orders = acts.sum()

    def share(x, p, n):
        assert abs(x.mean() - p) < STANDARD_ERRORS * np.sqrt(p * (1 - p) / n)

    share(acts, float(params.slot_rate), N)
    share(mimic.side[acts] == 1, 0.5 + 0.05 * 2.5, n_orders)  # psi per tick of W - mid
    share(mimic.is_limit[acts], 0.8, n_orders)
    for offset in range(-2, 6):
        share(mimic.offset_ticks[acts] == offset, 1 / 8, n_orders)
    edges = np.concatenate([[0.0], np.arange(1.5, 20.0), [20.0]])  # max(1, round(20 Beta(a, b)))
    shares = np.diff(stats.beta(4.44, 13.31).cdf(edges / 20))
    lots, sizes = np.arange(1, 21), mimic.lots[acts]
    mean = shares @ lots
    assert abs(sizes.mean() - mean) < STANDARD_ERRORS * np.sqrt((shares @ (lots - mean) ** 2) / n_orders)
    for i in range(10):
        share(sizes == lots[i], shares[i], n_orders)
