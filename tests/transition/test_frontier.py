"""Frontiers with a known answer: convex ones have no jump, a concave stretch has one of known size and penalty."""

import json

import numpy as np
import pytest

from amarl_jax.transition.frontier import Policies, efficient_policies, frontier, legendre, lower_hull

DENSE = np.linspace(0.02, 0.69, 16)
WITH_ENDS = np.sort(np.concatenate([[0.1, 0.5], np.linspace(0.02, 0.68, 14)]))
SIZE, PENALTY = 0.4, 2.0  # of the jump of `dented`
N_SAMPLES = 8


def convex(nats):
    """``C'(I) = -4 (0.7 - I)``, so ``I(lambda) = 0.7 - lambda / 4``."""
    return 2.0 * (0.7 - nats) ** 2


def dented(nats, height=0.1):
    """Convex but for a dent over (0.1, 0.5), whose chord has slope -2 as have both curves where they meet it."""
    left = 1.0 + 2.0 * (0.1 - nats) + 20.0 * (0.1 - nats) ** 2
    right = 0.2 - 2.0 * (nats - 0.5) + 5.0 * (nats - 0.5) ** 2
    dent = 1.0 - 2.0 * (nats - 0.1) + height * np.sin(np.pi * (nats - 0.1) / 0.4)
    return np.where(nats < 0.1, left, np.where(nats > 0.5, right, dent))


def exactly(nats, units):
    """Policies measured without error to speak of."""
    values = np.stack([nats, units], axis=1)
    return Policies.scripted([str(i) for i in range(len(nats))], values, np.full(values.shape, 1e-9))


def noisily(seed, nats, units, n_seeds=8):
    """Means over seeds that scatter by 0.02 nats and units at each penalty, and together by 0.01."""
    rng = np.random.default_rng([seed, 5])
    seeds = 0.02 * rng.normal(size=(n_seeds, len(nats), 2)) + 0.01 * rng.normal(size=(n_seeds, 1, 2))
    both = np.stack([nats, units], axis=1) + seeds
    return Policies.learned(np.arange(len(nats), dtype=float), both[..., 0], both[..., 1])


def test_the_hull_keeps_what_no_mixture_beats():
    points = np.array([[0.0, 30.0], [0.1, 10.0], [0.2, 9.0], [0.3, 3.0], [0.05, 25.0], [0.6, 2.0], [0.6, 8.0]])
    assert lower_hull(points).tolist() == [0, 1, 3, 5]
    assert efficient_policies(points).tolist() == [True, True, True, True, True, True, False]
    again = np.array([[0.2, 1.0], [0.2, 1.0], [0.2, 3.0], [0.1, 1.0], [0.3, 1.0]])
    assert lower_hull(again).tolist() == [3], "the same cost for more information is no corner"
    assert efficient_policies(again).tolist() == [False, False, False, True, False]


def test_the_prediction_is_the_legendre_transform():
    nats = np.linspace(0.0, 0.7, 701)
    penalty = np.array([0.0, 0.4, 1.0, 2.6, 5.0])
    found = legendre(np.stack([nats, convex(nats)], axis=1)[None], penalty)[0]
    np.testing.assert_allclose(found, np.maximum(0.7 - penalty / 4.0, 0.0), atol=0.0011)  # the mesh


def test_without_noise_a_dent_is_a_jump_of_its_size_at_its_slope():
    found = frontier(exactly(WITH_ENDS, dented(WITH_ENDS)))
    (jump,) = found.jumps
    assert (jump.size_nats.value, jump.penalty.value) == pytest.approx((SIZE, PENALTY))
    assert len(jump.passes_over) == np.sum((WITH_ENDS > 0.1) & (WITH_ENDS < 0.5))
    value, limits = found.predicted(np.array([PENALTY - 0.05, PENALTY + 0.05]))
    np.testing.assert_allclose(value, [0.5, 0.1])
    np.testing.assert_allclose(limits, [[0.5, 0.1]] * 2, atol=1e-6)
    assert "a jump of 0.40" in str(found)
    json.dumps(found.as_json(np.array([1.0, 3.0])), allow_nan=False)


def test_without_noise_a_convex_frontier_has_gaps_alone():
    found = frontier(exactly(DENSE, convex(DENSE)))
    assert {piece.kind for piece in found.pieces} == {"gap"}
    assert found.resolution_nats == pytest.approx(np.diff(DENSE).max())
    assert str(found) == "no jump seen; a jump of up to 0.04 nats cannot be excluded"


