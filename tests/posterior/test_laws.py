"""The law of every execution policy against the frequencies of what it does."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from amarl_jax.market.observe import ExecutionView, PublicView
from amarl_jax.market.params import MarketSpec
from amarl_jax.market.slot import as_sent, decode_action
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.policies.baselines import Choice, choice, make_baselines
from amarl_jax.policies.learned import actor, features, learned_policy
from amarl_jax.policies.uniform import Uniform
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent
from tests.information.test_brute_force import PARAMS

SPEC = MarketSpec(
    horizon=8, book_capacity=6, max_noise_orders=3, max_order_size=5, n_levels=1, n_tape_events=2, initial_levels=2
)
POLICIES = {**make_baselines(SPEC, clip_lots=2), "uniform": Uniform(SPEC, Agent.EXECUTION)}
CONSTANTS = as_arrays(PARAMS.replace(parent_lots=9))
N_DRAWS = 20_000
NETWORK = NetworkSpec(execution_hidden=(8,))


def view(direction, time_left, remaining, news_gap=0.0, child=(0, 0.0, 0.0), private=0.0, n_levels=SPEC.n_levels):
    lots, along, offset = child
    public = PublicView(
        depth=jnp.linspace(-1.0, 1.0, 4 * n_levels),
        time_left=jnp.float32(time_left),
        mid=jnp.float32(1.5),
        news_gap=jnp.float32(news_gap),
        spread=jnp.float32(1.0),
    )
    return ExecutionView(
        public=public,
        direction=jnp.int32(direction),
        remaining=jnp.int32(remaining),
        completion=jnp.float32(1.0 - remaining / 9),
        volatility=jnp.float32(0.7),
        child_lots=jnp.int32(lots),
        child_along=jnp.float32(along),
        child_offset=jnp.float32(offset),
        private=jnp.float32(private),
    )


VIEWS = {
    "opening": view(1, 1.0, 9),
    "middle": view(-1, 0.5, 6, news_gap=-3.0, child=(2, 1.0, 1.5), private=-0.8),
    "late": view(1, 0.25, 7, news_gap=2.5, child=(1, -1.0, 0.5), private=1.3),
    "last": view(-1, 0.125, 3, news_gap=9.0),
}


def categories(decision):
    """One number for all that is sent: 0 for nothing, then by side, lots, and market or a limit's offset."""
    place = jnp.where(decision.is_limit, 1 + decision.offset_ticks - SPEC.offset_min_ticks, 0)
    number = ((decision.side > 0) * SPEC.max_order_size + decision.lots - 1) * (1 + SPEC.n_offsets) + place
    return jnp.where(decision.acts, 1 + number, 0)


def of_law(law):
    """Probabilities of :func:`categories`, in float64."""
    gate, marks = np.asarray(law.gate, np.float64), jax.tree.map(lambda x: np.asarray(x, np.float64), law.marks)
    side = np.stack([1.0 - marks.buy, marks.buy], 1)
    place = np.concatenate([1.0 - marks.limit[:, None], marks.limit[:, None] * marks.offset], 1)
    acts = np.einsum("w,ws,wl,wp->slp", gate, side, marks.lots, place).ravel()
    return np.append(1.0 - gate.sum(), acts)


def assert_drawn_from(counts, law):
    """Nothing that is impossible was drawn, and the rest at the law's frequencies: chi-squared, rare ones as one."""
    expected = N_DRAWS * law
    np.testing.assert_allclose(law.sum(), 1.0, atol=1e-5)
    assert (counts[expected < 1e-4 * N_DRAWS / 20_000] == 0).all(), "an impossible decision was taken"
    often = expected >= 8.0
    groups = np.append(counts[often], counts[~often].sum()), np.append(expected[often], expected[~often].sum())
    pearson = ((groups[0] - groups[1]) ** 2 / np.maximum(groups[1], 0.5)).sum()
    assert stats.chi2.sf(pearson, max(len(groups[0]) - 1, 1)) > 1e-6, (pearson, groups)


