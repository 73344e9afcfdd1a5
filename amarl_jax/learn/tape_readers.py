"""Fit the networks that read the tape: the MINE critic, the predictor and the belief."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from amarl_jax.learn import replay
from amarl_jax.learn.game import Learnable
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.optimiser import Network, descend, scheduled
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.learn.scoring import (
    evidence,
    predictability_gain,
    statistics_scores,
)
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import Episode, TrainState
from amarl_jax.nets.belief import belief_loss
from amarl_jax.nets.recurrence import is_parallel
from amarl_jax.trees import Packed, pack
from amarl_jax.types import Array, PyTree, Tape

MINE_EPISODES = 16  # least number in a step of the MI critic: a partition over fewer is mostly noise
MICROBATCHES = 4  # in a backward pass of the belief on an accelerator, where every kernel costs a launch

Fitted = tuple[Network, PyTree]  # the statistics network, and the state of the estimator that trains it


def fit_mine(
    key: Array, state: TrainState, trajectory: Trajectory, setup: Setup
) -> tuple[TrainState, dict[str, Array]]:
    """Train the MI critic for ``n_mine_steps`` steps on a rollout, each on ``MINE_EPISODES`` episodes or more.

    Steps take the episodes in turn, so that together they see every one at least once; each has both classes in the
    shares of the rollout. Of several devices each takes a share of a step's episodes from its own.
    """
    game, hypers, prior = setup.game, setup.hypers, setup.params.informed_probability
    n_steps = game.learn.n_mine_steps
    split = game.learn.split
    parts = shares_of_classes(split.own_key(key), trajectory.z, n_steps, split.share(MINE_EPISODES))
    beside = evidence(trajectory.belief, trajectory.hidden)
    learning_rate = scheduled(hypers.lr_mine, state.update, hypers)

    def step(carry: Fitted, i: Array) -> tuple[Fitted, Array]:
        tape, seen, z = jax.tree.map(
            lambda x: x[parts[i % parts.shape[0]]], (trajectory.output.tape, beside, trajectory.z)
        )

        def scores(network: PyTree) -> Array:
            return statistics_scores(network, tape, seen, game)

        return critic_step(carry, scores, z, prior, learning_rate, game, hypers)

    start = (state.statistics, state.estimator)
    (statistics, estimator), losses = jax.lax.scan(step, start, jnp.arange(n_steps, dtype=jnp.int32))
    return state.replace(statistics=statistics, estimator=estimator), {"mine/loss": losses[-1]}


def shares_of_classes(key: Array, z: Array, n_steps: int, least: int = MINE_EPISODES) -> Array:
    """Random episodes of each step, [at most n_steps, n]: together all, each step with the class shares of z [E].

    A step has ``least`` episodes or more, if there are as many.
    """
    n_envs = z.shape[0]
    share = min(n_envs, max(least, -(-n_envs // n_steps)))
    n_parts = -(-n_envs // share)
    by_class = jnp.argsort(z + jax.random.uniform(key, (n_envs,), jnp.float32))
    spread = jnp.arange(n_parts * share, dtype=jnp.int32) * n_envs // (n_parts * share)
    return by_class[spread].reshape(share, n_parts).T


def critic_step(
    critic: Fitted,
    scores: Callable[[PyTree], Array],
    z: Array,
    prior: Array | float,
    learning_rate: Array,
    game: Learnable,
    hypers: Hypers,
) -> tuple[Fitted, Array]:
    """The MI critic after one step on episodes [B], and its loss before the step, [].

    Args:
        critic: the statistics network, and the estimator's state, [S].
        scores: parameters to ``T(z, h)``, [B, *S, 2]; of several devices, each has those of its own episodes.
        z: [B], likewise.
        prior: p_z, [].
        learning_rate: [].
        game: static bundle.
        hypers: traced hyperparameters.
    """
    (statistics, estimator), split = critic, game.learn.split
    labels = split.everyones(z)

    def loss(network: PyTree) -> tuple[Array, PyTree]:
        return game.estimator.loss(split.everyones(scores(network)), labels, prior, estimator, hypers.mine_ema)

    (value, estimator), gradient = jax.value_and_grad(loss, has_aux=True)(statistics.params)
    gradient = split.sum(gradient)
    return (descend(statistics, gradient, learning_rate, hypers), estimator), value


def fit_predictor(state: TrainState, series: Array, setup: Setup) -> tuple[TrainState, dict[str, Array]]:
    """Train the predictor for ``n_mine_steps`` steps of maximum likelihood, each on a share of the episodes.

    ``series`` [E, T, D] is the standardised flow of a rollout, both classes alike.
    """
    game, hypers, n_envs = setup.game, setup.hypers, series.shape[0]
    share = max(1, n_envs // game.learn.n_mine_steps)
    starts = (jnp.arange(game.learn.n_mine_steps, dtype=jnp.int32) * share) % n_envs
    learning_rate = scheduled(hypers.lr_mine, state.update, hypers)

    def step(predictor: Network, start: Array) -> tuple[Network, Array]:
        rows = (start + jnp.arange(share, dtype=jnp.int32)) % n_envs

        def loss(network: PyTree) -> Array:
            return -jnp.mean(jax.vmap(lambda row: predictability_gain(network, row, game))(series[rows]))

        value, gradient = game.learn.split.mean(jax.value_and_grad(loss)(predictor.params))
        return descend(predictor, gradient, learning_rate, hypers), value

    predictor, losses = jax.lax.scan(step, state.predictor, starts)
    return state.replace(predictor=predictor), {"predictor/loss": losses[-1]}


def fit_belief(
    key: Array, state: TrainState, tape: Tape, target: Array, setup: Setup
) -> tuple[TrainState, dict[str, Array]]:
    """Train the belief for ``n_belief_steps`` steps on fresh episodes, each seen once, beside replayed ones.

    The fresh episodes enter the replay afterwards, with their loss as priority. Of several devices each has a replay of
    its own episodes.

    Args:
        key: draws what is replayed.
        state: the learner.
        tape: of the fresh episodes, [E, T, ...].
        target: z [E], or an exact posterior at every prefix [E, T], whose mean given the tape is ``P(z = 1 | F)``.
        setup: what is trained with.
    """
    game, hypers, split = setup.game, setup.hypers, setup.game.learn.split
    fresh = pack(Episode(tape=tape, target=target.astype(jnp.float32)), n_lead=1)
    stored = pack(state.replay.storage, n_lead=1)
    n_envs, n_steps = target.shape[0], game.learn.n_belief_steps
    share = -(-n_envs // n_steps)
    rows = (jnp.arange(n_steps * share, dtype=jnp.int32) % n_envs).reshape(n_steps, share)
    learning_rate = scheduled(hypers.lr_belief, state.update, hypers)

    def step(carry: tuple, inputs: tuple[Array, Array]) -> tuple[tuple, tuple[Array, Array]]:
        belief, priority = carry
        uniform, at = inputs
        memory = state.replay.replace(storage=stored, priority=priority)
        drawn = replay.sample(uniform, memory, hypers.replay_alpha, hypers.replay_beta, split)
        new = jax.tree.map(lambda x: x[at], fresh)
        episodes = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), new, drawn.items)
        weights = jnp.concatenate([jnp.ones(share, jnp.float32), drawn.weights])
        gradient, losses = _belief_gradient(belief.params, episodes, weights, setup)
        priorities = jnp.where(drawn.weights > 0, losses[share:], memory.priority[drawn.indices])
        memory = replay.update_priorities(memory, drawn.indices, priorities)
        return (descend(belief, gradient, learning_rate, hypers), memory.priority), (losses[:share], at)

    n_drawn = split.share(game.learn.replay_batch)
    uniform = jax.random.uniform(split.own_key(key), (n_steps, n_drawn), jnp.float32)
    start = (state.belief, state.replay.priority)
    (belief, priority), (losses, order) = jax.lax.scan(step, start, (uniform, rows))
    memory = state.replay.replace(priority=priority)
    priorities = jnp.zeros(n_envs, jnp.float32).at[order.reshape(-1)].set(losses.reshape(-1))
    kept = min(n_envs, priority.shape[0])
    memory = replay.add(memory, fresh.take(slice(kept)), priorities[:kept])
    return state.replace(belief=belief, replay=memory), {"belief/loss": split.mean(jnp.mean(losses))}


def _belief_gradient(network: PyTree, episodes: Packed, weights: Array, setup: Setup) -> tuple[PyTree, Array]:
    """Gradient of the weighted mean loss of the packed :class:`Episode`, and each one's loss [n], by a scan over parts.

    A backward pass through the belief costs tens of megabytes per episode; the scan bounds how many are alive.
    """
    game, split, n_episodes = setup.game, setup.game.learn.split, weights.shape[0]
    microbatches = MICROBATCHES if is_parallel(game.recurrence) else 1
    n_together = min(microbatches * game.learn.belief_microbatch, n_episodes)
    n_parts = -(-n_episodes // n_together)
    at = jnp.arange(n_parts * n_together, dtype=jnp.int32)
    padded = jnp.where(at < n_episodes, weights[at % n_episodes], 0.0) / split.sum(jnp.sum(weights))

    def loss(params: PyTree, part: Array) -> tuple[Array, Array]:
        batch: Episode = episodes.take(part % n_episodes)
        logits, _ = jax.vmap(lambda tape: game.belief.apply(params, tape))(batch.tape)
        bonus = setup.hypers.belief_loss_entropy
        losses = jax.vmap(lambda row, target: belief_loss(row, target, bonus))(logits, batch.target)
        return jnp.sum(padded[part] * losses), losses

    def accumulate(total: Array, part: Array) -> tuple[Array, Array]:
        gradient, losses = jax.grad(loss, has_aux=True)(network, part)
        return total + ravel_pytree(gradient)[0], losses

    zero, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, network))
    gradient, losses = jax.lax.scan(accumulate, zero, at.reshape(n_parts, -1))
    return unravel(split.sum(gradient)), losses.reshape(-1)[:n_episodes]