def test_a_gap_without_policies_is_no_jump_and_its_length_is_told():
    """Two thirds of the dent's curve unmeasured: nothing says whether it is a dent."""
    outside = WITH_ENDS[(WITH_ENDS <= 0.1) | (WITH_ENDS >= 0.5)]
    found = frontier(exactly(outside, dented(outside)))
    assert not found.jumps
    assert found.resolution_nats == pytest.approx(SIZE)


def test_dominated_policies_make_no_jump():
    """Expensive scripts inside a gap are no evidence that nothing better is there."""
    nats = np.append(DENSE[[0, 4, 10, 15]], [0.3, 0.35])
    units = np.append(convex(DENSE[[0, 4, 10, 15]]), [1.5, 1.6])
    assert not frontier(exactly(nats, units)).jumps


@pytest.fixture(scope="module")
def noisy_dents():
    return [frontier(noisily(i, WITH_ENDS, dented(WITH_ENDS, 0.15))) for i in range(N_SAMPLES)]


def test_a_dent_is_found_through_noise_with_size_and_penalty_in_their_intervals(noisy_dents):
    """A dent of 0.15 units, nine standard errors: found, and only there; the intervals hold about what they say."""
    assert all(len(found.jumps) == 1 for found in noisy_dents)
    jumps = [found.jumps[0] for found in noisy_dents]
    assert sum(jump.size_nats.lower <= SIZE <= jump.size_nats.upper for jump in jumps) >= N_SAMPLES - 2
    assert sum(jump.penalty.lower <= PENALTY <= jump.penalty.upper for jump in jumps) >= N_SAMPLES - 2


@pytest.mark.parametrize("shape", [convex, lambda nats: 1.0 - nats], ids=["convex", "straight"])
def test_noise_on_a_convex_frontier_is_no_jump(shape):
    """Level 5%: 3 or more of 8 happen with probability 0.6%. A straight line is the hardest convex frontier."""
    found = [frontier(noisily(i, DENSE, shape(DENSE))) for i in range(N_SAMPLES)]
    assert sum(bool(each.jumps) for each in found) < 3


def test_what_may_be_straight_through_noise_is_told_in_one_piece():
    """A straight line of 0.67 nats, on which noise puts corners: a jump of nearly all of it cannot be excluded."""
    found = [frontier(noisily(i, DENSE, 1.0 - DENSE)) for i in range(N_SAMPLES)]
    assert sum(each.resolution_nats > 0.55 for each in found) >= N_SAMPLES - 2
    pieces = [max(piece.size_nats.value for piece in each.pieces) for each in found]
    assert np.mean(pieces) < np.mean([each.resolution_nats for each in found]) - 0.1, "no single piece shows it"
    stretch = max(found, key=lambda each: each.resolution_nats).straight
    assert stretch.penalty == pytest.approx(1.0, abs=0.1)


def test_what_bends_beyond_its_noise_is_not_straight():
    """``C'' = 4``: over 0.2 nats the middle lies 0.02 units below the chord, ten times its noise over eight seeds."""
    rng = np.random.default_rng(7)
    both = np.stack([DENSE, convex(DENSE)], axis=1) + 0.003 * rng.normal(size=(8, len(DENSE), 2))
    assert frontier(Policies.learned(DENSE, both[..., 0], both[..., 1])).resolution_nats < 0.2
    found = frontier(exactly(DENSE, convex(DENSE)))
    assert found.straight.depth_units == 0.0
    json.dumps(found.as_json(np.array([1.0, 3.0]))["straight"], allow_nan=False)


def test_a_stretch_that_may_be_straight_has_no_jump_in_it(noisy_dents):
    for found in noisy_dents:
        assert found.resolution_nats < 0.3, "the dent is 0.4 long"
        assert {found.straight.quiet, found.straight.loud} <= {found.policies.names[i] for i in found.corners}


def test_seven_seeds_have_no_intervals_and_no_jump():
    found = frontier(noisily(0, WITH_ENDS, dented(WITH_ENDS), n_seeds=7))
    assert not found.jumps
    assert str(found).startswith("jump not determined: no intervals")
    assert np.isnan(found.predicted(np.array([1.0]))[1]).all()


def test_scripts_join_learned_policies():
    """Learned policies at both ends of the dent, scripts inside: the scripts show that it is one."""
    ends = WITH_ENDS[(WITH_ENDS <= 0.1) | (WITH_ENDS >= 0.5)]
    inside = np.array([0.2, 0.3, 0.4])
    scripts = np.stack([inside, dented(inside)], axis=1)
    both = noisily(3, ends, dented(ends)) + Policies.scripted(["a", "b", "c"], scripts, np.full((3, 2), 0.01))
    (jump,) = frontier(both).jumps
    assert {"a", "b", "c"} <= set(jump.passes_over)
    assert jump.loud.startswith("learned, lambda")
