"""Decoding by hand, and log-densities against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from amarl_jax.market import observe
from amarl_jax.market.slot import decode_action
from amarl_jax.nets.heads import ExecutionHead, ExecutionLatents, NormalHead, TanhNormalHead
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.policies.learned import (
    Learned,
    decode_execution,
    decode_maker,
    init_parameters,
    learned_policy,
)
from amarl_jax.types import Agent
from tests.market.conftest import SPEC

EXECUTION_HEAD = ExecutionHead(jnp.array([0.4, 1.1, 1.4]), jnp.array([4.44, 1.5]), jnp.array([13.31, 2.5]))
MAKER_HEAD = NormalHead(jnp.array([-0.5, 0.0, 0.3, 2.0]), jnp.array([-1.0, 0.0, -0.5, 0.2]))
ARBITRAGEUR_HEAD = TanhNormalHead(jnp.float32(0.3), jnp.float32(-0.2))


def latents(gate=1.0, side=1.0, size=0.25, offset=0.5, kind=1.0):
    return ExecutionLatents(*(jnp.float32(x) for x in (gate, side, size, offset, kind)))


@pytest.fixture(scope="module")
def views(market, params):
    state = market.reset(jax.random.key(0), params, jnp.int32(1))
    seen = observe.views(state, jnp.float32(0.5), params, SPEC)
    return {Agent.EXECUTION: seen.execution, Agent.MAKER: seen.maker, Agent.ARBITRAGEUR: seen.arbitrageur}


@pytest.mark.parametrize(
    ("drawn", "action"),
    [
        ({}, [0.25, 2.0, 1.0]),
        ({"side": 0.0}, [-0.25, 2.0, 1.0]),
        ({"kind": 0.0}, [0.25, 2.0, -1.0]),
        ({"gate": 0.0}, [0.0, 2.0, 1.0]),
        ({"gate": 0.0, "side": 0.0}, [0.0, 2.0, 1.0]),
        ({"offset": 1e-6}, [0.25, -2.0, 1.0]),
        ({"offset": 1.0 - 1e-6}, [0.25, 5.0, 1.0]),
        ({"offset": 1.0}, [0.25, 5.0, 1.0]),
    ],
)
def test_execution_latents_by_hand(drawn, action):
    np.testing.assert_allclose(np.asarray(decode_execution(latents(**drawn), SPEC)), action)


def test_each_offset_has_the_same_width_in_the_latent():
    """Eight offsets from -2 to 5: a uniform latent is the noise traders' uniform offset."""
    grid = (jnp.arange(800) + 0.5) / 800
    offsets = jax.vmap(lambda x: decode_execution(latents(offset=0.5).replace(offset=x), SPEC)[1])(grid)
    assert np.asarray(offsets).tolist() == np.repeat(np.arange(-2.0, 6.0), 100).tolist()


def test_abstaining_sends_nothing_and_the_smallest_size_sends_a_lot():
    def decoded(drawn):
        return decode_action(decode_execution(drawn, SPEC), jnp.int32(-1), SPEC)

    assert not bool(decoded(latents(gate=0.0)).acts)
    order = decoded(latents(size=1e-6))
    assert (bool(order.acts), int(order.lots), int(order.side)) == (True, 1, -1)


def test_maker_latents_span_each_range_and_are_clipped(params):
    decoded = decode_maker(jnp.array([-1.0, 1.0, 0.0, 0.5]), params)
    np.testing.assert_allclose(np.asarray(decoded), [0.0, 5.0, 0.5, 0.75])
    clipped = decode_maker(jnp.array([-7.0, 1.5, 3.0, -1.5]), params)
    np.testing.assert_allclose(np.asarray(clipped), [0.0, 5.0, 1.0, 0.0])


def played(agent, head, views, params, seed=0, deterministic=False):
    policy = Learned(agent, lambda observation: head, SPEC, deterministic)
    return policy.act(jax.random.key(seed), policy.init(params), views[agent], params)[1]


def test_what_is_stored_with_an_execution_decision_is_the_density_of_its_latents(views, params):
    bernoulli = {
        name: stats.bernoulli(1 / (1 + np.exp(-x))) for name, x in (("gate", 0.4), ("side", 1.1), ("kind", 1.4))
    }
    kinds_seen = set()
    for seed in range(12):
        decision = played(Agent.EXECUTION, EXECUTION_HEAD, views, params, seed)
        drawn = jax.tree.map(float, decision.latents)
        expected = bernoulli["gate"].logpmf(drawn.gate)
        if drawn.gate:
            expected += bernoulli["side"].logpmf(drawn.side) + bernoulli["kind"].logpmf(drawn.kind)
            expected += stats.beta(4.44, 13.31).logpdf(drawn.size)
        if drawn.gate and drawn.kind:
            expected += stats.beta(1.5, 2.5).logpdf(drawn.offset)
        assert float(decision.log_prob) == pytest.approx(expected, abs=1e-4)  # float32 log-gammas
        kinds_seen.add((drawn.gate, drawn.gate * drawn.kind))
    assert kinds_seen == {(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)}, "abstention, market order and limit order were drawn"


def test_the_makers_density_is_that_of_the_unclipped_draw(views, params):
    decision = played(Agent.MAKER, MAKER_HEAD, views, params)
    normal = stats.norm(np.asarray(MAKER_HEAD.mean), np.exp(np.asarray(MAKER_HEAD.log_std)))
    assert float(decision.log_prob) == pytest.approx(normal.logpdf(np.asarray(decision.latents)).sum(), abs=1e-5)
    unit = np.clip((np.asarray(decision.latents) + 1) / 2, 0, 1)
    np.testing.assert_allclose(np.asarray(decision.action), unit * [5, 5, 1, 1], rtol=1e-6)


def test_the_arbitrageurs_density_is_that_of_the_squashed_action(views, params):
    decision = played(Agent.ARBITRAGEUR, ARBITRAGEUR_HEAD, views, params)
    u = float(decision.latents)
    assert float(decision.action) == pytest.approx(np.tanh(u), rel=1e-6)
    expected = stats.norm(0.3, np.exp(-0.2)).logpdf(u) - np.log(1 - np.tanh(u) ** 2)
    assert float(decision.log_prob) == pytest.approx(expected, abs=1e-5)


def test_the_deterministic_policy_plays_the_mode_whatever_the_key(views, params):
    for seed in (0, 1):
        action = played(Agent.EXECUTION, EXECUTION_HEAD, views, params, seed, deterministic=True).action
        # acts, along its side, a limit order: mean size a / (a + b), offset bin floor(8 * 1.5 / 4) = 3 from -2
        np.testing.assert_allclose(np.asarray(action), [4.44 / (4.44 + 13.31), 1.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize(("agent", "shape"), [(Agent.EXECUTION, (3,)), (Agent.MAKER, (4,)), (Agent.ARBITRAGEUR, ())])
def test_the_network_of_every_agent_acts_on_its_view(agent, shape, views, params):
    network = NetworkSpec(execution_hidden=(8,), maker_hidden=(8,), arbitrageur_hidden=(8,))
    parameters = init_parameters(jax.random.key(1), agent, views[agent], network, params)
    policy = learned_policy(agent, parameters, network, SPEC, deterministic=True)
    view = views[agent]
    moved = view.replace(public=view.public.replace(news_gap=jnp.float32(30.0)))
    here, there = (policy.act(jax.random.key(2), (), seen, params)[1] for seen in (view, moved))
    assert here.action.shape == shape
    pairs = zip(jax.tree.leaves(here.latents), jax.tree.leaves(there.latents), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)
