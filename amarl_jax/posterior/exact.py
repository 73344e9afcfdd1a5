"""The information in an episode's order flow for a reader who knows the policy: ``I(z; G)`` between two bounds.

With any q ``E log q(z | G) / p(z) <= I(z; G)``, so the filter's own posterior gives a lower bound. With the true path
kept in the likelihood of the true class, and the other class's estimated freely, ``E log q(z | G) / p(z)`` is an upper
bound: the inverse of the former and the latter are unbiased and independent, and ``-log(1 + c x)`` is convex in x.
Their errors are equal and opposite to leading order, so their mean is reported.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.errors import LawlessPolicy
from amarl_jax.market.noise import NoiseLaw
from amarl_jax.market.params import EnvParams
from amarl_jax.market.record import StepRecord
from amarl_jax.market.recorded_noise import RecordedNoise
from amarl_jax.policies.protocol import Policy
from amarl_jax.posterior.filter import Reader, Truth, has_law, log_ratio
from amarl_jax.types import Array

AT_ONCE = 16  # episodes read side by side: their particles stay in a processor's cache
DOUBT = 1e-4  # least posterior of either class: a path that the particles lost costs 9 nats


@dataclasses.dataclass(frozen=True)
class ExactSpec:
    """Number of episodes read exactly, and the numbers of particles; static."""

    n_episodes: int = 512  # the first ones, rounded up to whole batches
    n_particles: int = 128  # K of each of the three filters
    n_private: int = 16  # private numbers that represent N(0, 1), where the policy reads one
    sees_removals: bool = True  # False: the reader does not see which orders left at the start of a step


@struct.dataclass
class ExactRow:
    """What the exact reader found in an episode; leading [n]."""

    log_ratio: Array  # [T] log P(G_<=t | z = 1) - log P(G_<=t | z = 0), whose posterior bounds I from below
    log_ratio_above: Array  # [] at the horizon with the true path kept, which bounds I from above; NaN: no such bound
    lawless_step: Array  # [] int32, first step in which the policy did what its law calls impossible, -1 for none


class ExactInformation(NamedTuple):
    """``I(z; G)`` in nats, over episodes."""

    nats: float  # mean of the two bounds; the lower where there is no upper
    stderr: float  # of it, over episodes
    lower: float
    upper: float
    accuracy: float  # of the best guess at the prior
    accuracy_stderr: float


def why_unread(policy: Policy, noise_law: NoiseLaw) -> str:
    """Reason why there is no exact information for this policy, naming what states no law; empty if there is."""
    if not hasattr(noise_law, "marks"):
        name = getattr(noise_law, "__name__", type(noise_law).__name__)
        return f"no exact value: the noise law {name} states no law of its marks"
    if has_law(policy):
        return ""
    parts = [getattr(policy, "base", None), *getattr(policy, "policies", ())]
    lacking = next((part for part in parts if part is not None and not has_law(part)), None)
    if lacking is not None:
        return why_unread(lacking, noise_law)
    return f"no exact value: {type(policy).__name__} states no law"


def is_misspecified(noise_law: NoiseLaw) -> bool:
    """True where the filter's noise law is only fitted to the market's, so that its value is a lower bound."""
    return isinstance(noise_law, RecordedNoise)


def read_episode(key: Array, record: StepRecord, truth: Truth, reader: Reader, params: EnvParams) -> ExactRow:
    """Read one episode [T] of a market that keeps records, without the truth and with it.

    Where noise is recorded the reader knows only its fitted law: the episode is read without the truth, and there is no
    upper bound.
    """
    keys = jax.random.split(key)
    if is_misspecified(reader.noise_law) or not reader.sees_removals:
        below = reader.likelihoods(keys[0], record, params)
        return ExactRow(log_ratio(below), jnp.float32(jnp.nan), jnp.int32(-1))

    def read(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        key, keeps = inputs
        found = reader.likelihoods(jax.random.wrap_key_data(key), record, params, truth, keeps)
        return log_ratio(found), found.kept_weight <= 0

    ratios, lawless = jax.lax.map(read, (jax.random.key_data(keys), jnp.array([False, True])))  # one filter to compile
    lawless = lawless[1]
    return ExactRow(
        log_ratio=ratios[0],
        log_ratio_above=ratios[1, -1],
        lawless_step=jnp.where(jnp.any(lawless), jnp.argmax(lawless), -1).astype(jnp.int32),
    )


def read_episodes(key: Array, record: StepRecord, truth: Truth, reader: Reader, params: EnvParams) -> ExactRow:
    """:func:`read_episode` of [E] episodes, ``AT_ONCE`` at a time."""
    raw_keys = jax.random.key_data(jax.random.split(key, truth.hypothesis.shape[0]))

    def one(inputs: tuple[Array, StepRecord, Truth]) -> ExactRow:
        return read_episode(jax.random.wrap_key_data(inputs[0]), *inputs[1:], reader, params)

    return jax.lax.map(one, (raw_keys, record, truth), batch_size=AT_ONCE)


def nothing_read(n_episodes: int, horizon: int) -> ExactRow:
    """Rows of unread episodes: ratios of 0."""
    zero = jnp.zeros((n_episodes, horizon), jnp.float32)
    return ExactRow(zero, zero[:, 0], jnp.full(n_episodes, -1, jnp.int32))


def exact_information(rows: ExactRow, labels: np.ndarray, prior: float) -> ExactInformation:
    """The two bounds from host rows [n] and classes [n], each class weighted to the prior.

    Raises:
        LawlessPolicy: the policy did what its law calls impossible; the line names episode and step.
    """
    lawless = np.flatnonzero(np.asarray(rows.lawless_step) >= 0)
    if lawless.size:
        step = int(np.asarray(rows.lawless_step)[lawless[0]])
        raise LawlessPolicy(
            f"the law of the execution policy gives probability 0 to what it did in step {step} of episode {lawless[0]}"
            f" ({lawless.size} of {len(labels)} episodes): its law() is not that of its act()"
        )
    logit = np.log(prior) - np.log1p(-prior)
    ratio = np.asarray(rows.log_ratio, np.float64)[:, -1]
    below, above = (_pointwise(x, labels, prior) for x in (ratio, np.asarray(rows.log_ratio_above, np.float64)))
    right = np.where(ratio + logit == 0, 0.5, (ratio + logit > 0) == (labels == 1))
    weigh = functools.partial(_weighted, labels=labels, prior=prior)
    nats, stderr = weigh(below if np.isnan(above).all() else 0.5 * (below + above))
    return ExactInformation(nats, stderr, weigh(below)[0], weigh(above)[0], *weigh(right))


def _pointwise(ratio: np.ndarray, labels: np.ndarray, prior: float) -> np.ndarray:
    """``log q(z | G) / p(z)`` of each episode, [n]."""
    with np.errstate(over="ignore"):
        one = 1.0 / (1.0 + np.exp(-(ratio + np.log(prior) - np.log1p(-prior))))
    one = prior * DOUBT + (1.0 - DOUBT) * one
    return np.log(np.where(labels == 1, one / prior, (1.0 - one) / (1.0 - prior)))


def _weighted(x: np.ndarray, labels: np.ndarray, prior: float) -> tuple[float, float]:
    """Mean at the prior's class weights and its standard error."""
    mean, variance = 0.0, 0.0
    for label, weight in ((0, 1.0 - prior), (1, prior)):
        own = x[labels == label].astype(np.float64)
        mean += weight * float(own.mean())
        variance += weight**2 * float(own.var(ddof=1)) / own.size if own.size > 1 else float("nan")
    return mean, variance**0.5
