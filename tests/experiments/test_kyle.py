"""Kyle on the book: what an auction does to lots and money, and where its learners are pulled."""

import importlib
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "kyle"
MODULES = ("auctions", "single_price", "ladder", "kyle", "report")


@pytest.fixture(scope="module")
def code():
    """The experiment's own modules, by name; their names are free again afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        for name in MODULES:
            patch.delitem(importlib.sys.modules, name, raising=False)
        yield {name: importlib.import_module(name) for name in MODULES}
        for name in MODULES:
            importlib.sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def clear(code):
    """The auction at one price, mapped over batches; two makers, quotes arrive in the order given."""
    return jax.jit(jax.vmap(code["auctions"].single_price))


def int32(*values):
    return tuple(jnp.asarray(value, jnp.int32) for value in values)


def test_the_better_quote_takes_the_net_flow_and_all_trade_at_it(clear):
    quote = [[12, 10], [-12, -10], [11, 11], [5, 6], [9, 8]]  # the last two batches: a sale, and no net flow
    informed, noise = [7, -2, 4, -6, 3], [-3, -5, 2, 1, -3]
    price, accounts = clear(*int32(quote, [[0, 1], [0, 1], [1, 0], [0, 1], [0, 1]], informed, noise, [2] * 5))
    np.testing.assert_array_equal(price, [10, -10, 11, 6, 2])
    # bought by trader and noise, then by the makers
    np.testing.assert_array_equal(
        accounts.lots, [[7, -3, 0, -4], [-2, -5, 0, 7], [4, 2, 0, -6], [-6, 1, 0, 5], [3, -3, 0, 0]]
    )
    np.testing.assert_array_equal(accounts.cash, -np.asarray(price)[:, None] * np.asarray(accounts.lots))


def test_no_lot_and_no_tick_is_lost_at_one_price(clear):
    rng = np.random.default_rng(4)
    quote, arrival = rng.integers(-900, 900, (500, 2)), rng.permuted(np.tile([0, 1], (500, 1)), axis=1)
    informed, noise, last = rng.integers(-300, 300, (3, 500))
    _, accounts = clear(*int32(quote, arrival, informed, noise, last))
    assert np.all(np.sum(accounts.lots, axis=1) == 0)
    assert np.all(np.sum(accounts.cash, axis=1) == 0)
    np.testing.assert_array_equal(accounts.lots[:, 0], informed)  # everyone is filled
    np.testing.assert_array_equal(accounts.lots[:, 1], noise)


def test_orders_walk_the_ladder_in_turn(code):
    auctions = code["auctions"]
    price, lots = jnp.array([10, 20, 30], jnp.int32), jnp.array([[2, 3, 4], [3, 1, 5]], jnp.int32)
    book = jax.jit(auctions.post_ladder)(price, lots)
    walk = jax.jit(jax.vmap(lambda x, u, first: auctions.walk_ladder(book, x, u, first)))
    filled, accounts = walk(*int32([2, 2, -4, 20], [3, 3, 1, 0]), jnp.array([False, True, False, False]))
    assert np.all(np.sum(accounts.lots, axis=1) == 0)
    assert np.all(np.sum(accounts.cash, axis=1) == 0)
    # asks: 3 at 10, 1 at 20, 5 at 30; bids: 2 at -10, 3 at -20; the second pays more than the first
    np.testing.assert_array_equal(accounts.cash[:, 0], [-20, -(20 + 30), -(10 * 2 + 20 * 2), -(30 + 20 + 150)])
    np.testing.assert_array_equal(accounts.cash[:, 1], [-(10 + 20 + 30), -30, -10, 0])
    np.testing.assert_array_equal(accounts.lots[:, 0], [2, 2, -4, 9])  # beyond the ladder nothing trades
    # the last lot of a queue is the entrant's
    np.testing.assert_array_equal(filled[:, 1], [[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(filled[:, 0], [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(accounts.lots[:, 3], [-2, -2, 1, -3])


def test_learners_are_pulled_to_the_closed_form_and_it_cannot_be_improved(code):
    """At 0.6 of the impact makers ask for more and at 1.6 for less, at twice the intensity the trader sends less."""
    single_price = code["single_price"]
    setting = single_price.Setting(1, 2, 1024, 1, 400.0, 100.0, (0.1, 0.1), (0.1, 0.1), 1.0)

    @jax.jit
    @jax.vmap
    def pull(impact, intensity):
        strategies = single_price.Strategies(jnp.log(intensity)[None], jnp.full((2, 1), jnp.log(impact)))
        return single_price.gradient(jax.random.key(3), strategies, 0.1, setting)

    ascent = pull(jnp.array([0.3, 0.8, 0.5, 0.5]), jnp.array([1.0, 1.0, 2.0, 0.5]))
    makers = np.asarray(ascent.impact)[..., 0]
    assert np.all(makers[0] > 0.1)
    assert np.all(makers[1] < -0.1)
    trader = np.asarray(ascent.intensity)[:, 0]
    assert trader[2] < -0.5 < 0.1 < trader[3]
    shortfall = code["kyle"].trader_shortfall
    assert shortfall([0.5], [1.0], 1.0, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert shortfall([0.5], [1.2], 1.0, 1.0) == pytest.approx(0.04)  # 1 - (2 b - b^2)


def test_depth_grows_where_the_last_lot_earns(code):
    """A ladder far too thin gains depth at prices beyond the spread, and one inside of it none."""
    ladder = code["ladder"]
    setting = ladder.Setting((0.125, 1.0), 1024, 1, 400.0, 100.0, (0.1, 0.1), (0.1, 0.1), 1.0)
    strategies = ladder.Strategies(jnp.asarray(ladder.KNOTS), jnp.full((2, 2), jnp.log(5.0)))
    ascent = jax.jit(lambda s: ladder.gradient(jax.random.key(5), s, 0.1, setting))(strategies)
    earned = np.asarray(ascent.log_depth)
    assert np.all(earned[:, 0] < 0)
    assert np.all(earned[:, 1] > 0)


def test_what_is_quoted_is_what_the_report_says_of_the_file(code):
    """Tables of docs/results.md, the row of the README, and the report's page itself."""
    document = json.loads((FOLDER / "kyle.json").read_text())
    page = code["report"].table(document)
    assert page == (FOLDER / "kyle.md").read_text()
    results, readme = ((FOLDER.parents[1] / name).read_text() for name in ("docs/results.md", "README.md"))
    section = results[results.index("## Kyle on the book") :].split("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert len(tables) == 4
    assert all(table in page for table in tables)
    one, four = document["one_price_1"], document["one_price_4"]
    impact, half = (x[0] for x in code["report"].over_seeds(one, "impact"))
    left = [code["report"].over_seeds(arm, "pricing_error")[0][-1] for arm in (one, four)]
    assert f"price impact {impact:.3f} ± {half:.3f} instead of 0.500" in readme
    assert f"{left[0]:.1%} of the variance left by one auction (theory: 50%), {left[1]:.1%} by four (22.1%)" in readme
