"""Two paths, one belief; no position sees the future; the entropy bonus is undone exactly."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.nets.belief import BeliefTransformer, belief_loss, debias, init_memory, sinusoids
from amarl_jax.nets.spec import BeliefSpec
from amarl_jax.types import Tape

T, W, K = 20, 6, 3
PUBLIC = ("removals", "value_gap_16", "spread_ticks")  # fields of a step, not of an event
SPEC = BeliefSpec(d_model=8, n_heads=2, n_layers=2, d_ff=12, max_seq_len=W)
MODEL = BeliefTransformer(SPEC, T)
APPLY = jax.jit(MODEL.apply)


def random_tape(seed, n_steps=T):
    rng = np.random.default_rng(seed)
    return Tape(
        side=jnp.asarray(rng.integers(-1, 2, (n_steps, K)), jnp.int8),
        price_ticks=jnp.asarray(rng.integers(-7, 8, (n_steps, K)), jnp.int8),
        size_lots=jnp.asarray(rng.integers(1, 21, (n_steps, K)), jnp.int8),
        marketable=jnp.asarray(rng.integers(0, 2, (n_steps, K)), jnp.int8),
        time_256=jnp.asarray(rng.integers(0, 256, (n_steps, K)), jnp.uint8),
        removals=jnp.asarray(rng.integers(0, 4, (n_steps, 2)), jnp.int8),
        value_gap_16=jnp.asarray(rng.integers(-200, 200, n_steps), jnp.int16),
        spread_ticks=jnp.asarray(rng.integers(0, 6, n_steps), jnp.int16),
    )


@pytest.fixture(scope="module")
def parameters(random_parameters):
    """Loud ones, so that an error anywhere shows in the logit; those of the point process, which adds up, less so."""
    loud = random_parameters(MODEL, random_tape(0))["params"]
    return {"params": loud | {"flow": jax.tree.map(lambda x: 0.1 * x, loud["flow"])}}


def decode_episodes(parameters, tapes, n_envs, spec=SPEC):
    """Decode with the environments in a vmap and the step shared, as the rollout does."""
    cache = jax.tree.map(lambda x: jnp.broadcast_to(x, (n_envs, *x.shape)), init_memory(spec, T))

    def body(cache, t):
        steps = jax.tree.map(lambda x: x[:, t], tapes)
        cache, logit, hidden = jax.vmap(lambda c, s: MODEL.apply(parameters, c, s, t, method="decode"))(cache, steps)
        return cache, (logit, hidden)

    _, (logit, hidden) = jax.lax.scan(body, cache, jnp.arange(T))
    return logit.swapaxes(0, 1), hidden.swapaxes(0, 1)


def test_cached_and_full_belief_agree_beyond_two_windows(parameters):
    assert T > 2 * W
    tapes = jax.tree.map(lambda *x: jnp.stack(x), random_tape(1), random_tape(2))
    full = jax.jit(jax.vmap(MODEL.apply, (None, 0)))(parameters, tapes)
    cached = jax.jit(decode_episodes, static_argnums=2)(parameters, tapes, 2)
    chex.assert_shape(full, [(2, T), (2, T, SPEC.d_model)])
    np.testing.assert_allclose(cached[0], full[0], atol=1e-5)  # float32, the bound of issue 2
    np.testing.assert_allclose(cached[1], full[1], atol=1e-5)
    assert np.std(full[0], axis=1).min() > 0.1  # the agreement is about something


def test_a_cache_in_bfloat16_is_half_as_large_and_moves_the_log_odds_within_its_bound(parameters):
    """Keys and values are rounded by 2^-8 of themselves at most; log-odds of order 1 move by less than 2^-5."""
    small = dataclasses.replace(SPEC, cache="bfloat16")
    rings = [
        sum(x.nbytes for x in (*memory.key, *memory.value)) for memory in (init_memory(s, T) for s in (SPEC, small))
    ]
    assert rings[0] == 2 * rings[1]
    tapes = jax.tree.map(lambda *x: jnp.stack(x), random_tape(1), random_tape(2))
    full = jax.jit(jax.vmap(MODEL.apply, (None, 0)))(parameters, tapes)
    cached = jax.jit(decode_episodes, static_argnums=(2, 3))(parameters, tapes, 2, small)
    error = np.abs(cached[0] - full[0]).max()
    assert 1e-5 < error < 2.0**-5, "rounded, and by no more"


def test_no_position_sees_the_future_and_each_sees_its_own_token(parameters):
    tokens = np.random.default_rng(5).standard_normal((T, SPEC.d_model)).astype(np.float32)
    jacobian = jax.jit(jax.jacrev(lambda x: MODEL.apply(parameters, x, method="encode")[0]))(tokens)  # [t, s, d_model]
    dependence = np.abs(jacobian).sum(axis=2)
    reach = SPEC.n_layers * (W - 1)  # layers stack their windows
    age = np.arange(T)[:, None] - np.arange(T)[None]
    np.testing.assert_array_equal(dependence > 0, (age >= 0) & (age <= reach))


def test_one_layer_sees_exactly_its_window(random_parameters):
    model = BeliefTransformer(BeliefSpec(d_model=8, n_heads=2, n_layers=1, d_ff=12, max_seq_len=W), T)
    parameters = random_parameters(model, random_tape(0))
    tokens = np.random.default_rng(5).standard_normal((T, SPEC.d_model)).astype(np.float32)
    jacobian = jax.jit(jax.jacrev(lambda x: model.apply(parameters, x, method="encode")[0]))(tokens)
    age = np.arange(T)[:, None] - np.arange(T)[None]
    np.testing.assert_array_equal(np.abs(jacobian).sum(axis=2) > 0, (age >= 0) & (age < W))


def test_what_has_left_the_window_is_remembered_in_sum(parameters):
    """Buys for sells at the opening, out of reach of every layer, move the last belief."""
    tape = random_tape(0)
    assert SPEC.n_layers * (W - 1) + 2 < T - 2
    mirrored = tape.replace(side=tape.side.at[:2].multiply(-1))
    assert abs(APPLY(parameters, mirrored)[0][-1] - APPLY(parameters, tape)[0][-1]) > 1e-3


def test_short_episodes_are_prefixes_of_long_ones(parameters):
    """Fewer steps than the window, hence another block layout, the same beliefs."""
    tape = random_tape(0)
    short = APPLY(parameters, jax.tree.map(lambda x: x[:4], tape))
    full = APPLY(parameters, tape)
    np.testing.assert_allclose(short[0], full[0][:4], atol=1e-5)  # float32


def test_empty_rows_contribute_nothing_and_live_ones_do(parameters):
    tape = random_tape(0)
    empty = tape.side == 0
    garbage = jnp.where(empty, jnp.int8(99), tape.price_ticks)
    relabelled = tape.replace(price_ticks=garbage, size_lots=jnp.where(empty, jnp.int8(77), tape.size_lots))
    logit, _ = APPLY(parameters, tape)
    np.testing.assert_array_equal(APPLY(parameters, relabelled)[0], logit)
    live = tape.replace(size_lots=jnp.where(empty, tape.size_lots, jnp.int8(5)))
    assert np.abs(APPLY(parameters, live)[0] - logit).max() > 1e-3


def test_every_field_of_the_tape_reaches_the_belief(parameters):
    tape = random_tape(0)
    logit, _ = APPLY(parameters, tape)
    for name in Tape.__dataclass_fields__:
        other = APPLY(parameters, tape.replace(**{name: getattr(random_tape(9), name)}))[0]
        assert np.abs(other - logit).max() > 1e-3, name


def test_order_of_events_in_a_step_does_not_matter(parameters):
    tape = random_tape(0)
    reversed_rows = {name: getattr(tape, name)[:, ::-1] for name in Tape.__dataclass_fields__ if name not in PUBLIC}
    actual = APPLY(parameters, tape.replace(**reversed_rows))[0]
    np.testing.assert_allclose(actual, APPLY(parameters, tape)[0], atol=1e-5)  # float32 sums


def test_untrained_belief_is_nearly_one_half():
    model = BeliefTransformer(BeliefSpec(d_model=4, n_heads=1, n_layers=1, d_ff=4, max_seq_len=W), W)
    tape = random_tape(0, W)
    logit, _ = jax.jit(model.init_with_output)(jax.random.key(0), tape)[0]
    np.testing.assert_allclose(jax.nn.sigmoid(logit), 0.5, atol=0.05)


def test_sinusoids_by_hand():
    table = sinusoids(4, 6)
    assert table[3, 0] == pytest.approx(np.sin(3))
    assert table[3, 1] == pytest.approx(np.cos(3))
    assert table[2, 4] == pytest.approx(np.sin(2 / 10_000 ** (4 / 6)))


@pytest.mark.parametrize("beta", [0.0, 0.05, 0.5])
def test_debias_recovers_the_posterior_from_the_minimiser_of_the_loss(beta):
    """The expected loss at posterior p, minimised over a grid of logits, by numpy."""
    logits = np.linspace(-12, 12, 240_001)
    b = 1 / (1 + np.exp(-logits))
    for p in (0.02, 0.3, 0.5, 0.9):
        entropy = -b * np.log(b) - (1 - b) * np.log(1 - b)
        expected_loss = -p * np.log(b) - (1 - p) * np.log(1 - b) - beta * entropy
        minimiser = b[np.argmin(expected_loss)]
        assert float(debias(jnp.float32(minimiser), beta)) == pytest.approx(p, abs=1e-4)  # grid spacing
        if beta and p != 0.5:
            assert abs(minimiser - 0.5) < abs(p - 0.5) - 1e-4  # there was a bias to undo


def test_debias_at_the_boundaries():
    value, gradient = jax.vmap(jax.value_and_grad(debias), (0, None))(jnp.array([0.0, 0.5, 1.0]), 0.05)
    np.testing.assert_allclose(value, [0.0, 0.5, 1.0], atol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_belief_loss_closed_form(label):
    logits = np.array([-3.0, 0.0, 0.4, 5.0])
    b = 1 / (1 + np.exp(-logits))
    cross_entropy = -np.log(b if label else 1 - b)
    entropy = -b * np.log(b) - (1 - b) * np.log(1 - b)
    actual = belief_loss(jnp.float32(logits), jnp.float32(label), 0.05)
    assert float(actual) == pytest.approx(np.mean(cross_entropy - 0.05 * entropy), abs=1e-5)  # float32


def test_belief_loss_is_finite_when_certain():
    for label in (0.0, 1.0):
        value, gradient = jax.value_and_grad(belief_loss)(jnp.array([-1e4, 1e4]), jnp.float32(label), 0.05)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_gradients_are_finite_and_reach_every_parameter(parameters):
    tape = random_tape(5)
    loss = jax.jit(jax.grad(lambda p: belief_loss(MODEL.apply(p, tape)[0], jnp.float32(1.0), 0.05)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(loss(parameters)):
        assert np.isfinite(leaf).all(), path
        # a bias of the keys shifts all scores of a query alike, so its gradient vanishes
        assert np.abs(leaf).sum() > 0 or "key" in jax.tree_util.keystr(path), path


def test_widths_must_fit_the_heads():
    with pytest.raises(ValueError, match="multiple of n_heads"):
        BeliefSpec(d_model=10, n_heads=4)


def test_a_posterior_as_the_target_is_its_mean_over_labels():
    logits, p = jnp.array([-3.0, 0.0, 0.4, 5.0]), jnp.array([0.1, 0.5, 0.3, 0.9])
    by_label = [np.mean(np.asarray(weight) * _each_loss(logits, label)) for label, weight in ((0.0, 1 - p), (1.0, p))]
    assert float(belief_loss(logits, p, 0.05)) == pytest.approx(sum(by_label), abs=1e-5)  # float32


def _each_loss(logits, label):
    """Of every prefix alone."""
    return np.array([float(belief_loss(logits[i : i + 1], jnp.float32(label), 0.05)) for i in range(len(logits))])
