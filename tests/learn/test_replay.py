import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn import replay


def batch(*ids):
    """Packed items whose content identifies them."""
    return {"code": jnp.array(ids, jnp.int8), "tape": jnp.array(ids, jnp.int16)[:, None] * jnp.ones((1, 3), jnp.int16)}


def ring(capacity):
    return replay.init({"code": jax.ShapeDtypeStruct((), jnp.int8), "tape": jnp.zeros(3, jnp.int16)}, capacity)


def sample(key, state, n, alpha, beta):
    return replay.sample(jax.random.uniform(key, (n,)), state, alpha, beta)


def reference_probabilities(priority, alpha):
    powered = [p**alpha for p in priority]
    return [p / sum(powered) for p in powered]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_probabilities_equal_the_plain_reference(alpha):
    priority = [0.3, 2.0, 0.01, 1.0]
    state = replay.add(ring(6), batch(1, 2, 3, 4), jnp.array(priority))
    expected = [*reference_probabilities(priority, alpha), 0.0, 0.0]
    np.testing.assert_allclose(replay.probabilities(state, alpha), expected, rtol=1e-6)  # float32 powers


def test_every_item_is_drawn_as_often_as_its_probability_says(key):
    priority = [0.3, 2.0, 0.01, 1.0]
    state = replay.add(ring(6), batch(1, 2, 3, 4), jnp.array(priority))
    n, repeats = 32, 400
    draw = jax.jit(jax.vmap(lambda k: sample(k, state, n, 0.6, 0.4)))
    drawn = draw(jax.random.split(key, repeats))
    frequency = np.bincount(np.asarray(drawn.indices).ravel(), minlength=6) / (n * repeats)
    probability = np.array([*reference_probabilities(priority, 0.6), 0.0, 0.0])
    # a stratified count moves by at most one draw, so 4 / (n sqrt(repeats)) is over four standard errors
    np.testing.assert_allclose(frequency, probability, atol=4 / (n * np.sqrt(repeats)))
    per_call = np.stack([np.bincount(row, minlength=6) for row in np.asarray(drawn.indices)])
    assert (np.abs(per_call - n * probability) < 2).all()
    np.testing.assert_array_equal(drawn.items["code"], drawn.indices + 1)
    np.testing.assert_array_equal(drawn.items["tape"][..., 2], drawn.indices + 1)


def test_importance_weights_equal_the_plain_reference(key):
    priority = [0.5, 2.0, 1.0]
    state = replay.add(ring(3), batch(1, 2, 3), jnp.array(priority))
    drawn = sample(key, state, 16, 0.6, 0.4)
    raw = np.array([(3 * p) ** -0.4 for p in reference_probabilities(priority, 0.6)])
    np.testing.assert_allclose(drawn.weights, (raw / raw.max())[np.asarray(drawn.indices)], rtol=1e-5)
    np.testing.assert_array_equal(sample(jax.random.clone(key), state, 16, 0.6, 0.0).weights, np.ones(16))


def test_full_correction_makes_the_weighted_mean_that_of_the_items(key):
    value = jnp.array([1.0, 2.0, 4.0, 8.0])
    state = replay.add(ring(4), batch(1, 2, 3, 4), jnp.array([0.2, 0.4, 1.0, 3.0]))
    drawn = jax.vmap(lambda k: sample(k, state, 64, 1.0, 1.0))(jax.random.split(key, 200))
    mean = jnp.sum(drawn.weights * value[drawn.indices]) / jnp.sum(drawn.weights)
    assert abs(float(mean) - 3.75) < 0.05  # Monte Carlo error of 12,800 stratified draws is about 0.01


def test_the_ring_overwrites_the_oldest_and_new_items_get_the_largest_priority():
    state = replay.add(ring(3), batch(1, 2))
    np.testing.assert_array_equal(state.priority, [1.0, 1.0, 0.0])
    state = replay.update_priorities(state, jnp.array([1]), jnp.array([5.0]))
    state = replay.add(state, batch(3, 4))
    np.testing.assert_array_equal(state.storage["code"], [4, 2, 3])
    np.testing.assert_array_equal(state.storage["tape"][:, 0], [4, 2, 3])
    np.testing.assert_array_equal(state.priority, [5.0, 5.0, 5.0])
    assert int(state.size) == 3
    assert int(state.cursor) == 1
    assert state.storage["code"].dtype == jnp.int8
    with pytest.raises(ValueError, match="batch of 4"):
        replay.add(state, batch(1, 2, 3, 4))


def test_an_empty_ring_draws_nothing_that_counts(key):
    drawn = sample(key, ring(4), 8, 0.6, 0.4)
    np.testing.assert_array_equal(drawn.weights, np.zeros(8))


def test_zero_priority_stays_possible(key):
    state = replay.add(ring(2), batch(1, 2), jnp.zeros(2))
    np.testing.assert_allclose(replay.probabilities(state, 1.0), [0.5, 0.5])
    assert np.isfinite(sample(key, state, 4, 0.6, 0.4).weights).all()


def test_lanes_are_independent_under_vmap(key):
    priority = jnp.array([[1.0, 3.0], [7.0, 1.0]])
    keys = jax.random.split(key, 2)
    states = jax.vmap(lambda p: replay.add(ring(4), batch(1, 2), p))(priority)
    lanes = jax.vmap(lambda k, s, a: sample(k, s, 8, a, 0.4))(keys, states, jnp.array([0.6, 1.0]))
    for lane, alpha in enumerate((0.6, 1.0)):
        alone = sample(
            jax.random.split(jax.random.clone(key), 2)[lane],
            replay.add(ring(4), batch(1, 2), priority[lane]),
            8,
            alpha,
            0.4,
        )
        np.testing.assert_array_equal(lanes.indices[lane], alone.indices)
        np.testing.assert_allclose(lanes.weights[lane], alone.weights, rtol=1e-6)
