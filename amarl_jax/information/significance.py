"""Whether a detector tells two classes of episodes apart, and whether its silence means anything.

Labels are permuted by episode. Steps inside an episode are dependent, so a test that permutes steps rejects true
nulls. Failing to reject is not equivalence: :func:`compare` also bounds the information and asks the same detector, on
the same episodes, for a signal that was planted in them.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from amarl_jax.information.crossfit import DetectorSpec, Plan, cross_fit, plan
from amarl_jax.information.detector import Detection, prepare, summarise
from amarl_jax.types import Array

ONE_SIDED_95 = 1.645  # standard errors
ROWS_AT_ONCE = 8  # permutations that are fitted side by side


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The three parts of "indistinguishable to this detector", and what they were measured to be."""

    p_value: float  # of the permutation test
    mi_nats: float  # held out
    mi_upper_nats: float  # its one-sided 95% limit
    planted_nats: float
    recovered_nats: float  # mean over planted signals
    recovered_stderr: float
    level: float = 0.05
    margin_nats: float = 0.01
    share: float = 0.8  # of the planted information that must be recovered

    @property
    def not_rejected(self) -> bool:
        """The permutation test does not reject."""
        return self.p_value > self.level

    @property
    def bounded(self) -> bool:
        """What this detector could have found is under the margin."""
        return self.mi_upper_nats < self.margin_nats

    @property
    def powered(self) -> bool:
        """It would have found the planted signal."""
        return self.recovered_nats >= self.share * self.planted_nats

    @property
    def indistinguishable(self) -> bool:
        """All three parts hold."""
        return self.not_rejected and self.bounded and self.powered

    def __str__(self) -> str:
        if self.indistinguishable:
            name = "indistinguishable to this detector"
        else:
            name = "undecided" if self.not_rejected else "distinguished"
        return (
            f"{name}: p = {self.p_value:.3f}, I < {self.mi_upper_nats:.4f} nats at 95%, "
            f"{self.recovered_nats:.4f} of {self.planted_nats:.4f} planted nats recovered"
        )


def permutation_test(
    key: Array,
    features: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    statistic: Callable[[Array, Array], Array] | None = None,
    n_permutations: int = 199,
    prior: float = 0.5,
    spec: DetectorSpec | None = None,
) -> float:
    """p-value of "features and labels are independent", episodes exchangeable: ``(1 + #{perm >= real}) / (1 + R)``.

    Args:
      key: typed key.
      features: [n, D], one row per episode.
      labels: [n], 0 or 1.
      statistic: large where the classes differ, from features [n, D] and labels [n]; traced, and compiled once per
        function. By default the cross-fitted detector's held-out information, trained again for each permutation.
      n_permutations: R; the smallest p-value is ``1 / (R + 1)``.
      prior: P(z = 1) of the information.
      spec: settings of the detector.
    """
    key_plan, key_orders = jax.random.split(key)
    spec = spec or DetectorSpec()
    x, z = prepare(features, labels, spec)
    rng = _generator(key_orders)
    orders = jnp.asarray(np.stack([np.arange(z.size), *(rng.permutation(z.size) for _ in range(n_permutations))]))
    if statistic is None:
        statistics = _detections(plan(key_plan, z, x.shape[1], spec), x, z, orders, jnp.float32(prior), spec).mi
    else:
        statistics = _statistics(x, z, orders, statistic)
    return _p_value(np.asarray(statistics))


def compare(
    key: Array,
    features: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    n_permutations: int = 199,
    n_planted: int = 32,
    planted_nats: float = 0.02,
    prior: float = 0.5,
    spec: DetectorSpec | None = None,
) -> Verdict:
    """The verdict of one detector on two classes of episodes.

    A planted signal pairs the same episodes with labels again, as many of each, tilted by one column chosen at random
    (see :func:`planted_order`); each of the ``n_planted`` has its own column and draw. Arguments otherwise as in
    :func:`permutation_test`.
    """
    key_plan, key_orders = jax.random.split(key)
    spec = spec or DetectorSpec()
    x, z = prepare(features, labels, spec)
    rng = _generator(key_orders)
    varying = np.flatnonzero(x.std(axis=0) > 0)
    if varying.size == 0:
        raise ValueError("no column of the features varies, so no signal can be planted in them")
    null = [rng.permutation(z.size) for _ in range(n_permutations)]
    planted = [planted_order(rng, x[:, rng.choice(varying)], z, planted_nats, prior) for _ in range(n_planted)]
    orders = jnp.asarray(np.stack([np.arange(z.size), *null, *planted]))
    detections = _detections(plan(key_plan, z, x.shape[1], spec), x, z, orders, jnp.float32(prior), spec)
    mi, recovered = np.asarray(detections.mi), np.asarray(detections.mi[n_permutations + 1 :])
    return Verdict(
        p_value=_p_value(mi[: n_permutations + 1]),
        mi_nats=float(mi[0]),
        mi_upper_nats=float(mi[0] + ONE_SIDED_95 * detections.mi_stderr[0]),
        planted_nats=planted_nats,
        recovered_nats=float(recovered.mean()),
        recovered_stderr=float(recovered.std(ddof=1) / np.sqrt(n_planted)),
    )


