"""What docs/extending.md promises: one thing of each kind, added here without a line of the core."""

import dataclasses
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.evaluation import metrics
from amarl_jax.evaluation.episodes import summarise
from amarl_jax.information import estimators
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts
from amarl_jax.learn.scoring import added_rewards, score
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import init_state
from amarl_jax.market.env import Market
from amarl_jax.market.noise import NoiseOrders
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.policies.baselines import choice
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.uniform import Uniform
from amarl_jax.types import Agent, Owner
from tests.learn.conftest import GAME
from tests.market.conftest import SPEC, params

__all__ = ["params"]


def round_lots(uniform, p_buy, size_cdf, params, spec):
    """A noise law: three lots, market orders."""
    side = jnp.where(uniform[0] < p_buy, 1, -1).astype(jnp.int32)
    three = jnp.full(side.shape, 3, jnp.int32)
    return NoiseOrders(side=side, lots=three, offset_ticks=0 * side, is_limit=jnp.zeros(side.shape, bool))


@dataclasses.dataclass(frozen=True)
class OneLotAMinute:
    """An execution policy."""

    def init(self, params):
        return ()

    def act(self, key, carry, view, params):
        return carry, Decision(jnp.array([0.05, -2.0, 1.0]), (), jnp.float32(0.0))


@dataclasses.dataclass(frozen=True)
class InventoryAverseMaker:
    """A new type of agent in the maker's seat: it leans against its inventory."""

    def init(self, params):
        return ()

    def act(self, key, carry, view, params):
        lean = jnp.sign(view.inventory).astype(jnp.float32)
        return carry, Decision(jnp.stack([2.0 + lean, 2.0 - lean, 0.5, 0.5]), (), jnp.float32(0.0))


def inventory_cost(output, z, belief, params):
    """A reward term: the maker pays for what it holds."""
    cost = jnp.zeros((*output.value.shape, 3))
    return cost.at[:, Agent.MAKER].set(-0.01 * output.inventory[:, Owner.MAKER] ** 2)


@dataclasses.dataclass(frozen=True)
class SquaredShortfall:
    name: str = "execution/squared_shortfall_ticks2"
    unit: str = "ticks^2"
    meaning: str = "informed episodes"

    def __call__(self, rows):
        return rows.shortfall_ticks[rows.z == 1] ** 2


@pytest.fixture(scope="module")
def episodes(params):
    """Episodes of the same keys: uninformed, the mimic of the new law, the new execution policy."""
    policies = (Mimic(SPEC, noise_law=round_lots), OneLotAMinute())

    def play(who, z):
        everyone = Players(choice(policies, who), InventoryAverseMaker(), Uniform(SPEC, Agent.ARBITRAGEUR))
        keys = jax.random.split(jax.random.key(8), 16)
        played = rollouts(keys, Market(SPEC, round_lots), everyone, PriorBelief(), jnp.full(16, z), params)
        return played, jax.vmap(lambda one: summarise(one, params))(played)

    compiled = jax.jit(chex.assert_max_traces(play, n=1))
    return [compiled(jnp.int32(who), jnp.int32(z)) for who, z in ((0, 0), (0, 1), (1, 1))]


def test_a_noise_law_is_that_of_the_slot_and_of_the_mimic_too(episodes):
    noise, mimic = (played for played, _ in episodes[:2])
    chex.assert_trees_all_equal(noise.output.tape, mimic.output.tape)
    acts = np.asarray(noise.output.slot.acts)
    assert acts.any()
    assert set(np.asarray(noise.output.slot.lots)[acts].tolist()) == {3}
    assert (np.asarray(noise.output.slot.is_limit) == 0).all()


def test_an_execution_policy_and_a_maker_take_their_seats(episodes):
    played = episodes[2][0]
    assert (np.asarray(played.output.slot.lots) == 1).all()
    held = np.asarray(played.output.inventory[:, :-1, Owner.MAKER])
    bid_offset = np.asarray(played.maker.action[:, 1:, 0])
    assert (held != 0).any()
    np.testing.assert_array_equal(bid_offset, 2.0 + np.sign(held))


