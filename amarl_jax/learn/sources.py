"""Fitting what reads the tape: the MINE critic, the predictor and the belief."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from amarl_jax.information.scaling import update_scale
from amarl_jax.learn import replay
from amarl_jax.learn.game import Game, Learnable
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.optimiser import Trained, descend, scheduled
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.learn.scoring import (
    evidence,
    predictability_gain,
    statistics_scores,
)
from amarl_jax.learn.state import Episode, TrainState
from amarl_jax.market.params import EnvParams
from amarl_jax.nets.belief import belief_loss
from amarl_jax.trees import Packed, pack, unpack
from amarl_jax.types import Array, PyTree

SCALE_DECAY = 0.9  # per rollout, of the location and scale of the MI critic's inputs


def fit_mine(
    key: Array, state: TrainState, trajectory: Trajectory, flow: Array, game: Game, hypers: Hypers, params: EnvParams
) -> tuple[TrainState, dict[str, Array]]:
    """The MI critic on a rollout of the market, whose flow, [E, T, D], it sees as deviations from its mean."""
    scale = update_scale(state.evidence_scale, flow, SCALE_DECAY)
    prior = params.informed_probability
    learning_rate = scheduled(hypers.lr_mine, state.update, hypers)
    start = (state.statistics, state.estimator)
    (statistics, estimator), loss = fit_statistics(
        key, start, evidence(scale, flow, trajectory.hidden), trajectory.z, prior, learning_rate, game, hypers
    )
    return state.replace(statistics=statistics, estimator=estimator, evidence_scale=scale), {"mine/loss": loss}


def fit_statistics(
    key: Array,
    start: tuple[Trained, PyTree],
    features: Array,
    z: Array,
    prior: Array | float,
    learning_rate: Array,
    game: Learnable,
    hypers: Hypers,
) -> tuple[tuple[Trained, PyTree], Array]:
    """``n_mine_steps`` steps of an MI critic, which together see every (episode, step) of a rollout at least once.

    Each step takes all episodes at a random share of the time steps, with one partition per time step.

    Args:
        key: draws the shares.
        start: the critic and the estimator's state, [T] leading.
        features: [E, T, D], what the critic knows at each step.
        z: [E].
        prior: p_z, [].
        learning_rate: [].
        game: static bundle.
        hypers: traced hyperparameters.

    Returns:
        Critic and estimator after the steps, and the last loss, [].
    """
    n_steps, horizon = game.learn.n_mine_steps, features.shape[1]
    share = -(-horizon // n_steps)
    times = jnp.argsort(jax.random.bits(key, (horizon,), jnp.uint32))[
        jnp.arange(n_steps * share, dtype=jnp.int32) % horizon
    ].reshape(n_steps, share)

    def step(carry: tuple, at: Array) -> tuple[tuple, Array]:
        statistics, estimator = carry
        part = jax.tree.map(lambda x: x[at], estimator)

        def loss(network: PyTree) -> tuple[Array, PyTree]:
            scores = statistics_scores(network, features[:, at], game)
            return game.estimator.loss(scores, z, prior, part, hypers.mine_ema)

        (value, part), gradient = jax.value_and_grad(loss, has_aux=True)(statistics.params)
        estimator = jax.tree.map(lambda x, y: x.at[at].set(y), estimator, part)
        return (descend(statistics, gradient, learning_rate, hypers), estimator), value

    fitted, losses = jax.lax.scan(step, start, times)
    return fitted, losses[-1]


def fit_predictor(state: TrainState, series: Array, game: Game, hypers: Hypers) -> tuple[TrainState, dict[str, Array]]:
    """``n_mine_steps`` steps of maximum likelihood on the flow of both classes, a share of the episodes at a time.

    ``series`` [E, T, D] is the standardised flow of a rollout.
    """
    n_envs = series.shape[0]
    share = max(1, n_envs // game.learn.n_mine_steps)
    starts = (jnp.arange(game.learn.n_mine_steps, dtype=jnp.int32) * share) % n_envs
    learning_rate = scheduled(hypers.lr_mine, state.update, hypers)

    def step(predictor: Trained, start: Array) -> tuple[Trained, Array]:
        rows = (start + jnp.arange(share, dtype=jnp.int32)) % n_envs

        def loss(network: PyTree) -> Array:
            return -jnp.mean(jax.vmap(lambda row: predictability_gain(network, row, game))(series[rows]))

        value, gradient = jax.value_and_grad(loss)(predictor.params)
        return descend(predictor, gradient, learning_rate, hypers), value

    predictor, losses = jax.lax.scan(step, state.predictor, starts)
    return state.replace(predictor=predictor), {"predictor/loss": losses[-1]}


def fit_belief(
    key: Array, state: TrainState, trajectory: Trajectory, game: Game, hypers: Hypers
) -> tuple[TrainState, dict[str, Array]]:
    """``n_belief_steps`` steps of the belief on fresh episodes, each seen once, beside replayed ones.

    The fresh episodes enter the replay afterwards, with their loss as priority.
    """
    fresh = pack(Episode(tape=trajectory.output.tape, z=trajectory.z), n_lead=1)
    stored = pack(state.replay.storage, n_lead=1)
    n_envs, n_steps = trajectory.z.shape[0], game.learn.n_belief_steps
    share = -(-n_envs // n_steps)
    rows = (jnp.arange(n_steps * share, dtype=jnp.int32) % n_envs).reshape(n_steps, share)
    learning_rate = scheduled(hypers.lr_belief, state.update, hypers)

    def step(carry: tuple, inputs: tuple[Array, Array]) -> tuple[tuple, tuple[Array, Array]]:
        belief, priority = carry
        uniform, at = inputs
        memory = state.replay.replace(storage=stored, priority=priority)
        drawn = replay.sample(uniform, memory, hypers.replay_alpha, hypers.replay_beta)
        new = jax.tree.map(lambda x: x[at], fresh)
        episodes = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), new, drawn.items)
        weights = jnp.concatenate([jnp.ones(share, jnp.float32), drawn.weights])
        gradient, losses = _belief_gradient(belief.params, episodes, weights, game, hypers)
        priorities = jnp.where(drawn.weights > 0, losses[share:], memory.priority[drawn.indices])
        memory = replay.update_priorities(memory, drawn.indices, priorities)
        return (descend(belief, gradient, learning_rate, hypers), memory.priority), (losses[:share], at)

    uniform = jax.random.uniform(key, (n_steps, game.learn.replay_batch), jnp.float32)
    start = (state.belief, state.replay.priority)
    (belief, priority), (losses, order) = jax.lax.scan(step, start, (uniform, rows))
    memory = state.replay.replace(priority=priority)
    priorities = jnp.zeros(n_envs, jnp.float32).at[order.reshape(-1)].set(losses.reshape(-1))
    kept = min(n_envs, game.learn.replay_capacity)
    memory = replay.add(memory, unpack(jax.tree.map(lambda x: x[:kept], fresh)), priorities[:kept])
    return state.replace(belief=belief, replay=memory), {"belief/loss": jnp.mean(losses)}


def _belief_gradient(
    network: PyTree, episodes: Packed, weights: Array, game: Game, hypers: Hypers
) -> tuple[PyTree, Array]:
    """Gradient of the weighted mean loss of the packed :class:`Episode`, and each one's loss [n], by a scan over parts.

    A backward pass through the belief costs tens of megabytes per episode; the scan bounds how many are alive.
    """
    n_episodes = weights.shape[0]
    n_parts = -(-n_episodes // game.learn.belief_microbatch)
    at = jnp.arange(n_parts * game.learn.belief_microbatch, dtype=jnp.int32)
    padded = jnp.where(at < n_episodes, weights[at % n_episodes], 0.0) / jnp.sum(weights)

    def loss(params: PyTree, part: Array) -> tuple[Array, Array]:
        batch: Episode = unpack(jax.tree.map(lambda x: x[part % n_episodes], episodes))
        logits, _ = jax.vmap(lambda tape: game.belief.apply(params, tape))(batch.tape)
        losses = jax.vmap(lambda row, z: belief_loss(row, z, hypers.belief_loss_entropy))(logits, batch.z)
        return jnp.sum(padded[part] * losses), losses

    def accumulate(total: Array, part: Array) -> tuple[Array, Array]:
        gradient, losses = jax.grad(loss, has_aux=True)(network, part)
        return total + ravel_pytree(gradient)[0], losses

    zero, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, network))
    gradient, losses = jax.lax.scan(accumulate, zero, at.reshape(n_parts, -1))
    return unravel(gradient), losses.reshape(-1)[:n_episodes]
