"""The exact posterior of an episode: ``log P(z = 1 | G_<=t)`` from its order-level record and the policy's law.

Three filters run side by side: for the trader whose order is to buy, the one whose order is to sell, and the noise
law. ``P(G | z = 1) = sum_u P(u | V) P(G | u)``: the side is weighed by the path of value, public with a step's delay.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.market.env import StepOutput
from amarl_jax.market.noise import NoiseLaw
from amarl_jax.market.observe import execution_view
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.record import StepRecord
from amarl_jax.market.slot import SlotLaw, given_places, n_places, one_way, widened
from amarl_jax.policies.protocol import Policy, PolicyWithLaw
from amarl_jax.posterior.assignments import (
    CUT,
    FIRST_ROW,
    SILENT,
    Hidden,
    StepEvidence,
    after,
    child_of,
    possibilities,
    read_evidence,
)
from amarl_jax.posterior.particles import Particles, advance, merge
from amarl_jax.types import Array, PyTree

BUYS, SELLS, NOISE = 0, 1, 2  # hypotheses, in this order
N_HYPOTHESES = 3
SIDES = np.array([1, -1], np.int32)


@struct.dataclass
class Truth:
    """What really happened in an episode, which the record hides."""

    option: Array  # [T] int32, the possibility of each step
    hypothesis: Array  # [] int32, BUYS, SELLS or NOISE
    private: Array  # [] the slot's private number


@struct.dataclass
class Likelihoods:
    """What the filters found at every prefix of a record."""

    of_orders: Array  # [T, hypothesis] log-likelihoods of the orders beside "all are noise"
    of_side: Array  # [T, 2] log P(u | V up to the step)
    kept_weight: Array  # [T] weight of what really happened under its own law; 1 where no path is kept


def what_happened(output: StepOutput, z: Array, direction: Array, private: Array) -> Truth:
    """The truth of an episode [T] whose market kept records."""
    row = output.slot_row
    assert row is not None, "a market that keeps records is needed"
    option = jnp.where(~output.slot.acts, SILENT, jnp.where(row < 0, CUT, FIRST_ROW + row))
    informed = jnp.where(direction > 0, BUYS, SELLS)
    return Truth(option.astype(jnp.int32), jnp.where(z == 1, informed, NOISE).astype(jnp.int32), private)


def side_posterior(value: Array, params: EnvParams) -> Array:
    """``log P(u | V[0 .. t])``, u = +1 and -1, at every t: two Ornstein-Uhlenbeck likelihoods. [T, 2] of [T]."""
    targets = SIDES.astype(jnp.float32) * params.value_target_ticks
    forecast = value[:-1, None] + params.value_reversion * (targets[None] - value[:-1, None])
    deviation = jnp.maximum(params.value_volatility_ticks, 1e-6)
    score = -0.5 * ((value[1:, None] - forecast) / deviation) ** 2
    for_buying = jnp.pad(jnp.cumsum(score[:, 0] - score[:, 1]), (1, 0))
    return jnp.stack([jax.nn.log_sigmoid(for_buying), jax.nn.log_sigmoid(-for_buying)], axis=-1)


def private_numbers(
    uniform: Array, n_nodes: int, truth: Truth | None, keeps: Array | bool = True
) -> tuple[Array, Array]:
    """One number from each of n equal shares of N(0, 1) for either trader, [2, n_nodes]; the true one's node, [] int32.

    Args:
        uniform: [2] in [0, 1), places either trader's numbers within their shares.
        n_nodes: n.
        truth: its private number replaces one of the true trader's; None for no truth.
        keeps: False for no truth either.
    """
    index = jnp.arange(n_nodes, dtype=jnp.int32)[None]
    shift, own, kept = uniform, jnp.zeros((2, n_nodes), bool), jnp.int32(0)
    if truth is not None:
        at = jnp.clip(n_nodes * jax.scipy.special.ndtr(truth.private), 0.0, n_nodes * (1.0 - 1e-7))
        kept = jnp.floor(at).astype(jnp.int32)
        is_true = (jnp.arange(NOISE) == truth.hypothesis) & keeps
        shift, own = jnp.where(is_true, at - kept, uniform), is_true[:, None] & (index == kept)
    quantile = (index.astype(jnp.float32) + shift[:, None]) / n_nodes
    numbers = jax.scipy.special.ndtri(jnp.clip(quantile, 1e-7, 1.0 - 1e-7))
    return (numbers if truth is None else jnp.where(own, truth.private, numbers)), kept


def opening(n_particles: int, n_nodes: int, kept_node: Array, reads: Array | bool = True) -> Particles:
    """Particles of all hypotheses at the opening, [hypothesis, K]: no child, no position, any of the private numbers.

    A trader that ``reads`` no private number has one node, as the noise law has.
    """
    shape = (N_HYPOTHESES, n_particles)
    index = jnp.arange(n_particles, dtype=jnp.int32)
    of_noise = (index == 0).astype(jnp.float32)
    of_traders = jnp.where(reads, jnp.where(index < n_nodes, jnp.float32(1.0 / n_nodes), 0.0), of_noise)
    node = jnp.where(reads, jnp.minimum(index, n_nodes - 1), 0)
    kept_node = jnp.where(reads, kept_node, 0)
    return Particles(
        hidden=Hidden(child=jnp.full(shape, -1, jnp.int32), position=jnp.zeros(shape, jnp.int32)),
        node=jnp.stack([node] * NOISE + [jnp.zeros_like(index)]),
        share=jnp.stack([of_traders] * NOISE + [of_noise]),
        log_likelihood=jnp.zeros(N_HYPOTHESES, jnp.float32),
        kept=jnp.stack([kept_node] * NOISE + [jnp.zeros_like(kept_node)]),
    )


@dataclasses.dataclass(frozen=True)
class Reader:
    """Everything that a filter is built from: the policy to be tested for, the market, and the numbers of particles.

    Attributes:
        policy: the execution policy.
        noise_law: of the market.
        spec: market sizes.
        n_particles: K of each of the three filters.
        n_nodes: private numbers that a trader may have; 1 for a policy that reads none.
        sees_removals: True if it reads which orders leave at the start of a step: the record names them, the tape only
            counts them.
    """

    policy: PolicyWithLaw
    noise_law: NoiseLaw
    spec: MarketSpec
    n_particles: int
    n_nodes: int = 1
    sees_removals: bool = True

    def likelihoods(
        self,
        key: Array,
        record: StepRecord,
        params: EnvParams,
        truth: Truth | None = None,
        keeps: Array | bool = True,
    ) -> Likelihoods:
        """Run the filters over an episode's record [T].

        Without ``truth`` they share their random numbers, so that hypotheses with the same law agree to rounding. With
        it they are independent, and the true one keeps what really happened. A program that does both says by
        ``keeps``, [] bool, whether there is a truth, and has one filter to compile.
        """
        evidence = read_evidence(record, self.noise_law, params, self.spec)
        horizon = record.value.shape[0]
        keys = jax.random.split(key)

        def draws(keys: Array, n_streams: int) -> tuple[Array, Array]:
            key_nodes, key_steps = keys
            uniform = jax.random.uniform(key_steps, (horizon, n_streams, 2), jnp.float32)
            places = jax.random.uniform(key_nodes, (n_streams, 1), jnp.float32)[:NOISE, 0]
            return jnp.broadcast_to(uniform, (horizon, N_HYPOTHESES, 2)), jnp.broadcast_to(places, (NOISE,))

        uniform, places = draws(keys, 1)
        own = None
        if truth is not None:
            each = draws(jax.random.clone(keys), N_HYPOTHESES)  # of the two only one is used
            uniform, places = jax.tree.map(lambda x, y: jnp.where(keeps, x, y), each, (uniform, places))
            own = (jnp.arange(N_HYPOTHESES) == truth.hypothesis) & keeps
        private, kept_node = private_numbers(places, self.n_nodes, truth, keeps)
        laws_of = functools.partial(self._laws, private, self.policy.init(params), params)

        def step(particles: Particles, inputs: tuple[StepEvidence, Array, Array | None]) -> tuple[Particles, tuple]:
            now, uniform, option = inputs
            particles = jax.vmap(merge, in_axes=(0, None))(particles, now.record.lots.shape[0])
            one = functools.partial(possibilities, now, params=params, spec=self.spec, sees_removals=self.sees_removals)
            weigh = jax.vmap(jax.vmap(lambda hidden, law: one(hidden, law), out_axes=1))
            weights = weigh(particles.hidden, laws_of(now, particles))
            if truth is None or own is None or option is None:
                kept_option, kept_weight = None, jnp.float32(1.0)
            else:
                kept_option = jnp.where(own, option, -1)
                own_weight = weights[truth.hypothesis, option, particles.kept[truth.hypothesis]]
                kept_weight = jnp.where(keeps, own_weight, 1.0)
            particles, chosen = jax.vmap(advance, in_axes=(0, 0, 0, None if kept_option is None else 0))(
                uniform, particles, weights, kept_option
            )
            hidden = jax.vmap(jax.vmap(functools.partial(after, now.record)))(particles.hidden, chosen)
            return dataclasses.replace(particles, hidden=hidden), (particles.log_likelihood, kept_weight)

        reads = getattr(self.policy, "chosen_reads_private", True)  # of a Choice or a plan, traced
        first = opening(self.n_particles, self.n_nodes, kept_node, reads)
        option = None if truth is None else truth.option
        _, (of_orders, kept_weight) = jax.lax.scan(step, first, (evidence, uniform, option))
        return Likelihoods(of_orders, side_posterior(record.value, params), kept_weight)

    def _laws(
        self, private: Array, memory: PyTree, params: EnvParams, evidence: StepEvidence, particles: Particles
    ) -> SlotLaw:
        """The law of every particle's slot, [hypothesis, K] leading."""
        record, spec = evidence.record, self.spec

        def informed(direction: Array, numbers: Array, hidden: Hidden, node: Array) -> SlotLaw:
            number = numbers[node] if spec.private_randomiser else jnp.float32(0.0)
            child = child_of(record, hidden.child)
            seen = execution_view(record.public, record.volatility, direction, hidden.position, child, number, params)
            return self.policy.law(memory, seen, params)

        traders = jax.tree.map(lambda x: x[:NOISE], (particles.hidden, particles.node))
        of_traders = jax.vmap(jax.vmap(informed, in_axes=(None, None, 0, 0)))(jnp.asarray(SIDES), private, *traders)
        of_noise = widened(one_way(params.slot_rate, evidence.noise), of_traders.gate.shape[2])
        of_traders, of_noise = (given_places(x, n_places(of_traders, of_noise)) for x in (of_traders, of_noise))
        return jax.tree.map(
            lambda x, y: jnp.concatenate([x, jnp.broadcast_to(y, (1, self.n_particles, *y.shape))]),
            of_traders,
            of_noise,
        )


