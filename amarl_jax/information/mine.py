"""MINE with the exact marginal of a discrete z, the posterior it implies, and the leakage it pays as reward.

One critic T(z, f) serves everything here. ``z`` takes C values (2 in the game) with a known prior, so the marginal
``E_f sum_z p(z) exp T(z, f)`` is summed, not shuffled (Belghazi et al. 2018, "Mutual information neural
estimation", with that one change). Scores are arrays ``[B, *S, C]``: B episodes, any axes S in between (steps, say)
over which partitions are kept apart, and T(z = c, f) for every c on the last axis. All information is in nats.
"""

import math

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.types import Array

POSTERIOR_MIN, POSTERIOR_MAX = 0.02, 0.98  # bounds of the posterior inside the leakage, which keep it within 3.3 nats


@struct.dataclass
class MineState:
    """Moving average of the partition function, one per position of S."""

    log_partition_ema: Array  # [*S] log of the bias-corrected moving average of E_marg[exp T]
    n_updates: Array  # [*S] int32


def init_mine(shape: tuple[int, ...] = ()) -> MineState:
    """State before the first update, for partitions of the given shape S (``(T,)`` keeps one per step)."""
    return MineState(log_partition_ema=jnp.zeros(shape, jnp.float32), n_updates=jnp.zeros(shape, jnp.int32))


def log_prior(prior: Array | float) -> Array:
    """log p(z), [C]; a scalar is P(z = 1) of a binary z, a vector [C] the law itself."""
    prior = jnp.asarray(prior, jnp.float32)
    return jnp.log(jnp.stack([1.0 - prior, prior]) if prior.ndim == 0 else prior)


def prior_entropy(prior: Array | float) -> Array:
    """H(z) in nats, the largest value I(z; F) can have."""
    log_p = log_prior(prior)
    return -jnp.sum(jnp.where(jnp.isfinite(log_p), jnp.exp(log_p) * log_p, 0.0))


def episode_weights(labels: Array, prior: Array | float) -> Array:
    """Weights [B], summing to 1, under which the labels [B] have exactly the prior's frequencies.

    ``w_i = p(z_i) / n(z_i)``: the estimand keeps its prior however the batch was stratified.
    """
    chex.assert_rank(labels, 1)
    log_p = log_prior(prior)
    member = jax.nn.one_hot(labels, log_p.shape[0], dtype=jnp.float32)
    weights = member @ (jnp.exp(log_p) / jnp.maximum(jnp.sum(member, axis=0), 1.0))
    return weights / jnp.sum(weights)


def joint_mean(scores: Array, labels: Array, prior: Array | float) -> Array:
    """``E_joint[T]`` for each position of S: the weighted mean of T(z_i, f_i), [*S]."""
    weights = episode_weights(labels, prior)
    joint = jnp.sum(jnp.where(_label_mask(scores, labels), scores, 0.0), axis=-1)
    return jnp.tensordot(weights, joint, axes=1)


def marginal_mean(values: Array, labels: Array, prior: Array | float) -> Array:
    """``E_f sum_z p(z) value(z, f)`` of values [B, *S, C], [*S]."""
    weights = episode_weights(labels, prior)
    return jnp.tensordot(weights, values @ jnp.exp(log_prior(prior)), axes=1)


def log_partition(scores: Array, labels: Array, prior: Array | float) -> Array:
    """``log E_f sum_z p(z) exp T(z, f)``, [*S]; labels only weight the episodes."""
    log_weights = _first_axis(jnp.log(episode_weights(labels, prior)), scores.ndim)
    log_p = _last_axis(log_prior(prior), scores.ndim)
    return jax.nn.logsumexp(scores + log_weights + log_p, axis=(0, scores.ndim - 1))


def donsker_varadhan(scores: Array, labels: Array, prior: Array | float) -> Array:
    """``E_joint[T] - log E_marg[exp T]``, a lower bound of I(z; f) in nats for each position of S."""
    return joint_mean(scores, labels, prior) - log_partition(scores, labels, prior)


def mine_loss(
    scores: Array, labels: Array, prior: Array | float, state: MineState, ema_decay: Array | float
) -> tuple[Array, MineState]:
    """MINE's training loss: its gradient is that of ``-DV`` with a moving average in the partition's denominator.

    ``-E_joint[grad T] + E_marg[exp(T) grad T] / EMA`` (Belghazi et al. 2018, eq. 12), averaged over S. The average
    is bias-corrected and includes this batch, so the first step is plain DV and the ratio never exceeds
    ``1 / (1 - ema_decay)``. The value is ``-E_joint[T] + partition / EMA``; read the bound from
    :func:`donsker_varadhan`.

    Args:
      scores: [B, *S, C].
      labels: [B] int.
      prior: P(z = 1) [], or p(z) [C].
      state: moving averages, [*S].
      ema_decay: decay per update, [] in [0, 1).
    """
    chex.assert_shape(state.log_partition_ema, scores.shape[1:-1])
    log_z = log_partition(scores, labels, prior)
    state = _update_partition(state, jax.lax.stop_gradient(log_z), ema_decay)
    loss = jnp.exp(log_z - state.log_partition_ema) - joint_mean(scores, labels, prior)
    return jnp.mean(loss), state


