"""A freshly trained, cross-fitted detector of tapes: every episode is scored by a model that never saw its label.

Each fold's model is an :class:`amarl_jax.nets.order_flow.OrderFlow`, trained with Adam on the cross-entropy of z at
every prefix, most of its weight on the whole episode. A validation part of the model's own training episodes chooses
how long to train and by which factor to shrink its log-ratio, 0 among the choices.
"""

import dataclasses
import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from amarl_jax.information import mine
from amarl_jax.information.detector import Detection, check_below_entropy, summarise
from amarl_jax.information.early_stopping import Candidate, keep_best
from amarl_jax.nets.order_flow import OrderFlow
from amarl_jax.side_by_side import dealt, side_by_side
from amarl_jax.types import Array, PyTree, Tape, empty_tape

# Thousands of small steps: optimised even where XLA_FLAGS ask for quick compilation, as in the tests.
COMPILED_WELL = {"xla_backend_optimization_level": 1}
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of a log-ratio, that validation chooses from


@dataclasses.dataclass(frozen=True)
class TapeDetectorSpec:
    """Static settings of the detector's training."""

    n_folds: int = 4
    hidden: tuple[int, ...] = (32, 32)
    n_epochs: float = 5.0  # passes over the fitting episodes,
    min_steps: int = 150  # but at least so many Adam steps
    n_checks: int = 5  # times the validation loss is looked at, evenly spaced
    batch_size: int = 64  # episodes per Adam step
    validation_fraction: float = 0.15  # of each fold's training episodes
    learning_rate: float = 1e-2  # at its peak, after 15% of the steps
    weight_decay: float = 1e-2
    prefix_weight: float = 0.3  # of the mean loss over all prefixes beside that of the whole episode


@struct.dataclass
class TapePlan:
    """Everything random about a cross-fit; with it fixed, :func:`cross_fit_tapes` is pure and may be vmapped.

    ``F`` folds. Lists are padded with repeated episodes of their own fold.
    """

    held_out: Array  # [F, n_held] int32, episodes that a fold's model scores
    validation: Array  # [F, n_validation] int32, episodes that choose stopping time and share
    rows: Array  # [F, n_checks, steps, batch] int32, minibatches of the other episodes
    network: PyTree  # leading [F]


