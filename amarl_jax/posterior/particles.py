"""A particle filter over the slot's hidden states that keeps likely ones and resamples the rest.

The possibilities of a step are finite, so all offspring that the particles may have are listed with exact weights, and
``K`` of them are selected: an offspring of weight w is kept with probability ``p = min(w / c, 1)`` and then weighs
``w / p``, where c makes the probabilities add up to K (Fearnhead and Clifford 2003, "On-line inference for hidden
Markov models via particle filters"). Particles in the same state are merged. The likelihood so estimated is unbiased
for every K, and exact while K states are enough.

Where a path must be kept, each selection is drawn conditional on keeping it. If the path is a draw of the
posterior, as what really happened is, the inverse of the estimate is then unbiased for the inverse of the likelihood
(Andrieu, Doucet and Holenstein 2010; Grosse, Ghahramani and Adams 2015).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.lob.matching import running_sum
from amarl_jax.posterior.assignments import Hidden
from amarl_jax.types import Array

N_ITERATIONS = 6  # for the threshold c, which they approach from above


@struct.dataclass
class Particles:
    """``K`` weighted hypotheses about one slot."""

    hidden: Hidden  # [K]
    node: Array  # [K] int32, which of the private numbers it has
    share: Array  # [K] weights, whose sum has mean 1; 0 for a free place
    log_likelihood: Array  # [] of the record so far, relative to the law in which every row is noise
    kept: Array  # [] int32, the particle of the path that is kept; read only where one is


def advance(uniform: Array, particles: Particles, weights: Array, kept_option: Array | None) -> tuple[Particles, Array]:
    """Weigh all possible offspring of the particles in a step and select ``K`` of them.

    Offspring are sorted by what they did, so that those with the same order as child are adjacent and the systematic
    draw spreads over the orders that may be the slot's.

    Args:
        uniform: [2] in [0, 1); the second is read where a path is kept.
        particles: at the start of the step; once the record leaves none alive its likelihood stays 0.
        weights: [n, K] of the possibilities of each particle.
        kept_option: [] int32, what the kept path did, -1 for a hypothesis without one; None: no hypothesis has one.

    Returns:
        The particles after the step, their hidden states still those before it, and what each did, [K] int32.
    """
    n_particles = weights.shape[1]
    joint = particles.share[None, :] * weights
    total = jnp.sum(jnp.sum(joint, axis=0))
    alive = total > 0
    joint = joint / jnp.where(alive, total, 1.0)
    threshold = _threshold(joint)
    certain = joint >= threshold
    chance = jnp.where(certain, (joint > 0).astype(jnp.float32), joint / jnp.where(certain, 1.0, threshold))
    upto = _running(chance).reshape(-1)
    joint, chance = joint.reshape(-1), chance.reshape(-1)
    shift, target = uniform[0], jnp.int32(-1)
    if kept_option is not None:
        keeps = kept_option >= 0
        own = jnp.maximum(kept_option, 0) * n_particles + particles.kept
        inside = upto[own] - chance[own] * (1.0 - uniform[1])
        shift = jnp.where(keeps, jnp.ceil(inside) - inside, shift)
        target = jnp.where(keeps, jnp.ceil(inside).astype(jnp.int32) - 1, -1)
    # the m-th selected is the first whose running chance reaches m + 1 - shift
    index = jnp.arange(n_particles, dtype=jnp.int32)
    chosen = jnp.searchsorted(upto, index + 1.0 - shift, side="left", method="scan_unrolled").astype(jnp.int32)
    is_free = chosen >= joint.shape[0]
    chosen = jnp.minimum(chosen, joint.shape[0] - 1)
    if kept_option is not None:
        chosen = jnp.where(index == target, own, chosen)
        is_free = is_free & (index != target)
    parent = chosen % n_particles
    hidden, node = jax.tree.map(lambda x: x[parent], (particles.hidden, particles.node))
    return Particles(
        hidden=hidden,
        node=node,
        share=jnp.where(is_free, 0.0, jnp.maximum(joint, threshold)[chosen]),
        log_likelihood=particles.log_likelihood + jnp.where(alive, jnp.log(jnp.where(alive, total, 1.0)), -jnp.inf),
        kept=jnp.where(target >= 0, target, particles.kept),
    ), chosen // n_particles


def _threshold(joint: Array) -> Array:
    """A number c slightly above that for which ``sum min(joint / c, 1)`` is K; 0 if at most K are positive.

    ``joint`` is [n, K]. Sums run over n first: a processor adds whole rows at once.
    """
    n_particles = joint.shape[1]
    threshold = jnp.sum(jnp.sum(joint, axis=0)) / n_particles
    for _ in range(N_ITERATIONS):
        certain = joint >= threshold
        rest = jnp.sum(jnp.sum(jnp.where(certain, 0.0, joint), axis=0))
        n_certain = jnp.sum(jnp.sum(certain.astype(jnp.float32), axis=0))
        threshold = rest / jnp.maximum(n_particles - n_certain, 1.0)
    return threshold


def _running(x: Array) -> Array:
    """Inclusive sums along the rows of [n, K], one row after the other."""
    n_rows, n_columns = x.shape
    width = next(w for w in (16, 8, 4, 2, 1) if n_columns % w == 0)
    triangle = np.triu(np.ones((width, width), np.float32))
    parts = jnp.matmul(x.reshape(-1, width), triangle, precision=jax.lax.Precision.HIGHEST)
    before = running_sum(parts[:, -1]) - parts[:, -1]
    return (parts + before[:, None]).reshape(n_rows, n_columns)


def merge(particles: Particles, n_slots: int) -> Particles:
    """Merge particles with the same private number, child and position: the first gets the weight of all.

    Args:
        particles: [K] at the start of a step, as carried by the loop: elsewhere the compiler would repeat the look-ups
            that they come from for every pair.
        n_slots: 2 N, of the book.
    """
    index = jnp.arange(particles.share.shape[0], dtype=jnp.int32)
    state = particles.node * (n_slots + 1) + particles.hidden.child + 1
    position = particles.hidden.position
    same = (state[:, None] == state[None, :]) & (position[:, None] == position[None, :])
    first = jnp.min(jnp.where(same, index[:, None], index.size), axis=0)
    together = jnp.sum(jnp.where(same, particles.share[:, None], 0.0), axis=0)
    return dataclasses.replace(particles, share=jnp.where(first == index, together, 0.0), kept=first[particles.kept])
