"""The learner of the market on games whose optimum is known; one compiled program trains every probe as a lane.

Tolerances: a policy that still explores with a deviation of 0.1 pays 0.01 of score per action component.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn import ppo
from amarl_jax.learn.hypers import Hypers
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent
from tests.learn import probes
from tests.learn.probes import GAME, MAKER_TARGET, Probe, T, global_state, head, observation

N_UPDATES = 100
AT_ONCE, LATER = (0.0, 0.0, 0.0), (1.0, 0.9, 0.9)  # discounts of the three agents
LANES = {  # discounts, entropy weight, learning rate, share of it left at the end
    Probe.BANDIT: (AT_ONCE, 1e-3, 1e-2, 0.05),
    Probe.OBSERVATION: (AT_ONCE, 1e-3, 1e-2, 0.05),
    Probe.DELAYED: (LATER, 1e-3, 1e-2, 0.05),
    Probe.PENNIES: (AT_ONCE, 0.0, 5e-3, 1.0),
}


def _hypers(discount, entropy_weight, learning_rate, final):
    return as_arrays(
        Hypers(
            discount=discount,
            entropy_weight=entropy_weight,
            lr_actor=learning_rate,
            lr_critic=1e-2,
            lr_final_fraction=final,
            n_updates=float(N_UPDATES),
        )
    )


@pytest.fixture(scope="module")
def trained():
    """Every lane's learner and coins."""
    hypers = jax.tree.map(lambda *x: jnp.stack(x), *(_hypers(*lane) for lane in LANES.values()))
    run = jax.jit(jax.vmap(lambda key, probe, h: probes.train(key, probe, h, N_UPDATES)))
    return run(jax.random.split(jax.random.key(3), len(LANES)), jnp.array([int(p) for p in LANES]), hypers)


@pytest.fixture(scope="module")
def learner(trained):
    """``learner(probe)``: that lane's policies and critic."""
    return lambda probe: jax.tree.map(
        lambda x: x[probe], trained[0].replace(key=jnp.zeros(len(LANES)))
    )  # the key is not read again


def _heads(state, cue, time):
    return [
        head(agent, state.agents[agent].params, observation(jnp.float32(cue), jnp.float32(time))) for agent in Agent
    ]


def _probabilities(execution):
    return np.asarray(jax.nn.sigmoid(execution.switch_logits))


def _assert_best_order(execution):
    """The gate opens, the side is along, the order a limit; size 0.7, offset 0.3."""
    assert (_probabilities(execution) > 0.95).all()
    mode = execution.mode()
    np.testing.assert_allclose([mode.size, mode.offset], [0.7, 0.3], atol=0.05)


@pytest.mark.parametrize("cue", [-1, 1])
def test_bandit_of_every_head(learner, cue):
    execution, maker, arbitrageur = _heads(learner(Probe.BANDIT), cue, 0)
    _assert_best_order(execution)
    np.testing.assert_allclose(maker.mean, MAKER_TARGET, atol=0.05)
    assert float(jnp.tanh(arbitrageur.mean)) == pytest.approx(0.5, abs=0.05)
    assert float(jnp.max(jnp.exp(maker.log_std))) < 0.3, "the deviation shrinks from 0.6: noise costs its square"
    assert float(jnp.exp(arbitrageur.log_std)) < 0.3


@pytest.mark.parametrize("cue", [-1, 1])
def test_what_is_best_depends_on_what_is_seen(learner, cue):
    execution, maker, arbitrageur = _heads(learner(Probe.OBSERVATION), cue, 2)
    if cue > 0:
        _assert_best_order(execution)
    else:
        assert _probabilities(execution)[0] < 0.05, "acting costs at least 2.5 here: the gate shuts"
    np.testing.assert_allclose(maker.mean, cue * MAKER_TARGET, atol=0.07)
    assert float(jnp.tanh(arbitrageur.mean)) == pytest.approx(0.5 * cue, abs=0.05)


def test_an_action_is_credited_for_what_it_earns_three_steps_later(learner):
    execution, maker, arbitrageur = _heads(learner(Probe.DELAYED), 1, 0)
    _assert_best_order(execution)
    np.testing.assert_allclose(maker.mean, MAKER_TARGET, atol=0.1)
    assert float(jnp.tanh(arbitrageur.mean)) == pytest.approx(0.5, abs=0.05)


def test_the_critic_knows_what_is_owed_and_discounts_it(learner):
    """A score of s earned at the first step and paid at the last is worth ``gamma^(T - 1 - t) s`` at step t.

    At that time no action matters any more, so neither do the opponents'. Tolerance: a tenth of the largest value.
    """
    state, owed = learner(Probe.DELAYED), jnp.array([1.2, -0.3, -0.2])
    actions = (jnp.array([[1.0, 1.0, 0.7, 0.3, 1.0]]), MAKER_TARGET[None], jnp.ones((1, 1)))
    for time in (1, 3):
        seen = global_state(observation(jnp.float32(1), jnp.float32(time)), owed)[None]
        value = np.asarray(ppo.values(state.critic.params, seen, actions, GAME))[0]
        expected = np.asarray(LATER) ** (T - 1 - time) * np.asarray(owed)
        np.testing.assert_allclose(value, expected, atol=0.12)


def test_matching_pennies_goes_round_the_mixed_equilibrium(trained):
    """Gradient play of a zero-sum game does not converge: it cycles, and its average over turns is the equilibrium.

    With advantages of unit deviation the flow of the logits is ``dp/dt ~ (2q - 1)``, ``dq/dt ~ -(2p - 1)`` up to
    positive factors that depend on p alone and on q alone: clockwise in the (p, q) plane, along level sets of
    ``1 / sqrt(p (1 - p)) + 1 / sqrt(q (1 - q))``. Alternating steps would keep near a level set (Bailey, Gidel and
    Piliouras 2020); Adam does not, as its momentum carries the gradients of one phase into the next and pushes the
    orbit outwards. What is left of the theory is tested: it turns, clockwise, without settling, around (1/2, 1/2).
    """
    p, q = (np.asarray(coin)[Probe.PENNIES] for coin in trained[1])
    angle = np.unwrap(np.arctan2(q - 0.5, p - 0.5))
    turns = (angle[0] - angle) / (2 * np.pi)
    assert turns[-1] > 1.5, "clockwise: execution runs after the arbitrageur, which runs away from it"
    last = turns > turns[-1] - 1
    assert min(np.ptp(p[last]), np.ptp(q[last])) > 0.2, "it has not settled"
    whole = turns <= np.floor(turns[-1])
    np.testing.assert_allclose([p[whole].mean(), q[whole].mean()], 0.5, atol=0.08)  # the noise of few turns


def test_no_value_has_a_gradient_to_its_own_agents_action(learner):
    """Through the trained critic and the function that PPO reads it by: exactly 0, and to the others not."""
    state = learner(Probe.DELAYED)
    rng = np.random.default_rng(0)
    seen = jnp.asarray(rng.standard_normal((1, 5)), jnp.float32)
    actions = tuple(jnp.asarray(rng.standard_normal((1, n)), jnp.float32) for n in (5, 4, 1))
    jacobian = jax.jacrev(lambda a: ppo.values(state.critic.params, seen, a, GAME)[0])(actions)
    moves = np.array([[np.abs(np.asarray(by_action[i])).max() > 0 for by_action in jacobian] for i in Agent])
    np.testing.assert_array_equal(moves, ~np.eye(3, dtype=bool))
