"""The covert game: haste against detection with everything else taken away, so that its optimum is known exactly.

Each episode draws z. At z = 1 a trader shows ``d[t]`` in [0, d_max] at each of T steps; everyone sees

``F[t] = z d[t] / sqrt(T) + N(0, 1)``, so that ``S[T] = sum F / sqrt(T) = z D + N(0, 1)``, ``D = mean_t d[t]``,

the Gaussian channel of :mod:`amarl_jax.theory.gaussian_channel` with leverage D. Haste pays ``g(D)``, leakage costs
lambda per nat. The trader sees nothing but one private N(0, 1) number drawn at reset, and that only if
``private_randomiser`` is 1.

Why several steps: a policy that explores is a policy that mixes, and with one step the exploration noise would be the
private randomiser that the deterministic trader must not have. Here the noise of the steps is independent, neither
remembered nor coordinated, and averages out of D like ``1 / sqrt(T)``: without the private number a policy can choose
how loud an episode is, but cannot make some episodes loud and others quiet. That is the same reason for which the
market gives its execution agent a private number.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.types import Array

PRIVATE_SCALE = 3.0  # factor on the private number as seen: the policy to be learned is a steep threshold in it


@struct.dataclass
class CovertParams:
    """Constants of the game, all traced leaves."""

    max_leverage: Array | float = 4.0  # d_max, in standard deviations of the noise
    haste_curvature: Array | float = 0.0  # c of g = (1 + c) x - c x^2, x = d / d_max: 0 linear, 1 quadratic
    informed_probability: Array | float = 0.5  # p_z
    private_randomiser: Array | float = 1.0  # 1 the trader sees its private number, 0 it sees a 0
    leakage_weight: Array | float = 0.5  # lambda, reward per nat
    start: Array | float = 0.0  # latent that a decision of 0 stands for: how loud an untrained policy is


@struct.dataclass
class CovertState:
    """One episode in progress."""

    time: Array  # [] int32
    z: Array  # [] int32
    private: Array  # [] N(0, 1)
    shown: Array  # [] D so far: sum of d[s] / T over steps done, 0 at z = 0
    flow: Array  # [] S so far: sum of F[s] / sqrt(T) over steps done


class CovertOutput(NamedTuple):
    """What one step tells the learner."""

    flow: Array  # [] S after the step, public
    haste: Array  # [] g(D after) - g(D before), reward units


def haste(leverage: Array, params: CovertParams) -> Array:
    """``g(d) = (1 + c) x - c x^2`` with ``x = d / d_max``: ``g(d_max) = 1``, linear or quadratic. []."""
    x = leverage / params.max_leverage
    return (1.0 + params.haste_curvature) * x - params.haste_curvature * x**2


def leverage(decision: Array, params: CovertParams) -> Array:
    """``d = d_max sigmoid(2 (decision + start))``, any real decision."""
    return params.max_leverage * jax.nn.sigmoid(2.0 * (decision + params.start))


def private_view(private: Array, params: CovertParams) -> Array:
    """The private number as the trader sees it, or a 0. [1]."""
    return (PRIVATE_SCALE * params.private_randomiser * private)[None]


@dataclasses.dataclass(frozen=True)
class CovertGame:
    """The environment. ``horizon`` T is its only size."""

    horizon: int = 8

    def reset(self, key: Array, params: CovertParams, z: Array) -> CovertState:
        """The start of an episode of class z, [] int32."""
        zero = jnp.float32(0.0)
        return CovertState(
            time=jnp.int32(0), z=z, private=jax.random.normal(key, (), jnp.float32), shown=zero, flow=zero
        )

    def observe(self, state: CovertState, params: CovertParams) -> Array:
        """The trader's observation. [1]."""
        return private_view(state.private, params)

    def global_features(self, state: CovertState, params: CovertParams) -> Array:
        """The critic's input: time, what was shown, the public flow, the private number. [4]."""
        time = state.time / self.horizon
        return jnp.stack([time, state.shown / params.max_leverage, state.flow / params.max_leverage, state.private])

    def evidence(self, output: CovertOutput, params: CovertParams) -> Array:
        """The detector's input from an episode's public flow [T]: the running sum and the time. [T, 2].

        Where steps are identically distributed given the private number, the sum is sufficient, up to what exploration
        adds to the variance of single steps; the game is defined by the sum.
        """
        time = jnp.linspace(-1.0, 1.0, self.horizon, dtype=jnp.float32)
        return jnp.stack([output.flow, time], axis=-1)

    def step(
        self, key: Array, state: CovertState, action: Array, params: CovertParams
    ) -> tuple[CovertState, CovertOutput]:
        """Play one step; ``action`` [] is the trader's decision, see :func:`leverage`. At z = 0 it changes nothing."""
        shown_now = leverage(action, params) * state.z
        noise = jax.random.normal(key, (), jnp.float32)
        after = CovertState(
            time=state.time + 1,
            z=state.z,
            private=state.private,
            shown=state.shown + shown_now / self.horizon,
            flow=state.flow + (shown_now / jnp.sqrt(1.0 * self.horizon) + noise) / jnp.sqrt(1.0 * self.horizon),
        )
        gained = haste(after.shown, params) - haste(state.shown, params)
        return after, CovertOutput(flow=after.flow, haste=gained)
