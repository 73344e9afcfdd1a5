"""A recorded day as the noise: played as it was, thinned for the slot, z a decision rule and nothing else."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.flow.stream import TIME_UNITS, Stream
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts
from amarl_jax.market.env import Market
from amarl_jax.market.params import STEP_MS, EnvParams, MarketSpec
from amarl_jax.market.recorded_noise import on_held_out, recorded_noise, windows_of
from amarl_jax.market.table_noise import law_of, table_of
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.policies.baselines import Choice
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.learned import init_parameters, learned_policy
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.exact import exact_information, read_episodes
from amarl_jax.posterior.filter import Reader, what_happened
from amarl_jax.testing import check_noise_law
from amarl_jax.trees import as_arrays
from amarl_jax.types import HALF_TICK, Agent
from tests.posterior import test_laws

SPEC = MarketSpec(horizon=8, book_capacity=64, max_noise_orders=5, max_order_size=6, n_levels=3, n_tape_events=4)
N_STEPS, N_EPISODES = 60, 24
NEVER, MIMIC, TILTED = range(3)
NETWORK = NetworkSpec(execution_hidden=(8,), execution_head="tilt")


def stream(seed=0):
    """A day of 0 to 5 orders a step, of every kind."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, SPEC.max_noise_orders + 1, N_STEPS)
    n = counts.sum()
    is_limit = rng.random(n) < 0.8
    step = np.repeat(np.arange(N_STEPS), counts)
    time = rng.integers(0, TIME_UNITS, n)
    time = time[np.lexsort((time, step))]
    return Stream(
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        time=time.astype(np.uint16),
        side=rng.choice(np.array([-1, 1], np.int8), n),
        is_limit=is_limit,
        lots=rng.integers(1, SPEC.max_order_size + 1, n).astype(np.uint8),
        offset=np.where(is_limit, rng.integers(SPEC.offset_min_ticks, SPEC.offset_max_ticks + 1, n), 0).astype(np.int8),
        lifetime=np.where(is_limit, rng.integers(1, 6, n) * TIME_UNITS - time, 0).astype(np.uint32),  # to whole steps
    )


STREAM = stream()
RESTS = (STREAM.time.astype(int) + STREAM.lifetime) // TIME_UNITS  # steps, of limit orders
LAW = recorded_noise(STREAM)
MARKET = Market(SPEC, LAW, keeps_records=True)


@dataclasses.dataclass(frozen=True)
class Never:
    """Sends nothing."""

    def init(self, params):
        return ()

    def act(self, key, carry, view, params):
        return carry, Decision(jnp.zeros(3, jnp.float32), (), jnp.float32(0.0))


def constants(slot_rate=0.5, **changes):
    cells = np.ones((1 + SPEC.n_offsets, SPEC.max_order_size))
    windows = np.stack(windows_of(N_STEPS, SPEC.horizon, 0.3))
    return as_arrays(
        EnvParams(
            slot_rate=slot_rate, tilt_per_tick=0.0, flow=table_of(cells), windows=windows, parent_lots=1000, **changes
        )
    )


