"""A noise law that is a table of kind, offset and size: drawn as it says, hidden in exactly, read exactly."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts
from amarl_jax.market.env import Market
from amarl_jax.market.params import EnvParams
from amarl_jax.market.table_noise import TableNoise, table_of
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.learned import init_parameters, learned_policy
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.exact import why_unread
from amarl_jax.posterior.filter import BUYS, NOISE, Reader, what_happened
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent
from tests.information.anonymous_record import records
from tests.information.brute_force import log_likelihoods
from tests.information.scripted_laws import Reactive
from tests.information.test_brute_force import PARAMS, SIGNS, SPEC
from tests.posterior import test_laws
from tests.posterior.games import ENOUGH, N_NODES, OneOf, Scripted
from tests.posterior.test_exact_likelihoods import overflow

LAW = TableNoise()
NETWORK = NetworkSpec(execution_hidden=(8,), execution_head="tilt")
SHAPES = jax.eval_shape(
    lambda: init_parameters(
        jax.random.key(0), Agent.EXECUTION, test_laws.view(1, 1.0, 3, n_levels=SPEC.n_levels), NETWORK, PARAMS, SPEC
    )
)
DRAWN = np.random.default_rng(5)
UNTRAINED = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), SHAPES)
TRAINED = jax.tree.map(lambda x: jnp.asarray(DRAWN.normal(0.0, 0.5, x.shape), x.dtype), SHAPES)


def tilted(parameters, law=LAW, deterministic=False):
    """The trader whose network tilts the law."""
    return learned_policy(Agent.EXECUTION, parameters, NETWORK, SPEC, deterministic, law)


REACTIVE, MIMIC, TILTED, MOVED = range(4)
TRADERS = OneOf((Scripted(Reactive(SPEC), SPEC), Mimic(SPEC, noise_law=LAW), tilted(UNTRAINED), tilted(TRAINED)))
PLAYERS = Players(TRADERS, ConstantSpread(1.5, 0.7), ValueRule())
MARKET = Market(SPEC, LAW, keeps_records=True)
N_EPISODES, LABELS = 120, np.arange(120) % 2


def keys():
    """Of the episodes, the same whenever they are asked for."""
    return jax.random.split(jax.random.key(31), N_EPISODES)


def table(seed):
    """A joint law that is no product."""
    rng = np.random.default_rng(seed)
    cells = rng.gamma(0.7, size=(1 + SPEC.n_offsets, SPEC.max_order_size)) + 0.02
    cells[0] *= 4.0
    return cells / cells.sum()


def settings(trader, seed=0):
    return as_arrays(PARAMS.replace(flow=table_of(table(seed)), is_unit_ticks=float(trader)))


@functools.cache
def _play():
    def play(keys, z, params):
        episodes = rollouts(keys, MARKET, PLAYERS, PriorBelief(), z, params)
        truth = jax.vmap(what_happened)(episodes.output, z, episodes.direction, episodes.final.private)
        return episodes.output, truth

    return jax.jit(chex.assert_max_traces(play, n=1))


@functools.cache
def _filters():
    reader = Reader(TRADERS, LAW, SPEC, ENOUGH, N_NODES)

    def find(key, record, params):
        return reader.likelihoods(key, record, params)

    return jax.jit(jax.vmap(chex.assert_max_traces(find, n=1), (0, 0, None)))


def found(trader):
    params = settings(trader)
    output, _ = _play()(keys(), jnp.asarray(LABELS, jnp.int32), params)
    return jax.tree.map(np.asarray, _filters()(keys(), output.record, params))


@pytest.mark.parametrize("trader", [MIMIC, TILTED])
def test_the_mimic_of_a_table_leaves_no_trace_and_tables_share_a_program(trader):
    """Whoever draws the table himself, or tilts it by outputs of 0."""
    for seed in (0, 1):
        params = settings(trader, seed)
        noise, informed = (_play()(keys(), jnp.full(N_EPISODES, z, jnp.int32), params)[0] for z in (0, 1))
        chex.assert_trees_all_equal(noise, informed)
    other = _play()(keys(), jnp.zeros(N_EPISODES, jnp.int32), settings(MIMIC, 2))[0]
    assert not np.array_equal(noise.tape.size_lots, other.tape.size_lots)


@pytest.mark.parametrize("trader", [MIMIC, TILTED])
def test_a_mimic_is_read_as_noise_and_nothing_else(trader):
    """Whoever knows that the trader mimics learns nothing: its filters and that of noise are one, bit for bit."""
    of_orders = found(trader).of_orders
    np.testing.assert_array_equal(of_orders[..., BUYS], of_orders[..., NOISE])
    assert np.ptp(of_orders[:, -1, NOISE]) > 1.0, "the records say something of the slot"


def test_a_trained_tilt_is_seen():
    noise, informed = (_play()(keys(), jnp.full(N_EPISODES, z, jnp.int32), settings(MOVED))[0] for z in (0, 1))
    assert not np.array_equal(noise.tape.size_lots, informed.tape.size_lots)
    of_orders = found(MOVED).of_orders
    assert np.abs(of_orders[..., BUYS] - of_orders[..., NOISE]).max() > 0.5


def test_the_filter_is_the_enumeration_at_every_prefix():
    params, ours = settings(0), found(0)
    episodes = records(keys(), Market(SPEC, LAW), PLAYERS, LABELS, params)
    for i, episode in enumerate(episodes):
        theirs = log_likelihoods(episode, Reactive(SPEC), params, SPEC, SIGNS, merge=True)
        orders = np.column_stack([theirs.log_z_by_direction, theirs.log_z0]) + overflow(episode, params)[:, None]
        np.testing.assert_allclose(ours.of_orders[i], orders, rtol=0, atol=2e-4, err_msg=f"episode {i}")


def test_orders_are_drawn_by_the_table_and_marks_are_its_probabilities():
    n, cells = 200_000, table(3)
    params = as_arrays(EnvParams(flow=table_of(cells)))
    uniform = np.random.default_rng(1).random((4, n)).astype(np.float32)
    drawn = jax.tree.map(np.asarray, LAW(uniform, jnp.float32(0.7), jnp.zeros(1), params, SPEC))
    place = np.where(drawn.is_limit, 1 + drawn.offset_ticks - SPEC.offset_min_ticks, 0)
    counts = np.bincount(place * SPEC.max_order_size + drawn.lots - 1, minlength=cells.size)
    p = cells.reshape(-1)
    assert (np.abs(counts - n * p) <= 5.0 * np.sqrt(n * p) + 1.0).all()
    assert abs(np.mean(drawn.side > 0) - 0.7) < 0.01
    marks = jax.tree.map(np.asarray, LAW.marks(jnp.float32(0.7), jnp.zeros(1), params, SPEC))
    places = np.append(1 - marks.limit, marks.limit * marks.offset)
    np.testing.assert_allclose(places[:, None] * marks.lots, cells, atol=2e-7)


def test_a_cell_of_probability_0_is_never_drawn():
    cells = np.zeros((1 + SPEC.n_offsets, SPEC.max_order_size))
    cells[2, 1] = cells[-1, -1] = 0.5
    params = as_arrays(EnvParams(flow=table_of(cells)))
    uniform = np.linspace(0, 1, 4096, endpoint=False, dtype=np.float32)
    drawn = LAW(jnp.stack([uniform] * 4), jnp.float32(0.5), jnp.zeros(1), params, SPEC)
    assert set(zip(*(np.asarray(x).tolist() for x in (drawn.offset_ticks, drawn.lots)), strict=True)) == {
        (SPEC.offset_min_ticks + 1, 2),
        (SPEC.offset_max_ticks, SPEC.max_order_size),
    }
    assert bool(drawn.is_limit.all())


def test_a_table_that_is_not_there_or_of_another_market_is_refused():
    uniform = jnp.zeros((4, 2))
    with pytest.raises(ValueError, match=r"EnvParams.flow is None: the table noise law needs a table"):
        LAW(uniform, jnp.float32(0.5), jnp.zeros(1), EnvParams(), SPEC)
    wide = dataclasses.replace(SPEC, max_order_size=7)
    with pytest.raises(AssertionError, match="shape"):
        LAW(uniform, jnp.float32(0.5), jnp.zeros(1), settings(0), wide)
    assert why_unread(Mimic(SPEC, noise_law=LAW), LAW) == ""
