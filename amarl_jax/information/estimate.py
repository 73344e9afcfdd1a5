"""Mutual information of any paired data, held out: ``estimate(x, y, key=...)``.

One row is one episode, the unit that is independent. Cross-fitting: a critic trains on one part of the episodes, a
second part stops it, a third is what the value is read from, and every episode is in the third part of one critic. The
objectives and bounds are those of :mod:`amarl_jax.information.estimators`, the same objects that training calls.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.information import mine
from amarl_jax.information.arrays import check_varies, deviations, numbers, typed_key
from amarl_jax.information.detector import check_below_entropy
from amarl_jax.information.estimate_critics import LabelCritic, PairCritic
from amarl_jax.information.estimate_fit import Critic, Data, EstimateSpec, bound, fit, jackknife
from amarl_jax.information.estimators import MIEstimator, check_interface, get
from amarl_jax.information.groups import group_codes, warn_of_repeats
from amarl_jax.information.parts import divide
from amarl_jax.information.scaling import robustly_standardised
from amarl_jax.types import Array

MAX_LABELS = 64  # more integer values than this are no labels


class LearningCurve(NamedTuple):
    """The bound in nats at each check, the untrained critic first, averaged over folds; arrays [n_checks + 1]."""

    step: np.ndarray  # Adam steps taken
    training: np.ndarray  # on episodes that train the critic
    validation: np.ndarray  # on those that stop it


@dataclasses.dataclass(frozen=True, repr=False)
class Estimate:
    """Mutual information read from episodes that neither trained nor stopped the critic that scores them, in nats."""

    value: float
    stderr: float  # over held-out episodes, or groups of them, by a jackknife of blocks
    training_gap: float  # the critics' value on their training episodes minus ``value``: the overfitting
    curve: LearningCurve
    estimator: str
    n_held_out: int  # episodes, over all folds
    ceiling: float  # H(x) of a discrete x, else log of a fold's held-out episodes: no bound can exceed it

    def __repr__(self) -> str:
        return (
            f"Estimate({self.value:.4f} +- {self.stderr:.4f} nats, ceiling {self.ceiling:.4f}, n {self.n_held_out}, "
            f"{self.estimator})"
        )


def estimate(
    x: Array | np.ndarray,
    y: Array | np.ndarray,
    *,
    estimator: str | MIEstimator = "mine",
    key: Array,
    prior: float | np.ndarray | None = None,
    groups: Sequence | np.ndarray | None = None,
    spec: EstimateSpec | None = None,
    **settings: Any,
) -> Estimate:
    """Train critics on some episodes and report I(x; y) on others.

    Labels are enumerated: the marginal ``E_y sum_x p(x) exp T(x, y)`` is exact in x. Continuous x is paired with the y
    of every episode of its batch or part, its own included, so a value cannot exceed ``ceiling`` and is biased low.
    Columns are scaled by median and interquartile range, with logarithmic tails; before that offset and unit are
    removed in double precision, those of a sequence at each step, so neither matters (:mod:`arrays` has the limit).

    The value is the mean of the folds' held-out bounds, each a bound by itself. The standard error takes the critics as
    given; it ignores that folds share training episodes.

    Rows of one of the ``groups`` stay in one part, so that no critic is read on a group it was trained on, and the
    jackknife leaves out whole groups. Parts are cut to equal sizes, which costs a few episodes where groups are uneven.
    Continuous x is paired with the y of its own group too, so a value is biased low where groups are few.

    Args:
      x: [n] or [n, dx]; one column of integers, booleans, or nothing but 0 and 1 is a label, all else is continuous.
      y: [n, D], or sequences [n, T, D], one row per independent episode, or per row of an independent group.
      estimator: a registered name, or an object of one's own.
      key: typed key; splits and training follow from it.
      prior: of labels, P(x = 1) or p(x) [C] in the estimand; by default the frequencies of the sample.
      groups: [n] integers or strings, which rows belong together; None: each row is by itself.
      spec: settings; single ones may be given by keyword instead (``n_steps=500``, ``hidden=(32,)``, ...).

    Raises:
      ValueError: data that is not finite, not numbers, misshapen, all alike or too little, a setting out of its range,
        training that diverged, or an estimate above H(x) by 3 standard errors.

    Warns:
      UserWarning: rows that occur again in another group, or columns rounded before they arrived.
    """
    spec = dataclasses.replace(spec or EstimateSpec(), **settings)
    key, chosen = typed_key(key), _chosen(estimator)
    x, y = _checked(x, y)
    together = group_codes(groups, x.shape[0])
    is_label = _is_label(x)
    warn_of_repeats(x, y, together)
    x, y = x if is_label else deviations("x", x), deviations("y", y)
    for name, values in (("x", x), ("y", y)):
        check_varies(name, values)
    key_split, *keys_fit = jax.random.split(key, spec.n_folds + 1)
    folds, labels = [], x[:, 0] if is_label else None
    divided, n_blocks = divide(key_split, labels, x.shape[0], spec, together)
    for key_fit, parts in zip(keys_fit, divided, strict=True):
        data = _prepared(x, y, is_label, prior, np.asarray(parts.fitting))
        critic = _critic(data, spec)
        parameters, curve = fit(key_fit, data, parts, critic, chosen, spec)
        reading = jackknife(parameters, data, parts.held_out, critic, chosen, n_blocks)
        claimed = bound(parameters, data, parts.training, critic, chosen)
        folds.append((np.asarray(curve), float(reading[0]), float(reading[1]), float(claimed)))
    curves, values, stderrs, claims = (np.array(column) for column in zip(*folds, strict=True))
    if np.isnan(curves).any() or not np.isfinite([values, stderrs]).all():
        raise ValueError("training diverged, a bound is not a number: lower learning_rate and linear_learning_rate")
    value, stderr = float(values.mean()), float(np.sqrt(np.sum(stderrs**2)) / spec.n_folds)
    if is_label:
        check_below_entropy(value, stderr, data.prior)
    steps = np.arange(spec.n_checks + 1) * (spec.n_steps // spec.n_checks)
    return Estimate(
        value=value,
        stderr=stderr,
        training_gap=float(claims.mean()) - value,
        curve=LearningCurve(steps, *curves.mean(axis=0).T),
        estimator=chosen.name,
        n_held_out=spec.n_folds * parts.held_out.size,
        ceiling=float(mine.prior_entropy(data.prior) if is_label else np.log(parts.held_out.size)),
    )


def _chosen(estimator: str | MIEstimator) -> MIEstimator:
    """The estimator of that name, or the object itself if it is one."""
    if isinstance(estimator, str):
        return get(estimator)
    check_interface(estimator)
    return estimator


def _checked(x: Array | np.ndarray, y: Array | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y as numpy arrays of numbers, x of rank 2; dates in x become floats, so as not to be taken for labels."""
    is_date = getattr(x, "dtype", np.dtype(float)).kind in "mM"
    x, y = numbers("x", x), numbers("y", y)
    if x.ndim not in (1, 2) or y.ndim not in (2, 3) or x.shape[0] != y.shape[0] or 0 in (*x.shape, *y.shape):
        raise ValueError(f"expected x [n] or [n, dx] and y [n, D] or [n, T, D], got {x.shape} and {y.shape}")
    x = x.reshape(x.shape[0], -1)
    return (deviations("x", x) if is_date else x), y