def log_ratio(found: Likelihoods) -> Array:
    """``log P(G_<=t | z = 1) - log P(G_<=t | z = 0)``, [T]; -inf and inf are possible, 0 where both are impossible."""
    informed = jax.nn.logsumexp(found.of_side + found.of_orders[:, :NOISE], axis=-1)
    noise = found.of_orders[:, NOISE]
    return jnp.where(jnp.isneginf(informed) & jnp.isneginf(noise), 0.0, informed - noise)


def log_posterior(log_ratio: Array, prior: Array | float) -> Array:
    """``log P(z = 1 | G)`` of log-ratios [...], which may be infinite."""
    return jax.nn.log_sigmoid(log_ratio + jax.scipy.special.logit(jnp.asarray(prior, jnp.float32)))


def has_law(policy: Policy) -> bool:
    """True if the policy, and every policy it is made of, states the law of its decisions."""
    parts = [getattr(policy, "base", None), *getattr(policy, "policies", ())]
    return hasattr(policy, "law") and all(has_law(part) for part in parts if part is not None)


def reader_of(policy: Policy, noise_law: NoiseLaw, spec: MarketSpec, n_particles: int, n_private: int) -> Reader | None:
    """The reader that knows this policy, None if the policy or the noise law does not state its probabilities.

    Args:
        policy: the execution policy that plays.
        noise_law: of the market.
        spec: market sizes.
        n_particles: K.
        n_private: private numbers that represent N(0, 1), where the policy reads one; a divisor of K is best.
    """
    if not has_law(policy) or not hasattr(noise_law, "marks"):
        return None
    reads = spec.private_randomiser and getattr(policy, "reads_private", True)
    return Reader(policy, noise_law, spec, n_particles, min(n_private, n_particles) if reads else 1)  # type: ignore[arg-type]
