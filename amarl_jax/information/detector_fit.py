"""Cross-fitting a detector: every episode is scored by a model that was not trained on it.

Each model is a ridge-penalised log-ratio, linear in the columns and their squares, plus a small network trained on what
is left; a validation part of the model's own training episodes chooses penalty and stopping time. A network alone
overfits: with 0.111 nats in one of 60 columns and 2,000 episodes it found 0.045, and this model 0.08.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from amarl_jax.information.early_stopping import Candidate, keep_best
from amarl_jax.information.groups import deal, generator
from amarl_jax.information.ranges import check_counts, check_numbers, check_schedule, check_widths
from amarl_jax.information.ridge import cross_entropy, ridge_fit
from amarl_jax.types import Array, PyTree

TAIL = 3.0  # standard deviations beyond which inputs are compressed
RIDGES = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, math.inf)  # penalties of the linear part, per unit of episode weight
ABSENT = 1e4  # ridge penalty that effectively removes a column


@dataclasses.dataclass(frozen=True)
class DetectorSpec:
    """Static settings of the detector's training; one out of its range is a ValueError."""

    n_folds: int = 5
    hidden: tuple[int, ...] = (64, 64)
    n_steps: int = 400  # Adam steps per fold
    n_checks: int = 20  # times the validation loss is looked at, evenly spaced
    batch_size: int = 256  # episodes per Adam step
    validation_fraction: float = 0.2  # of each fold's training episodes
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    training_share: float = 1.0  # of the episodes outside a fold, those that its model uses
    ridges: tuple[float, ...] = RIDGES  # penalties to choose from; infinity: no linear part

    def __post_init__(self) -> None:
        check_counts(self, n_folds=2, n_steps=0, n_checks=1, batch_size=2)
        check_widths(self, "hidden")
        if self.n_steps:
            check_schedule(self.n_steps, self.n_checks)
        check_numbers(self, validation_fraction="(0, 1)", training_share="(0, 1]")
        check_numbers(self, learning_rate="(0, 1]", weight_decay="[0, 1]")
        if not isinstance(self.ridges, tuple) or not self.ridges or not all(ridge > 0 for ridge in self.ridges):
            raise ValueError(f"ridges must be a tuple of positive penalties, got {self.ridges!r}")


@struct.dataclass
class Plan:
    """Everything random about a cross-fit: folds, validation episodes, minibatches, initial weights.

    ``F`` folds. With a plan fixed, :func:`cross_fit` is a pure function of features and labels that may be vmapped.
    """

    fold: Array  # [n] int32, the fold each episode is held out in
    validation: Array  # [F, n_validation] int32, episodes that choose penalty and stopping time
    fitting: Array  # [F, n_fitting] int32
    rows: Array  # [F, n_checks, steps, batch] int32, minibatches of fitting episodes
    network: PyTree  # leading [F]


