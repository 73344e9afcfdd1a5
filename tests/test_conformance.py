"""The conformance kit: our own extensions pass it, and each fault of a broken one is named."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.covert.game import CovertGame
from amarl_jax.covert.learner import CovertTraining
from amarl_jax.information import estimators
from amarl_jax.information.tape_detector import empty_episode
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import LearnSpec
from amarl_jax.market.noise import StylisedNoise, orders
from amarl_jax.market.params import EnvParams
from amarl_jax.market.table_noise import TableNoise, table_of
from amarl_jax.nets.spec import BeliefSpec, NetworkSpec
from amarl_jax.nets.tilt import TiltInput
from amarl_jax.policies.baselines import make_baselines
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.learned import actor, learned_policy, observation_sizes
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.tilted import market_cells
from amarl_jax.policies.uniform import Uniform
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.testing import SMALL, check_estimator, check_learnable, check_noise_law, check_policy
from amarl_jax.types import Agent

BASELINES = make_baselines(SMALL)
NETWORK = NetworkSpec((8,), (8,), (8,), (8,), 4, (8,), 4, BeliefSpec(8, 2, 1, 8, 4))
SIZES = observation_sizes(SMALL, EnvParams())
EVIDENCE = (empty_episode(SMALL.horizon, SMALL.n_tape_rows), jnp.ones((SMALL.horizon, 9)))  # of the statistics network


def learned(agent, deterministic=False):
    parameters = actor(agent, NETWORK).init(jax.random.key(0), jnp.zeros(SIZES[agent]))
    return learned_policy(agent, parameters, NETWORK, SMALL, deterministic)


# schedules that differ in numbers alone are left to one of them
@pytest.mark.parametrize("name", ["twap", "vwap", "almgren_chriss", "vwap_camouflaged", "mimic", "mimic_forced"])
def test_baselines_conform(name):
    check_policy(BASELINES[name])


@pytest.mark.parametrize("agent", Agent)
def test_random_and_learned_policies_conform(agent):
    check_policy(Uniform(SMALL, agent), agent)
    check_policy(learned(agent), agent)


def test_policies_of_rules_conform():
    check_policy(ConstantSpread(2.0), Agent.MAKER)
    check_policy(ValueRule(), Agent.ARBITRAGEUR)


def test_the_noise_law_conforms():
    check_noise_law(orders)


def in_a_table():
    """Market constants with a table that is no product, one of whose cells is never drawn."""
    cells = np.random.default_rng(4).gamma(0.7, size=(1 + SMALL.n_offsets, SMALL.max_order_size))
    cells[0] *= 4.0
    cells[3, 2] = 0.0
    return EnvParams(flow=table_of(cells / cells.sum()))


def test_a_noise_law_that_is_a_table_conforms_and_so_does_its_mimic():
    check_noise_law(TableNoise(), params=in_a_table())
    check_policy(Mimic(SMALL, noise_law=TableNoise()), params=in_a_table())


@pytest.mark.parametrize("name", estimators.REGISTRY)
def test_estimators_conform(name):
    check_estimator(estimators.get(name))


def test_learners_conform():
    game = Game(SMALL, NETWORK, LearnSpec(n_envs=8))
    check_learnable(game, SIZES, 20, EVIDENCE, tuple(Agent))
    told = TiltInput(jnp.ones(SIZES[Agent.EXECUTION]), jnp.float32(0.6)), market_cells(orders, EnvParams(), SMALL)
    tilting = dataclasses.replace(game, network=dataclasses.replace(NETWORK, execution_head="tilt"))
    check_learnable(tilting, (told, *SIZES[1:]), 20, EVIDENCE, (Agent.EXECUTION,))
    covert = CovertTraining(CovertGame(), LearnSpec(n_envs=8))
    check_learnable(covert, (1, 1, 1), 4, (jnp.ones(2),), (Agent.EXECUTION,))


class Always:
    """One lot at the mid, whatever happens; the broken ones differ in one thing."""

    reads_private = False
    action = (0.05, 0.0, 1.0)

    def init(self, params):
        return ()

    def act(self, key, carry, view, params):
        return carry, Decision(jnp.asarray(self.action, jnp.float32), (), jnp.float32(0.0))


class Grows(Always):
    def act(self, key, carry, view, params):
        return (*carry, view.mid if hasattr(view, "mid") else 1), super().act(key, carry, view, params)[1]


class Wide(Always):
    action = (0.05, 0.0, 1.0, 0.0)


class Whole(Always):
    def act(self, key, carry, view, params):
        return carry, Decision(jnp.ones(3, jnp.int32), (), jnp.float32(0.0))


class Bare(Always):
    def act(self, key, carry, view, params):
        return carry, jnp.zeros(3)


class Huge(Always):
    action = (1.5, 0.0, 1.0)


class Undefined(Always):
    action = (float("nan"), 0.0, 1.0)


class Branches(Always):
    def act(self, key, carry, view, params):
        return super().act(key, carry, view, params) if view.remaining > 3 else (carry, None)


class Counts(Always):
    def __init__(self):
        self.n = 0

    def act(self, key, carry, view, params):
        self.n += 1
        return carry, Decision(jnp.float32([0.05 * (self.n % 9), 0.0, 1.0]), (), jnp.float32(0.0))


class Peeks(Always):
    def act(self, key, carry, view, params):
        return carry, Decision(jnp.stack([0.1 * jnp.tanh(view.private), 0.0, 1.0]), (), jnp.float32(0.0))


class Lies(Mimic):
    def law(self, carry, view, params):
        law = super().law(carry, view, params)
        return law.replace(gate=2.0 * law.gate)


class NoLaw(Mimic):
    def law(self, carry, view, params):
        law = super().law(carry, view, params)
        return law.replace(marks=law.marks.replace(lots=0.5 * law.marks.lots))


class Remembers(Mimic):
    def act(self, key, carry, view, params):
        return carry + 1e-3, super().act(key, carry, view, params)[1]


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (Grows(), "changes the structure"),
        (Wide(), r"has the shape \(4,\), must be \(3,\) of the EXECUTION"),
        (Whole(), "action is int32, must be float"),
        (Bare(), "must be a carry and a Decision"),
        (Huge(), "leaves the range of the EXECUTION"),
        (Undefined(), "not finite"),
        (Branches(), "act cannot be traced"),
        (Counts(), "act is not pure"),
        (Peeks(), "depends on the private number"),
        (Lies(SMALL), "the law gives acting probability 0.2000"),
        (NoLaw(SMALL), "marks.lots adds up to 0.5"),
        (Remembers(SMALL), "must leave its carry"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_policy_is_named(policy, says):
    with pytest.raises(AssertionError, match=says):
        check_policy(policy)


def of(**marks):
    """The package's law with some marks made otherwise of the orders it drew and the numbers it drew them from."""

    def law(uniform, p_buy, size_cdf, params, spec):
        drawn = orders(uniform, p_buy, size_cdf, params, spec)
        return drawn.replace(**{name: make(drawn, uniform) for name, make in marks.items()})

    return law


