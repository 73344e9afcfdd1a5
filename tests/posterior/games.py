"""A market of three steps with four traders whose laws are known, its episodes, and the compiled filters over them.

Compiling is what costs: which of the traders plays, or is tested for, is a traced number, so there is one program of
each kind for all of them, and each of them refuses to be traced twice.
"""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts
from amarl_jax.market.env import Market
from amarl_jax.market.noise import MarksLaw, orders
from amarl_jax.market.slot import one_way
from amarl_jax.policies.baselines import Choice
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.exact import read_episodes
from amarl_jax.posterior.filter import Reader, what_happened
from amarl_jax.trees import as_arrays
from tests.information.anonymous_record import records
from tests.information.brute_force import log_likelihoods, on_host
from tests.information.scripted_laws import MimicLaw, OneBigOrder, PlaysLaw, Reactive
from tests.information.test_brute_force import PARAMS, SIGNS, SPEC

N_EPISODES = 400  # of each class
N_NODES = 2  # private numbers: one below and one above 0, and Reactive reads the sign alone
ENOUGH = 80  # particles: no record of three steps leads to more states, so no lots are drawn
FEW = 4  # particles


@dataclasses.dataclass(frozen=True)
class Scripted:
    """An execution policy that draws from a written law and says by which."""

    written: Any
    spec: Any

    def init(self, params):
        return ()

    def act(self, key, carry, view, params):
        return PlaysLaw(self.written, self.spec).act(key, carry, view, params)

    def law(self, carry, view, params):
        law = {name: jnp.asarray(x, jnp.float32) for name, x in self.written(view).items()}
        buy = jnp.where(view.direction > 0, law["p_along"], 1.0 - law["p_along"])
        return one_way(law["gate"], MarksLaw(buy, law["p_limit"], law["size_pmf"], law["offset_pmf"]))


@dataclasses.dataclass(frozen=True)
class OneOf:
    """The policy whose number stands in ``is_unit_ticks``, a constant that no market reads."""

    policies: tuple

    def _chosen(self, params):
        return Choice(self.policies, jnp.asarray(params.is_unit_ticks, jnp.int32))

    def init(self, params):
        return self._chosen(params).init(params)

    def act(self, key, carry, view, params):
        return self._chosen(params).act(key, carry, view, params)

    def law(self, carry, view, params):
        return self._chosen(params).law(carry, view, params)


TRADERS = {
    "reactive": Scripted(Reactive(SPEC), SPEC),
    "one big order": Scripted(OneBigOrder(4, SPEC), SPEC),
    "one-sided mimic": Mimic(SPEC, one_sided=True),
    "mimic": Mimic(SPEC),
}
TRADER = OneOf(tuple(TRADERS.values()))
PLAYERS = Players(TRADER, ConstantSpread(1.5, 0.7), ValueRule())
# sizes of which four lots are so few that float32 knows none: the big order is the slot's for sure
UNLIKE_ANY = {"parent_lots": 4, "size_beta_a": 1.0, "size_beta_b": 200.0}


def settings(name, **changes):
    """Constants of the market in which the trader of this name plays, as arrays."""
    return as_arrays(
        PARAMS.replace(market_order_probability=0.4, is_unit_ticks=float(list(TRADERS).index(name)), **changes)
    )


def written_law(name, params):
    """The law of a trader for the enumeration, and the private numbers that it tells apart."""
    host = on_host(params)
    return {
        "reactive": (Reactive(SPEC), SIGNS),
        "one big order": (OneBigOrder(4, SPEC), ((0.0, 1.0),)),
        "one-sided mimic": (MimicLaw(host, SPEC, one_sided=True), ((0.0, 1.0),)),
        "mimic": (MimicLaw(host, SPEC), ((0.0, 1.0),)),
    }[name]


def labels():
    """Both classes, alternating. [2 N_EPISODES]."""
    return np.arange(2 * N_EPISODES) % 2


@functools.cache
def _play():
    def play_tiny(keys, z, params):
        episodes = rollouts(keys, Market(SPEC, keeps_records=True), PLAYERS, PriorBelief(), z, params)
        truth = jax.vmap(what_happened)(episodes.output, z, episodes.direction, episodes.final.private)
        return episodes.output.record, truth, episodes.output.slot_row

    return jax.jit(chex.assert_max_traces(play_tiny, n=1))


@functools.cache
def played(name, changes=()):
    """Records [E, T], truths and the slot's rows of a trader's episodes, classes as in :func:`labels`."""
    keys = jax.random.split(jax.random.key(31), 2 * N_EPISODES)
    return _play()(keys, jnp.asarray(labels(), jnp.int32), settings(name, **dict(changes)))


@functools.cache
def enumerated(name, n_episodes, changes=()):
    """The first of the same episodes in plain Python, and their likelihoods by enumeration."""
    params = settings(name, **dict(changes))
    keys = jax.random.split(jax.random.key(31), 2 * N_EPISODES)
    episodes = records(keys, Market(SPEC), PLAYERS, labels(), params)[:n_episodes]
    law, privates = written_law(name, params)
    return episodes, [log_likelihoods(episode, law, params, SPEC, privates, merge=True) for episode in episodes]


def reader(n_particles, n_nodes):
    return Reader(TRADER, orders, SPEC, n_particles, n_nodes)


@functools.cache
def likelihoods(n_particles, n_nodes=N_NODES):
    """Filters over [E] records; keys [E], records, params. One node is for traders that read no private number."""

    def find(key, record, params):
        return reader(n_particles, n_nodes).likelihoods(key, record, params)

    find.__name__ = f"likelihoods_{n_particles}"
    return jax.jit(jax.vmap(chex.assert_max_traces(find, n=1), (0, 0, None)))


@functools.cache
def likelihoods_untold(n_particles):
    """:func:`likelihoods` of a reader that is not told which orders leave the book by themselves."""

    def find(key, record, params):
        told = reader(n_particles, N_NODES)
        return dataclasses.replace(told, sees_removals=False).likelihoods(key, record, params)

    return jax.jit(jax.vmap(find, (0, 0, None)))


@functools.cache
def likelihoods_given(n_particles):
    """The same with a path that is kept; keys [E], records, params, truths."""

    def find(key, record, params, truth):
        return reader(n_particles, N_NODES).likelihoods(key, record, params, truth)

    find.__name__ = f"likelihoods_given_{n_particles}"
    return jax.jit(jax.vmap(chex.assert_max_traces(find, n=1), (0, 0, None, 0)))


@functools.cache
def brackets(n_particles, n_nodes=N_NODES):
    """:func:`amarl_jax.posterior.exact.read_episodes` of key, records, truths, params."""

    def read(key, record, truth, params):
        return read_episodes(key, record, truth, reader(n_particles, n_nodes), params)

    read.__name__ = f"brackets_{n_particles}"
    return jax.jit(chex.assert_max_traces(read, n=1))


def first(tree, n_episodes):
    """The first episodes of [E]."""
    return jax.tree.map(lambda x: x[:n_episodes], tree)
