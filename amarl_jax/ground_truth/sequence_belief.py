"""The belief Transformer as an estimator of a sequence law's information.

A sequence goes in as the public value gap of a tape without orders, rounded to 1/160. The belief learns from fresh
episodes by its own loss, as it does in training, and its de-biased posterior on others gives the Barber-Agakov bound
``H(z) - CE <= I(z; F)``.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from amarl_jax.information import estimators, mine
from amarl_jax.nets.belief import BeliefTransformer, belief_loss, debias
from amarl_jax.nets.spec import BeliefSpec, TapeScales
from amarl_jax.types import GAP_UNITS, Array, PyTree, Tape, empty_tape

BETA_ENTROPY = 0.05  # of the belief's loss

LOOP = {"xla_backend_optimization_level": 1}  # thousands of steps: worth optimising where tests compile quickly


def as_tape(sequence: Array) -> Tape:
    """Write a sequence [T, 1] as the value gaps of T steps in which nothing else happens."""
    step = empty_tape(1)
    tape = jax.tree.map(lambda leaf: jnp.zeros((sequence.shape[0], *leaf.shape), leaf.dtype), step)
    gap = jnp.round(sequence[:, 0] * TapeScales().value_gap_ticks * GAP_UNITS)
    return tape.replace(value_gap_16=jnp.clip(gap, -(2**15), 2**15 - 1).astype(jnp.int16))


def logits(parameters: PyTree, sequences: Array, model: BeliefTransformer) -> Array:
    """Log-odds of b[t] at every prefix, [B, T], of sequences [B, T, 1]."""
    return jax.vmap(lambda row: model.apply(parameters, as_tape(row))[0])(sequences)


@functools.partial(jax.jit, static_argnames="model", compiler_options=LOOP)
def fit(key: Array, sequences: Array, labels: Array, model: BeliefTransformer, learning_rate: float) -> PyTree:
    """Fit the belief by Adam, a step for each batch of episodes: sequences [n_steps, B, T, 1], labels [n_steps, B]."""
    optimiser = optax.chain(
        optax.clip_by_global_norm(0.5), optax.adam(optax.cosine_decay_schedule(learning_rate, labels.shape[0]))
    )
    parameters = model.init(key, as_tape(sequences[0, 0]))

    def step(carry, batch):
        parameters, moments = carry
        rows, z = batch

        def loss(parameters):
            per_episode = jax.vmap(belief_loss, (0, 0, None))
            return jnp.mean(per_episode(logits(parameters, rows, model), z.astype(jnp.float32), BETA_ENTROPY))

        updates, moments = optimiser.update(jax.grad(loss)(parameters), moments)
        return (optax.apply_updates(parameters, updates), moments), None

    return jax.lax.scan(step, (parameters, optimiser.init(parameters)), (sequences, labels))[0][0]


@functools.partial(jax.jit, static_argnames="model")
def pointwise(
    parameters: PyTree, sequences: Array, labels: Array, prior: float, model: BeliefTransformer
) -> tuple[Array, Array]:
    """The bound [] and ``log p(z | F) - log p(z)`` of whole episodes [n], nats, by the de-biased belief."""
    p_one = jnp.clip(debias(jax.nn.sigmoid(logits(parameters, sequences, model)[:, -1]), BETA_ENTROPY), 1e-6, 1 - 1e-6)
    scores = jnp.log(jnp.stack([1.0 - p_one, p_one], axis=-1)) - mine.log_prior(prior)[None, :]
    bound = estimators.get("barber_agakov").bound(scores, labels, prior)
    return bound, jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]


def estimate(
    key: Array,
    draw: Callable[[int], tuple[np.ndarray, np.ndarray]],
    *,
    spec: BeliefSpec,
    prior: float,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    n_held_out: int,
) -> tuple[float, float]:
    """Estimate ``I(z; sequence)`` in nats: value and standard error, on episodes that the belief did not learn from.

    ``draw(n)`` gives labels [n] and sequences [n, T, 1] of n fresh episodes.
    """
    z, y = (np.asarray(array) for array in draw(n_steps * batch_size))
    model = BeliefTransformer(spec, y.shape[1])
    batches = (jnp.asarray(array.reshape(n_steps, batch_size, *array.shape[1:])) for array in (y.astype(np.float32), z))
    parameters = fit(key, *batches, model, learning_rate)
    z, y = draw(n_held_out)
    bound, gains = pointwise(parameters, jnp.asarray(y, jnp.float32), jnp.asarray(z), prior, model)
    return float(bound), float(jnp.std(gains) / np.sqrt(n_held_out))