class Leans(StylisedNoise):
    """Draws large orders as market orders: its marks depend on each other, and their own laws stay nearly."""

    def __call__(self, uniform, *rest):
        return super().__call__(jnp.stack([uniform[0], uniform[3], uniform[2], uniform[3]]), *rest)


class Evens(TableNoise):
    """Says of sizes that they do not depend on the place, which they do."""

    def marks(self, *inputs):
        marks = super().marks(*inputs)
        places = jnp.append(1.0 - marks.limit, marks.limit * marks.offset)
        return marks.replace(lots=jnp.broadcast_to(places @ marks.lots, marks.lots.shape))


def test_a_table_that_misstates_how_sizes_depend_on_the_place_is_named():
    with pytest.raises(AssertionError, match=r"the law gives a .* order.* of \d+ lots probability"):
        check_noise_law(Evens(), params=in_a_table())


class Misquotes(StylisedNoise):
    def marks(self, *inputs):
        return super().marks(*inputs).replace(limit=jnp.float32(0.5))


DRAWS = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("law", "says"),
    [
        (of(side=lambda drawn, u: 0 * drawn.side), "a side is neither"),
        (of(lots=lambda drawn, u: drawn.lots - 1), "lots leave 1 .. 20"),
        (of(offset_ticks=lambda drawn, u: drawn.offset_ticks + 9), "offsets leave -2 .. 5"),
        (of(is_limit=lambda drawn, u: drawn.is_limit.astype(jnp.int32)), "is_limit is int32, must be bool"),
        (of(side=lambda drawn, u: drawn.side[..., None]), "side has the shape"),
        (of(side=lambda drawn, u: jnp.where(u[0] < DRAWS.random(), 1, -1).astype(jnp.int32)), "the law is not pure"),
        (of(lots=lambda drawn, u: 1 + jnp.sum(drawn.lots) % 9 + 0 * drawn.lots), "depends on the orders drawn beside"),
        (of(lots=lambda drawn, u: drawn.lots * int(u[0, 0] < 2)), "cannot be traced"),
        (Misquotes(), "the law gives limit probability 0.5"),
        (Leans(), "marks depend on each other: lots and type"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_broken_noise_law_is_named(law, says):
    with pytest.raises(AssertionError, match=says):
        check_noise_law(law)


@dataclasses.dataclass(frozen=True)
class Broken(estimators.BarberAgakov):
    """An estimator with one method replaced."""

    how: str = ""

    def bound(self, scores, labels, prior):
        found = super().bound(scores, labels, prior)
        return {
            "shifts": found + 0.1,
            "doubles": 2.0 * found,
            "sums": jnp.sum(found),
            "first": found + 0.1 * scores[0, ..., 0],
            "nan": found * jnp.nan,
        }.get(self.how, found)

    def loss(self, scores, labels, prior, state, ema_decay):
        loss = -jnp.mean(estimators.BarberAgakov().bound(scores, labels, prior))
        if self.how == "many":
            return loss * jnp.ones(2), state
        return (-loss if self.how == "climbs" else loss), (1 if self.how == "state" else state)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("shifts", "constant scores claim information"),
        ("doubles", "channel of 0.193 nats it claims 0.38"),
        ("sums", r"must be \(3,\)"),
        ("first", "depends on the order"),
        ("nan", "not finite"),
        ("many", "must be one number"),
        ("climbs", "channel of"),
        ("state", "structure of the state"),
    ],
)
def test_a_broken_estimator_is_named(how, says):
    with pytest.raises(AssertionError, match=says):
        check_estimator(Broken(how=how))


