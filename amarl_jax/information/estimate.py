"""Mutual information of any paired data, held out: ``estimate(x, y, key=...)``.

One row is one episode, the unit that is independent. Cross-fitting: a critic trains on one part of the episodes, a
second part stops it, a third is what the value is read from, and every episode is in the third part of one critic. The
objectives and bounds are those of :mod:`amarl_jax.information.estimators`, the same objects that training calls.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.information import mine
from amarl_jax.information.critic_fit import Critic, Data, EstimateSpec, Parts, bound, fit, jackknife
from amarl_jax.information.critics import LabelCritic, PairCritic
from amarl_jax.information.detector import check_below_entropy
from amarl_jax.information.estimators import MIEstimator, get
from amarl_jax.information.scaling import robustly_standardised
from amarl_jax.types import Array

MAX_LABELS = 64  # more integer values than this are no labels
MAX_PAIRED = 2048  # episodes at most of a part of which all pairs are formed
N_GROUPS = 40  # of the jackknife, per fold


class LearningCurve(NamedTuple):
    """The bound in nats at each check, the untrained critic first, averaged over folds; arrays [n_checks + 1]."""

    step: np.ndarray  # Adam steps taken
    training: np.ndarray  # on episodes that train the critic
    validation: np.ndarray  # on those that stop it


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mutual information read from episodes that neither trained nor stopped the critic that scores them, in nats."""

    value: float
    stderr: float  # over held-out episodes, by a grouped jackknife
    training_gap: float  # the critics' value on their training episodes minus ``value``: what overfitting claims
    curve: LearningCurve
    estimator: str
    n_held_out: int  # episodes, over all folds
    ceiling: float  # H(x) of a discrete x, else log of a fold's held-out episodes: no bound can exceed it


def estimate(
    x: Array | np.ndarray,
    y: Array | np.ndarray,
    *,
    estimator: str | MIEstimator = "mine",
    key: Array,
    prior: float | np.ndarray | None = None,
    spec: EstimateSpec | None = None,
    **settings: Any,
) -> Estimate:
    """Train critics on some episodes and report I(x; y) on others.

    Labels are enumerated: the marginal ``E_y sum_x p(x) exp T(x, y)`` is exact in x. Continuous x is paired with the y
    of every other episode of its batch or part, itself included, so a value cannot exceed ``ceiling`` and errs low.
    Columns are scaled by median and interquartile range, with logarithmic tails.

    The value is the mean of the folds' held-out bounds, each a bound by itself. The standard error takes the critics as
    given; it leaves out that folds share training episodes.

    Args:
      x: [n] or [n, dx]; one column of integers, booleans, or nothing but 0 and 1 is a label, all else is continuous.
      y: [n, D], or sequences [n, T, D], one row per independent episode.
      estimator: a registered name, or an object of one's own.
      key: typed key; splits and training follow from it.
      prior: of labels, P(x = 1) or p(x) [C] of the estimand, whatever the sample's frequencies; those by default.
      spec: settings; single ones may be given by keyword instead (``n_steps=500``, ``hidden=(32,)``, ...).

    Raises:
      ValueError: not finite, misshapen or too little data, or an estimate above H(x) by 3 standard errors.
    """
    spec = dataclasses.replace(spec or EstimateSpec(), **settings)
    chosen = get(estimator) if isinstance(estimator, str) else estimator
    x, y = _checked(x, y)
    is_label = _is_label(x)
    key_split, *keys_fit = jax.random.split(key, spec.n_folds + 1)
    folds = []
    for key_fit, parts in zip(keys_fit, _split(key_split, x if is_label else None, x.shape[0], spec), strict=True):
        data = _prepared(x, y, is_label, prior, np.asarray(parts.fitting))
        critic = _critic(data, spec)
        parameters, curve = fit(key_fit, data, parts, critic, chosen, spec)
        reading = jackknife(parameters, data, parts.held_out, critic, chosen, N_GROUPS)
        claimed = bound(parameters, data, parts.training, critic, chosen)
        folds.append((np.asarray(curve), float(reading[0]), float(reading[1]), float(claimed)))
    curves, values, stderrs, claims = (np.array(column) for column in zip(*folds, strict=True))
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