def untrained():
    """The trader whose network tilts the noise law by nothing."""
    seen = test_laws.view(1, 1.0, 3, n_levels=SPEC.n_levels)
    shapes = jax.eval_shape(
        lambda: init_parameters(jax.random.key(0), Agent.EXECUTION, seen, NETWORK, constants(), SPEC)
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return learned_policy(Agent.EXECUTION, zeros, NETWORK, SPEC, False, LAW)


@functools.cache
def _play():
    def play(keys, z, trader, params):
        policies = Never(), Mimic(SPEC, noise_law=LAW), untrained()
        players = Players(Choice(policies, trader), ConstantSpread(1.5, 0.7), ValueRule())
        return rollouts(keys, MARKET, players, PriorBelief(), z, params)

    return jax.jit(chex.assert_max_traces(play, n=1))


def played(trader, z, params):
    keys = jax.random.split(jax.random.key(3), N_EPISODES)
    labels = jnp.broadcast_to(jnp.asarray(z, jnp.int32), (N_EPISODES,))
    return jax.tree.map(np.asarray, _play()(keys, labels, jnp.int32(trader), params))


def recorded_rows(window, step):
    """Side, lots, kind, offset and place in the step of a recorded step's orders, a row each."""
    rows = slice(STREAM.first[window + step], STREAM.first[window + step + 1])
    return list(
        zip(
            *(column[rows].tolist() for column in (STREAM.side, STREAM.lots, STREAM.is_limit, STREAM.offset)),
            strict=True,
        )
    )


def simulated_rows(episodes, e, step):
    orders = jax.tree.map(lambda x: x[e, step], episodes.output.record.orders)
    shown = orders.side != 0
    columns = (orders.side, orders.lots, orders.is_limit, orders.offset_ticks)
    return list(zip(*(column[shown].tolist() for column in columns), strict=True))


def test_an_episode_is_a_window_of_the_day_in_the_order_recorded():
    quiet = constants(slot_rate=0.0)
    episodes = played(NEVER, 0, quiet)
    for e in range(N_EPISODES):
        for t in range(SPEC.horizon):
            assert simulated_rows(episodes, e, t) == recorded_rows(episodes.final.window[e], t), (e, t)
    at = episodes.output.record.orders.time_ms[0, 2]
    rows = slice(*STREAM.first[episodes.final.window[0] + 2 :][:2])
    np.testing.assert_allclose(at[at > 0], STREAM.time[rows] * (STEP_MS / TIME_UNITS), rtol=1e-6)
    assert len(set(episodes.final.window.tolist())) > 8, "windows are drawn"


def test_limit_prices_are_relative_to_the_simulated_mid():
    episodes = played(NEVER, 0, constants(slot_rate=0.0))
    mid = HALF_TICK * episodes.output.mid2
    assert np.ptp(mid) > 1.0, "the simulated market has a price of its own"
    record, n_slots = episodes.output.record, 2 * SPEC.book_capacity
    orders = record.orders
    n_compared = 0
    for e in range(N_EPISODES):
        for t in range(SPEC.horizon - 1):
            mid2, placed = round(2 * float(record.public.mid[e, t])), record.slot_after[e, t, n_slots:]
            after = record.price_ticks[e, t + 1]
            for row in np.flatnonzero(orders.is_limit[e, t] & (orders.side[e, t] != 0) & (placed >= 0)):
                side, offset = int(orders.side[e, t, row]), int(orders.offset_ticks[e, t, row])
                own = mid2 // 2 - offset if side > 0 else -(-mid2 // 2) + offset
                assert int(after[placed[row]]) == own, (e, t, row)
                n_compared += 1
    assert n_compared > 100


def test_orders_rest_as_long_as_was_recorded():
    """With no slot and nobody else in the market an order leaves by itself when its time has come, or trades before."""
    alone = constants(slot_rate=0.0, maker_inventory_limit=0, arbitrageur_position_limit=0)
    record = played(NEVER, 0, alone).output.record
    window = played(NEVER, 0, alone).final.window
    n_slots, left_by_itself = 2 * SPEC.book_capacity, 0
    for e in range(N_EPISODES):
        due = {}  # slot of the book: step in which the order there leaves
        for t in range(SPEC.horizon):
            gone = np.flatnonzero(record.left[e, t])
            assert sorted(slot for slot in due if due[slot] <= t) == sorted(set(gone.tolist()) & set(due)), (e, t)
            left_by_itself += len(gone)
            moved = {record.slot_after[e, t, slot]: when for slot, when in due.items() if slot not in gone}
            first = STREAM.first[window[e] + t]
            for row in range((record.orders.side[e, t] != 0).sum()):
                if record.orders.is_limit[e, t, row]:
                    moved[record.slot_after[e, t, n_slots + row]] = t + int(RESTS[first + row])
            due = {int(slot): when for slot, when in moved.items() if slot >= 0}
    assert left_by_itself > 100


def test_z_is_a_decision_rule_and_nothing_else():
    params = constants()
    noise = played(MIMIC, 0, params)
    for trader in (MIMIC, TILTED):
        chex.assert_trees_all_equal(noise.output, played(trader, 1, params).output)
    silent = played(NEVER, 1, params)
    sent = noise.output.slot.acts
    assert 0.2 < sent.mean() < 0.6
    for e in range(N_EPISODES):
        for t in range(SPEC.horizon):
            everyone, others = (simulated_rows(one, e, t) for one in (noise, silent))
            recorded = recorded_rows(noise.final.window[e], t)
            assert sorted(everyone) == sorted(recorded), "the slot's order is one of those recorded"
            assert len(others) == len(recorded) - sent[e, t], "it is taken out of the noise in either class"
            assert not set(others) - set(recorded)


def test_windows_of_training_and_of_evaluation_do_not_meet():
    low, high = windows_of(N_STEPS, SPEC.horizon, 0.3)
    assert (low.tolist(), high.tolist()) == ([0, 35], [42, 53])
    params = constants()
    train, rest = (played(NEVER, 0, one).final.window for one in (params, on_held_out(params)))
    assert train.max() + SPEC.horizon <= 42 <= rest.min()
    assert rest.max() + SPEC.horizon <= N_STEPS
    both = windows_of(N_STEPS, SPEC.horizon, 0.0)
    np.testing.assert_array_equal(*both)
    with pytest.raises(ValueError, match="windows of 8 steps, of which a part of the recording has 6"):
        windows_of(N_STEPS, SPEC.horizon, 0.1)
    assert on_held_out(EnvParams()).windows is None


def test_the_day_is_a_constant_and_stands_in_no_episode_and_no_lane():
    n = len(STREAM.side)
    leaves = jax.tree.leaves(
        (constants(), jax.eval_shape(lambda: MARKET.reset(jax.random.key(0), constants(), jnp.int32(0))))
    )
    assert all(n not in np.shape(leaf) and N_STEPS + 1 not in np.shape(leaf) for leaf in leaves)
    assert recorded_noise(stream()) == LAW
    assert hash(LAW) == hash(recorded_noise(stream()))
    assert recorded_noise(stream(1)) != LAW
    assert LAW.packed.nbytes + LAW.time.nbytes == 6 * n


def test_what_a_reader_knows_is_a_lower_bound():
    params = constants()
    labels = np.arange(N_EPISODES) % 2
    episodes = played(NEVER, labels, params)
    mimic = Mimic(SPEC, noise_law=LAW)
    reader = Reader(mimic, LAW, SPEC, 8, 1)

    def read(key, trajectory):
        happened = jax.vmap(what_happened)(
            trajectory.output, trajectory.z, trajectory.direction, trajectory.final.private
        )
        return read_episodes(key, trajectory.output.record, happened, reader, params)

    rows = jax.tree.map(np.asarray, jax.jit(read)(jax.random.key(1), jax.tree.map(jnp.asarray, episodes)))
    found = exact_information(rows, labels, 0.5)
    assert np.isnan(found.upper)
    assert found.nats == found.lower == pytest.approx(0.0, abs=1e-6), "who is thought to mimic says nothing"
    assert np.isfinite(found.stderr)


def test_as_a_law_of_single_orders_it_is_the_table():
    check_noise_law(LAW, SPEC, constants())
    with pytest.raises(ValueError, match="a recorded flow is played by the law of its recording"):
        law_of(constants())
    with pytest.raises(ValueError, match=r"EnvParams.windows is None: a recorded flow needs the windows"):
        MARKET.reset(jax.random.key(0), constants().replace(windows=None), jnp.int32(0))


def test_orders_beyond_the_bound_are_counted():
    narrow = Market(dataclasses.replace(SPEC, max_noise_orders=2), LAW)
    params = constants(slot_rate=0.0)
    state = narrow.reset(jax.random.key(5), params, jnp.int32(0))
    cut = 0
    for t in range(SPEC.horizon):
        flow = LAW.flow(state.window + t, state.planned, narrow.spec)
        cut += max(len(recorded_rows(int(state.window), t)) - 2, 0)
        assert int(flow.n_sent) == min(len(recorded_rows(int(state.window), t)), 2)
        cut -= int(flow.cut)
    assert cut == 0
