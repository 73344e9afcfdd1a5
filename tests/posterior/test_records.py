"""The record of a step against the one in plain Python, and that nobody's name is in it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.lob.messages import MessageKind
from amarl_jax.market.env import Actions
from amarl_jax.market.record import record_step
from amarl_jax.trees import as_arrays
from amarl_jax.types import Owner
from tests.information.anonymous_record import RecordingMarket
from tests.information.test_brute_force import PARAMS, SPEC
from tests.posterior import games

N_COMPARED = 200
CAPACITY = SPEC.book_capacity


def places(resting):
    """Place in the record's columns of every order at rest, by number: bids from 0, asks from the capacity on."""
    found, rank = {}, {1: 0, -1: CAPACITY}
    for order in resting:
        found[order.number] = rank[order.side]
        rank[order.side] += 1
    return found


@pytest.fixture(scope="module")
def both():
    """Records [E, T], as numpy, and the same episodes in plain Python."""
    record, _, _ = games.played("reactive")
    return jax.tree.map(np.asarray, record), games.enumerated("reactive", N_COMPARED)[0]


def steps_of(both):
    """Every step of either record, and the step that follows in plain Python, None for the last."""
    record, episodes = both
    for i, episode in enumerate(episodes):
        for t, step in enumerate(episode.steps):
            following = episode.steps[t + 1] if t + 1 < SPEC.horizon else None
            yield jax.tree.map(lambda x, i=i, t=t: x[i, t], record), step, following


@pytest.mark.default_emitters
def test_orders_are_those_of_the_plain_record(both):
    for ours, step, _ in steps_of(both):
        n_rows, orders = len(step.rows), ours.orders
        assert orders.side.tolist() == [row.side for row in step.rows] + [0] * (SPEC.n_record_rows - n_rows)
        assert orders.lots[:n_rows].tolist() == [row.lots for row in step.rows]
        assert orders.is_limit[:n_rows].tolist() == [row.price is not None for row in step.rows]
        np.testing.assert_array_equal(orders.time_ms[:n_rows], [row.time_ms for row in step.rows])
        for row, offset in zip(step.rows, orders.offset_ticks, strict=False):
            centre = step.mid2 // 2 if row.side > 0 else -(-step.mid2 // 2)
            assert offset == (0 if row.price is None else row.side * (centre - row.price))


def test_orders_at_rest_what_left_and_what_traded_are_those_of_the_plain_record(both):
    n_partial = 0
    for ours, step, _ in steps_of(both):
        at = places(step.resting)
        rows = {row.number: 2 * CAPACITY + i for i, row in enumerate(step.rows)}
        lots, price, left = np.zeros(2 * CAPACITY), np.zeros(2 * CAPACITY), np.zeros(2 * CAPACITY, bool)
        traded = np.zeros(2 * CAPACITY + SPEC.n_record_rows)
        for order in step.resting:
            lots[at[order.number]], price[at[order.number]] = order.lots, order.price
            left[at[order.number]] = order.number in step.left
            if not order.by_maker:
                traded[at[order.number]] = step.traded.get(order.number, 0)
                n_partial += 0 < step.traded.get(order.number, 0) < order.lots
        for number, place in rows.items():
            traded[place] = step.traded.get(number, 0)
        np.testing.assert_array_equal(ours.lots, lots)
        np.testing.assert_array_equal(ours.price_ticks, price)
        np.testing.assert_array_equal(ours.left, left)
        np.testing.assert_array_equal(ours.traded, traded)
    assert n_partial > 10


def test_every_order_is_found_again_where_it_stands_after_the_step(both):
    n_gone = n_there = 0
    for ours, step, following in steps_of(both):
        after = places(following.resting) if following else {}
        rows = {row.number: 2 * CAPACITY + i for i, row in enumerate(step.rows)}
        shown = places(step.resting) | rows
        for number, place in shown.items():
            stands = number in step.rest_after
            assert ours.slot_after[place] == after[number] if stands and following else True
            assert (ours.slot_after[place] >= 0) == stands
            n_there, n_gone = n_there + stands, n_gone + (not stands)
        others = np.setdiff1d(np.arange(len(ours.slot_after)), list(shown.values()))
        assert (ours.slot_after[others] == -1).all()
    assert min(n_there, n_gone) > 100


def test_what_everyone_saw_is_that_of_the_plain_record(both):
    for ours, step, _ in steps_of(both):
        assert 2 * ours.public.mid == step.mid2
        assert ours.public.spread == step.spread
        np.testing.assert_array_equal(ours.public.depth, step.depth)
        np.testing.assert_allclose(ours.public.news_gap + ours.public.mid, step.news, rtol=0, atol=1e-5)
        np.testing.assert_allclose(ours.volatility**2, step.variance, rtol=1e-5)
        assert ours.value == np.float32(step.value)


@pytest.fixture(scope="module")
def with_other_names():
    """Records and slot's rows [E, T] of random play, and those of the same steps in which the slot is another."""
    market = RecordingMarket(SPEC)
    others = jnp.array([{Owner.SLOT: Owner.NOISE, Owner.NOISE: Owner.SLOT}.get(owner, owner) for owner in Owner])
    actions = Actions(jnp.zeros(3), jnp.array([1.0, 1.0, 0.5, 0.5]), jnp.float32(0.0))

    def rename(before, log):
        book = dataclasses.replace(before.book, owner=others[before.book.owner])
        message = dataclasses.replace(log.message, owner=others[log.message.owner])
        accounts = jax.tree.map(lambda x: x[others], before.accounts)
        hidden = {"z": 1 - before.z, "direction": -before.direction, "private": before.private + 1.0}
        return before.replace(book=book, accounts=accounts, **hidden), dataclasses.replace(log, message=message)

    def episode(key, params):
        key_reset, key_steps = jax.random.split(key)

        def step(state, time):
            after, _ = market.step(jax.random.fold_in(key_steps, time), state, actions, params)
            log = market.seen.pop()["log"]
            return after, (record_step(state, log, SPEC), record_step(*rename(state, log), SPEC), log.message)

        state = market.reset(key_reset, params, jnp.int32(0))
        return jax.lax.scan(step, state, jnp.arange(SPEC.horizon))[1]

    played = jax.jit(jax.vmap(episode, (0, None)))(jax.random.split(jax.random.key(8), 200), as_arrays(PARAMS))
    return jax.tree.map(np.asarray, played)


def test_no_owner_of_a_noise_or_slot_order_enters(with_other_names):
    (plain, plain_row), (renamed, renamed_row), message = with_other_names
    for (path, a), (_, b) in zip(*map(jax.tree_util.tree_leaves_with_path, (plain, renamed)), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
    assert (plain_row != renamed_row).mean() > 0.3, "the slot's row is another, and only that"
    is_slots = (message.owner == Owner.SLOT) & (message.kind != MessageKind.NONE)
    assert is_slots.any(-1).mean() > 0.2


def test_the_slots_row_is_the_order_that_it_sent(both):
    _, episodes = both
    _, _, slot_row = games.played("reactive")
    for i, episode in enumerate(episodes):
        for t, (step, choice) in enumerate(zip(episode.steps, episode.truth.choices, strict=True)):
            numbers = [row.number for row in step.rows]
            assert int(slot_row[i, t]) == (numbers.index(choice) if isinstance(choice, int) else -1)