def _is_label(x: np.ndarray) -> bool:
    """True if x [n, dx] is a label to enumerate."""
    if x.shape[1] > 1 or not (x.dtype.kind in "iub" or np.isin(x, (0, 1)).all()):
        return False
    n_labels = np.unique(x).size
    if n_labels > MAX_LABELS:
        raise ValueError(
            f"x has {n_labels} integer values, more than {MAX_LABELS} labels: "
            "pass floats if it is a size, (x - x.min()).astype(float)"
        )
    return True


def _prepared(
    x: np.ndarray, y: np.ndarray, is_label: bool, prior: float | np.ndarray | None, fitting: np.ndarray
) -> Data:
    """Data with labels coded 0 .. C-1 and continuous columns scaled by statistics of the fitting episodes."""
    y = robustly_standardised(y, fitting)
    if not is_label:
        if prior is not None:
            raise ValueError("a prior can only be given for labels")
        return Data(x=jnp.asarray(robustly_standardised(x, fitting)), y=jnp.asarray(y), prior=jnp.zeros(0))
    _, codes, counts = np.unique(x[:, 0], return_inverse=True, return_counts=True)
    given = counts / counts.sum() if prior is None else numbers("the prior", prior).astype(np.float32)
    law = np.exp(np.asarray(mine.log_prior(jnp.asarray(given))))
    if law.shape != counts.shape or not (law > 0).all() or abs(law.sum() - 1.0) > 1e-4:
        raise ValueError(f"the prior of {counts.size} labels must be as many positive probabilities that sum to 1")
    return Data(x=jnp.asarray(codes, jnp.int32), y=jnp.asarray(y), prior=jnp.asarray(law, jnp.float32))


def _critic(data: Data, spec: EstimateSpec) -> Critic:
    if data.x.ndim == 1:
        return LabelCritic(n_labels=data.prior.shape[0], hidden=spec.hidden, window=spec.window)
    return PairCritic(hidden=spec.hidden, n_embedding=spec.n_embedding, window=spec.window)
