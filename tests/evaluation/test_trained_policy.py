"""``amarl_jax.load_policy``: what was trained, as a function."""

import pickle
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import amarl_jax
from amarl_jax.adapters.jaxmarl import MarketEnv
from amarl_jax.adapters.playable import Playable
from amarl_jax.errors import BadInput
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.market.env import decode_quotes
from amarl_jax.market.slot import as_sent, decode_action
from amarl_jax.policies.learned import actor
from amarl_jax.types import Agent
from tests.tiny_runs import N_UPDATES

WIDTHS = {"execution": 4 * 3 + 12, "maker": 4 * 3 + 5 * 4 + 7, "arbitrageur": 4 * 3 + 7}
SHAPES = {"execution": (3,), "maker": (4,), "arbitrageur": ()}


@pytest.mark.parametrize("seat", list(Agent))
def test_a_loaded_policy_is_a_pure_function_of_key_and_observation(seat, workdirs):
    agent = seat.name.lower()
    policy = amarl_jax.load_policy(workdirs["run"], agent)
    observations = jax.random.normal(jax.random.key(1), (5, WIDTHS[agent]))
    actions = jax.jit(jax.vmap(policy))(jax.random.split(jax.random.key(2), 5), observations)
    chex.assert_shape(actions, (5, *SHAPES[agent]))
    chex.assert_trees_all_close(actions[3], policy(jax.random.split(jax.random.key(2), 5)[3], observations[3]))
    certain = amarl_jax.load_policy(workdirs["run"], agent, deterministic=True)
    modes = [certain(jax.random.key(seed), observations[0]) for seed in (0, 1)]
    np.testing.assert_array_equal(*modes)


def test_the_arbitrageur_of_a_lane_plays_that_lanes_parameters(workdirs):
    observation = jnp.linspace(-1.0, 1.0, WIDTHS["arbitrageur"])
    for lane in (0, 1):
        policy = amarl_jax.load_policy(workdirs["sweep"], "arbitrageur", lane, deterministic=True)
        spec = actor(Agent.ARBITRAGEUR, workdirs["network"])
        head = spec.apply(workdirs["states"][lane].agents[Agent.ARBITRAGEUR].params, observation)
        assert float(policy(jax.random.key(0), observation)) == pytest.approx(float(jnp.tanh(head.mode())), rel=1e-6)


@pytest.mark.parametrize("seat", list(Agent))
def test_the_adapters_take_its_actions_in_their_units_and_play_the_same_orders(seat, workdirs):
    agent = seat.name.lower()
    public, boxed = (amarl_jax.load_policy(workdirs["run"], agent, units=units) for units in ("public", "box"))
    spec, params = public.policy.spec, public.params
    env = MarketEnv(Playable(spec, params, z=1), homogeneous=False)
    observation = 3.0 * jax.random.normal(jax.random.key(1), env.observation_space(agent).shape)
    actions, inside = (
        jax.jit(jax.vmap(policy, (0, None)))(jax.random.split(jax.random.key(2), 256), observation)
        for policy in (public, boxed)
    )
    assert bool(env.action_space(agent).contains(inside))
    chex.assert_shape(inside, (256, *env.action_space(agent).shape))
    read = {
        Agent.EXECUTION: lambda x: as_sent(decode_action(x, jnp.int32(1), spec)),
        Agent.MAKER: lambda x: decode_quotes(x, jnp.int32(3), params),
        Agent.ARBITRAGEUR: lambda x: x,
    }[seat]
    sent = jax.vmap(read)(actions)
    chex.assert_trees_all_equal(sent, jax.vmap(lambda x: read(env.playable.decode(seat, x)))(inside))
    assert (
        len(np.unique(np.concatenate([np.asarray(x).reshape(256, -1) for x in jax.tree.leaves(sent)], 1), axis=0)) > 5
    )
    state = jax.eval_shape(env.reset, jax.random.key(0))[1]
    others = {name: np.zeros(space.shape) for name, space in env.action_spaces.items()}
    jax.eval_shape(env.step, jax.random.key(0), state, others | {agent: inside[0]})
    if seat != Agent.MAKER:  # the maker's public units have the shape of its box
        with pytest.raises(ValueError, match=rf"'{agent}'.*units='box'"):
            env.step(jax.random.key(0), state, others | {agent: actions[0]})


def test_it_can_be_pickled_and_names_an_observation_of_another_shape(workdirs):
    policy = amarl_jax.load_policy(workdirs["run"], "maker", units="box")
    observation = np.linspace(-1, 1, WIDTHS["maker"])
    again = pickle.loads(pickle.dumps(policy))
    np.testing.assert_array_equal(again(jax.random.key(3), observation), policy(jax.random.key(3), observation))
    for wrong in (np.zeros(WIDTHS["maker"] + 3), np.zeros((2, WIDTHS["maker"])), 0.0):
        with pytest.raises(ValueError, match=rf"'maker': must be \({WIDTHS['maker']},\)"):
            policy(jax.random.key(3), wrong)


def test_an_unknown_agent_or_unit_is_bad_input(workdirs):
    with pytest.raises(BadInput, match="execution, maker, arbitrageur"):
        amarl_jax.load_policy(workdirs["run"], "noise")
    with pytest.raises(BadInput, match="units = 'ticks': must be one of public, box"):
        amarl_jax.load_policy(workdirs["run"], "maker", units="ticks")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        amarl_jax.nothing  # noqa: B018


def test_the_best_checkpoint_is_loaded_by_name_and_the_latest_else(workdirs, tmp_path):
    """After the run's own checkpoint a later one is saved, of other networks and with a lower objective."""
    path = tmp_path / "run"
    shutil.copytree(workdirs["run"], path)
    (path / "metrics.jsonl").unlink()
    better, worse = workdirs["states"][0], workdirs["states"][1].replace(update=jnp.int32(N_UPDATES + 1))
    with Checkpointer(path / "checkpoints", best="objective", maximise=True) as checkpoints:
        training = checkpoints.record(N_UPDATES).training
        checkpoints.save(N_UPDATES + 1, worse, {"objective": -100.0}, training)
    latest, best = runs.load(path), runs.load(path, best=True)
    assert (latest.update, best.update) == (N_UPDATES + 1, N_UPDATES)
    chex.assert_trees_all_equal(best.state.agents, better.agents)
    chex.assert_trees_all_equal(latest.state.agents, worse.agents)
    observation = jnp.linspace(-1.0, 1.0, WIDTHS["maker"])
    quotes = [
        amarl_jax.load_policy(folder, "maker", deterministic=True, best=of_best)(jax.random.key(0), observation)
        for folder, of_best in ((path, True), (workdirs["run"], False))
    ]
    np.testing.assert_array_equal(*quotes)
    with pytest.raises(BadInput, match="keeps its latest checkpoint alone"):
        runs.load(workdirs["sweep"], 0, best=True)
