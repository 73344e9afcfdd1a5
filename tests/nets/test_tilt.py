"""The tilted noise law against sums over all of its cells, and its gradients where a cell cannot be tilted."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.nets.tilt import TILT_MAX, NoiseCells, TiltHead, TiltLatents, raw_tilt

N_PLACES, N_LOTS = 4, 3
RNG = np.random.default_rng(3)


def cells(rate=0.3):
    place, lots = RNG.gamma(1.0, size=N_PLACES) + 0.1, RNG.gamma(1.0, size=(N_PLACES, N_LOTS)) + 0.1
    return NoiseCells(
        jnp.float32(rate), jnp.float32(place / place.sum()), jnp.float32(lots / lots.sum(1, keepdims=True))
    )


CELLS = cells()


def head(scale=1.0, **changes):
    rng = np.random.default_rng(7)
    outputs = (rng.normal(0, scale, shape).astype(np.float32) for shape in (2, N_PLACES, (2, N_LOTS)))
    return TiltHead(CELLS, jnp.float32(0.6), *map(jnp.asarray, outputs)).replace(**changes)


def by_sums(one):
    """P(gate), P(side) and P(cell) in float64, cell by cell."""

    def tilted(p, nats):
        weight = p * math.exp(nats)
        return weight / (weight + 1.0 - p)

    switches, place, lots = (np.asarray(x, np.float64) for x in (one.switches, one.place, one.lots))
    weights = np.array(
        [
            [
                float(CELLS.place[p]) * float(CELLS.lots[p, k]) * math.exp(place[p] + lots[int(p > 0), k])
                for k in range(N_LOTS)
            ]
            for p in range(N_PLACES)
        ]
    )
    gate, side = tilted(float(CELLS.rate), switches[0]), tilted(float(one.along), switches[1])
    return gate, side, weights / weights.sum()


def latents(gate=1.0, side=1.0, place=0, lots=1):
    return TiltLatents(jnp.float32(gate), jnp.float32(side), jnp.int32(place), jnp.int32(lots))


def entropy(p):
    p = np.asarray(p).ravel()
    return float(-(p * np.log(p)).sum())


def test_log_prob_and_entropy_are_those_of_the_sums_over_all_cells():
    one = head()
    gate, side, cell = by_sums(one)
    log_prob = jax.jit(one.log_prob)
    for place, k in np.ndindex(cell.shape):
        for along in (0.0, 1.0):
            expected = math.log(gate) + math.log(side if along else 1 - side) + math.log(cell[place, k])
            assert float(log_prob(latents(1.0, along, place, k + 1))) == pytest.approx(expected, abs=2e-6)
    assert float(log_prob(latents(gate=0.0, place=2, lots=3))) == pytest.approx(math.log(1 - gate), abs=1e-6)
    expected = entropy([gate, 1 - gate]) + gate * (entropy([side, 1 - side]) + entropy(cell))
    assert float(jax.jit(one.entropy)()) == pytest.approx(expected, abs=2e-6)
    said_gate, said_side, places, lots = one.law()
    assert (float(said_gate), float(said_side)) == pytest.approx((gate, side), abs=1e-6)
    np.testing.assert_allclose(np.asarray(places)[:, None] * np.asarray(lots), cell, atol=1e-6)


def test_draws_have_the_frequencies_of_the_sums():
    n, one = 40_000, head()
    drawn = jax.tree.map(np.asarray, jax.jit(jax.vmap(one.sample))(jax.random.split(jax.random.key(1), n)))
    gate, side, cell = by_sums(one)
    counts = np.bincount(drawn.place * N_LOTS + drawn.lots - 1, minlength=cell.size)
    p = cell.ravel()
    assert (np.abs(counts - n * p) <= 4.5 * np.sqrt(n * p)).all()
    assert drawn.gate.mean() == pytest.approx(gate, abs=0.012)
    assert drawn.side.mean() == pytest.approx(side, abs=0.012)


def test_outputs_of_0_are_the_noise_law_and_no_others_are():
    still = head(switches=jnp.zeros(2), place=jnp.zeros(N_PLACES), lots=jnp.zeros((2, N_LOTS)))
    assert bool(still.is_noise)
    assert not bool(still.replace(lots=still.lots.at[1, 2].set(1e-6)).is_noise)
    gate, side, places, lots = still.law()
    assert (float(gate), float(side)) == pytest.approx((0.3, 0.6), abs=1e-6)
    np.testing.assert_allclose(places, CELLS.place, atol=1e-6)
    np.testing.assert_allclose(lots, CELLS.lots, atol=1e-6)


def test_the_mode_is_the_likeliest_and_its_law_is_certain():
    one = head(2.0)
    _, _, cell = by_sums(one)
    mode = jax.tree.map(float, one.mode())
    place = cell.sum(1).argmax()
    assert (mode.place, mode.lots) == (place, 1 + cell[place].argmax())
    gate, side, places, lots = map(np.asarray, one.mode_law())
    assert (gate, side) == (mode.gate, mode.side)
    assert places[place] == lots[place, int(mode.lots) - 1] == 1.0


@functools.cache
def gradients():
    def value(switches, place, lots, base, latent):
        one = TiltHead(base, jnp.float32(1.0), switches, place, lots)
        return one.log_prob(latent) + one.entropy()

    return jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2)))


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("nats", [-TILT_MAX, TILT_MAX])
def test_gradients_are_finite_where_nothing_can_be_tilted(rate, nats):
    """Cells that noise never draws, a slot that always or never acts, orders that are all along the side."""
    lots = np.zeros((N_PLACES, N_LOTS), np.float32)
    lots[:, 0] = 1.0
    base = NoiseCells(jnp.float32(rate), jnp.float32([1.0, 0.0, 0.0, 0.0]), jnp.asarray(lots))
    outputs = (jnp.full(shape, jnp.float32(nats)) for shape in (2, N_PLACES, (2, N_LOTS)))
    found = gradients()(*outputs, base, latents(1.0, 0.0, 3, 2))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_an_output_is_found_for_every_tilt_within_the_largest():
    for nats in (-9.9, -2.0, 0.0, 1e-3, 9.0):
        assert float(TILT_MAX * jnp.tanh(raw_tilt(jnp.float32(nats)) / TILT_MAX)) == pytest.approx(nats, rel=1e-4)
    assert float(raw_tilt(jnp.float32(0.0))) == 0.0
    assert np.isfinite(raw_tilt(jnp.float32(50.0)))
