"""An episode's summary against loops over its steps; fresh episodes in the number and mixture asked for."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.evaluation.episodes import summarise
from amarl_jax.types import Owner
from tests.evaluation.conftest import BATCH, N_EPISODES

KINDS = ((0, -1), (0, 1), (1, -1), (1, 1))  # class and side of the parent order


@pytest.fixture(scope="module")
def believed(random_episodes):
    """One random episode of each kind in which the slot ended with lots, under a belief rising from 0.1 to 0.7."""
    z, side, lots = (
        np.asarray(x)
        for x in (random_episodes.z, random_episodes.direction, random_episodes.output.inventory[:, -1, Owner.SLOT])
    )
    rows = [np.flatnonzero((z == kind[0]) & (side == kind[1]) & (lots != 0))[0] for kind in KINDS]
    few = jax.tree.map(lambda x: x[jnp.array(rows)], random_episodes)
    return few.replace(belief=jnp.broadcast_to(jnp.linspace(0.1, 0.7, 24)[None], (len(KINDS), 24)))


@pytest.fixture(scope="module")
def summarised(believed, params):
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda one: summarise(one, params)))(believed))


def by_hand(episode, params):
    """The numbers of one episode from its steps, money owner by owner."""
    out, side = episode.output, int(episode.direction)
    number = dict.fromkeys(("spent", "maker", "adverse", "arbitrageur", "children", "traded", "sniped"), 0.0)
    spread, quoted, accuracy = [], [], []
    for t in range(len(out.value)):
        cash, lots = out.cash_change[t], out.inventory_change[t]
        mid, rise = out.mid2[t] / 2, out.value_next[t] - out.value[t]
        number["spent"] -= cash[Owner.SLOT]
        number["maker"] += cash[Owner.MAKER] + mid * lots[Owner.MAKER] + out.inventory[t, Owner.MAKER] * rise
        number["adverse"] += -lots[Owner.MAKER] * (out.value[t] - mid)
        number["arbitrageur"] += cash[Owner.ARBITRAGEUR]
        number["children"] += out.slot.acts[t]
        number["traded"] += out.traded_lots[t]
        number["sniped"] += out.snipe_lots[t]
        spread.append(out.tape.spread_ticks[t])
        quoted.append(out.quotes.price[t, 1] - out.quotes.price[t, 0])
        accuracy.append(episode.belief[t] if episode.z else 1 - episode.belief[t])
    number["arbitrageur"] += out.inventory[-1, Owner.ARBITRAGEUR] * out.value_next[-1]  # cash plus stock at V_T
    done = side * out.inventory[-1, Owner.SLOT]
    remainder = int(params.parent_lots) - done
    penalty = side * out.value_next[-1] + float(params.terminal_penalty_ticks)
    return {
        "z": episode.z,
        "shortfall_ticks": (number["spent"] + remainder * penalty) / int(params.parent_lots),
        "completion": done / int(params.parent_lots),
        "child_orders": number["children"],
        "maker_pnl": number["maker"],
        "adverse_selection": number["adverse"],
        "arbitrageur_pnl": number["arbitrageur"],
        "snipe_lots": number["sniped"],
        "traded_lots": number["traded"],
        "spread_ticks": np.mean(spread),
        "quoted_spread_ticks": np.mean(quoted),
        "belief": episode.belief[-1],
        "belief_accuracy": np.mean(accuracy),
        "messages": out.n_messages.max(),
        "resting": out.resting_orders.max(),
        "noise_cut": episode.final.noise_cut,
    }


@pytest.mark.parametrize("i", range(len(KINDS)))
def test_a_summary_equals_loops_over_the_steps(i, believed, summarised, params):
    episode = jax.tree.map(lambda x: np.asarray(x)[i], believed.replace(execution=(), maker=(), arbitrageur=()))
    expected = by_hand(episode, params)
    assert expected["child_orders"] > 0
    assert expected["traded_lots"] > 0
    for name, value in expected.items():
        # sums of a few dozen float32 terms of at most a few hundred tick-lots
        np.testing.assert_allclose(getattr(summarised, name)[i], value, rtol=1e-5, atol=1e-3, err_msg=name)


def test_the_tape_kept_is_what_was_played(believed, summarised):
    chex.assert_trees_all_equal(summarised.tape, believed.output.tape)
    assert np.any(np.asarray(summarised.tape.side) != 0)


def test_orders_that_the_book_refused_or_pushed_out_are_added_up(believed, summarised, params):
    assert summarised.refused.tolist() == [0] * len(KINDS)
    one = jax.tree.map(lambda x: x[0], believed)
    counters = one.final.book.counters.replace(refused=jnp.int32(2), evicted=jnp.int32(3))
    overfull = one.replace(final=one.final.replace(book=one.final.book.replace(counters=counters)))
    assert int(summarise(overfull, params).refused) == 5


def test_fresh_episodes_fill_whole_batches_with_both_classes_in_each(summaries):
    for rows in summaries.values():
        assert rows.z.shape == (N_EPISODES,), "one fewer was asked for"
        informed = np.asarray(rows.z).reshape(-1, BATCH).sum(axis=1)
        np.testing.assert_array_equal(informed, BATCH // 2)
        pnl = np.asarray(rows.maker_pnl).reshape(-1, BATCH)
        assert len({tuple(row) for row in pnl}) == len(pnl), "every batch has keys of its own"


def test_the_hurried_order_is_done_and_the_mimics_is_what_noise_would_have_done(summaries):
    """Mimic's slot behaves alike in both classes; TWAP buys its 12 lots unless the book runs dry."""
    rows = jax.tree.map(np.asarray, summaries["twap"])
    assert rows.completion[rows.z == 1].mean() > 0.95
    assert rows.completion[rows.z == 1].max() == 1.0
    mimic = jax.tree.map(np.asarray, summaries["mimic"])
    informed, noise = (mimic.child_orders[mimic.z == z] for z in (1, 0))
    error = np.sqrt(informed.var() / informed.size + noise.var() / noise.size)
    assert abs(informed.mean() - noise.mean()) < 4 * error
    assert abs(noise.mean() - 24 * 0.3) < 4 * np.sqrt(24 * 0.3 * 0.7 / noise.size)  # slot_rate per step