def plan_tapes(key: Array, labels: np.ndarray, horizon: int, n_rows: int, spec: TapeDetectorSpec) -> TapePlan:
    """Draw folds, stratified by label, minibatches and first weights, on the host.

    Args:
      key: typed key.
      labels: [n], 0 or 1.
      horizon: T, steps of an episode.
      n_rows: K, rows of each step on the tape.
      spec: settings.

    Raises:
      ValueError: a class has too few episodes.
    """
    smallest = min(int(np.sum(labels == 0)), int(np.sum(labels == 1)))
    if spec.n_folds < 2 or smallest < 2 * spec.n_folds:
        raise ValueError(f"{spec.n_folds} folds need at least {2 * spec.n_folds} episodes of each class")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    n = labels.shape[0]
    dealt = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in (0, 1)])
    folds = [dealt[i :: spec.n_folds] for i in range(spec.n_folds)]
    n_held = len(folds[0])
    held_out = np.stack([np.resize(fold, n_held) for fold in folds])
    n_training = n - n_held
    training = np.stack([rng.permutation(np.setdiff1d(dealt, fold))[:n_training] for fold in folds])
    n_validation = max(int(spec.validation_fraction * n_training), 2)
    fitting = training[:, n_validation:]
    batch = min(spec.batch_size, fitting.shape[1])
    n_steps = max(spec.min_steps, int(spec.n_epochs * fitting.shape[1] / batch))
    shape = (spec.n_checks, max(1, n_steps // spec.n_checks), batch)
    keys = jax.random.split(key, spec.n_folds)
    return TapePlan(
        held_out=jnp.asarray(held_out, jnp.int32),
        validation=jnp.asarray(training[:, :n_validation], jnp.int32),
        rows=jnp.asarray(np.stack([_epochs(rng, part, shape) for part in fitting]), jnp.int32),
        network=_init_networks(keys, horizon, n_rows, spec),
    )


def _epochs(rng: np.random.Generator, episodes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Permutations of the episodes, one after the other, cut to a shape."""
    n = int(np.prod(shape))
    return np.concatenate([rng.permutation(episodes) for _ in range(-(-n // len(episodes)))])[:n].reshape(shape)


@functools.partial(jax.jit, static_argnames=("horizon", "n_rows", "spec"))
def _init_networks(keys: Array, horizon: int, n_rows: int, spec: TapeDetectorSpec) -> PyTree:
    network = OrderFlow(horizon, spec.hidden)
    return jax.vmap(lambda key: network.init(key, empty_episode(horizon, n_rows)))(keys)


def detect_tapes(
    key: Array, tapes: Tape, labels: Array | np.ndarray, *, prior: float = 0.5, spec: TapeDetectorSpec | None = None
) -> Detection:
    """Train a detector per fold, score every episode with the one that never saw it.

    Args:
      key: typed key; the split and the training follow from it.
      tapes: leaves [n, T, ...].
      labels: [n], 0 or 1. Episodes are weighted to the prior, whatever the class counts.
      prior: P(z = 1).
      spec: settings.

    Raises:
      ValueError: a class has too few episodes, or an estimate is above H(z) by more than 3 standard errors.
    """
    chex.assert_rank([tapes.side, tapes.value_gap_16], [3, 2])
    spec, z = spec or TapeDetectorSpec(), np.asarray(labels, np.int32)
    design = plan_tapes(key, z, tapes.side.shape[1], tapes.side.shape[2], spec)
    log_ratio = _on_cores(design, jax.tree.map(jnp.asarray, tapes), jnp.asarray(z), jnp.float32(prior), spec)
    detection = summarise(jnp.asarray(log_ratio), jnp.asarray(z), prior)
    check_below_entropy(float(detection.mi), float(detection.mi_stderr), prior)
    return detection


def held_out_log_ratios(design: TapePlan, tapes: Tape, labels: Array, prior: Array, spec: TapeDetectorSpec) -> Array:
    """Held-out log-ratio of every whole episode, [n] nats.

    Args:
      design: from :func:`plan_tapes`.
      tapes: leaves [n, T, ...].
      labels: [n], 0 or 1.
      prior: p_z.
      spec: settings.
    """

    def fit(parts: tuple[PyTree, Array, Array, Array]) -> Array:
        network, rows, validation, held_out = parts
        network, share = _train(network, tapes, labels, prior, rows, validation, spec)
        return share * _whole(network, tapes, held_out, spec)

    scores = jax.lax.map(fit, (design.network, design.rows, design.validation, design.held_out))
    return jnp.zeros(labels.shape[0], jnp.float32).at[design.held_out.reshape(-1)].set(scores.reshape(-1))


cross_fit_tapes = jax.jit(held_out_log_ratios, static_argnames="spec", compiler_options=COMPILED_WELL)


def fold_program(
    design: TapePlan, tapes: Tape, labels: Array, prior: Array, spec: TapeDetectorSpec
) -> Callable[[np.ndarray], Array]:
    """Numbers of folds to :func:`cross_fit_tapes` of these folds alone, compiled for one of the parts that are dealt.

    To compile ahead, shapes will do, but for the design.
    """

    def folds(own: np.ndarray) -> TapePlan:
        return jax.tree.map(lambda x: x[own], design)

    some = folds(dealt(spec.n_folds)[0])
    program = cross_fit_tapes.lower(some, tapes, labels, prior, spec).compile()
    return lambda own: program(folds(own), tapes, labels, prior)


def _on_cores(design: TapePlan, tapes: Tape, labels: Array, prior: Array, spec: TapeDetectorSpec) -> np.ndarray:
    """What :func:`cross_fit_tapes` makes, its folds trained at the same time on several cores."""
    parts = list(dealt(spec.n_folds))
    found = side_by_side(fold_program(design, tapes, labels, prior, spec), parts)
    held_out, log_ratio = np.asarray(design.held_out), np.zeros(labels.shape[0], np.float32)
    for own, scores in zip(parts, found, strict=True):
        scored = held_out[own].reshape(-1)
        log_ratio[scored] = scores[scored]
    return log_ratio


def _log_ratios(network: PyTree, tapes: Tape, at: Array, spec: TapeDetectorSpec) -> Array:
    """Log-ratios at every prefix of the given episodes, [n, T]."""
    model = OrderFlow(tapes.side.shape[1], spec.hidden)
    return jax.vmap(lambda tape: model.apply(network, tape))(jax.tree.map(lambda x: x[at], tapes))


def _whole(network: PyTree, tapes: Tape, at: Array, spec: TapeDetectorSpec) -> Array:
    """Log-ratios of whole episodes [n], a few batches at a time."""
    part = 4 * spec.batch_size
    padded = jnp.resize(at, (-(-at.shape[0] // part), part))
    return jax.lax.map(lambda rows: _log_ratios(network, tapes, rows, spec)[:, -1], padded).reshape(-1)[: at.shape[0]]


def _train(
    network: PyTree,
    tapes: Tape,
    labels: Array,
    prior: Array,
    rows: Array,
    validation: Array,
    spec: TapeDetectorSpec,
) -> tuple[PyTree, Array]:
    """Train with Adam at a one-cycle rate; network and share [] of its log-ratio that are best on validation."""
    schedule = optax.cosine_onecycle_schedule(rows.shape[0] * rows.shape[1], spec.learning_rate, 0.15)
    adam = optax.adamw(schedule, b2=0.99, weight_decay=spec.weight_decay)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), adam)

    def loss(network: PyTree, part: Array) -> Array:
        logits = _log_ratios(network, tapes, part, spec) + _log_odds(prior)
        losses = jax.nn.softplus(logits) - labels[part][:, None] * logits
        losses = mine.episode_weights(labels[part], prior) @ losses
        return (1.0 - spec.prefix_weight) * losses[-1] + spec.prefix_weight * jnp.mean(losses)

    def step(state: tuple[PyTree, PyTree], part: Array) -> tuple[tuple[PyTree, PyTree], None]:
        updates, moments = optimiser.update(jax.grad(loss)(state[0], part), state[1], state[0])
        return (optax.apply_updates(state[0], updates), moments), None

    def check(network: PyTree) -> tuple[Candidate, None]:
        log_ratio, shares = _whole(network, tapes, validation, spec), jnp.array(SHARES, jnp.float32)
        losses = jax.vmap(lambda share: _cautious_loss(share * log_ratio, labels[validation], prior))(shares)
        return Candidate((network, shares[jnp.argmin(losses)]), jnp.min(losses)), None

    nothing = Candidate((network, jnp.float32(0.0)), jnp.float32(0.0))
    return keep_best(step, (network, optimiser.init(network)), check, rows, nothing)[0]


def _cautious_loss(log_ratio: Array, labels: Array, prior: Array) -> Array:
    """Cross-entropy of log-ratios [n] minus that of log-ratios of 0, plus its standard error, [].

    Without the standard error, the best of many checks and shares on few episodes would claim more than there is.
    """
    logits = log_ratio + _log_odds(prior)
    gain = jax.nn.softplus(logits) - labels * logits - jax.nn.softplus(_log_odds(prior)) + labels * _log_odds(prior)
    weights = mine.episode_weights(labels, prior)
    mean = weights @ gain
    return mean + jnp.sqrt(jnp.sum((weights * (gain - mean)) ** 2))


def _log_odds(prior: Array) -> Array:
    log_p = mine.log_prior(prior)
    return log_p[1] - log_p[0]


def empty_episode(horizon: int, n_rows: int) -> Tape:
    """An episode in which nothing happened, leaves [T, ...]."""
    step = empty_tape(n_rows)
    return jax.tree.map(lambda x: jnp.zeros((horizon, *x.shape), x.dtype), step)
