"""Losses of proximal policy optimisation: arrays in, scalars out."""

import chex
import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.split import WHOLE, EnvSplit
from amarl_jax.types import Array

LOG_RATIO_MAX = 20.0  # beyond it the surrogate is flat or exp would overflow float32


@struct.dataclass
class SurrogateAux:
    """Diagnostics of one clipped-surrogate evaluation."""

    approx_kl: Array  # [] nats, KL(old || new)
    clip_fraction: Array  # [] share of entries whose ratio left the clip range


def masked_mean(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None, split: EnvSplit = WHOLE) -> Array:
    """``sum(mask x) / sum(mask)``, 0 where nothing is unmasked; a masked NaN affects neither value nor gradient.

    Args:
      x: any shape.
      mask: the shape of ``x``, or of its last axes.
      axis: axes of the mask to average over, counted from the last; None: all.
      split: of the entries over devices. Of several, each has the term of its own part: their sum is the mean.
    """
    chex.assert_equal_shape_suffix([x, mask], mask.ndim)
    mask = mask.astype(x.dtype)
    axis = tuple(range(-mask.ndim, 0)) if axis is None else axis
    total = split.sum(jnp.sum(mask, axis))
    mask = jnp.broadcast_to(mask, x.shape)
    return jnp.sum(mask * jnp.where(mask > 0, x, 0.0), axis) / jnp.where(total > 0, total, 1.0)


def clipped_surrogate(
    log_prob_new: Array,
    log_prob_old: Array,
    advantage: Array,
    mask: Array,
    clip_ratio: Array | float,
    split: EnvSplit = WHOLE,
) -> tuple[Array, SurrogateAux]:
    """The clipped policy-gradient loss of PPO, ``-E min(rho A, clip(rho, 1 - c, 1 + c) A)``, ``rho = pi_new / pi_old``.

    Schulman et al. 2017, "Proximal policy optimization algorithms", eq. 7. The KL is estimated by
    ``E[rho - 1 - log rho]``, unbiased and never negative. Advantages must not depend on the trained parameters.

    Args:
      log_prob_new: log-density of the taken actions under the policy being trained, any shape.
      log_prob_old: the same under the policy that acted.
      advantage: same shape.
      mask: same shape; 0 leaves an entry out, other values weight it.
      clip_ratio: c, [].
      split: as of :func:`masked_mean`.

    Returns:
      (loss [], :class:`SurrogateAux`).
    """
    chex.assert_equal_shape([log_prob_new, log_prob_old, advantage, mask])
    log_ratio = jnp.where(mask > 0, log_prob_new - log_prob_old, 0.0)
    log_ratio = jnp.clip(log_ratio, -LOG_RATIO_MAX, LOG_RATIO_MAX)
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1.0 - clip_ratio, 1.0 + clip_ratio)
    gain = jnp.minimum(ratio * advantage, clipped * advantage)
    outside = (jnp.abs(ratio - 1.0) > clip_ratio).astype(ratio.dtype)
    gain, approx_kl, clip_fraction = masked_mean(jnp.stack([gain, ratio - 1.0 - log_ratio, outside]), mask, split=split)
    return -gain, SurrogateAux(approx_kl=approx_kl, clip_fraction=clip_fraction)


def value_loss(value: Array, target: Array, mask: Array, split: EnvSplit = WHOLE) -> Array:
    """Mean squared error of each value head over unmasked entries, in reward units squared, [head].

    Args:
      value: predictions, [..., head].
      target: from :func:`amarl_jax.learn.returns.gae`, same shape.
      mask: same shape, 0 or 1.
      split: as of :func:`masked_mean`.
    """
    chex.assert_equal_shape([value, target, mask])
    return masked_mean(jnp.square(value - target), mask, tuple(range(-value.ndim, -1)), split)
