"""Rollouts of the learned agents: the belief they act on, the labels they get, the credit they are given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn import ppo
from amarl_jax.learn.experience import executed_actions, market_experience
from amarl_jax.learn.game import freeze, script, unfreeze
from amarl_jax.learn.rollout import stratified_labels
from amarl_jax.learn.scoring import score
from amarl_jax.nets.belief import debias
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.types import Agent, Owner
from tests.learn.conftest import GAME, compiled_learning, compiled_play, with_key

N_EPISODES = 2048


@pytest.fixture(scope="module")
def trained(start, setup):
    """A learner after two passes through both phases."""
    state, learn = with_key(start, 9), compiled_learning()
    for phase in (0, 1, 0, 1):
        state, _ = learn(state, jnp.int32(phase), setup)
    return state


@pytest.fixture(scope="module")
def trajectory(trained, setup):
    """Thousands of episodes of the trained agents."""
    return compiled_play(N_EPISODES)(jax.random.key(1), trained, setup)


def test_cash_and_lots_sum_to_zero_under_trained_policies(trajectory):
    out = trajectory.output
    np.testing.assert_array_equal(np.asarray(out.cash_change).sum(axis=-1), 0)
    np.testing.assert_array_equal(np.asarray(out.inventory_change).sum(axis=-1), 0)
    informed = np.asarray(trajectory.z) == 1
    assert np.abs(np.asarray(out.inventory_change)[informed, :, Owner.SLOT]).sum() > 0, "the trained agent trades"


def test_acting_belief_is_the_full_sequence_belief_of_the_recorded_tape(trajectory, trained, hypers):
    """Cached decoding inside the rollout against one banded pass over what the replay would store; T > 2 W."""
    assert GAME.market_spec.horizon > 2 * GAME.network.belief.max_seq_len
    full = jax.vmap(lambda tape: GAME.belief.apply(trained.belief.params, tape)[0])
    posterior = debias(jax.nn.sigmoid(full(trajectory.output.tape)), hypers.belief_loss_entropy)
    np.testing.assert_allclose(np.asarray(trajectory.belief), np.asarray(posterior), atol=1e-5)  # float32 sums


def test_trajectory_shapes(trajectory):
    spec = GAME.market_spec
    lead = (N_EPISODES, spec.horizon)
    assert trajectory.belief.shape == lead
    assert trajectory.hidden.shape == (*lead, GAME.network.belief.d_model)
    assert trajectory.output.tape.side.shape == (*lead, spec.n_tape_rows)
    assert trajectory.execution.action.shape == (*lead, 3)
    assert trajectory.maker.action.shape == (*lead, 4)
    assert trajectory.arbitrageur.action.shape == lead
    assert trajectory.z.shape == (N_EPISODES,)


@pytest.mark.parametrize("probability", [0.5, 0.3])
def test_labels_are_stratified_to_within_one_environment(probability):
    for seed in range(20):
        n_informed = int(stratified_labels(jax.random.key(seed), 64, probability).sum())
        assert abs(n_informed - 64 * probability) < 1.0


def test_labels_come_in_random_order():
    rows = np.stack([np.asarray(stratified_labels(jax.random.key(seed), 16, 0.5)) for seed in range(200)])
    assert np.abs(rows.mean(axis=0) - 0.5).max() < 0.16  # 4.5 standard errors of a fair coin over 200 draws


@pytest.fixture(scope="module")
def batch(trajectory, trained, setup):
    reward = score(trained, trajectory, setup).reward
    return ppo.make_batch(trained.critic.params, market_experience(trajectory, reward, setup), GAME, setup.hypers)


def test_only_informed_episodes_train_the_execution_policy(trajectory, batch, trained, hypers):
    """Whatever happened in z = 0 episodes, the execution gradient is the same; that of the maker is not."""

    def gradient(agent, data):
        return jax.grad(lambda p: ppo.actor_loss(p, agent, data, GAME, hypers)[0])(trained.agents[agent].params)

    noise = (trajectory.z == 0)[:, None]
    for agent, same in ((Agent.EXECUTION, True), (Agent.MAKER, False)):
        data = batch.actors[agent]
        spoiled = data.replace(advantage=jnp.where(noise, 7.0, data.advantage))
        before, after = (jax.tree.leaves(gradient(agent, x)) for x in (data, spoiled))
        equal = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        assert equal == same


def test_execution_advantages_are_normalised_over_informed_episodes_alone(trajectory, batch):
    advantage, z = np.asarray(batch.actors[Agent.EXECUTION].advantage), np.asarray(trajectory.z)
    informed = advantage[z == 1]
    assert informed.mean() == pytest.approx(0.0, abs=1e-5)  # float32 sums over 40 numbers
    assert informed.std() == pytest.approx(1.0, abs=1e-4)
    assert (advantage[z == 0] == 0).all()


def test_a_policy_is_evaluated_at_what_it_drew(batch, trained, hypers):
    """At unchanged parameters the ratio is 1: approximate KL and clip fraction are 0."""
    for agent in Agent:
        _, diagnostics = ppo.actor_loss(trained.agents[agent].params, agent, batch.actors[agent], GAME, hypers)
        values = {name.split("/")[1]: float(value) for name, value in diagnostics.items()}
        assert values["approx_kl"] == pytest.approx(0.0, abs=1e-6)
        assert values["clip_fraction"] == 0.0


def test_a_frozen_agent_is_left_out_of_its_phase(batch, trained, hypers):
    game = freeze(GAME, Agent.MAKER)
    assert GAME.not_improved == ()
    assert game.learn.frozen == "maker"
    assert freeze(game, Agent.EXECUTION).not_improved == (Agent.EXECUTION, Agent.MAKER)
    assert unfreeze(freeze(game, Agent.EXECUTION), Agent.EXECUTION) == game
    assert unfreeze(game, Agent.MAKER) == GAME
    with pytest.raises(ValueError, match="maker plays a policy of rules"):
        unfreeze(script(GAME, {Agent.MAKER: ConstantSpread()}), Agent.MAKER)
    agents = game.improved(game.phases()[1])
    assert agents == (Agent.ARBITRAGEUR,)
    small = jax.tree.map(lambda x: x[: GAME.learn.n_envs], batch)
    run = jax.jit(lambda key, state, data: ppo.improve(key, state, data, agents, game, hypers)[0])
    after = run(jax.random.key(2), trained, small)
    for agent, same in ((Agent.MAKER, True), (Agent.ARBITRAGEUR, False), (Agent.EXECUTION, True)):
        pairs = zip(jax.tree.leaves(after.agents[agent]), jax.tree.leaves(trained.agents[agent]), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs) == same


def test_the_other_heads_see_the_slots_order_in_both_classes(trajectory, setup):
    slot, _, _ = executed_actions(trajectory, setup)
    acts = np.asarray(trajectory.output.slot.acts)
    assert acts[np.asarray(trajectory.z) == 0].any()
    np.testing.assert_array_equal(np.asarray(slot[..., 0]) != 0, acts)
    lots = np.asarray(trajectory.output.slot.lots)
    np.testing.assert_allclose(np.abs(np.asarray(slot[..., 0])) * 20, lots, atol=1e-4)


@pytest.mark.parametrize("source", ["mine", "belief"])
def test_leakage_telescopes_to_what_the_source_claims_at_the_horizon(trajectory, trained, setup, source):
    game = dataclasses.replace(GAME, learn=dataclasses.replace(GAME.learn, leakage_source=source))
    scores = score(trained, trajectory, setup.replace(game=game))
    claimed = 0.5 * (np.asarray(scores.log_posterior)[:, -1] - np.log(0.5))
    np.testing.assert_allclose(np.asarray(scores.leakage).sum(axis=1), claimed, atol=1e-5)  # float32 telescoping