def test_a_reward_term_is_added_to_what_the_core_pays(episodes, params):
    played = episodes[2][0]
    added = added_rewards(played, (inventory_cost, inventory_cost), params)
    np.testing.assert_allclose(added[:, :, Agent.MAKER], -0.02 * played.output.inventory[:, :, Owner.MAKER] ** 2)
    assert not np.asarray(added[:, :, Agent.EXECUTION]).any()
    assert added_rewards(played, (), params) == 0


def test_scoring_asks_the_games_own_terms(params):
    """Traced only: the term is called, in a game that is hashed, with an episode's shapes."""
    from amarl_jax.learn.phases import play

    asked = []

    def term(output, z, belief, params):
        asked.append((output.value.shape, z.shape, belief.shape))
        return inventory_cost(output, z, belief, params)

    game = dataclasses.replace(GAME, reward_terms=(term,), noise_law=round_lots)
    assert hash(game) != hash(GAME)
    assert game.market.noise_law is round_lots

    def scored(key):
        key_state, key_play = jax.random.split(key)
        setup = Setup(Hypers(), RewardWeights(), params, game)
        state = init_state(key_state, setup)
        return score(state, play(key_play, state, setup), setup).reward

    horizon = game.market_spec.horizon
    assert jax.eval_shape(scored, jax.random.key(0)).shape == (game.learn.n_envs, horizon, 3)
    assert asked == [((horizon,), (), (horizon,))]


def test_a_metric_is_reported_with_its_error(episodes, monkeypatch):
    rows = jax.tree.map(np.asarray, episodes[2][1])
    detection = SimpleNamespace(mi=0.0, mi_stderr=0.0, accuracy=0.5, accuracy_stderr=0.0, kl_nats=0.0)
    monkeypatch.setattr(metrics, "fresh_detection", lambda *_: detection)
    monkeypatch.setattr(metrics, "METRICS", {})
    metric = metrics.register(SquaredShortfall())
    found = metrics.evaluate_summaries(jax.random.key(0), rows, metrics.Scale(0.5, 16.0, 1.0)).metrics[metric.name]
    assert found.value == pytest.approx(np.mean(rows.shortfall_ticks**2))
    assert found.stderr > 0
    with pytest.raises(ValueError, match="exists already"):
        metrics.register(SquaredShortfall())


@dataclasses.dataclass(frozen=True)
class ChiSquared:
    """An estimator: ``E_joint[T] - E_marg[T + T^2 / 4]``, at most the chi^2 divergence of joint from product."""

    name: str = "chi_squared"

    def init(self, shape=()):
        return ()

    def loss(self, scores, labels, prior, state, ema_decay):
        return -jnp.mean(self.bound(scores, labels, prior)), state

    def bound(self, scores, labels, prior):
        mine = estimators.mine
        return mine.joint_mean(scores, labels, prior) - mine.marginal_mean(scores + scores**2 / 4, labels, prior)


def test_an_mi_estimator_trains_and_reads_a_critic_by_its_name(monkeypatch):
    monkeypatch.setattr(estimators, "REGISTRY", dict(estimators.REGISTRY))
    estimators.register(ChiSquared())
    learn = dataclasses.replace(GAME.learn, mi_estimator="chi_squared")
    estimator = dataclasses.replace(GAME, learn=learn).estimator
    labels = jnp.arange(8) % 2
    # the optimal score 2 (ratio - 1) of a flow that gives z away: ratio 2 where right, 0 where wrong; chi^2 = 1
    scores = jnp.where(labels[:, None] == jnp.arange(2)[None], 2.0, -2.0)
    assert float(estimator.bound(scores, labels, 0.5)) == pytest.approx(1.0)
    loss, _ = estimator.loss(scores, labels, 0.5, estimator.init(), 0.99)
    assert float(loss) == pytest.approx(-1.0)
