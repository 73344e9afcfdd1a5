"""The covert game is the channel of the theory, and the market's learner finds both of its exact optima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.covert import learner as covert
from amarl_jax.covert.game import CovertGame, CovertParams, haste, leverage
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.theory.deterministic import best_leverage, linear_haste, quadratic_haste
from amarl_jax.theory.gaussian_channel import Channel, inflection
from amarl_jax.theory.randomised import best_mixture
from amarl_jax.trees import as_arrays

KNOWN = Channel()
GAME = CovertGame(horizon=8)
N_UPDATES = 180
TRAINING = covert.CovertTraining(GAME, LearnSpec(n_envs=256, n_epochs=4, n_minibatches=2, n_mine_steps=16))


@pytest.mark.parametrize("z", [0, 1])
def test_the_flow_is_a_gaussian_channel_of_the_mean_leverage(z):
    """S[T] is N(z D, 1): mean and deviation over 4,000 episodes, within four standard errors."""
    n, params = 4000, as_arrays(CovertParams())
    decisions = jnp.linspace(-1.0, 0.5, GAME.horizon)

    def episode(key):
        key_reset, key_steps = jax.random.split(key)

        def step(state, inputs):
            time, decision = inputs
            return GAME.step(jax.random.fold_in(key_steps, time), state, decision, params)

        start = GAME.reset(key_reset, params, jnp.int32(z))
        return jax.lax.scan(step, start, (jnp.arange(GAME.horizon), decisions))

    final, output = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(1), n))
    shown = float(jnp.mean(leverage(decisions, params)))
    flow = np.asarray(output.flow[:, -1])
    assert abs(flow.mean() - z * shown) < 4 / np.sqrt(n)
    assert abs(flow.std() - 1.0) < 4 / np.sqrt(2 * n)
    np.testing.assert_allclose(output.haste.sum(axis=1), z * shown / 4.0, atol=1e-6)  # it telescopes
    np.testing.assert_allclose(final.flow, output.flow[:, -1])


def test_haste_is_the_theory_s():
    d = np.linspace(0.0, 3.0, 7)
    for curvature, exact in ((0.0, linear_haste(3.0)), (1.0, quadratic_haste(3.0))):
        params = CovertParams(max_leverage=3.0, haste_curvature=curvature)
        np.testing.assert_allclose(haste(jnp.asarray(d, jnp.float32), params), exact.value(d), atol=1e-6)


def test_without_the_private_number_a_policy_cannot_mix_episodes():
    params = as_arrays(CovertParams())
    trader = covert.init_learner(jax.random.key(0), jnp.float32(-1.2), TRAINING, Hypers()).agents.execution.params
    private = jnp.linspace(-2.0, 2.0, 5)
    seen, noise = covert.leverage_law(trader, private, TRAINING, params)
    blind, _ = covert.leverage_law(trader, private, TRAINING, params.replace(private_randomiser=jnp.float32(0.0)))
    assert (np.diff(seen) > 0.1).all()
    np.testing.assert_array_equal(blind, blind[0])
    # one decision of deviation 0.3 moves d by at most 2 d_max / 4 times as much, the mean of 8 by a third of that
    assert float(noise.max()) < 0.5 * 4.0 * np.exp(-1.2) / np.sqrt(8)


QUIET, LOUD = -1.5, 1.5  # latents of untrained policies
LANES = [  # penalty, private number, start, seed
    (0.8, 0.0, QUIET, 0),
    (1.8, 0.0, LOUD, 0),
    *((1.8, 0.0, QUIET, seed) for seed in range(12)),
    *((penalty, 1.0, start, 0) for penalty in (0.8, 1.8) for start in (QUIET, LOUD)),
]


@pytest.fixture(scope="module")
def learned():
    """Mean leverage by private number of every lane, [update, quantile].

    Deterministic traders that start quiet take advantages of a single step: steps are independent of each other, so
    the sum over later ones is noise, and the quiet hill is low.
    """
    common = {"lr_actor": 6e-3, "lr_critic": 3e-3, "lr_mine": 2e-2, "lr_final_fraction": 0.05, "entropy_weight": 0.0}
    hypers = [
        as_arrays(
            Hypers(
                gae_decay=0.0 if (private, start) == (0.0, QUIET) else Hypers().gae_decay,
                discount=(1.0, 1.0, 1.0),
                n_updates=N_UPDATES,
                **common,
            )
        )
        for _, private, start, _ in LANES
    ]
    params = [
        as_arrays(CovertParams(leakage_weight=penalty, private_randomiser=private, start=start))
        for penalty, private, start, _ in LANES
    ]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *zip(hypers, params, strict=True))
    noise = jnp.array([0.3 if private else -1.2 for _, private, _, _ in LANES])

    def train(seed, log_std, lane):
        return covert.train(jax.random.key(seed), log_std, *lane, TRAINING, N_UPDATES)[1].leverage

    leverages = np.asarray(jax.jit(jax.vmap(train))(jnp.array([lane[3] for lane in LANES]), noise, stacked))
    return dict(zip(LANES, leverages, strict=True))


def test_deterministic_trader_above_the_jump_climbs_the_quiet_hill_from_below(learned):
    """Mean of twelve seeds, which lie a tenth apart, read when learning rates have decayed: it moves by 3%."""
    exact = best_leverage(1.8, linear_haste(4.0), KNOWN)
    last = [learned[(1.8, 0.0, QUIET, seed)][-(N_UPDATES // 6) :].mean() for seed in range(12)]
    assert np.mean(last) == pytest.approx(exact, rel=0.1)


def test_deterministic_trader_above_the_jump_stays_loud_from_a_loud_start(learned):
    """Hysteresis: the corner d_max is a hill still, although no longer the highest."""
    assert learned[(1.8, 0.0, LOUD, 0)][-(N_UPDATES // 6) :].mean() == pytest.approx(4.0, rel=0.1)


def test_deterministic_trader_below_the_jump_becomes_loud_from_a_quiet_start(learned):
    """At lambda = 0.8 there is no quiet hill."""
    assert best_leverage(0.8, linear_haste(4.0), KNOWN) == pytest.approx(4.0)
    assert learned[(0.8, 0.0, QUIET, 0)][-1].mean() == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("start", [QUIET, LOUD])
@pytest.mark.parametrize("penalty", [0.8, 1.8])
def test_randomising_trader_finds_the_exact_share_of_loud_episodes_from_either_start(learned, penalty, start):
    """Read when learning rates have decayed: while they are large P(loud) stands a few hundredths too high."""
    exact = best_mixture(penalty, linear_haste(4.0), KNOWN).loud_probability(inflection(KNOWN))
    last = learned[(penalty, 1.0, start, 0)][-(N_UPDATES // 10) :]
    assert (last > inflection(KNOWN)).mean() == pytest.approx(exact, rel=0.1)
