"""Mutual information of any paired data, held out: ``estimate(x, y, key=...)``.

One row is one episode, the unit that is independent. A critic trains on one part of the episodes, a second part stops
it, a third is what the value is read from. The objectives and bounds are those of
:mod:`amarl_jax.information.estimators`, the same objects that training calls.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from amarl_jax.information import mine
from amarl_jax.information.critics import LabelCritic, PairCritic
from amarl_jax.information.detector import check_below_entropy
from amarl_jax.information.estimators import MIEstimator, get
from amarl_jax.information.scaling import robustly_standardised
from amarl_jax.trees import select
from amarl_jax.types import Array, PyTree

MAX_LABELS = 64  # more integer values than this are no labels
MAX_PAIRED = 2048  # episodes at most of a part of which all pairs are formed
N_GROUPS = 40  # of the jackknife; its standard error is itself uncertain by 1 / sqrt(2 (N_GROUPS - 1)) = 11%


@dataclasses.dataclass(frozen=True)
class EstimateSpec:
    """Static settings of an estimate."""

    hidden: tuple[int, ...] = (64, 64)
    n_embedding: int = 32  # of each of x and y, where x is continuous
    window: int = 3  # steps that the sequence encoder sees at once
    n_steps: int = 1500  # Adam steps
    n_checks: int = 30  # times the validation part is looked at, evenly spaced
    batch_size: int = 512  # episodes per Adam step
    learning_rate: float = 2e-3  # at the start; decays to 0 on a cosine
    weight_decay: float = 1e-3
    ema_decay: float = 0.99  # of MINE's partition
    validation_fraction: float = 0.2
    held_out_fraction: float = 0.3


class LearningCurve(NamedTuple):
    """The bound in nats at each check, the untrained critic first; arrays [n_checks + 1]."""

    step: np.ndarray  # Adam steps taken
    training: np.ndarray  # on episodes that train the critic
    validation: np.ndarray  # on those that stop it


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mutual information read from episodes that neither trained nor stopped the critic, in nats."""

    value: float
    stderr: float  # over held-out episodes, by a grouped jackknife
    training_gap: float  # the same critic's value on its training episodes minus ``value``: what overfitting claims
    curve: LearningCurve
    estimator: str
    n_held_out: int  # episodes
    ceiling: float  # H(x) of a discrete x, else log n_held_out: no bound can exceed it


@struct.dataclass
class _Parts:
    """Episodes by what they are used for; int32 rows of the data."""

    fitting: Array  # [n_fitting]
    training: Array  # [n_training] those fitting episodes that the training curve is read from
    validation: Array  # [n_validation]
    held_out: Array  # [n_held_out]


@struct.dataclass
class _Data:
    """All episodes as arrays."""

    x: Array  # [n] int32 labels, or [n, dx] float32
    y: Array  # [n, D] or [n, T, D] float32, standardised
    prior: Array  # [C] of labels; [0] of a continuous x, whose marginal is the batch's


