"""Divergence of two laws of flow: over whole trajectories by a detector, over single orders by a histogram.

Everything takes arrays and knows nothing of the market. For trajectories the episode is the unit. At order level one
row is one order; orders of an episode are dependent, so no standard error is offered there, and laws with identical
orders can still be told apart as sequences. All divergences are in nats, of z = 1 from z = 0.
"""

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from amarl_jax.information.arrays import count, labels_of_two_classes, numbers, probability, typed_key
from amarl_jax.information.detector import detect, summarise
from amarl_jax.information.detector_fit import RIDGES, DetectorSpec
from amarl_jax.information.groups import constant_in_groups, generator, group_codes
from amarl_jax.types import Array

LIGHT = DetectorSpec(ridges=tuple(ridge for ridge in RIDGES if ridge <= 0.1))  # more would hide what fitting costs


class Interval(NamedTuple):
    """An estimate with its confidence limits."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.lower:.4f}, {self.upper:.4f}]"


class TrajectoryDivergence(NamedTuple):
    """Divergences of two classes of episodes by a cross-fitted detector; bounds of the true ones up to noise."""

    kl_nats: Interval  # KL(z = 1 || z = 0), Donsker-Varadhan, a lower bound
    kl_plug_in_nats: Interval  # mean log-ratio over z = 1; no bound, but equal to the above for an exact log-ratio
    jensen_shannon_nats: Interval  # Barber-Agakov at equal priors, a lower bound; at most ln 2
    total_variation: Interval  # 2 x accuracy at equal priors - 1, a lower bound
    log_ratio: np.ndarray  # [n] held out

    def __repr__(self) -> str:
        names = {"KL": self.kl_nats, "plug-in": self.kl_plug_in_nats, "JS": self.jensen_shannon_nats}
        nats = ", ".join(f"{name} {each}" for name, each in names.items())
        return f"TrajectoryDivergence({nats} nats, TV {self.total_variation}, n {len(self.log_ratio)})"


@dataclasses.dataclass(frozen=True)
class HistogramDivergence:
    """Plug-in divergences of two histograms, and the KL expected where the laws are equal."""

    kl_nats: float
    null_bias_nats: float  # expectation of kl_nats for equal laws of independent orders
    jensen_shannon_nats: float
    total_variation: float
    n_bins: int  # occupied by either sample

    def __str__(self) -> str:
        return f"KL {self.kl_nats:.4f} nats, of which {self.null_bias_nats:.4f} is null bias ({self.n_bins} bins)"


def trajectory_divergence(
    key: Array,
    features: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    prior: float = 0.5,
    groups: Sequence | np.ndarray | None = None,
    spec: DetectorSpec | None = None,
) -> TrajectoryDivergence:
    """Cross-fit a detector on episodes of two classes and read the divergences from its held-out log-ratios.

    The detector's posterior odds are divided by the odds it was trained at, so class counts and ``prior`` change its
    fit, not the estimand. It is fitted a second time on half of its training episodes, to estimate the loss from
    fitting (see :func:`bootstrap`).

    Args:
      key: typed key.
      features: [n, D], one row per episode.
      labels: [n], 0 or 1.
      confidence: of the intervals.
      n_bootstrap: resamples of the episodes.
      prior: P(z = 1) at which the detector trains.
      groups: [n] which rows belong together: they share a fold, and are drawn again together.
      spec: the detector's settings; lightly penalised by default, as the second fit does not show what shrinkage loses.

    Raises:
      ValueError: as :func:`amarl_jax.information.detector.detect`, which also gives the warnings.
    """
    key_detect, key_bootstrap = jax.random.split(typed_key(key))
    _check_resampling(confidence, n_bootstrap)
    full = spec or LIGHT
    half = dataclasses.replace(full, training_share=full.training_share / 2)
    log_ratio, on_half = (
        detect(key_detect, features, labels, prior=prior, groups=groups, spec=each).log_ratio for each in (full, half)
    )
    return bootstrap(
        key_bootstrap, log_ratio, labels, on_half, confidence=confidence, n_bootstrap=n_bootstrap, groups=groups
    )


def bootstrap(
    key: Array,
    log_ratio: Array | np.ndarray,
    labels: Array | np.ndarray,
    on_half: Array | np.ndarray | None = None,
    *,
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    groups: Sequence | np.ndarray | None = None,
) -> TrajectoryDivergence:
    """Divergences from held-out log-ratios [n], with intervals over the episodes of both classes.

    Each resample draws as many episodes of either class, with replacement. Its percentiles cover what these log-ratios
    measure, which for a fitted detector is less than the divergence of the laws. The loss of a fit falls as 1 / n, so
    it is about the difference ``d`` between this detector and one fitted on half of the episodes (Richardson's
    extrapolation). Given the latter's log-ratios ``on_half``, the upper limit rises by ``d`` and by the uncertainty of
    ``d``, taken to be as large as ``d``: ``upper = value + d + sqrt((percentile - value)^2 + (1.96 d)^2)`` at 95%. It
    is never below 0. The value stays the detector's own, a lower bound up to noise.

    With ``groups`` [n] whole groups are drawn, as many of each kind as there are: all of one class, or of both classes.

    Raises:
      ValueError: log-ratios that are not finite, misshapen input, a single class, settings out of their range.
    """
    _check_resampling(confidence, n_bootstrap)
    log_ratio, labels = _log_ratios(log_ratio, np.shape(labels)), labels_of_two_classes(labels, np.size(labels))
    if np.unique(labels).size < 2:
        raise ValueError("expected log-ratios and labels [n] of both classes, got one class")
    together = group_codes(groups, labels.size)
    zeros, ones = log_ratio[labels == 0], log_ratio[labels == 1]
    values = np.asarray(_measures(zeros, ones))
    if together is None:
        samples = _resampled_measures(jax.random.split(typed_key(key), n_bootstrap), zeros, ones)
    else:
        samples = _resampled_by_group(generator(typed_key(key)), np.asarray(log_ratio), labels, together, n_bootstrap)
    lower, upper = np.quantile(np.asarray(samples), ((1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0), axis=0)
    if on_half is not None:
        halved = _log_ratios(on_half, labels.shape)
        loss = np.maximum(values - np.asarray(_measures(halved[labels == 0], halved[labels == 1])), 0.0)
        quantile = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
        upper = values + loss + np.hypot(upper - values, quantile * loss)
    limits = zip(values, lower, np.maximum(upper, 0.0), strict=True)
    kl, plug_in, jensen_shannon_nats, variation = (Interval(*(float(x) for x in limit)) for limit in limits)
    return TrajectoryDivergence(kl, plug_in, jensen_shannon_nats, variation, np.asarray(log_ratio))


def _measures(zeros: Array, ones: Array) -> Array:
    """KL, plug-in, Jensen-Shannon and total variation, [4], from the log-ratios of either class, [n0] and [n1]."""
    labels = jnp.concatenate([jnp.zeros(zeros.shape, jnp.int32), jnp.ones(ones.shape, jnp.int32)])
    detection = summarise(jnp.concatenate([zeros, ones]), labels, 0.5)
    measures = (detection.kl_nats, detection.kl_plug_in_nats, detection.mi, 2.0 * detection.accuracy - 1.0)
    return jnp.stack(measures)


@jax.jit
def _resampled_measures(keys: Array, zeros: Array, ones: Array) -> Array:
    """The measures of one resample per key, [n_bootstrap, 4]."""

    def resampled(key: Array) -> Array:
        key_zeros, key_ones = jax.random.split(key)
        return _measures(
            jax.random.choice(key_zeros, zeros, zeros.shape), jax.random.choice(key_ones, ones, ones.shape)
        )

    return jax.vmap(resampled)(keys)


def _check_resampling(confidence: float, n_bootstrap: int) -> None:
    probability("confidence", confidence)
    count("n_bootstrap", n_bootstrap, 1)


def _log_ratios(log_ratio: Array | np.ndarray, shape: tuple[int, ...]) -> Array:
    """Log-ratios as float32 [n], or a ValueError."""
    array = numbers("log_ratio", log_ratio)
    if array.ndim != 1 or array.shape != shape:
        raise ValueError(f"expected log-ratios and labels [n] of both classes, got {array.shape}, {shape}")
    return jnp.asarray(array, jnp.float32)


def _resampled_by_group(
    rng: np.random.Generator, log_ratio: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_bootstrap: int
) -> np.ndarray:
    """The measures of one resample of groups each, [n_bootstrap, 4]."""
    of_group = np.zeros(groups.max() + 1, int)
    of_group[groups] = labels
    kind = np.where(constant_in_groups(labels, groups), of_group, 2)
    strata = [np.flatnonzero(kind == each) for each in np.unique(kind)]
    samples = []
    for _ in range(n_bootstrap):
        drawn = np.concatenate([rng.choice(stratum, stratum.size) for stratum in strata])
        copies = np.bincount(drawn, minlength=kind.size)[groups]
        samples.append(_weighted_measures(log_ratio.astype(np.float64), labels, copies))
    return np.array(samples)


def _weighted_measures(log_ratio: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Results of :func:`_measures` with each row repeated ``copies`` [n] times; on the host, as their total varies."""
    zero, one = (copies * (labels == label) / max(np.sum(copies * (labels == label)), 1) for label in (0, 1))
    plug_in = np.sum(one * log_ratio)
    jensen_shannon_nats = (
        math.log(2.0) - (one @ np.logaddexp(0.0, -log_ratio) + zero @ np.logaddexp(0.0, log_ratio)) / 2
    )
    variation = one @ np.sign(log_ratio) / 2 - zero @ np.sign(log_ratio) / 2
    return np.array([plug_in - special.logsumexp(log_ratio, b=zero), plug_in, jensen_shannon_nats, variation])


