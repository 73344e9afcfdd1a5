"""Cash and lots: nothing appears, nothing vanishes, no limit breaks, nothing leaves int32."""

import jax
import numpy as np

from amarl_jax.market.env import MAX_LOTS, MAX_PRICE_TICKS
from amarl_jax.market.params import MarketSpec
from amarl_jax.types import Owner


def test_cash_and_lots_sum_to_zero_after_every_step_of_thousands_of_random_episodes(random_episodes):
    out = jax.tree.map(np.asarray, random_episodes.output)
    assert out.cash_change.shape == (2048, 24, 5)
    np.testing.assert_array_equal(out.cash_change.sum(axis=-1), 0)
    np.testing.assert_array_equal(out.inventory_change.sum(axis=-1), 0)
    assert (np.abs(out.inventory_change).sum(axis=(0, 1)) > 0).all(), "every owner traded, or the sum shows nothing"


def test_inventory_is_the_running_sum_of_its_changes(random_episodes):
    out = jax.tree.map(np.asarray, random_episodes.output)
    np.testing.assert_array_equal(np.cumsum(out.inventory_change, axis=1), out.inventory)


def test_what_left_the_provider_and_noise_is_what_agents_hold(random_episodes):
    inventory = np.asarray(random_episodes.output.inventory)
    agents = inventory[..., [Owner.SLOT, Owner.MAKER, Owner.ARBITRAGEUR]].sum(axis=-1)
    crowd = inventory[..., [Owner.NOISE, Owner.PROVIDER]].sum(axis=-1)
    np.testing.assert_array_equal(agents, -crowd)


def test_position_limits_hold_after_every_step(random_episodes, params):
    inventory = np.abs(np.asarray(random_episodes.output.inventory))
    for owner, limit in (
        (Owner.SLOT, params.parent_lots),
        (Owner.MAKER, params.maker_inventory_limit),
        (Owner.ARBITRAGEUR, params.arbitrageur_position_limit),
    ):
        largest = inventory[..., owner].max()
        assert largest == int(limit), f"{owner.name}: the limit is reached but never passed"


def test_the_slot_is_limited_along_its_side_in_both_classes(random_episodes, params):
    position = (
        np.asarray(random_episodes.output.inventory)[..., Owner.SLOT] * np.asarray(random_episodes.direction)[:, None]
    )
    for z in (0, 1):
        of_class = position[np.asarray(random_episodes.z) == z]
        assert np.abs(of_class).max() <= int(params.parent_lots)


def test_cash_of_the_longest_day_stays_inside_int32_even_at_the_largest_price():
    spec = MarketSpec()
    most_lots_per_step = spec.n_messages * spec.max_order_size
    assert spec.horizon * most_lots_per_step * MAX_PRICE_TICKS < 2**31
    assert MAX_LOTS * MAX_PRICE_TICKS < 2**31


def test_counters_are_clean_under_random_play(random_episodes):
    counters = random_episodes.final.book.counters
    for name in ("invalid", "duplicate", "refused", "evicted", "self_trade"):
        assert int(np.asarray(getattr(counters, name)).sum()) == 0, name
    assert int(np.asarray(counters.unknown_cancel).sum()) > 0, "some quotes are filled before their cancel arrives"
