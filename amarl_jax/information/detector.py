"""A freshly trained, cross-fitted detector: how much any flow gives away about a binary label, held out.

It takes arrays, one row per episode, and knows nothing of the market. What is trained is in :mod:`detector_fit`.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.information import mine
from amarl_jax.information.arrays import (
    check_varies,
    deviations,
    labels_of_two_classes,
    numbers,
    probability,
    typed_key,
)
from amarl_jax.information.detector_fit import DetectorSpec, cross_fit, plan
from amarl_jax.information.groups import group_codes, warn_of_repeats
from amarl_jax.information.scaling import without_outliers
from amarl_jax.types import Array

STANDARD_ERRORS = 3.0  # an estimate this far above H(z) is an error
ROUNDING = 1e-6  # nats, of a mean in float32: where every episode is told apart, the estimate is H(z) with no error


@struct.dataclass
class Detection:
    """Held-out results over all episodes; information in nats, standard errors over episodes, or over their groups."""

    mi: Array  # [] Barber-Agakov lower bound of I(z; f)
    mi_stderr: Array  # []
    accuracy: Array  # [] probability of a right guess at the given prior
    accuracy_stderr: Array  # []
    kl_nats: Array  # [] Donsker-Varadhan lower bound of KL(p(f|z=1) || p(f|z=0))
    kl_plug_in_nats: Array  # [] mean log-ratio over z = 1
    log_ratio: Array  # [n] log p(f|z=1) - log p(f|z=0)
    log_posterior: Array  # [n] log P(z = 1 | f)

    def __repr__(self) -> str:
        if isinstance(self.mi, jax.core.Tracer) or np.ndim(self.mi) != 0:
            return f"Detection(mi={self.mi!r}, ...)"
        return (
            f"Detection({self.mi:.4f} +- {self.mi_stderr:.4f} nats, accuracy {self.accuracy:.4f} +- "
            f"{self.accuracy_stderr:.4f}, KL {self.kl_nats:.4f} nats, n {np.size(self.log_ratio)})"
        )


def detect(
    key: Array,
    features: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    prior: float = 0.5,
    groups: Sequence | np.ndarray | None = None,
    spec: DetectorSpec | None = None,
    **settings,
) -> Detection:
    """Train ``n_folds`` detectors, score every episode with the one that never saw it.

    Args:
      key: typed key; the split and the training follow from it.
      features: [n, D] finite, one row per episode, in any unit and with any offset (:mod:`arrays` has the limit).
      labels: [n], 0 or 1. Episodes are weighted to the prior, whatever the class counts.
      prior: P(z = 1) of the information and the accuracy that are reported.
      groups: [n] which rows belong together: they share a fold, and errors are those over groups.
      spec: settings; single ones may be given by keyword instead (``n_folds=5``, ``hidden=(64, 64)``, ...).

    Raises:
      ValueError: input that is not finite, not numbers, misshapen or all alike, a setting out of its range, a class
        with too few episodes or groups, or an estimate above H(z) by more than 3 standard errors.

    Warns:
      UserWarning: rows that occur again in another group, or columns rounded before they arrived.
    """
    spec = dataclasses.replace(spec or DetectorSpec(), **settings)
    key, prior = typed_key(key), probability("prior", prior)
    x, z = prepare(features, labels, spec)
    together = group_codes(groups, z.size)
    check_varies("features", x)
    warn_of_repeats(z, x, together, "label")
    design = plan(key, z, x.shape[1], spec, together)
    log_ratio = cross_fit(design, jnp.asarray(x), jnp.asarray(z), jnp.float32(prior), spec)
    detection = summarise(log_ratio, jnp.asarray(z), prior, None if together is None else jnp.asarray(together))
    check_below_entropy(float(detection.mi), float(detection.mi_stderr), prior)
    return detection


@jax.jit
def summarise(log_ratio: Array, labels: Array, prior: Array | float, groups: Array | None = None) -> Detection:
    """What held-out log-ratios [n] say: information, accuracy, KL; errors over episodes, or over groups [n], codes."""
    scores = jnp.stack([jnp.zeros_like(log_ratio), log_ratio], axis=-1)
    log_posterior = mine.log_posterior(scores, prior)
    pointwise = jnp.where(
        labels == 1, log_posterior[:, 1] - mine.log_prior(prior)[1], log_posterior[:, 0] - mine.log_prior(prior)[0]
    )
    right = ((log_posterior[:, 1] > log_posterior[:, 0]) == (labels == 1)).astype(jnp.float32)
    right = jnp.where(log_posterior[:, 1] == log_posterior[:, 0], 0.5, right)
    mi, mi_stderr = _stratified_mean(pointwise, labels, prior, groups)
    accuracy, accuracy_stderr = _stratified_mean(right, labels, prior, groups)
    n_zero = jnp.sum(labels == 0)
    plug_in = jnp.sum(jnp.where(labels == 1, log_ratio, 0.0)) / jnp.sum(labels == 1)
    log_partition = jax.nn.logsumexp(jnp.where(labels == 0, log_ratio, -jnp.inf)) - jnp.log(n_zero)
    return Detection(
        mi=mi,
        mi_stderr=mi_stderr,
        accuracy=accuracy,
        accuracy_stderr=accuracy_stderr,
        kl_nats=plug_in - log_partition,
        kl_plug_in_nats=plug_in,
        log_ratio=log_ratio,
        log_posterior=log_posterior[:, 1],
    )


def check_below_entropy(mi: float, mi_stderr: float, prior: Array | float) -> None:
    """Raise ValueError if an estimate of I(z; F) exceeds H(z) by more than 3 standard errors, or is not finite."""
    entropy = float(mine.prior_entropy(prior))
    if not mi <= entropy + STANDARD_ERRORS * mi_stderr + ROUNDING:
        raise ValueError(f"estimated information {mi:.4f} +- {mi_stderr:.4f} nats is above H(z) = {entropy:.4f}")


def prepare(
    features: Array | np.ndarray, labels: Array | np.ndarray, spec: DetectorSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, D] and labels [n] int32 as numpy arrays, or a ValueError that says what is wrong.

    Features come less a typical row, in units of their spread, outliers drawn in, as float32; constant columns are 0.
    """
    features = numbers("features", features)
    if features.ndim != 2 or np.shape(labels) != features.shape[:1] or 0 in features.shape:
        raise ValueError(f"expected features [n, D] and labels [n], got {features.shape} and {np.shape(labels)}")
    labels = labels_of_two_classes(labels, features.shape[0])
    smallest = min(int(np.sum(labels == 0)), int(np.sum(labels == 1)))
    if smallest < 2 * spec.n_folds:
        raise ValueError(f"{spec.n_folds} folds need at least {2 * spec.n_folds} episodes of each class")
    return without_outliers(deviations("features", features)).astype(np.float32), labels


def _stratified_mean(x: Array, labels: Array, prior: Array | float, groups: Array | None = None) -> tuple[Array, Array]:
    """Mean of x [n] at the given class weights and its standard error over episodes, or over groups of them.

    Over groups it is cluster-robust: ``G / (G - 1) sum_g (sum_{i in g} w_i (x_i - mean of i's class))^2``.
    """
    mean, variance, influence = jnp.zeros(()), jnp.zeros(()), jnp.zeros(x.shape)
    for label, weight in ((0, 1.0 - prior), (1, prior)):
        member = (labels == label).astype(x.dtype)
        n = jnp.sum(member)
        class_mean = jnp.sum(member * x) / n
        class_variance = jnp.sum(member * (x - class_mean) ** 2) / (n - 1.0)
        mean += weight * class_mean
        variance += weight**2 * class_variance / n
        influence += weight * member * (x - class_mean) / n
    if groups is not None:
        n_groups = jnp.max(groups) + 1.0
        of_group = jax.ops.segment_sum(influence, groups, num_segments=x.shape[0])
        variance = n_groups / (n_groups - 1.0) * jnp.sum(of_group**2)
    return mean, jnp.sqrt(variance)