@struct.dataclass
class _Best:
    parameters: PyTree
    bound: Array  # [] validation


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
    """Train a critic on some episodes and report I(x; y) on others.

    Labels are enumerated: the marginal ``E_y sum_x p(x) exp T(x, y)`` is exact in x. Continuous x is paired with the y
    of every other episode of its batch or part, itself included, so a value cannot exceed ``log n_held_out`` and errs
    low. Columns are scaled by median and interquartile range, their tails compressed by asinh.

    Args:
      x: [n] or [n, dx]; one column of integers, booleans, or nothing but 0 and 1 is a label, all else is continuous.
      y: [n, D], or sequences [n, T, D], one row per independent episode.
      estimator: a registered name, or an object of one's own.
      key: typed key; split and training follow from it.
      prior: of labels, P(x = 1) or p(x) [C] of the estimand, whatever the sample's frequencies; those by default.
      spec: settings; single ones may be given by keyword instead (``n_steps=500``, ``hidden=(32,)``, ...).

    Raises:
      ValueError: not finite, misshapen or too little data, or an estimate above H(x) by 3 standard errors.
    """
    spec = dataclasses.replace(spec or EstimateSpec(), **settings)
    chosen = get(estimator) if isinstance(estimator, str) else estimator
    x, y = _checked(x, y)
    is_label = _is_label(x)
    key_split, key_train = jax.random.split(key)
    parts = _split(key_split, x if is_label else None, x.shape[0], spec)
    data = _prepared(x, y, is_label, prior, np.asarray(parts.fitting))
    critic = _critic(data, spec)
    best, curve = _train(key_train, data, parts, critic, chosen, spec)
    value, stderr = _jackknife(best.parameters, data, parts.held_out, critic, chosen)
    claimed = float(_bound(best.parameters, data, parts.training, critic, chosen))
    ceiling = float(mine.prior_entropy(data.prior) if is_label else jnp.log(parts.held_out.size))
    if is_label:
        check_below_entropy(float(value), float(stderr), data.prior)
    steps = np.arange(spec.n_checks + 1) * (spec.n_steps // spec.n_checks)
    return Estimate(
        value=float(value),
        stderr=float(stderr),
        training_gap=claimed - float(value),
        curve=LearningCurve(steps, *np.asarray(curve).T),
        estimator=chosen.name,
        n_held_out=int(parts.held_out.size),
        ceiling=ceiling,
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


def _split(key: Array, labels: np.ndarray | None, n: int, spec: EstimateSpec) -> _Parts:
    """Random parts, stratified by label; sizes of held-out episodes a multiple of the jackknife's groups."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    order = rng.permutation(n)
    if labels is not None:  # spread every label evenly, so that any contiguous part holds its share of each
        position = np.zeros(n)
        for label in np.unique(labels):
            members = order[labels[order, 0] == label]
            position[members] = (np.arange(members.size) + rng.random()) / members.size
        order = np.argsort(position, kind="stable")
    limit = n if labels is not None else MAX_PAIRED
    n_held_out = min(int(spec.held_out_fraction * n), limit) // N_GROUPS * N_GROUPS
    n_validation = min(int(spec.validation_fraction * n), limit)
    fitting = order[n_held_out + n_validation :]
    if n_held_out < N_GROUPS or min(n_validation, fitting.size) < 10:
        raise ValueError(f"{n} episodes are too few: hold out at least {N_GROUPS} of them, and keep some to train on")
    parts = (fitting, fitting[:n_held_out], order[n_held_out : n_held_out + n_validation], order[:n_held_out])
    if labels is not None and any(np.unique(labels[p]).size < np.unique(labels).size for p in parts):
        raise ValueError("every label needs episodes in each part, training, validation and held out")
    return _Parts(*(jnp.asarray(rng.permutation(part), jnp.int32) for part in parts))


def _prepared(
    x: np.ndarray, y: np.ndarray, is_label: bool, prior: float | np.ndarray | None, fitting: np.ndarray
) -> _Data:
    """Labels coded 0 .. C-1; continuous columns scaled by what the fitting episodes show."""
    y = robustly_standardised(y, fitting)
    if not is_label:
        if prior is not None:
            raise ValueError("a prior can only be given for labels")
        return _Data(x=jnp.asarray(robustly_standardised(x, fitting)), y=jnp.asarray(y), prior=jnp.zeros(0))
    _, codes, counts = np.unique(x[:, 0], return_inverse=True, return_counts=True)
    law = np.exp(np.asarray(mine.log_prior(jnp.asarray(counts / counts.sum() if prior is None else prior))))
    if law.shape != counts.shape or not (law > 0).all() or abs(law.sum() - 1.0) > 1e-4:
        raise ValueError(f"the prior of {counts.size} labels must be as many positive probabilities that sum to 1")
    return _Data(x=jnp.asarray(codes, jnp.int32), y=jnp.asarray(y), prior=jnp.asarray(law, jnp.float32))


def _critic(data: _Data, spec: EstimateSpec) -> LabelCritic | PairCritic:
    if data.x.ndim == 1:
        return LabelCritic(n_labels=data.prior.shape[0], hidden=spec.hidden, window=spec.window)
    return PairCritic(hidden=spec.hidden, n_embedding=spec.n_embedding, window=spec.window)


def _scores(
    parameters: PyTree, data: _Data, rows: Array, critic: LabelCritic | PairCritic
) -> tuple[Array, Array, Array]:
    """Scores [B, C] of the rows [B], the label of each, and the prior over the C labels.

    For continuous x the labels are the B episodes' own x, each with probability 1 / B.
    """
    if isinstance(critic, LabelCritic):
        return jax.vmap(critic.apply, (None, 0))(parameters, data.y[rows]), data.x[rows], data.prior
    embeddings = jax.vmap(critic.apply, (None, 0, 0))(parameters, data.x[rows], data.y[rows])
    n = rows.shape[0]
    return critic.scores(*embeddings), jnp.arange(n), jnp.full(n, 1.0 / n)


@functools.partial(jax.jit, static_argnames=("critic", "estimator"))
def _bound(
    parameters: PyTree, data: _Data, rows: Array, critic: LabelCritic | PairCritic, estimator: MIEstimator
) -> Array:
    """The estimator's bound on the given episodes, [] nats."""
    return estimator.bound(*_scores(parameters, data, rows, critic))


@functools.partial(jax.jit, static_argnames=("critic", "estimator"))
def _jackknife(
    parameters: PyTree, data: _Data, rows: Array, critic: LabelCritic | PairCritic, estimator: MIEstimator
) -> tuple[Array, Array]:
    """Bound on the given episodes and its standard error, from leaving out one group of episodes at a time."""
    scores, labels, prior = _scores(parameters, data, rows, critic)
    position = jnp.arange(rows.shape[0]).reshape(N_GROUPS, -1)
    kept = jnp.stack([jnp.delete(position, group, axis=0).ravel() for group in range(N_GROUPS)])

    def without(part: Array) -> Array:
        if isinstance(critic, LabelCritic):
            return estimator.bound(scores[part], labels[part], prior)
        n = part.shape[0]
        return estimator.bound(scores[part][:, part], jnp.arange(n), jnp.full(n, 1.0 / n))

    bounds = jax.lax.map(without, kept)
    variance = (N_GROUPS - 1) / N_GROUPS * jnp.sum((bounds - jnp.mean(bounds)) ** 2)
    return estimator.bound(scores, labels, prior), jnp.sqrt(variance)


@functools.partial(jax.jit, static_argnames=("critic", "estimator", "spec"))
def _train(
    key: Array,
    data: _Data,
    parts: _Parts,
    critic: LabelCritic | PairCritic,
    estimator: MIEstimator,
    spec: EstimateSpec,
) -> tuple[_Best, Array]:
    """Adam with the estimator's loss; of all checks (the start included) the parameters best on validation.

    With them the learning curve [n_checks + 1, 2], on training and on validation episodes.
    """
    key_init, key_batches = jax.random.split(key)
    schedule = optax.cosine_decay_schedule(spec.learning_rate, spec.n_steps)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=spec.weight_decay))
    batch_size = min(spec.batch_size, parts.fitting.shape[0])
    first = (data.y[0],) if isinstance(critic, LabelCritic) else (data.x[0], data.y[0])
    parameters = critic.init(key_init, *first)

    def step(carry: tuple[PyTree, PyTree, PyTree], key_batch: Array) -> tuple[tuple[PyTree, PyTree, PyTree], None]:
        parameters, moments, state = carry
        rows = jax.random.choice(key_batch, parts.fitting, (batch_size,), replace=False)

        def loss(parameters: PyTree) -> tuple[Array, PyTree]:
            return estimator.loss(*_scores(parameters, data, rows, critic), state, spec.ema_decay)

        gradient, state = jax.grad(loss, has_aux=True)(parameters)
        updates, moments = optimiser.update(gradient, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments, state), None

    def check(parameters: PyTree) -> Array:
        return jnp.stack(
            [_bound(parameters, data, rows, critic, estimator) for rows in (parts.training, parts.validation)]
        )

    def stretch(carry: tuple[tuple, _Best], keys: Array) -> tuple[tuple[tuple, _Best], Array]:
        fit, best = carry
        fit, _ = jax.lax.scan(step, fit, keys)
        bounds = check(fit[0])
        current = _Best(fit[0], bounds[1])
        return (fit, select(current.bound > best.bound, current, best)), bounds

    start = check(parameters)
    keys = jax.random.split(key_batches, (spec.n_checks, spec.n_steps // spec.n_checks))
    fit = (parameters, optimiser.init(parameters), estimator.init())
    (_, best), bounds = jax.lax.scan(stretch, (fit, _Best(parameters, start[1])), keys)
    return best, jnp.concatenate([start[None], bounds])
