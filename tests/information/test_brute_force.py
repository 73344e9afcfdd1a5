"""The exact posterior by enumeration: numbers by hand, and what every likelihood ratio must do on the real market."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.players import Players
from amarl_jax.market.env import Market
from amarl_jax.market.events import arrival_times
from amarl_jax.market.noise import size_distribution
from amarl_jax.market.params import STEP_MS, EnvParams, MarketSpec
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.trees import as_arrays
from tests.information.anonymous_record import Arrival, Record, Resting, Step, records
from tests.information.brute_force import (
    arrival_density,
    count_factors,
    execution_view,
    histories_after,
    log_likelihoods,
    noise_law,
    on_host,
)
from tests.information.scripted_laws import MimicLaw, OneBigOrder, PlaysLaw, Reactive

# every rare thing happens: half ticks, full sides, the bound of the count, the position limit, orders of a few steps
SPEC = MarketSpec(
    horizon=3,
    book_capacity=5,
    max_noise_orders=3,
    max_order_size=4,
    n_levels=3,
    n_tape_events=4,
    initial_levels=2,
    initial_sizes=(2,),
)
PARAMS = EnvParams(
    noise_rate=1.5,
    slot_rate=0.5,
    lifetime_steps=2.5,
    parent_lots=3,
    size_beta_a=1.5,
    size_beta_b=1.5,
    value_target_ticks=3.0,
    value_reversion=0.3,
    news_speed=0.5,
    latency_execution_ms=9_000.0,
    jitter_ms=3_000.0,
    max_spread_ticks=4,
    max_quote_lots=3,
)
REACTIVE = Reactive(SPEC)
SIGNS = ((-1.0, 0.5), (1.0, 0.5))  # all that it reads of the private number
N_EPISODES = 500


def play(seed, z, **changes):
    players = Players(PlaysLaw(REACTIVE, SPEC), ConstantSpread(1.5, 0.7), ValueRule())
    keys = jax.random.split(jax.random.key(seed), N_EPISODES)
    return records(keys, Market(SPEC), players, jnp.full(N_EPISODES, z), as_arrays(PARAMS.replace(**changes)))


def likelihoods(episodes, law=REACTIVE, privates=SIGNS, **options):
    params = as_arrays(PARAMS)
    return [log_likelihoods(episode, law, params, SPEC, privates, **options) for episode in episodes]


@pytest.fixture(scope="module")
def episodes():
    """By class."""
    return {z: play(11 + z, z) for z in (0, 1)}


@pytest.fixture(scope="module")
def log_ratios(episodes):
    """By class, [E, T], of the reactive law."""
    return {z: np.array([one.log_ratio for one in likelihoods(episodes[z])]) for z in (0, 1)}


def observed(record):
    """Numbers of an episode whose means the classes do not share."""
    rows = [(step, row) for step in record.steps for row in step.rows]
    direction = 1 if record.steps[-1].value > 0 else -1
    return np.array(
        [
            1.0,
            len(rows),
            sum(len(step.left) for step in record.steps),
            sum(row.lots for _, row in rows),
            direction * sum(row.side * row.lots for _, row in rows),
            sum(row.price is None for _, row in rows),
            sum(step.traded.get(row.number, 0) for step, row in rows),
            sum(row.time_ms < 12_000.0 for _, row in rows),
        ]
    )


def assert_same_means(weighted, plain):
    """Means over episodes of [E, k] numbers agree within 4 standard errors."""
    error = np.sqrt(weighted.var(0) / len(weighted) + plain.var(0) / len(plain))
    z = (weighted.mean(0) - plain.mean(0)) / np.maximum(error, 1e-12)
    assert np.abs(z).max() < 4.0, z


def assert_mean_is_one(ratios):
    """[E, T], within 4 standard errors, which are small enough to tell."""
    error = ratios.std(0) / math.sqrt(len(ratios))
    assert error.max() < 0.1
    assert (np.abs(ratios.mean(0) - 1.0) < 4.0 * error).all(), (ratios.mean(0), error)


def test_the_sample_holds_every_special_case(episodes):
    seen = dict.fromkeys(("cut to nothing", "cut", "replaced", "evicted", "child filled", "one too many", "half"), 0)
    for record in episodes[1]:
        truth = record.truth
        for step, choice, child, wanted in zip(record.steps, truth.choices, truth.children, truth.wanted, strict=True):
            row = next((row for row in step.rows if row.number == choice), None)
            seen["cut to nothing"] += choice == "cut"
            seen["replaced"] += choice != "silent" and child is not None
            seen["child filled"] += child in step.traded
            seen["one too many"] += len(step.rows) == SPEC.max_noise_orders + 1
            seen["half"] += step.mid2 % 2
            if row is not None:
                seen["cut"] += row.lots < wanted
                rests = row.price is not None and step.traded.get(choice, 0) < row.lots
                seen["evicted"] += rests and choice not in step.rest_after
    assert min(seen.values()) >= 3, seen


def test_the_true_history_is_among_those_enumerated_and_shows_the_view_that_was_seen(episodes):
    params = on_host(as_arrays(PARAMS))
    for record in episodes[1]:
        truth = record.truth
        for t, (step, child, position) in enumerate(zip(record.steps, truth.children, truth.positions, strict=True)):
            arguments = (params, SPEC, truth.direction, truth.private)
            rebuilt = execution_view(step, t, *arguments, child, position)
            same = jax.tree.map(lambda a, b: bool(np.all(np.asarray(a) == np.asarray(b))), rebuilt, truth.views[t])
            assert jax.tree.all(same), (rebuilt, truth.views[t])
            ways = histories_after(step, t, child, position, REACTIVE, *arguments)
            on = {choice: (then, after) for choice, weight, then, after in ways if weight > 0.0}
            assert truth.choices[t] in on
            if t + 1 < SPEC.horizon:
                assert on[truth.choices[t]] == (truth.children[t + 1], truth.positions[t + 1])


def test_the_mimic_leaves_no_trace_on_any_prefix(episodes):
    law = MimicLaw(on_host(as_arrays(PARAMS)), SPEC)
    ratios = np.array([one.log_ratio for one in likelihoods(episodes[1][:100], law, ((0.0, 1.0),))])
    np.testing.assert_allclose(ratios, 0.0, atol=1e-6)  # the view is float32


def test_the_ratio_averages_to_one_over_the_class_below_it(log_ratios):
    assert log_ratios[1].std(0).min() > 0.2, "the law differs from noise"
    assert_mean_is_one(np.exp(log_ratios[0]))
    assert_mean_is_one(np.exp(-log_ratios[1]))


def test_the_ratio_of_the_one_sided_mimic_averages_to_one(episodes):
    law = MimicLaw(on_host(as_arrays(PARAMS)), SPEC, one_sided=True)
    assert_mean_is_one(np.exp([one.log_ratio for one in likelihoods(episodes[0], law, ((0.0, 1.0),))]))


def test_the_ratio_turns_one_class_into_the_other(episodes, log_ratios):
    numbers = {z: np.array([observed(record) for record in episodes[z]]) for z in (0, 1)}
    assert_same_means(np.exp(log_ratios[0][:, -1:]) * numbers[0], numbers[1])
    assert_same_means(np.exp(-log_ratios[1][:, -1:]) * numbers[1], numbers[0])


def test_the_likelihoods_turn_pure_noise_into_either_class(episodes):
    """Not only their ratio is right. Where one order too many tells the slot, pure noise has no likelihood."""
    noise = play(21, 0, slot_rate=0.0)
    both = [(one.log_z0[-1], one.log_z1[-1]) for one in likelihoods(noise)]
    numbers = np.array([observed(record) for record in noise])
    for z in (0, 1):
        within = [all(len(step.rows) <= SPEC.max_noise_orders for step in record.steps) for record in episodes[z]]
        there = np.array([observed(record) for record in episodes[z]]) * np.array(within)[:, None]
        assert_same_means(np.exp(np.array(both)[:, z : z + 1]) * numbers, there)


def test_histories_that_agree_in_child_and_position_may_be_added_up(episodes):
    one_by_one, merged = (likelihoods(episodes[1][:20], merge=merge) for merge in (False, True))
    for a, b in zip(one_by_one, merged, strict=True):
        np.testing.assert_allclose(a.log_z0, b.log_z0, rtol=0, atol=1e-12)
        np.testing.assert_allclose(a.log_z1, b.log_z1, rtol=0, atol=1e-12)


# by hand: sizes 1 .. 4 with probabilities 3, 2, 2, 1 in 8, offsets 1 in 8 each, a market order in 5, hazard 1 in 4
HAND_SPEC = dataclasses.replace(SPEC, horizon=2)
HAND = EnvParams(
    noise_rate=2.0,
    slot_rate=0.25,
    lifetime_steps=4.0,
    parent_lots=2,
    size_beta_a=1.0,
    size_beta_b=1.0,
    tilt_per_tick=0.0,
    latency_execution_ms=0.0,
    jitter_ms=0.0,
    value_target_ticks=2.0,
    value_reversion=0.5,
    value_volatility_ticks=1.0,
)
BLANK = Step((), 1, 0.0, 1.0, 0.0, np.zeros(12, np.float32), frozenset(), (), {}, frozenset(), 0.0)
BUY = Arrival(number=9, side=1, price=1, lots=2, time_ms=1e4)  # mid at half a tick: one tick ahead of 0
SELL = Arrival(number=10, side=-1, price=None, lots=1, time_ms=2e4)  # takes one lot of it
FIRST = dataclasses.replace(BLANK, rows=(BUY, SELL), traded={9: 1, 10: 1}, rest_after=frozenset({9}))
BUY_AGAIN = Arrival(number=11, side=1, price=0, lots=1, time_ms=3e4)
SECOND = dataclasses.replace(
    BLANK,
    resting=(Resting(9, 1, 1, 1, False),),
    left=frozenset({9}),
    rows=(BUY_AGAIN,),
    rest_after=frozenset({11}),
    value=1.0,
)


def steady(view):
    """The same whatever it sees."""
    return {
        "gate": 0.5,
        "p_along": 0.8,
        "p_limit": 0.5,
        "size_pmf": [0.1, 0.2, 0.3, 0.4],
        "offset_pmf": [0.125] * 8,
    }


def test_one_step_by_hand():
    found = log_likelihoods(Record((FIRST,)), steady, HAND, HAND_SPEC)
    # two lots are all there is room for: 5/8 of the noise sizes; the count is in its unbounded part, nu = 2
    z0 = 0.75 + 0.25 * (5 / 8) / (2 / 8) / 2 + 0.25 / 2
    buys = 0.5 * (0.8 * 0.5 * 0.9) / (0.5 * 0.8 * 0.25) / 2
    sells = 0.5 * (0.2 * 0.5 * 0.1) / (0.5 * 0.2 * 0.375) / 2
    z1 = [0.5 + buys + sells, 0.5 + buys / 4 + sells * 4]
    np.testing.assert_allclose(np.exp(found.log_z0), [z0], rtol=1e-12)
    np.testing.assert_allclose(np.exp(found.log_z_by_direction), [z1], rtol=1e-12)
    np.testing.assert_allclose(found.log_ratio, [math.log(sum(z1) / 2 / z0)], rtol=1e-12)
    np.testing.assert_allclose(found.posterior(0.2), [0.2 * sum(z1) / 2 / (0.2 * sum(z1) / 2 + 0.8 * z0)], rtol=1e-12)


def test_two_steps_by_hand():
    found = log_likelihoods(Record((FIRST, SECOND)), steady, HAND, HAND_SPEC)
    silent, bought, sold = 0.75, 0.3125, 0.125
    # if the buy of two lots was the slot's, one lot is left to buy, and its child left where the hazard is a quarter
    z0 = silent * (0.75 + 0.25 / 2) + bought * (0.75 + 4 * 0.25 / 0.375 / 2) + sold * (0.75 + 0.25 / 2)
    np.testing.assert_allclose(math.exp(found.log_z0[1]), z0, rtol=1e-12)
    # V went from 0 to 1, where u = +1 leads in the mean and u = -1 to -1
    up = 1 / (1 + math.exp(-2.0))
    np.testing.assert_allclose(np.exp(found.log_p_direction), [[0.5, 0.5], [up, 1 - up]], rtol=1e-12)
    by_direction = []
    for p_buy in (0.8, 0.2):
        bought = 0.9 * p_buy / 0.8
        sold = 0.5 * (1 - p_buy) * 0.5 * 0.1 / 0.0375 / 2
        roomy = 0.5 + 0.5 * (p_buy * 0.5 * 0.1) / (0.5 * 0.8 * 0.375) / 2
        tight = 0.5 + 4 * 0.5 * (p_buy * 0.5 * 1.0) / (0.5 * 0.8 * 0.375) / 2
        by_direction.append((0.5 + sold) * roomy + bought * tight)
    np.testing.assert_allclose(np.exp(found.log_z_by_direction[1]), by_direction, rtol=1e-12)
    z1 = up * by_direction[0] + (1 - up) * by_direction[1]
    np.testing.assert_allclose(found.log_ratio[1], math.log(z1 / z0), rtol=1e-12)


def test_at_its_limit_the_slot_may_have_acted_unseen():
    def ways(step, child, position):
        law = {**steady(None), "gate": 0.25, "p_buy": 0.5}
        found = histories_after(step, 0, child, position, lambda _: law, on_host(HAND), HAND_SPEC, 1, 0.0)
        return {choice: (weight, *then) for choice, weight, *then in found}

    left = ways(SECOND, 9, 2)
    assert left["silent"] == (0.75, None, 2)
    assert left["cut"] == (4 * 0.25 * 0.5, None, 2)
    assert left[11] == (0.0, 11, 2)
    stayed = ways(dataclasses.replace(SECOND, left=frozenset(), rest_after=frozenset({9, 11})), 9, 2)
    assert stayed["silent"] == (0.75, 9, 2)
    assert stayed["cut"][0] == stayed[11][0] == 0.0


def test_no_order_is_the_slots_before_its_latency():
    found = log_likelihoods(Record((FIRST,)), steady, HAND.replace(latency_execution_ms=15_000.0), HAND_SPEC)
    np.testing.assert_allclose(np.exp(found.log_z0), [0.75 + 0.125 * 60 / 45], rtol=1e-12)


def test_a_size_that_no_other_law_sends_tells_all():
    law = OneBigOrder(4, HAND_SPEC)
    big = Arrival(number=9, side=1, price=None, lots=4, time_ms=1e4)
    params = HAND.replace(parent_lots=4)
    record = Record((dataclasses.replace(BLANK, rows=(big,), traded={9: 4}),))
    found = log_likelihoods(record, law, params, HAND_SPEC)
    np.testing.assert_allclose(found.log_ratio, [math.log(0.5 / (0.5 * 0.2 * 0.125) / 2 / 0.875)], rtol=1e-6)
    assert found.log_z_by_direction[0, 1] == -math.inf, "on the other side it would have sold"
    assert log_likelihoods(Record((FIRST,)), law, params, HAND_SPEC).posterior() == 0.0


def test_the_count_at_its_bound():
    e = math.exp(-2.0)
    np.testing.assert_allclose(count_factors(0, HAND, SPEC), (1.0, 0.0))
    np.testing.assert_allclose(count_factors(2, HAND, SPEC), (1.0, 0.5))
    np.testing.assert_allclose(count_factors(3, HAND, SPEC), (1.0, 2 * e / (3 * (1 - 5 * e))))
    np.testing.assert_allclose(count_factors(4, HAND, SPEC), (0.0, 0.25))
    with pytest.raises(ValueError, match="5 rows"):
        count_factors(5, HAND, SPEC)


def test_the_largest_sizes_are_rare_and_not_impossible():
    law = noise_law(EnvParams(), MarketSpec())["size_pmf"]
    assert law.min() > 0.0
    assert abs(law.sum() - 1.0) < 1e-12
    # the binomial series of the Beta(4.44, 13.31) density, integrated term by term above 39 / 40
    np.testing.assert_allclose(law[-1], 5.0887773592e-19, rtol=1e-9)
    # the program's own cdf is float32, whose incomplete Beta function is off by up to 3e-6
    np.testing.assert_allclose(np.cumsum(law), size_distribution(EnvParams(), 20), rtol=0, atol=1e-5)


def test_the_slots_arrival_times():
    params = as_arrays(PARAMS)
    uniform = jax.random.uniform(jax.random.key(4), (4, 100_000))
    times = jax.vmap(lambda u: arrival_times(u[:1], -jnp.log1p(-u[1:]), params)[5])(uniform.T)
    grid = np.linspace(0.0, STEP_MS, 4001)[:-1] + STEP_MS / 8000
    density = np.array([arrival_density(t, on_host(params)) for t in grid]) / 4000
    for until in (9_000.0, 11_000.0, 14_000.0, 40_000.0, STEP_MS):
        share = float(jnp.mean(times < until))
        assert abs(density[grid < until].sum() - share) < 0.006
    assert arrival_density(1e4, HAND) == 1.0