def log_posterior(scores: Array, prior: Array | float) -> Array:
    """``log p(z | f)`` of the critic, [..., C]: ``p(z) exp T(z, f)`` normalised over z; adding c(f) changes nothing."""
    return jax.nn.log_softmax(scores + _last_axis(log_prior(prior), scores.ndim), axis=-1)


def barber_agakov(posterior_one: Array, labels: Array, prior: Array | float) -> Array:
    """``E log p(z | F) / p(z)``, the information about z that a posterior claims, nats, [*S].

    Barber-Agakov: a lower bound of I(z; F) on episodes the posterior was not fitted to.

    Args:
      posterior_one: [B, *S], P(z = 1 | F), clipped to [1e-6, 1 - 1e-6].
      labels: [B] int.
      prior: p_z, [].
    """
    chex.assert_equal_shape_prefix([posterior_one, labels], 1)
    p = jnp.clip(posterior_one, 1e-6, 1.0 - 1e-6)
    scores = jnp.log(jnp.stack([1.0 - p, p], axis=-1))
    log_ratio = scores - _last_axis(log_prior(prior), scores.ndim)
    return joint_mean(log_ratio, labels, prior)


def leakage_increments(log_posterior_one: Array, prior: Array | float) -> Array:
    """Information about z = 1 that each step of an episode adds, [T] nats: a reward, never differentiated.

    ``L[t] = p_z (l[t] - l[t-1])`` with ``l = log clip(P(z = 1 | F_<=t), 0.02, 0.98)`` and ``l[-1] = log p_z``. Summed
    over z = 1 episodes undiscounted it telescopes to ``p_z log p(z=1|F) / p_z``, whose score-function gradient over
    them is the gradient of I(z; F).

    Args:
      log_posterior_one: [T], log P(z = 1 | F_<=t).
      prior: p_z, [].
    """
    chex.assert_rank(log_posterior_one, 1)
    level = _clipped(log_posterior_one)
    start = jnp.log(jnp.asarray(prior, level.dtype))
    return jax.lax.stop_gradient(prior * (level - jnp.concatenate([start[None], level[:-1]])))


def leakage_levels(log_posterior_one: Array, prior: Array | float) -> Array:
    """The per-step alternative, ``p_z (l[t] - log p_z) / T``, [T] nats: the leakage so far, averaged over the horizon.

    It pays the same information again at every later step, so its fixed point is that of the mean over t of
    I(z; F_<=t), not of I(z; F). Arguments as in :func:`leakage_increments`.
    """
    chex.assert_rank(log_posterior_one, 1)
    level = _clipped(log_posterior_one)
    return jax.lax.stop_gradient(prior * (level - jnp.log(jnp.asarray(prior, level.dtype))) / level.shape[0])


def _clipped(log_posterior_one: Array) -> Array:
    return jnp.clip(log_posterior_one, math.log(POSTERIOR_MIN), math.log(POSTERIOR_MAX))


def _update_partition(state: MineState, log_z: Array, decay: Array | float) -> MineState:
    """Bias-corrected moving average in log space; its weights on past and present sum to 1 from the first update."""
    n = (state.n_updates + 1).astype(jnp.float32)
    new_weight = (1.0 - decay) / (1.0 - decay**n)
    past = jnp.log1p(-new_weight) + state.log_partition_ema
    past = jnp.where(state.n_updates > 0, past, -jnp.inf)
    return MineState(log_partition_ema=jnp.logaddexp(past, jnp.log(new_weight) + log_z), n_updates=state.n_updates + 1)


def _label_mask(scores: Array, labels: Array) -> Array:
    """[B, 1 ..., C] bool, true where the last axis is the episode's own z; broadcast to the scores' shape."""
    own = labels[:, None] == jnp.arange(scores.shape[-1], dtype=jnp.int32)[None, :]
    shape = (scores.shape[0], *(1,) * (scores.ndim - 2), scores.shape[-1])
    return jnp.broadcast_to(own.reshape(shape), scores.shape)


def _first_axis(x: Array, ndim: int) -> Array:
    return x.reshape((-1, *(1,) * (ndim - 1)))


def _last_axis(x: Array, ndim: int) -> Array:
    return x.reshape((*(1,) * (ndim - 1), -1))
