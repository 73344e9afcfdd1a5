"""A freshly trained, cross-fitted detector: how much any flow gives away about a binary label, held out.

It takes arrays, one row per episode, and knows nothing of the market. What is trained is in :mod:`crossfit`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.information import mine
from amarl_jax.information.crossfit import DetectorSpec, cross_fit, plan
from amarl_jax.types import Array

STANDARD_ERRORS = 3.0  # an estimate this far above H(z) is an error


@struct.dataclass
class Detection:
    """Held-out results over all episodes; information in nats, standard errors over episodes."""

    mi: Array  # [] Barber-Agakov lower bound of I(z; f)
    mi_stderr: Array  # []
    accuracy: Array  # [] probability of a right guess at the given prior
    accuracy_stderr: Array  # []
    kl_nats: Array  # [] Donsker-Varadhan lower bound of KL(p(f|z=1) || p(f|z=0))
    kl_plug_in_nats: Array  # [] mean log-ratio over z = 1
    log_ratio: Array  # [n] log p(f|z=1) - log p(f|z=0)
    log_posterior: Array  # [n] log P(z = 1 | f)


def detect(
    key: Array,
    features: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    prior: float = 0.5,
    spec: DetectorSpec | None = None,
    **settings,
) -> Detection:
    """Train ``n_folds`` detectors, score every episode with the one that never saw it.

    Args:
      key: typed key; the split and the training follow from it.
      features: [n, D] finite, one row per episode.
      labels: [n], 0 or 1. Episodes are weighted to the prior, whatever the class counts.
      prior: P(z = 1) of the information and the accuracy that are reported.
      spec: settings; single ones may be given by keyword instead (``n_folds=5``, ``hidden=(64, 64)``, ...).

    Raises:
      ValueError: not finite or misshapen input, a class with too few episodes, or an estimate above H(z) by more
        than 3 standard errors.
    """
    spec = dataclasses.replace(spec or DetectorSpec(), **settings)
    x, z = prepare(features, labels, spec)
    design = plan(key, z, x.shape[1], spec)
    log_ratio = cross_fit(design, jnp.asarray(x), jnp.asarray(z), jnp.float32(prior), spec)
    detection = summarise(log_ratio, jnp.asarray(z), prior)
    check_below_entropy(float(detection.mi), float(detection.mi_stderr), prior)
    return detection


def summarise(log_ratio: Array, labels: Array, prior: Array | float) -> Detection:
    """What held-out log-ratios [n] say: information, accuracy, KL."""
    scores = jnp.stack([jnp.zeros_like(log_ratio), log_ratio], axis=-1)
    log_posterior = mine.log_posterior(scores, prior)
    pointwise = jnp.where(
        labels == 1, log_posterior[:, 1] - mine.log_prior(prior)[1], log_posterior[:, 0] - mine.log_prior(prior)[0]
    )
    right = ((log_posterior[:, 1] > log_posterior[:, 0]) == (labels == 1)).astype(jnp.float32)
    right = jnp.where(log_posterior[:, 1] == log_posterior[:, 0], 0.5, right)
    mi, mi_stderr = _stratified_mean(pointwise, labels, prior)
    accuracy, accuracy_stderr = _stratified_mean(right, labels, prior)
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
    if not mi <= entropy + STANDARD_ERRORS * mi_stderr:
        raise ValueError(f"estimated information {mi:.4f} +- {mi_stderr:.4f} nats is above H(z) = {entropy:.4f}")


def prepare(
    features: Array | np.ndarray, labels: Array | np.ndarray, spec: DetectorSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, D] float32 and labels [n] int32 as numpy arrays, or a ValueError that says what is wrong."""
    features, labels = np.asarray(features, np.float32), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"expected features [n, D] and labels [n], got {features.shape} and {labels.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    smallest = min(int(np.sum(labels == 0)), int(np.sum(labels == 1)))
    if spec.n_folds < 2 or smallest < 2 * spec.n_folds:
        raise ValueError(f"{spec.n_folds} folds need at least {2 * spec.n_folds} episodes of each class")
    return features, labels.astype(np.int32)


def _stratified_mean(x: Array, labels: Array, prior: Array | float) -> tuple[Array, Array]:
    """Mean of x [n] at the given class weights and its standard error over episodes."""
    mean, variance = jnp.zeros(()), jnp.zeros(())
    for label, weight in ((0, 1.0 - prior), (1, prior)):
        member = (labels == label).astype(x.dtype)
        n = jnp.sum(member)
        class_mean = jnp.sum(member * x) / n
        class_variance = jnp.sum(member * (x - class_mean) ** 2) / (n - 1.0)
        mean += weight * class_mean
        variance += weight**2 * class_variance / n
    return mean, jnp.sqrt(variance)