def histogram(orders: np.ndarray, edges: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Counts of orders [n, k] over the joint bins of k columns, flat; ``edges[j]`` are column j's inner edges.

    ValueError where orders are misshapen or not finite, or edges do not rise.
    """
    orders = numbers("orders", orders)
    if orders.ndim != 2 or orders.shape[1] != len(edges) or orders.shape[0] == 0:
        raise ValueError(f"expected orders [n, {len(edges)}] and edges for each column, got {orders.shape}")
    for j, edge in enumerate(edges):
        if np.ndim(edge) != 1 or np.any(np.diff(numbers(f"edges[{j}]", edge)) <= 0):
            raise ValueError(f"edges[{j}] must be a vector that rises, got {edge}")
    codes = [np.searchsorted(edge, column, side="right") for edge, column in zip(edges, orders.T, strict=True)]
    shape = tuple(len(edge) + 1 for edge in edges)
    return np.bincount(np.ravel_multi_index(codes, shape), minlength=math.prod(shape))


def histogram_divergence(
    orders: np.ndarray, reference: np.ndarray, edges: Sequence[Sequence[float] | np.ndarray]
) -> HistogramDivergence:
    """Divergences of orders [n, k] from reference orders [m, k], over their joint histogram.

    Half an order is added to the reference in each occupied bin, which keeps the KL finite. For equal laws its
    expectation is ``(bins - 1) (1 / n + 1 / m) / 2``, that is ``(bins - 1) / n`` for equal samples (Wilks 1938).
    """
    counts, reference_counts = histogram(orders, edges), histogram(reference, edges)
    occupied = counts + reference_counts > 0
    n_bins = int(occupied.sum())
    p, q = counts[occupied] / counts.sum(), reference_counts[occupied] / reference_counts.sum()
    smoothed = (reference_counts[occupied] + 0.5) / (reference_counts.sum() + 0.5 * n_bins)
    return HistogramDivergence(
        kl_nats=kl_divergence(p, smoothed),
        null_bias_nats=(n_bins - 1) * (1.0 / counts.sum() + 1.0 / reference_counts.sum()) / 2.0,
        jensen_shannon_nats=jensen_shannon(p, q),
        total_variation=total_variation(p, q),
        n_bins=n_bins,
    )


def flow_entropy(orders: np.ndarray, edges: Sequence[Sequence[float] | np.ndarray]) -> float:
    """Entropy of one order's joint bin in nats, plug-in plus its first-order bias ``(bins - 1) / 2n`` (Miller 1955)."""
    counts = histogram(orders, edges)
    return entropy(counts / counts.sum()) + (np.count_nonzero(counts) - 1) / (2.0 * counts.sum())


def entropy(p: np.ndarray) -> float:
    """``- sum p log p`` of a discrete law [K], nats."""
    p = _law(p)
    return float(-np.sum(p[p > 0] * np.log(p[p > 0])))


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """``sum p log(p / q)`` of discrete laws [K], nats; infinite where q is 0 and p is not."""
    p, q = _law(p), _law(q)
    held = p > 0
    with np.errstate(divide="ignore"):
        return float(np.sum(p[held] * (np.log(p[held]) - np.log(q[held]))))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Mean KL of two discrete laws [K] from their mixture, nats, at most ln 2: I(z; one draw) at equal priors."""
    mixture = (_law(p) + _law(q)) / 2.0
    return (kl_divergence(p, mixture) + kl_divergence(q, mixture)) / 2.0


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """``sum |p - q| / 2`` of discrete laws [K]: the best accuracy at equal priors is ``(1 + TV) / 2``."""
    return float(np.abs(_law(p) - _law(q)).sum() / 2.0)


def _law(p: np.ndarray) -> np.ndarray:
    p = numbers("a discrete law", p).astype(np.float64)
    if p.ndim != 1 or not (p >= 0).all() or abs(p.sum() - 1.0) > 1e-6:
        raise ValueError("a discrete law is a vector of probabilities that sum to 1")
    return p
