"""With enough particles the filter is exact: every likelihood at every prefix is that of the full enumeration."""

import jax
import numpy as np
import pytest

from amarl_jax.posterior.filter import NOISE
from tests.information.brute_force import on_host
from tests.information.test_brute_force import SPEC
from tests.posterior import games

N_COMPARED = 160
PLAYED = {"reactive": (), "one big order": (("parent_lots", 4),), "one-sided mimic": ()}


def found(name, changes=()):
    """Of the filter with enough particles, on all episodes; numpy."""
    record, _, _ = games.played(name, changes)
    keys = jax.random.split(jax.random.key(1), len(games.labels()))
    return jax.tree.map(
        np.asarray, games.likelihoods(games.ENOUGH)(keys, record, games.settings(name, **dict(changes)))
    )


def overflow(episode, params):
    """Log-likelihood [T] of one order too many, which the enumeration counts in its unit and the filter does not."""
    bound, rate = SPEC.max_noise_orders, on_host(params).noise_rate
    log_mass = np.log(1 - np.exp(-rate) * sum(rate**n / np.prod(np.arange(1.0, n + 1)) for n in range(bound)))
    return np.cumsum([log_mass * (len(step.rows) > bound) for step in episode.steps])


@pytest.mark.parametrize("name", PLAYED)
def test_the_filter_is_the_enumeration_at_every_prefix(name):
    params = games.settings(name, **dict(PLAYED[name]))
    episodes, expected = games.enumerated(name, N_COMPARED, PLAYED[name])
    ours = found(name, PLAYED[name])
    for i, (episode, theirs) in enumerate(zip(episodes, expected, strict=True)):
        orders = np.column_stack([theirs.log_z_by_direction, theirs.log_z0]) + overflow(episode, params)[:, None]
        np.testing.assert_allclose(ours.of_orders[i], orders, rtol=0, atol=2e-4, err_msg=f"episode {i}")
        np.testing.assert_allclose(ours.of_side[i], theirs.log_p_direction, rtol=1e-5, atol=1e-5)
    assert np.ptp(ours.of_orders[:N_COMPARED, -1, NOISE]) > 1.0, "the records say something of the slot"


def test_a_size_that_no_other_law_sends_tells_all():
    """Float32 holds it impossible under noise, the enumeration next to impossible."""
    changes = tuple(games.UNLIKE_ANY.items())
    _, expected = games.enumerated("one big order", N_COMPARED, changes)
    ours = found("one big order", changes)
    informed = games.labels()[:N_COMPARED] == 1
    log_z1 = np.logaddexp(
        *(ours.of_orders + np.pad(ours.of_side, ((0, 0), (0, 0), (0, 1))))[..., :NOISE].transpose(2, 0, 1)
    )
    for label in (0, 1):
        own = np.flatnonzero(informed == label)
        posterior = np.array([expected[i].posterior()[-1] for i in own])
        np.testing.assert_allclose(posterior, label, atol=1e-4)
        dead = ours.of_orders[own, -1, NOISE] if label else log_z1[own, -1]
        alive = log_z1[own, -1] if label else ours.of_orders[own, -1, NOISE]
        assert np.isneginf(dead).all()
        assert np.isfinite(alive).all()


def test_the_sample_holds_every_special_case():
    seen = dict.fromkeys(("replaced", "partly filled", "cut", "cut to nothing", "one too many", "half"), 0)
    episodes, _ = games.enumerated("reactive", N_COMPARED)
    for episode in episodes:
        truth, came = episode.truth, {}
        for step, choice, child, wanted in zip(episode.steps, truth.choices, truth.children, truth.wanted, strict=True):
            own = next((row for row in step.rows if row.number == choice), None)
            lots = {order.number: order.lots for order in step.resting if order.number in came}
            came |= {row.number: row.lots for row in step.rows}
            seen["replaced"] += choice != "silent" and child is not None
            seen["partly filled"] += any(0 < step.traded.get(number, 0) < n for number, n in lots.items())
            seen["cut"] += own is not None and own.lots < wanted
            seen["cut to nothing"] += choice == "cut"
            seen["one too many"] += len(step.rows) == SPEC.max_noise_orders + 1
            seen["half"] += step.mid2 % 2
    assert min(seen.values()) >= 1, seen


def test_the_truth_is_what_the_plain_record_says():
    _, truths, _ = games.played("reactive")
    episodes, _ = games.enumerated("reactive", N_COMPARED)
    for i, episode in enumerate(episodes):
        truth = episode.truth
        options = [
            {"silent": 0, "cut": 1}.get(
                choice, 2 + [row.number for row in step.rows].index(choice) if isinstance(choice, int) else 0
            )
            for step, choice in zip(episode.steps, truth.choices, strict=True)
        ]
        assert np.asarray(truths.option[i]).tolist() == options
        assert int(truths.hypothesis[i]) == (NOISE if truth.z == 0 else {1: 0, -1: 1}[truth.direction])
        assert float(truths.private[i]) == truth.private
