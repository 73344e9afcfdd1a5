"""Training of one critic on one part of the episodes, stopped by a second part, read from a third."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from amarl_jax.information.early_stopping import Candidate, keep_best
from amarl_jax.information.estimate_critics import LabelCritic, PairCritic, is_linear
from amarl_jax.information.estimators import MIEstimator
from amarl_jax.information.ranges import check_counts, check_numbers, check_schedule, check_widths
from amarl_jax.types import Array, PyTree

Critic = LabelCritic | PairCritic


@dataclasses.dataclass(frozen=True)
class EstimateSpec:
    """Static settings of an estimate; one out of its range is a ValueError."""

    n_folds: int = 5  # critics; each episode is held out by one of them
    validation_fraction: float = 0.2  # of the episodes that are not held out
    hidden: tuple[int, ...] = (64, 64)
    n_embedding: int = 32  # of each of x and y, where x is continuous
    window: int = 3  # steps that the sequence encoder sees at once
    n_steps: int = 900  # Adam steps per fold
    linear_fraction: float = 1 / 3  # of the steps, the first ones, in which only the critic's linear part learns
    n_checks: int = 30  # times the validation part is looked at, evenly spaced
    batch_size: int = 256  # episodes per Adam step
    linear_learning_rate: float = 3e-2  # of the linear part alone; decays to 0 on a cosine
    learning_rate: float = 4e-3  # of everything afterwards; decays to 0 on a cosine
    weight_decay: float = 1e-3
    ema_decay: float = 0.99  # of MINE's partition

    def __post_init__(self) -> None:
        check_counts(self, n_folds=2, n_embedding=1, window=1, n_steps=1, n_checks=1, batch_size=2)
        check_widths(self, "hidden")
        check_schedule(self.n_steps, self.n_checks)
        check_numbers(self, validation_fraction="(0, 1)", linear_fraction="[0, 1]", ema_decay="[0, 1)")
        check_numbers(self, linear_learning_rate="(0, 1]", learning_rate="(0, 1]", weight_decay="[0, 1]")


@struct.dataclass
class Parts:
    """Episodes by what they are used for; int32 rows of the data."""

    fitting: Array  # [n_fitting]
    training: Array  # [n_training] those fitting episodes that the training curve is read from
    validation: Array  # [n_validation]
    held_out: Array  # [n_held_out]


@struct.dataclass
class Data:
    """All episodes as arrays."""

    x: Array  # [n] int32 labels, or [n, dx] float32
    y: Array  # [n, D] or [n, T, D] float32, standardised
    prior: Array  # [C] of labels; [0] of a continuous x, whose marginal is the batch's


@functools.partial(jax.jit, static_argnames=("critic", "estimator"))
def bound(parameters: PyTree, data: Data, rows: Array, critic: Critic, estimator: MIEstimator) -> Array:
    """The estimator's bound on the given episodes, [] nats."""
    return estimator.bound(*_scores(parameters, data, rows, critic))


@functools.partial(jax.jit, static_argnames=("critic", "estimator", "n_groups"))
def jackknife(
    parameters: PyTree, data: Data, rows: Array, critic: Critic, estimator: MIEstimator, n_groups: int
) -> tuple[Array, Array]:
    """Bound on the given episodes and its standard error, from leaving out one group of episodes at a time."""
    scores, labels, prior = _scores(parameters, data, rows, critic)
    position = jnp.arange(rows.shape[0]).reshape(n_groups, -1)
    kept = jnp.stack([jnp.delete(position, group, axis=0).ravel() for group in range(n_groups)])

    def without(part: Array) -> Array:
        if isinstance(critic, LabelCritic):
            return estimator.bound(scores[part], labels[part], prior)
        n = part.shape[0]
        return estimator.bound(scores[part][:, part], jnp.arange(n), jnp.full(n, 1.0 / n))

    bounds = jax.lax.map(without, kept)
    variance = (n_groups - 1) / n_groups * jnp.sum((bounds - jnp.mean(bounds)) ** 2)
    return estimator.bound(scores, labels, prior), jnp.sqrt(variance)


@functools.partial(jax.jit, static_argnames=("critic", "estimator", "spec"))
def fit(
    key: Array, data: Data, parts: Parts, critic: Critic, estimator: MIEstimator, spec: EstimateSpec
) -> tuple[PyTree, Array]:
    """Train a critic with Adam on the estimator's loss.

    Returns the parameters of the check (start included) that is best on validation, and the learning curve
    [n_checks + 1, 2] on training and on validation episodes.
    """
    key_init, key_batches = jax.random.split(key)
    batch_size = min(spec.batch_size, parts.fitting.shape[0])
    shapes = (data.y[0],) if isinstance(critic, LabelCritic) else (data.x[0], data.y[0])
    parameters = critic.init(key_init, *shapes)
    optimiser = _optimiser(spec)

    def step(carry: tuple[PyTree, PyTree, PyTree], key_batch: Array) -> tuple[tuple[PyTree, PyTree, PyTree], None]:
        parameters, moments, state = carry
        rows = jax.random.choice(key_batch, parts.fitting, (batch_size,), replace=False)

        def loss(parameters: PyTree) -> tuple[Array, PyTree]:
            return estimator.loss(*_scores(parameters, data, rows, critic), state, spec.ema_decay)

        gradient, state = jax.grad(loss, has_aux=True)(parameters)
        updates, moments = optimiser.update(gradient, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments, state), None

    def check(parameters: PyTree) -> tuple[Candidate, Array]:
        bounds = jnp.stack(
            [bound(parameters, data, rows, critic, estimator) for rows in (parts.training, parts.validation)]
        )
        return Candidate(parameters, -bounds[1]), bounds

    first, start = check(parameters)
    keys = jax.random.split(key_batches, (spec.n_checks, spec.n_steps // spec.n_checks))
    state = (parameters, optimiser.init(parameters), estimator.init())
    best, bounds = keep_best(step, state, check, keys, first)
    return best, jnp.concatenate([start[None], bounds])


def _optimiser(spec: EstimateSpec) -> optax.GradientTransformation:
    """Clipped Adam with decoupled weight decay: the linear part alone at its own rate, then everything; both decay."""
    n_linear = int(spec.linear_fraction * spec.n_steps)
    rest = optax.cosine_decay_schedule(spec.learning_rate, max(spec.n_steps - n_linear, 1))
    alone = optax.cosine_decay_schedule(spec.linear_learning_rate, max(n_linear, 1))
    rates = {
        "linear": optax.join_schedules([alone, rest], [n_linear]),
        "network": optax.join_schedules([optax.constant_schedule(0.0), rest], [n_linear]),
    }
    adam = {name: optax.adamw(rate, weight_decay=spec.weight_decay) for name, rate in rates.items()}

    def names(parameters: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(lambda path, _: "linear" if is_linear(path) else "network", parameters)

    return optax.chain(optax.clip_by_global_norm(1.0), optax.multi_transform(adam, names))


def _scores(parameters: PyTree, data: Data, rows: Array, critic: Critic) -> tuple[Array, Array, Array]:
    """Scores [B, C] of the rows [B], the label of each, and the prior over the C labels.

    For continuous x the labels are the B episodes' own x, each with probability 1 / B.
    """
    if isinstance(critic, LabelCritic):
        return jax.vmap(critic.apply, (None, 0))(parameters, data.y[rows]), data.x[rows], data.prior
    embeddings = jax.vmap(critic.apply, (None, 0, 0))(parameters, data.x[rows], data.y[rows])
    n = rows.shape[0]
    return critic.scores(*embeddings), jnp.arange(n), jnp.full(n, 1.0 / n)