def plan(key: Array, labels: np.ndarray, n_features: int, spec: DetectorSpec, groups: np.ndarray | None = None) -> Plan:
    """Draw folds, stratified by label, and all other randomness of the training, on the host.

    With ``groups`` (codes [n]) no group is split between fold, validation and fitting; the latter two then lose a few
    rows, to be equally long in all folds. ValueError where there are too few groups of a label.
    """
    rng = generator(key)
    if groups is None:
        fold, validation, fitting = _rows_dealt(rng, labels, spec)
    else:
        fold, validation, fitting = _groups_dealt(rng, labels, groups, spec)
    if fitting.shape[1] < 2:
        raise ValueError(f"{labels.size} episodes are too few for {spec}")
    batches = (spec.n_checks, spec.n_steps // spec.n_checks, min(spec.batch_size, fitting.shape[1]))
    rows = np.stack([rng.choice(part, batches) for part in fitting])
    return Plan(
        fold=jnp.asarray(fold, jnp.int32),
        validation=jnp.asarray(validation),
        fitting=jnp.asarray(fitting),
        rows=jnp.asarray(rows),
        network=_init_networks(rng, n_features, spec),
    )


def _rows_dealt(rng: np.random.Generator, labels: np.ndarray, spec: DetectorSpec) -> tuple[np.ndarray, ...]:
    """Fold of each row [n], and validation and fitting rows of each fold; rows are dealt singly."""
    n = labels.shape[0]
    dealt = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in (0, 1)])
    fold = np.zeros(n, np.int32)
    fold[dealt] = np.arange(n) % spec.n_folds  # class after class, so no array size depends on the class counts
    n_training = int(spec.training_share * (n - -(-n // spec.n_folds)))
    training = np.stack([rng.permutation(np.flatnonzero(fold != i))[:n_training] for i in range(spec.n_folds)])
    n_validation = max(int(spec.validation_fraction * n_training), 2)
    return fold, training[:, :n_validation], training[:, n_validation:]


def _groups_dealt(
    rng: np.random.Generator, labels: np.ndarray, groups: np.ndarray, spec: DetectorSpec
) -> tuple[np.ndarray, ...]:
    """Folds and rows as in :func:`_rows_dealt`, with whole groups kept together."""
    fold = deal(rng, groups, labels, np.ones(spec.n_folds))
    held_out = [np.flatnonzero(fold == i) for i in range(spec.n_folds)]
    validation, fitting = [], []
    for i in range(spec.n_folds):
        rows = np.flatnonzero(fold != i)
        if spec.training_share < 1.0:
            shares = (spec.training_share, 1.0 - spec.training_share)
            rows = rows[deal(rng, groups[rows], labels[rows], shares) == 0]
        stops = deal(rng, groups[rows], labels[rows], (spec.validation_fraction, 1.0 - spec.validation_fraction)) == 0
        validation.append(rng.permutation(rows[stops]))
        fitting.append(rng.permutation(rows[~stops]))
    kept = [np.stack([rows[: min(map(len, parts))] for rows in parts]) for parts in (validation, fitting)]
    n_labels = np.unique(labels).size
    if any(np.unique(labels[rows]).size < n_labels for rows in (*held_out, *kept[0], *kept[1])):
        raise ValueError(
            f"{np.unique(groups).size} groups are too few, or too uneven: each of {spec.n_folds} folds, and what "
            "trains and stops its detector, needs groups of each label"
        )
    return fold, *kept


@functools.partial(jax.jit, static_argnames="spec")
def cross_fit(design: Plan, features: Array, labels: Array, prior: Array, spec: DetectorSpec) -> Array:
    """Held-out log-ratio of every episode, [n].

    Args:
      design: from :func:`plan`.
      features: [n, D].
      labels: [n], 0 or 1.
      prior: p_z.
      spec: settings.
    """
    x = jax.vmap(_standardised, in_axes=(None, 0))(features, design.fitting)

    def fit(x: Array, validation: Array, fitting: Array, rows: Array, network: PyTree) -> Array:
        linear = _linear(x, labels, prior, fitting, validation, spec.ridges)
        return linear + _network(_train_network(network, linear, x, labels, prior, rows, validation, spec), x)

    log_ratio = jax.vmap(fit)(x, design.validation, design.fitting, design.rows, design.network)
    return log_ratio[design.fold, jnp.arange(labels.shape[0])]


def _standardised(features: Array, rows: Array) -> Array:
    """Columns shifted and scaled by the given rows' mean and deviation, tails compressed; constant columns become 0."""
    sample = features[rows]
    mean, std = jnp.mean(sample, axis=0), jnp.std(sample, axis=0)
    varies = (jnp.min(sample, axis=0) < jnp.max(sample, axis=0)) & (std > 0)  # rounded, a constant's deviation is not 0
    scaled = (features - mean[None, :]) / jnp.where(varies, std, 1.0)[None, :]
    return jnp.where(varies[None, :], TAIL * jnp.asinh(scaled / TAIL), 0.0)


def _linear(
    x: Array, labels: Array, prior: Array, fitting: Array, validation: Array, ridges: tuple[float, ...]
) -> Array:
    """Log-ratio of all episodes, [n], linear in the columns; terms and penalty are chosen on validation.

    The candidates: no term, the columns, or the columns and their squares, at every ridge penalty of ``ridges``.
    """
    n, n_columns = x.shape
    if not _finite(ridges):
        return jnp.zeros(n)
    columns = jnp.concatenate([x, x**2 - 1.0], axis=1)
    choices = itertools.product(_finite(ridges), (ABSENT, 1.0))
    penalties = jnp.stack([ridge * jnp.repeat(jnp.array([1.0, squares]), n_columns) for ridge, squares in choices])
    found = ridge_fit(columns, labels, prior, fitting, validation, penalties)
    log_ratio = columns @ found[:-1] + found[-1]
    if math.inf not in ridges:
        return log_ratio
    losses = [cross_entropy(each[validation], labels[validation], prior) for each in (jnp.zeros(n), log_ratio)]
    return jnp.where(losses[0] <= losses[1], 0.0, log_ratio)


def _finite(ridges: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(filter(math.isfinite, ridges))


def _train_network(
    network: PyTree,
    linear: Array,
    x: Array,
    labels: Array,
    prior: Array,
    rows: Array,
    validation: Array,
    spec: DetectorSpec,
) -> PyTree:
    """Train the network with Adam on top of the linear log-ratio; keep the check (start included) best on validation.

    ``rows`` [n_checks, steps, batch] are the minibatches.
    """
    optimiser = optax.adamw(spec.learning_rate, weight_decay=spec.weight_decay)

    def loss(parameters: PyTree, part: Array) -> Array:
        return cross_entropy(linear[part] + _network(parameters, x[part]), labels[part], prior)

    def step(state: tuple[PyTree, PyTree], part: Array) -> tuple[tuple[PyTree, PyTree], None]:
        updates, moments = optimiser.update(jax.grad(loss)(state[0], part), state[1], state[0])
        return (optax.apply_updates(state[0], updates), moments), None

    def check(parameters: PyTree) -> tuple[Candidate, None]:
        return Candidate(parameters, loss(parameters, validation)), None

    return keep_best(step, (network, optimiser.init(network)), check, rows, check(network)[0])[0]


def _init_networks(rng: np.random.Generator, n_inputs: int, spec: DetectorSpec) -> PyTree:
    """Weights of one MLP per fold, leading [n_folds]; each output starts at exactly 0, which adds no information.

    Drawn in NumPy: the initialiser of :class:`amarl_jax.nets.mlp.MLP` would compile anew for each number of columns.
    """
    sizes = (n_inputs, *spec.hidden)
    layers = [
        (rng.normal(0.0, math.sqrt(2.0 / m), (spec.n_folds, m, n)), np.zeros((spec.n_folds, n)))
        for m, n in itertools.pairwise(sizes)
    ]
    layers.append((np.zeros((spec.n_folds, sizes[-1], 1)), np.zeros((spec.n_folds, 1))))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), layers)


def _network(layers: PyTree, x: Array) -> Array:
    """Output of the MLP for each row of x [n, D], [n]."""
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias[None, :])
    weight, bias = layers[-1]
    return (x @ weight + bias[None, :])[:, 0]
