"""Tests whether a detector tells two classes of episodes apart, and whether a negative result means anything.

Labels are permuted by episode, or by group of episodes. Steps inside an episode are dependent, so a test that permutes
steps rejects true nulls; so does one that permutes single episodes where those of one day depend on each other.
Failing to reject is not equivalence: :func:`compare` also bounds the information and asks the same detector, on the
same episodes, for a signal that was planted in them (:mod:`planting`).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.information.arrays import check_varies, count, numbers, probability, typed_key
from amarl_jax.information.detector import Detection, prepare, summarise
from amarl_jax.information.detector_fit import DetectorSpec, Plan, cross_fit, plan
from amarl_jax.information.groups import generator, group_codes, permuted_labels, warn_of_repeats
from amarl_jax.information.planting import planted_labels, planted_order
from amarl_jax.types import Array

ONE_SIDED_95 = 1.645  # standard errors
ROWS_AT_ONCE = 8  # permutations that are fitted side by side
ROUNDED = 1e-3  # of a column's range, the most that rounding to float32 may change


@dataclasses.dataclass(frozen=True, repr=False)
class Verdict:
    """The three parts of "indistinguishable to this detector", with the measured values."""

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
        """True if the permutation test does not reject."""
        return self.p_value > self.level

    @property
    def bounded(self) -> bool:
        """True if the upper limit of the information is under the margin."""
        return self.mi_upper_nats < self.margin_nats

    @property
    def powered(self) -> bool:
        """True if enough of the planted signal was found."""
        return self.recovered_nats >= self.share * self.planted_nats

    @property
    def indistinguishable(self) -> bool:
        """True if all three parts hold."""
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

    def __repr__(self) -> str:
        return f"Verdict({self})"


@dataclasses.dataclass(frozen=True)
class Arrangements:
    """Ways to pair episodes with labels, the real one first."""

    orders: np.ndarray  # [R, n] episode at each place of the plan
    labels: np.ndarray  # [R, n] at these places


def permutation_test(
    key: Array,
    features: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    statistic: Callable[[Array, Array], Array] | None = None,
    n_permutations: int = 199,
    prior: float = 0.5,
    groups: Sequence | np.ndarray | None = None,
    spec: DetectorSpec | None = None,
) -> float:
    """p-value of "features and labels are independent", episodes exchangeable: ``(1 + #{perm >= real}) / (1 + R)``.

    Args:
      key: typed key.
      features: [n, D], one row per episode.
      labels: [n], 0 or 1.
      statistic: large where the classes differ, from features [n, D] float32 and labels [n]; traced, and compiled once
        per function. By default the cross-fitted detector's held-out information, trained again for each permutation.
      n_permutations: R; the smallest p-value is ``1 / (R + 1)``.
      prior: P(z = 1) of the information.
      groups: [n] which rows belong together. Groups are then exchangeable: labels are permuted among groups
        with one label, and within groups with both; the default statistic cross-fits by group.
      spec: settings of the detector.

    Raises:
      ValueError: as :func:`amarl_jax.information.detector.detect`; or, with a ``statistic``, features that lose
        their variation in float32 (the detector scales its own).
    """
    spec = spec or DetectorSpec()
    key_plan, key_orders, x, z, together = _opened(key, features, labels, groups, spec)
    prior, n_permutations = probability("prior", prior), count("n_permutations", n_permutations, 1)
    real = _permutations(generator(key_orders), z, together, n_permutations)
    if statistic is not None:
        statistics = _statistics(_as_given(features), jnp.asarray(real.orders), jnp.asarray(real.labels), statistic)
        return _p_value(np.asarray(statistics))
    check_varies("features", x)
    design = _plan(key_plan, z, x.shape[1], spec, together)
    return _p_value(np.asarray(_detected(design, x, real, together, prior, spec).mi))


def compare(
    key: Array,
    features: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    n_permutations: int = 199,
    n_planted: int = 32,
    planted_nats: float = 0.02,
    prior: float = 0.5,
    groups: Sequence | np.ndarray | None = None,
    spec: DetectorSpec | None = None,
) -> Verdict:
    """The verdict of one detector on two classes of episodes.

    A planted signal pairs the same episodes with labels again, as many of each, that depend on one random column
    (see :func:`amarl_jax.information.planting.planted_order`); each of the ``n_planted`` has its own column and draw.
    Where every group has one label, whole groups are paired, as a group carries only its one label. Arguments and
    errors otherwise as in :func:`permutation_test`; the information's limit is over groups.
    """
    spec = spec or DetectorSpec()
    key_plan, key_orders, x, z, together = _opened(key, features, labels, groups, spec)
    prior, n_planted = probability("prior", prior), count("n_planted", n_planted, 2)
    n_permutations = count("n_permutations", n_permutations, 1)
    if np.ndim(planted_nats) or not (planted_nats := float(numbers("planted_nats", planted_nats))) > 0:
        raise ValueError(f"planted_nats must be positive, got {planted_nats}")
    varying = np.flatnonzero((x != x[0]).any(axis=0))
    if varying.size == 0:
        raise ValueError("no column of the features varies, so no signal can be planted in them")
    rng = generator(key_orders)
    real = _permutations(rng, z, together, n_permutations)
    columns = (x[:, rng.choice(varying)] for _ in range(n_planted))
    if together is None:
        moved = [planted_order(rng, column, z, planted_nats, prior) for column in columns]
        planted = Arrangements(np.stack(moved), np.broadcast_to(z, (n_planted, z.size)))
    else:
        moved = [planted_labels(rng, column, z, together, planted_nats, prior) for column in columns]
        planted = Arrangements(np.broadcast_to(np.arange(z.size), (n_planted, z.size)), np.stack(moved))
    both = Arrangements(
        *(np.concatenate(parts) for parts in ((real.orders, planted.orders), (real.labels, planted.labels)))
    )
    detections = _detected(_plan(key_plan, z, x.shape[1], spec, together), x, both, together, prior, spec)
    mi, recovered = np.asarray(detections.mi), np.asarray(detections.mi[n_permutations + 1 :])
    return Verdict(
        p_value=_p_value(mi[: n_permutations + 1]),
        mi_nats=float(mi[0]),
        mi_upper_nats=float(mi[0] + ONE_SIDED_95 * detections.mi_stderr[0]),
        planted_nats=planted_nats,
        recovered_nats=float(recovered.mean()),
        recovered_stderr=float(recovered.std(ddof=1) / np.sqrt(n_planted)),
    )


def _opened(
    key: Array,
    features: Array | np.ndarray,
    labels: Array | np.ndarray,
    groups: Sequence | np.ndarray | None,
    spec: DetectorSpec,
) -> tuple[Array, Array, np.ndarray, np.ndarray, np.ndarray | None]:
    """Checked inputs of both tests: two keys, features, labels, and codes of groups."""
    key_plan, key_orders = jax.random.split(typed_key(key))
    x, z = prepare(features, labels, spec)
    together = group_codes(groups, z.size)
    warn_of_repeats(z, x, together, "label")
    return key_plan, key_orders, x, z, together


def _as_given(features: Array | np.ndarray) -> Array:
    """Features as float32 with offset and unit kept, for a user's statistic; ValueError where that loses variation."""
    exact = numbers("features", features).astype(np.longdouble)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    lost = np.abs(rounded - exact).max(axis=0) > ROUNDED * np.ptp(exact, axis=0)
    if lost.any():
        column = int(np.argmax(lost))
        raise ValueError(
            f"column {column} of features varies by too little around {float(exact[0, column]):.6g} for a statistic in "
            "float32: subtract its offset first"
        )
    return jnp.asarray(rounded)


def _plan(key: Array, labels: np.ndarray, n_features: int, spec: DetectorSpec, groups: np.ndarray | None) -> Plan:
    """Plan with folds stratified by label where episodes are permuted, by groups alone where labels are."""
    return plan(key, labels if groups is None else np.zeros_like(labels), n_features, spec, groups)


def _permutations(
    rng: np.random.Generator, labels: np.ndarray, groups: np.ndarray | None, n_permutations: int
) -> Arrangements:
    """The real arrangement and permuted ones; episodes are permuted without groups, labels with groups."""
    n, rows = labels.size, n_permutations + 1
    if groups is None:
        orders = np.stack([np.arange(n), *(rng.permutation(n) for _ in range(n_permutations))])
        return Arrangements(orders, np.broadcast_to(labels, (rows, n)))
    moved = np.stack([labels, *(permuted_labels(rng, labels, groups) for _ in range(n_permutations))])
    return Arrangements(np.broadcast_to(np.arange(n), (rows, n)), moved)


def _detected(
    design: Plan,
    features: np.ndarray,
    arrangements: Arrangements,
    groups: np.ndarray | None,
    prior: float,
    spec: DetectorSpec,
) -> Detection:
    """Detections in each of the arrangements, leaves [R, ...]."""
    pairs = jnp.asarray(arrangements.orders), jnp.asarray(arrangements.labels)
    together = None if groups is None else jnp.asarray(groups)
    return _detections(design, jnp.asarray(features), *pairs, together, jnp.float32(prior), spec)


@functools.partial(jax.jit, static_argnames="spec")
def _detections(
    design: Plan,
    features: Array,
    orders: Array,
    labels: Array,
    groups: Array | None,
    prior: Array,
    spec: DetectorSpec,
) -> Detection:
    """Detections with the episodes in each of the orders [R, n] and the labels [R, n], under one fixed plan.

    Permuting episodes permutes labels but keeps folds stratified: real and permuted data are then treated alike, as an
    exact test requires. Groups differ in size, so with groups the labels are permuted, and the folds are drawn without
    regard to labels.
    """

    def detection(pair: tuple[Array, Array]) -> Detection:
        order, z = pair
        return summarise(cross_fit(design, features[order], z, prior, spec), z, prior, groups)

    return jax.lax.map(detection, (orders, labels), batch_size=ROWS_AT_ONCE)


@functools.partial(jax.jit, static_argnames="statistic")
def _statistics(features: Array, orders: Array, labels: Array, statistic: Callable[[Array, Array], Array]) -> Array:
    """A statistic with the episodes in each of the orders [R, n] and labels [R, n], [R]."""
    return jax.lax.map(lambda pair: statistic(features[pair[0]], pair[1]), (orders, labels), batch_size=ROWS_AT_ONCE)


def _p_value(statistics: np.ndarray) -> float:
    """p-value of the first statistic, the real one, among the permuted rest; ties count against rejection."""
    return float(np.mean(statistics >= statistics[0]))
