"""Tapes whose exact posterior is known at every prefix, and a belief trained on them: real network, real loss.

The laws are those of the ground truth's sequences, written into the fields of a tape: a Gaussian step into the public
value gap, a coin into the side of the step's one order, a count into the number of its orders.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy import stats

from amarl_jax.ground_truth.laws import TRUTH, Case
from amarl_jax.nets.belief import BeliefTransformer, belief_loss, debias
from amarl_jax.nets.spec import BeliefSpec
from amarl_jax.types import GAP_UNITS, Array, PyTree, Tape, empty_tape

GAP_PER_UNIT = 10 * GAP_UNITS  # a step of x is x at the belief's input, whose scale of the gap is 10 ticks


@dataclasses.dataclass(frozen=True)
class Training:
    """Adam on fresh episodes, its learning rate down to 0 along a cosine."""

    n_steps: int
    batch: int  # episodes per step
    learning_rate: float
    beta_entropy: float = 0.05  # as in the default configuration


LOOP = {"xla_backend_optimization_level": 1}  # thousands of steps: worth optimising where tests compile quickly


def quiet(horizon: int, n_rows: int = 1) -> Any:
    """Tape of an episode in which nothing happens."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (horizon, *x.shape)), empty_tape(n_rows))


def _gap(x: Array) -> Array:
    return jnp.round(GAP_PER_UNIT * x).astype(jnp.int16)


def gaussian(case: Case, key: Array, z: Array) -> tuple[Tape, Array]:
    """Draw ``x ~ N(z d, 1)``, independent steps: the tape [T], and the increments of its log-ratio [T] nats."""
    d = case["dprime_step"]
    x = d * z + jax.random.normal(key, (case["T"],))
    return quiet(case["T"]).replace(value_gap_16=_gap(x)), d * (x - d / 2)


def bernoulli(case: Case, key: Array, z: Array) -> tuple[Tape, Array]:
    """Draw one order a step, a buy with probability q."""
    q = jnp.array([case["q0"], case["q1"]])
    buys = jax.random.bernoulli(key, q[z], (case["T"],))
    tape = quiet(case["T"]).replace(side=jnp.where(buys, 1, -1).astype(jnp.int8)[:, None])
    return tape, jnp.where(buys, jnp.log(q[1] / q[0]), jnp.log((1 - q[1]) / (1 - q[0])))


def poisson(case: Case, key: Array, z: Array, n_rows: int = 8) -> tuple[Tape, Array]:
    """Draw a Poisson number of buys a step, at most 8, by inverse distribution function; the cap is part of the law."""
    rates = jnp.array([case["lam0"], case["lam1"]])
    at_most = stats.poisson.cdf(jnp.arange(n_rows)[None], rates[:, None])
    law = jnp.diff(at_most, prepend=0.0, append=1.0)
    count = jnp.sum(jax.random.uniform(key, (case["T"], 1)) > at_most[z][None], axis=1)
    side = (jnp.arange(n_rows)[None] < count[:, None]).astype(jnp.int8)
    return quiet(case["T"], n_rows).replace(side=side), jnp.log(law[1] / law[0])[count]


def autoregressive(case: Case, key: Array, z: Array) -> tuple[Tape, Array]:
    """Draw AR(1) of unit variance against white noise: every step has the same law in both classes."""
    phi, noise = case["phi"] * z, jax.random.normal(key, (case["T"],))
    scale = jnp.sqrt(1 - phi**2)
    _, tail = jax.lax.scan(lambda x, e: (phi * x + scale * e,) * 2, noise[0], noise[1:])
    x = jnp.concatenate([noise[:1], tail])
    fitted, spread = case["phi"] * x[:-1], np.sqrt(1 - case["phi"] ** 2)
    increments = stats.norm.logpdf(x[1:], fitted, spread) - stats.norm.logpdf(x[1:])
    return quiet(case["T"]).replace(value_gap_16=_gap(x)), jnp.concatenate([jnp.zeros(1), increments])


SAMPLERS: dict[str, Callable] = {
    "seq_iid_gauss": gaussian,
    "seq_iid_bern": bernoulli,
    "seq_iid_poisson": poisson,
    "seq_ar1_vs_white": autoregressive,
}


def episodes(name: str, key: Array, n: int) -> tuple[Tape, Array, Array]:
    """Draw tapes [n, T] of a law, exact posteriors [n, T] at even odds and labels [n], as many of either class."""
    case = TRUTH[name]
    z = jnp.arange(n) % 2
    tapes, increments = jax.vmap(functools.partial(SAMPLERS[case["family"]], case))(jax.random.split(key, n), z)
    return tapes, jax.nn.sigmoid(jnp.cumsum(increments, axis=1)), z


def train(name: str, key: Array, spec: BeliefSpec, training: Training) -> tuple[BeliefTransformer, PyTree]:
    """Fit a belief to one law; returns the model and its parameters."""
    model = BeliefTransformer(spec, TRUTH[name]["T"])
    optimiser = optax.adam(optax.cosine_decay_schedule(training.learning_rate, training.n_steps))

    def loss(parameters, tapes, z):
        logits, _ = jax.vmap(model.apply, (None, 0))(parameters, tapes)
        return jnp.mean(jax.vmap(lambda row, label: belief_loss(row, label, training.beta_entropy))(logits, z))

    def step(carry, key_step):
        parameters, moments = carry
        tapes, _, z = episodes(name, key_step, training.batch)
        updates, moments = optimiser.update(jax.grad(loss)(parameters, tapes, z), moments)
        return (optax.apply_updates(parameters, updates), moments), None

    @functools.partial(jax.jit, compiler_options=LOOP)
    def fit(key):
        key_init, key_steps = jax.random.split(key)
        tape = jax.tree.map(lambda x: x[0], episodes(name, jax.random.key(0), 2)[0])
        parameters = model.init(key_init, tape)
        keys = jax.random.split(key_steps, training.n_steps)
        return jax.lax.scan(step, (parameters, optimiser.init(parameters)), keys)[0][0]

    return model, fit(key)


def read(
    model: BeliefTransformer, parameters: PyTree, name: str, key: Array, n_batches: int, batch: int, beta_entropy: float
) -> list[np.ndarray]:
    """Read fresh episodes: beliefs, their de-biased posteriors, the exact ones, [n, T], and labels [n]."""

    def part(key_batch):
        tapes, exact, z = episodes(name, key_batch, batch)
        belief = jax.nn.sigmoid(jax.vmap(model.apply, (None, 0))(parameters, tapes)[0])
        return belief, debias(belief, beta_entropy), exact, z

    parts = jax.jit(lambda key: jax.lax.map(part, jax.random.split(key, n_batches)))(key)
    return [np.asarray(x).reshape(-1, *x.shape[2:]) for x in parts]
