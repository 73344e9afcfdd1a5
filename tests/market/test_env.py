"""Single steps by hand, and what must hold of the event table, the tape and the program."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.lob import book as lob
from amarl_jax.market import observe
from amarl_jax.market.env import Actions, decode_quotes
from amarl_jax.types import Owner
from tests.market.conftest import SPEC

QUIET = {"noise_rate": 0.0, "slot_rate": 0.0, "value_volatility_ticks": 0.0, "jitter_ms": 0.0}


@pytest.fixture(scope="module")
def quiet(params):
    """A market in which only the three agents move."""
    return params.replace(**{name: jnp.float32(value) for name, value in QUIET.items()})


@pytest.fixture(scope="module")
def step(market):
    return jax.jit(chex.assert_max_traces(market.step, n=1))


@functools.cache
def _key(i):
    return jax.random.key(i)


def _actions(execution=(0.0, 0.0, 1.0), maker=(2.0, 2.0, 0.3, 0.5), arbitrageur=0.0):
    return Actions(jnp.array(execution), jnp.array(maker), jnp.float32(arbitrageur))


def _play(step, market, params, *actions, z=1):
    state = market.reset(jax.random.key(0), params, jnp.int32(z))
    outputs = []
    for i, action in enumerate(actions):
        state, out = step(jax.random.key(100 + i), state, action, params)
        outputs.append(out)
    return state, outputs


def test_opening_book_is_the_providers_ladder(market, params):
    state = market.reset(jax.random.key(0), params, jnp.int32(0))
    live, size, price = lob.live(state.book), lob.sizes(state.book), lob.prices(state.book)
    assert np.asarray(live).sum(axis=1).tolist() == [6, 6]
    bids = [(int(p), int(q)) for p, q, here in zip(price[0], size[0], live[0], strict=True) if here]
    assert bids == [(-1, 5), (-1, 3), (-2, 5), (-2, 3), (-3, 5), (-3, 3)]
    assert int(state.mid2) == 0
    assert set(np.asarray(state.book.owner)[np.asarray(live)]) == {int(Owner.PROVIDER)}


def test_opening_book_is_what_the_engine_makes_of_those_orders(market):
    rows = [(side, -side * level, lots) for level in (1, 2, 3) for lots in (5, 3) for side in (1, -1)]
    side, price, quantity = (jnp.array(column, jnp.int32) for column in zip(*rows, strict=True))
    same = jnp.zeros_like(side)
    orders = lob.Message(
        kind=same + lob.MessageKind.LIMIT,
        side=side,
        price=price,
        quantity=quantity,
        order_id=jnp.arange(len(rows), dtype=jnp.int32),
        owner=same + Owner.PROVIDER,
        expiry=same + lob.NEVER,
    )
    book, _ = lob.apply_all(lob.empty_book(market.book_spec), orders, market.book_spec)
    chex.assert_trees_all_equal(market.opening_book, jax.tree.map(np.asarray, book))


def test_the_maker_cancels_and_replaces_instead_of_piling_up(step, market, quiet):
    state, _ = _play(step, market, quiet, *[_actions()] * 4)
    own = lob.live(state.book) & (state.book.owner == Owner.MAKER)
    assert np.asarray(own).sum(axis=1).tolist() == [1, 1]
    assert int(state.book.counters.unknown_cancel) == 2, "only the first step has nothing to cancel"


def test_an_aggressive_buy_is_booked_to_both_owners(step, market, quiet):
    buy = _actions(execution=(0.25, 0.0, -1.0))  # 5 of 20 lots at market, along the parent side
    state, (out,) = _play(step, market, quiet, buy)
    side = int(state.direction)
    assert int(out.inventory[Owner.SLOT]) == 5 * side
    assert int(out.inventory[Owner.PROVIDER]) == -5 * side
    assert int(out.cash_change[Owner.SLOT]) == -5 * side * side, "5 lots at the first level, one tick away"
    assert int(out.cash_change[Owner.PROVIDER]) == 5


def test_a_decision_replaces_the_working_child_and_abstaining_leaves_it(step, market, quiet):
    long_lived = quiet.replace(lifetime_steps=jnp.float32(1e6))
    post = _actions(execution=(0.25, 5.0, 1.0))
    state, outs = _play(step, market, long_lived, post, _actions(), post)
    child = lob.live(state.book) & (state.book.owner == Owner.SLOT)
    assert int(np.asarray(child).sum()) == 1
    removals = [np.asarray(out.tape.removals).sum() for out in outs]
    assert removals == [0, 0, 1], "replaced in bulk when deciding again, left alone when abstaining"


def test_the_child_seen_is_the_child_that_rests(step, market, quiet):
    long_lived = quiet.replace(lifetime_steps=jnp.float32(1e6))
    state, _ = _play(step, market, long_lived, _actions(execution=(0.25, 5.0, 1.0), maker=(4.0, 4.0, 0.3, 0.5)))
    seen = observe.views(state, jnp.float32(0.5), long_lived, SPEC).execution
    assert int(seen.child_lots) == 5
    assert float(seen.child_along) == 1.0
    assert float(seen.child_offset) == 5.0 + int(state.direction) * float(seen.public.mid)


def test_an_order_expires_in_the_step_its_lifetime_ends(step, market, quiet):
    short = quiet.replace(lifetime_steps=jnp.float32(1.0))
    _, outs = _play(step, market, short, _actions(execution=(0.25, 5.0, 1.0)), _actions())
    assert np.asarray(outs[1].tape.removals).sum() == 1


def test_the_arbitrageur_lifts_the_ask_it_saw_and_its_rest_is_dropped(step, market, quiet):
    far = _actions(maker=(5.0, 5.0, 0.0, 0.0))
    state, (out,) = _play(step, market, quiet, _actions(arbitrageur=0.5, maker=(5.0, 5.0, 0.0, 0.0)))
    assert int(out.inventory[Owner.ARBITRAGEUR]) == 5
    assert int(out.cash_change[Owner.ARBITRAGEUR]) == -5
    assert bool(out.arbitrageur_traded)
    assert int(np.asarray(lob.live(state.book) & (state.book.owner == Owner.ARBITRAGEUR)).sum()) == 0
    _, (idle,) = _play(step, market, quiet, far)
    assert not bool(idle.arbitrageur_traded)


def test_a_snipe_is_a_fill_against_a_quote_of_an_earlier_step(step, market, quiet):
    tight, hit = _actions(maker=(0.0, 0.0, 1.0, 1.0)), _actions(maker=(0.0, 0.0, 1.0, 1.0), arbitrageur=-1.0)
    _, outs = _play(step, market, quiet, tight, hit)
    assert int(outs[1].snipe_lots) == 5
    slow = quiet.replace(latency_arbitrageur_ms=jnp.float32(50.0))
    _, outs = _play(step, market, slow, tight, hit)
    assert int(outs[1].snipe_lots) == 0
    assert bool(outs[1].arbitrageur_traded), "it trades all the same, against the fresh quote"


def test_quotes_keep_a_tick_between_them_and_a_lot_each(params):
    quotes = decode_quotes(jnp.array([0.0, 0.0, 0.0, 2.0]), jnp.int32(4), params)
    assert quotes.price.tolist() == [2, 3]
    assert quotes.lots.tolist() == [1, 10]
    wide = decode_quotes(jnp.array([99.0, -3.0, 0.5, 0.5]), jnp.int32(5), params)
    assert wide.price.tolist() == [2 - 5, 3], "offsets are clipped to [0, max_spread], centres rounded outward"


def test_the_maker_quotes_no_side_that_would_break_its_limit(step, market, quiet):
    tight = quiet.replace(maker_inventory_limit=jnp.int32(3))
    _, outs = _play(
        step,
        market,
        tight,
        _actions(maker=(0.0, 0.0, 1.0, 1.0)),
        _actions(arbitrageur=-1.0),
        _actions(arbitrageur=-1.0),
    )
    assert max(abs(int(out.inventory[Owner.MAKER])) for out in outs) == 3


def test_mid_is_the_last_one_while_a_side_is_empty(step, market, quiet):
    sweep = _actions(execution=(1.0, 0.0, -1.0), maker=(5.0, 5.0, 0.0, 0.0))
    deep = quiet.replace(parent_lots=jnp.int32(1000), maker_inventory_limit=jnp.int32(0))
    state, outs = _play(step, market, deep, sweep, sweep, sweep)
    _, exists = lob.best_quotes(state.book)
    assert not bool(exists.all())
    assert int(outs[-1].mid2_next) == int(outs[-1].mid2)
    assert int(outs[-1].tape.spread_ticks) == 0


def test_the_tape_shows_everyone_but_the_maker_in_order_of_arrival(random_episodes):
    tape = jax.tree.map(np.asarray, random_episodes.output.tape)
    live = tape.side != 0
    assert (np.diff(live.astype(int), axis=-1) <= 0).all(), "events first, empty rows after them"
    later = live[..., 1:]
    assert (np.diff(tape.time_256.astype(int), axis=-1)[later] >= 0).all()
    assert (tape.size_lots[live] >= 1).all()
    n_messages = np.asarray(random_episodes.output.n_messages)
    assert (live.sum(axis=-1) <= n_messages).all()


def test_lifetimes_leave_the_book_far_below_its_capacity(random_episodes):
    assert int(np.asarray(random_episodes.output.resting_orders).max()) < SPEC.book_capacity
