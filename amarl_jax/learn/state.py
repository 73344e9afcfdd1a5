"""Everything that training carries from one update to the next, and how it begins."""

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.information.mine import MineState
from amarl_jax.learn import replay
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import EXACT
from amarl_jax.learn.optimiser import Agents, Network, untrained
from amarl_jax.learn.replay import ReplayState
from amarl_jax.learn.setup import Setup
from amarl_jax.market import observe
from amarl_jax.nets.actors import start_execution_at
from amarl_jax.nets.predictor import flow_series
from amarl_jax.nets.tilt import start_tilt_at
from amarl_jax.policies.learned import init_parameters, tilts
from amarl_jax.types import Agent, Array, PyTree, Tape, empty_tape


@struct.dataclass
class Episode:
    """What the replay keeps of an episode: the packed tape, and the belief's target."""

    tape: Tape  # [T, ...]
    target: Array  # [] z, or [T] an exact posterior P(z = 1)


class TrainState(struct.PyTreeNode):
    """The carry of training; arrays only."""

    key: Array  # [] typed
    update: Array  # [] int32, updates done
    agents: Agents
    critic: Network
    belief: Network
    statistics: Network  # critic of the mutual-information estimator
    estimator: MineState | PyTree  # its moving averages, [T]
    predictor: Network
    replay: ReplayState  # of Episode


def empty_episode(game: Game) -> Episode:
    """An episode of zeros, with the shapes that the replay keeps."""
    step = empty_tape(game.market_spec.n_tape_rows)
    horizon = game.market_spec.horizon
    tape = jax.tree.map(lambda x: jnp.zeros((horizon, *x.shape), x.dtype), step)
    shape = (horizon,) if game.learn.belief_target == EXACT else ()
    return Episode(tape=tape, target=jnp.zeros(shape, jnp.float32))


def init_state(key: Array, setup: Setup) -> TrainState:
    """A fresh learner.

    Args:
        key: typed key of the run.
        setup: what it will be trained with. The initial execution policy reads ``hypers.start_gate``,
            ``hypers.start_along`` and ``hypers.start_size``; of the market's constants only ``slot_rate``
            matters, to a head that tilts.
    """
    game, hypers, params = setup.game, setup.hypers, setup.params
    *keys_agents, key_critic, key_belief, key_statistics, key_predictor, key_run = jax.random.split(key, 8)
    market, spec = game.market, game.market_spec
    start = jax.eval_shape(lambda: market.reset(jax.random.key(0), params, jnp.int32(0)))
    seen = jax.eval_shape(lambda s: observe.views(s, jnp.float32(0.5), params, spec), start)
    agents = Agents(
        *(
            untrained(init_parameters(key_agent, agent, view, game.network, params, spec), hypers)
            for key_agent, agent, view in zip(
                keys_agents, Agent, (seen.execution, seen.maker, seen.arbitrageur), strict=True
            )
        )
    )
    execution = untrained(_started(agents.execution.params, setup), hypers)
    everything = jax.eval_shape(lambda s, v: observe.global_features(s, v, jnp.float32(0.5), params), start, seen)
    episode = empty_episode(game)
    width = game.network.belief.d_model
    series = jax.eval_shape(flow_series, episode.tape)
    beside = jnp.zeros((market.spec.horizon, width + 1), jnp.float32)
    critic = game.critic.init(key_critic, jnp.zeros(everything.shape, jnp.float32), _zero_actions())
    return TrainState(
        key=key_run,
        update=jnp.int32(0),
        agents=agents._replace(execution=execution),
        critic=untrained(critic, hypers),
        belief=untrained(game.belief.init(key_belief, episode.tape), hypers),
        statistics=untrained(game.statistics.init(key_statistics, episode.tape, beside), hypers),
        estimator=game.estimator.init((spec.horizon,)),
        predictor=untrained(game.predictor.init(key_predictor, jnp.zeros(series.shape, jnp.float32)), hypers),
        replay=replay.init(episode, game.learn.replay_capacity),
    )


def _started(parameters: PyTree, setup: Setup) -> PyTree:
    """The execution agent's fresh parameters, set to act and trade along as often as the hyperparameters say."""
    hypers = setup.hypers
    if tilts(Agent.EXECUTION, setup.game.network):
        return start_tilt_at(parameters, hypers.start_gate, hypers.start_along, setup.params.slot_rate)
    return start_execution_at(parameters, hypers.start_gate, hypers.start_along, hypers.start_size)


def _zero_actions() -> tuple[Array, Array, Array]:
    return jnp.zeros(3, jnp.float32), jnp.zeros(4, jnp.float32), jnp.zeros(1, jnp.float32)