def test_a_broken_learner_is_named():
    """A critic of two values, a network whose head ignores its parameters, a statistics network of one score."""
    sound = Game(SMALL, NETWORK, LearnSpec(n_envs=8))
    names = ("learn", "critic", "statistics", "estimator", "actor")

    def broken(**parts):
        return types.SimpleNamespace(**{name: getattr(sound, name) for name in names} | parts)

    def net(apply):
        return types.SimpleNamespace(init=lambda key, *inputs: {}, apply=lambda parameters, *inputs: apply(*inputs))

    class Hashable(types.SimpleNamespace):
        __hash__ = object.__hash__

    for parts, says in (
        ({"critic": net(lambda state, actions: state[:2])}, r"the critic gives \(2,\) values"),
        ({"critic": net(lambda state, actions: jnp.ones(3))}, "does not read the state"),
        ({"statistics": net(lambda tape, beside: beside[:, :1])}, "the statistics network gives"),
        ({"estimator": Broken(how="doubles")}, "it claims"),
    ):
        with pytest.raises(AssertionError, match=says):
            check_learnable(Hashable(**vars(broken(**parts))), SIZES, 20, EVIDENCE, ())

    class Deaf:
        def init(self, key, seen):
            return {"unused": jnp.ones(2)}

        def apply(self, parameters, seen):
            return actor(Agent.MAKER, NETWORK).apply(actor(Agent.MAKER, NETWORK).init(jax.random.key(0), seen), seen)

    with pytest.raises(AssertionError, match="maker: log_prob does not depend on the parameters"):
        check_learnable(Hashable(**vars(broken(actor=lambda agent: Deaf()))), SIZES, 20, EVIDENCE, (Agent.MAKER,))