def _checked(x: Array | np.ndarray, y: Array | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as numpy arrays, x of rank 2."""
    x, y = np.asarray(x), np.asarray(y, np.float32)
    if x.ndim not in (1, 2) or y.ndim not in (2, 3) or x.shape[0] != y.shape[0] or 0 in (*x.shape, *y.shape):
        raise ValueError(f"expected x [n] or [n, dx] and y [n, D] or [n, T, D], got {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y must be finite")
    return x.reshape(x.shape[0], -1), y


def _is_label(x: np.ndarray) -> bool:
    """Whether x [n, dx] is a label to enumerate."""
    if x.shape[1] > 1 or not (x.dtype.kind in "iub" or np.isin(x, (0, 1)).all()):
        return False
    n_labels = np.unique(x).size
    if n_labels > MAX_LABELS:
        raise ValueError(f"x has {n_labels} integer values, more than {MAX_LABELS} labels: pass floats if it is a size")
    if n_labels < 2:
        raise ValueError("x takes one value only, so it has no information to share")
    return True


def _split(key: Array, labels: np.ndarray | None, n: int, spec: EstimateSpec) -> list[Parts]:
    """Random parts for each fold, stratified by label; sizes of held-out parts a multiple of the jackknife's groups."""
    if spec.n_folds < 2:
        raise ValueError(f"n_folds must be at least 2, got {spec.n_folds}")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    order = rng.permutation(n)
    if labels is not None:  # spread every label evenly, so that any contiguous part holds its share of each
        position = np.zeros(n)
        for label in np.unique(labels):
            members = order[labels[order, 0] == label]
            position[members] = (np.arange(members.size) + rng.random()) / members.size
        order = np.argsort(position, kind="stable")
    limit = n if labels is not None else MAX_PAIRED
    n_held_out = min(n // spec.n_folds, limit) // N_GROUPS * N_GROUPS
    n_validation = min(int(spec.validation_fraction * (n - n_held_out)), limit)
    if n_held_out < N_GROUPS or min(n_validation, n - n_held_out - n_validation) < 10:
        raise ValueError(f"{n} episodes are too few: each of {spec.n_folds} folds must hold out at least {N_GROUPS}")
    folds = []
    for fold in range(spec.n_folds):
        held_out, validation, fitting = np.split(
            np.roll(order, -fold * n_held_out), [n_held_out, n_held_out + n_validation]
        )
        parts = (fitting, fitting[:n_held_out], validation, held_out)
        if labels is not None and any(np.unique(labels[p]).size < np.unique(labels).size for p in parts):
            raise ValueError("every label needs episodes in each part, training, validation and held out")
        folds.append(Parts(*(jnp.asarray(rng.permutation(part), jnp.int32) for part in parts)))
    return folds


def _prepared(
    x: np.ndarray, y: np.ndarray, is_label: bool, prior: float | np.ndarray | None, fitting: np.ndarray
) -> Data:
    """Labels coded 0 .. C-1; continuous columns scaled by what the fitting episodes show."""
    y = robustly_standardised(y, fitting)
    if not is_label:
        if prior is not None:
            raise ValueError("a prior can only be given for labels")
        return Data(x=jnp.asarray(robustly_standardised(x, fitting)), y=jnp.asarray(y), prior=jnp.zeros(0))
    _, codes, counts = np.unique(x[:, 0], return_inverse=True, return_counts=True)
    law = np.exp(np.asarray(mine.log_prior(jnp.asarray(counts / counts.sum() if prior is None else prior))))
    if law.shape != counts.shape or not (law > 0).all() or abs(law.sum() - 1.0) > 1e-4:
        raise ValueError(f"the prior of {counts.size} labels must be as many positive probabilities that sum to 1")
    return Data(x=jnp.asarray(codes, jnp.int32), y=jnp.asarray(y), prior=jnp.asarray(law, jnp.float32))


def _critic(data: Data, spec: EstimateSpec) -> Critic:
    if data.x.ndim == 1:
        return LabelCritic(n_labels=data.prior.shape[0], hidden=spec.hidden, window=spec.window)
    return PairCritic(hidden=spec.hidden, n_embedding=spec.n_embedding, window=spec.window)