@functools.cache
def program(kind):
    """(index, view) -> counts [n] of what is sent and the law: one program for all scripted ones, one per learned."""

    network = None if kind == "scripted" else learned(kind == "mode")

    def run(index, seen):
        policy = choice(POLICIES, index) if network is None else network
        carry = policy.init(CONSTANTS)

        def one(key):
            action = policy.act(key, carry, seen, CONSTANTS)[1].action
            return categories(as_sent(decode_action(action, seen.direction, SPEC)))

        sent = jax.vmap(one)(jax.random.split(jax.random.key(9), N_DRAWS))
        return jnp.bincount(sent, length=1 + 2 * SPEC.max_order_size * (1 + SPEC.n_offsets)), policy.law(
            carry, seen, CONSTANTS
        )

    return jax.jit(run)


def learned(deterministic, scale=0.7):
    """A network of random parameters whose gate is as often open as shut over the views."""
    rng = np.random.default_rng(2)
    width = features(Agent.EXECUTION, VIEWS["opening"], CONSTANTS).shape
    shapes = jax.eval_shape(actor(Agent.EXECUTION, NETWORK).init, jax.random.key(0), jnp.zeros(width))
    parameters = jax.tree.map(lambda x: jnp.asarray(scale * rng.standard_normal(x.shape), x.dtype), shapes)
    plain = learned_policy(Agent.EXECUTION, parameters, NETWORK, SPEC, deterministic)
    seen = [features(Agent.EXECUTION, seen, CONSTANTS) for seen in VIEWS.values()]
    middle = float(np.median([plain.head_of(x).switch_logits[0] for x in seen]))

    def head_of(observation):
        head = plain.head_of(observation)
        return head.replace(switch_logits=head.switch_logits.at[0].add(-middle))

    return dataclasses.replace(plain, head_of=head_of)


@pytest.mark.parametrize("name", POLICIES)
def test_a_scripted_policy_draws_from_its_law(name):
    index = jnp.int32(list(POLICIES).index(name))
    for seen in VIEWS.values():
        counts, law = program("scripted")(index, seen)
        assert_drawn_from(np.asarray(counts), of_law(law))


def test_the_network_draws_from_its_law():
    entropies = []
    for seen in VIEWS.values():
        counts, law = program("sample")(jnp.int32(0), seen)
        assert_drawn_from(np.asarray(counts), of_law(law))
        entropies.append(stats.entropy(of_law(law)))
    assert max(entropies) > 1.0, "the law is spread over many orders"


def test_the_networks_mode_is_certain():
    acted = 0
    for seen in VIEWS.values():
        counts, law = program("mode")(jnp.int32(0), seen)
        assert of_law(law).max() == 1.0
        assert np.argmax(counts) == np.argmax(of_law(law))
        assert counts.max() == N_DRAWS
        acted += np.argmax(counts) > 0
    assert acted == 2


@pytest.mark.parametrize("name", ["twap", "twap_camouflaged", "mimic_forced", "uniform"])
def test_a_choice_has_the_law_of_the_chosen(name):
    own = POLICIES[name]
    for seen in VIEWS.values():
        alone = of_law(own.law(own.init(CONSTANTS), seen, CONSTANTS))
        _, chosen = program("scripted")(jnp.int32(list(POLICIES).index(name)), seen)
        np.testing.assert_allclose(of_law(chosen), alone, atol=1e-6)


def test_who_reads_the_private_number_says_so():
    assert not Choice(tuple(POLICIES.values()), 0).reads_private
    assert Choice((*POLICIES.values(), learned(False)), 0).reads_private
    apart = []
    for seen in VIEWS.values():
        both = [seen.replace(private=jnp.float32(x)) for x in (-1.0, 1.0)]
        of_network = [of_law(program("sample")(jnp.int32(0), x)[1]) for x in both]
        apart.append(np.abs(of_network[0] - of_network[1]).max())
        np.testing.assert_array_equal(*(of_law(program("scripted")(jnp.int32(0), x)[1]) for x in both))
    assert max(apart) > 0.01, "the network's law hangs on it"
