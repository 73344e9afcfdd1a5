"""The information between two bounds against the enumeration's, and what a false or missing law comes to."""

import dataclasses

import jax
import numpy as np
import pytest

from amarl_jax.errors import LawlessPolicy
from amarl_jax.market.noise import orders
from amarl_jax.policies.baselines import Choice, make_baselines
from amarl_jax.policies.camouflage import Camouflage
from amarl_jax.policies.forced import ForcedCompletion
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.exact import DOUBT, exact_information, nothing_read
from amarl_jax.posterior.filter import has_law, log_posterior, reader_of
from tests.information.test_brute_force import SPEC
from tests.posterior import games

N_COMPARED = 160


def read(name, n_particles, changes=(), reads=None, seed=6):
    """Rows of a trader's episodes under the law of ``reads``, by default its own."""
    record, truth, _ = games.played(name, changes)
    params = games.settings(reads or name, **dict(changes))
    return jax.tree.map(np.asarray, games.brackets(n_particles)(jax.random.key(seed), record, truth, params))


def pointwise(ratio, z):
    """``log q(z | G) / p(z)`` at equal priors, by another formula."""
    return np.log(2.0) - np.logaddexp(0.0, np.where(z == 1, -ratio, ratio))


@pytest.mark.parametrize("name", ["reactive", "one-sided mimic"])
def test_the_bounds_hold_the_exact_information_of_the_same_episodes(name):
    found = games.enumerated(name, N_COMPARED)[1]
    z = games.labels()[:N_COMPARED]
    exact = pointwise(np.array([one.log_ratio[-1] for one in found]), z)
    rows = [games.first(read(name, games.FEW, seed=seed), N_COMPARED) for seed in range(10, 20)]
    below, above = (
        np.array([pointwise(x, z) for x in side])
        for side in ([row.log_ratio[:, -1] for row in rows], [row.log_ratio_above for row in rows])
    )
    errors = [(x - exact).mean(0).std() / np.sqrt(N_COMPARED) for x in (below, above)]
    assert below.mean() < exact.mean() + 3.0 * errors[0]
    assert above.mean() > exact.mean() - 3.0 * errors[1]
    assert below.mean() < above.mean() < below.mean() + 0.1
    found = exact_information(rows[0], z, 0.5)
    np.testing.assert_allclose(found.nats, 0.5 * (found.lower + found.upper), rtol=1e-6)
    np.testing.assert_allclose(found.lower, below[0].mean(), atol=2 * DOUBT)


def test_with_enough_particles_the_bounds_meet_at_the_exact_information():
    z = games.labels()[:N_COMPARED]
    enumerated = games.enumerated("reactive", N_COMPARED)[1]
    ratio = np.array([one.log_ratio[-1] for one in enumerated])
    found = exact_information(games.first(read("reactive", games.ENOUGH), N_COMPARED), z, 0.5)
    np.testing.assert_allclose([found.lower, found.nats, found.upper], pointwise(ratio, z).mean(), atol=2 * DOUBT)
    np.testing.assert_allclose(found.accuracy, ((ratio > 0) == (z == 1)).mean(), atol=1e-6)
    variance = sum(pointwise(ratio, z)[z == c].var(ddof=1) / (z == c).sum() / 4 for c in (0, 1))
    np.testing.assert_allclose(found.stderr, np.sqrt(variance), rtol=0.01)


def test_an_order_that_no_noise_trader_sends_gives_all_away():
    rows = read("one big order", games.FEW, tuple(games.UNLIKE_ANY.items()))
    found = exact_information(rows, games.labels(), 0.5)
    np.testing.assert_allclose([found.lower, found.nats, found.upper], np.log(2.0), atol=1.1 * DOUBT)
    assert found.accuracy == 1.0


def test_the_mimic_is_measured_at_nothing():
    record, truth, _ = games.played("mimic")
    rows = games.brackets(games.FEW, 1)(jax.random.key(0), record, truth, games.settings("mimic"))
    found = exact_information(jax.tree.map(np.asarray, rows), games.labels(), 0.5)
    assert abs(found.lower) < 1e-6
    assert found.lower <= found.nats <= found.upper < 0.05


def test_twice_the_particles_move_the_information_by_less_than_its_error():
    few, more = (exact_information(read("reactive", k), games.labels(), 0.5) for k in (games.FEW, games.ENOUGH))
    assert abs(few.nats - more.nats) < more.stderr


def test_a_law_that_says_0_to_what_was_done_is_an_error_with_its_step():
    """Half of the mimic's orders are against the side that the law of the one-sided one says."""
    rows = read("mimic", games.FEW, reads="one-sided mimic")
    record, truth, row = jax.tree.map(np.asarray, games.played("mimic"))
    steps = []
    for i, hypothesis in enumerate(truth.hypothesis):
        side = np.take_along_axis(record.orders.side[i], np.maximum(row[i], 0)[:, None], 1)[:, 0]
        against = (row[i] >= 0) & (side == (-1 if hypothesis == 0 else 1)) & (hypothesis < 2)
        steps.append(int(np.argmax(against)) if against.any() else -1)
    certain = np.array(steps) >= 0
    lawless = rows.lawless_step
    assert (lawless[certain] >= 0).all()
    assert (lawless[certain] <= np.array(steps)[certain]).all(), "or it was cut to nothing on the wrong side before"
    i = np.flatnonzero(lawless >= 0)[0]
    with pytest.raises(LawlessPolicy, match=rf"probability 0 to what it did in step {lawless[i]} of episode {i}"):
        exact_information(rows, games.labels(), 0.5)
    assert (lawless[games.labels() == 0] == -1).all()
    assert (read("mimic", games.FEW).lawless_step == -1).all()


def test_a_policy_or_a_noise_law_without_a_law_has_no_reader():
    lawless, mimic = ValueRule(), Mimic(SPEC)
    for policy in (
        lawless,
        Camouflage(lawless, mimic, 0.5),
        ForcedCompletion(lawless, SPEC),
        Choice((mimic, lawless), 0),
    ):
        assert not has_law(policy)
        assert reader_of(policy, orders, SPEC, 8, 2) is None

    def noise_without(uniform, p_buy, size_cdf, params, spec):
        return orders(uniform, p_buy, size_cdf, params, spec)

    assert reader_of(mimic, noise_without, SPEC, 8, 2) is None
    for policy in make_baselines(SPEC).values():
        assert has_law(policy)
        assert reader_of(policy, orders, SPEC, 8, 2).n_nodes == 1, "no baseline reads the private number"


@pytest.mark.parametrize(
    ("reads_private", "in_market", "expected"), [(True, True, 4), (True, False, 1), (False, True, 1)]
)
def test_private_numbers_are_drawn_for_policies_that_read_one(reads_private, in_market, expected):
    @dataclasses.dataclass(frozen=True)
    class Reads(Mimic):
        pass

    Reads.reads_private = reads_private
    spec = dataclasses.replace(SPEC, private_randomiser=in_market)
    assert reader_of(Reads(spec), orders, spec, 8, 4).n_nodes == expected


def test_a_dead_or_infinite_ratio_is_a_posterior_within_its_bounds():
    ratios = np.array([-np.inf, 0.0, np.inf], np.float32)
    np.testing.assert_allclose(np.exp(log_posterior(ratios, 0.3)), [0.0, 0.3, 1.0], rtol=1e-6)
    rows = nothing_read(4, SPEC.horizon)
    found = exact_information(jax.tree.map(np.asarray, rows), np.array([0, 1, 0, 1]), 0.5)
    np.testing.assert_allclose([found.nats, found.accuracy], [0.0, 0.5], atol=1e-7)