def planted_order(
    rng: np.random.Generator, column: np.ndarray, labels: np.ndarray, nats: float, prior: float
) -> np.ndarray:
    """Rows of the episodes in an order that gives the labels [n] a known information about a column [n].

    An episode with normal score ``s`` of the column goes to a place with label 1 with probability
    ``sigmoid(a s + b)``: ``b`` keeps the class counts, ``a`` makes I exactly ``nats`` over these episodes at the given
    prior. Systematic sampling meets both counts and probabilities.
    """
    score = special.ndtri((_midrank(column) - 0.5) / column.size)
    share = labels.mean()

    def inclusion(slope: float) -> np.ndarray:
        shift = optimize.brentq(lambda b: special.expit(slope * score + b).mean() - share, -50.0, 50.0)
        return special.expit(slope * score + shift)

    def excess(slope: float) -> float:
        return _information(inclusion(slope), prior) - nats

    if excess(10.0) < 0:
        raise ValueError(f"{nats} nats cannot be planted in a column of {np.unique(column).size} values")
    p = inclusion(optimize.brentq(excess, 0.0, 10.0))
    shuffled = rng.permutation(column.size)
    total = np.cumsum(p[shuffled]) * (labels.sum() / p.sum())
    chosen = np.zeros(column.size, bool)
    chosen[shuffled] = np.diff(np.floor(total + rng.random()), prepend=0.0) > 0
    ones, zeros = rng.permutation(np.flatnonzero(chosen)), rng.permutation(np.flatnonzero(~chosen))
    order = np.empty(column.size, int)
    order[labels == 1], order[labels == 0] = ones, zeros
    return order


def _information(p: np.ndarray, prior: float) -> float:
    """I(z; episode) in nats where episode i has ``P(z = 1 | i) = p_i`` in the sample, read at a prior."""
    laws = np.stack([(1.0 - p) / (1.0 - p).sum(), p / p.sum()])
    weights = np.array([1.0 - prior, prior])
    mixture = weights @ laws
    return float(np.sum(weights @ special.rel_entr(laws, mixture[None])))


@functools.partial(jax.jit, static_argnames="spec")
def _detections(
    design: Plan, features: Array, labels: Array, orders: Array, prior: Array, spec: DetectorSpec
) -> Detection:
    """What the detector finds with the episodes in each of the orders [R, n] while labels and plan stay in place.

    To move episodes past labels is to permute labels, but keeps folds stratified: what is permuted and what is real
    are then treated alike, as an exact test asks.
    """

    def detection(order: Array) -> Detection:
        return summarise(cross_fit(design, features[order], labels, prior, spec), labels, prior)

    return jax.lax.map(detection, orders, batch_size=ROWS_AT_ONCE)


@functools.partial(jax.jit, static_argnames="statistic")
def _statistics(features: Array, labels: Array, orders: Array, statistic: Callable[[Array, Array], Array]) -> Array:
    """A statistic with the episodes in each of the orders [R, n], [R]."""
    return jax.lax.map(lambda order: statistic(features[order], labels), orders, batch_size=ROWS_AT_ONCE)


def _p_value(statistics: np.ndarray) -> float:
    """The first is real, the rest are permuted; ties count against rejection."""
    return float(np.mean(statistics >= statistics[0]))


def _generator(key: Array) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _midrank(column: np.ndarray) -> np.ndarray:
    """Ranks 1 .. n of a column [n], ties at their mean."""
    _, code, counts = np.unique(column, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[code]
