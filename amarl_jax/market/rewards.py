"""Rewards of one episode, composed from market terms and what networks infer from the tape.

Arrays carry a leading ``[T]`` axis. Money is in units of ``is_unit_ticks`` per parent lot, that is divided by
``Q is_unit_ticks``; information and belief terms are not.
"""

from typing import Protocol

import chex
import jax.numpy as jnp
from flax import struct

from amarl_jax.market.env import StepOutput
from amarl_jax.market.params import EnvParams
from amarl_jax.types import HALF_TICK, Array, Owner


class RewardTerm(Protocol):
    """A term added to the agents' rewards; traceable and hashable, a function or a frozen dataclass."""

    def __call__(self, output: StepOutput, z: Array, belief: Array, params: EnvParams) -> Array:
        """Weighted reward of one episode, [T, agent], from its market terms [T], class [] and posteriors [T]."""
        ...


MARKED, AT_HORIZON = "marked", "horizon"  # when the remaining lots are charged


@struct.dataclass
class RewardWeights:
    """Weights of the reward terms, all traced leaves: docs/game.md, Rewards."""

    leakage_weight: Array | float = 0.5  # lambda, reward per nat
    predictability_weight: Array | float = 0.1  # mu, reward per nat
    adverse_selection_weight: Array | float = 1.0  # alpha
    belief_entropy_weight: Array | float = 0.05  # beta_reward
    belief_accuracy_weight: Array | float = 0.2  # gamma_acc
    belief_lag_weight: Array | float = 0.02  # delta


@struct.dataclass
class MarketTerms:
    """Money terms of an episode before weights, in reward units."""

    shortfall: Array  # [T] IS, a cost, as it is charged
    maker_pnl: Array  # [T]
    adverse_selection: Array  # [T] of the maker
    arbitrageur_pnl: Array  # [T]


def money_unit(params: EnvParams) -> Array | float:
    """``Q is_unit_ticks``, tick-lots per reward unit. [] float32."""
    return params.parent_lots * params.is_unit_ticks


def fill_ticks(output: StepOutput, params: EnvParams) -> Array:
    """The shortfall due to the slot's fills: minus its cash over ``Q``. [T] float32, ticks per parent lot."""
    return -output.cash_change[:, Owner.SLOT] / params.parent_lots


def shortfall_ticks(output: StepOutput, direction: Array, params: EnvParams, credit: str = MARKED) -> Array:
    """Implementation shortfall against the opening mid, in ticks per parent lot, as it is charged.

    ``IS = (s / Q) sum q (p - P_0) + (R / Q) (s (V_T - P_0) + kappa)`` over the slot's fills, ``q`` > 0 along ``s``;
    ``R`` is left at the horizon and charged at the value, which no agent can move, unlike the mid. Prices are relative
    to ``P_0``, so the first sum is minus the slot's cash over ``Q``.

    Both credits sum to it. "horizon" charges each step its fills, and the last step also the remainder. "marked"
    charges the remainder in the first step, at the current value, and then each step its change: potential-based
    shaping (Ng, Harada and Russell 1999; this agent's discount is 1). With "horizon" an agent that trades against the
    parent side earns at once and pays hundreds of steps later, too late for a trainer with ``gae_lambda`` 0.95.

    Returns:
        [T] float32.
    """
    chex.assert_rank([output.value, direction], [1, 0])
    fills = fill_ticks(output, params)
    held, change = (
        direction * x[:, Owner.SLOT] / params.parent_lots for x in (output.inventory, output.inventory_change)
    )
    after = (1.0 - held) * (direction * output.value_next + params.terminal_penalty_ticks)
    if credit == AT_HORIZON:
        return fills.at[-1].add(after[-1])
    before = (1.0 - held + change) * (direction * output.value + params.terminal_penalty_ticks)
    return (fills + after - before).at[0].add(before[0])


def maker_pnl(output: StepOutput) -> Array:
    """``sum q D (p - mid) + inventory (V[t+1] - V[t])``: spread captured plus revaluation. [T] tick-lots."""
    cash, lots = output.cash_change[:, Owner.MAKER], output.inventory_change[:, Owner.MAKER]
    spread = cash + HALF_TICK * output.mid2 * lots
    return spread + output.inventory[:, Owner.MAKER] * (output.value_next - output.value)


def adverse_selection(output: StepOutput) -> Array:
    """``sum q D (V - mid)`` over the maker's fills, ``D`` = +1 when it sells. [T] tick-lots."""
    return -output.inventory_change[:, Owner.MAKER] * (output.value - HALF_TICK * output.mid2)


def maker_markout(output: StepOutput, steps: int = 5) -> Array:
    """Move of mid against the maker ``steps`` after its fills: ``sum q D (mid[t + steps] - mid[t])``. [T] tick-lots.

    Positive is adverse. Mids are those at the end of a step, the last one beyond the horizon; a metric, not a reward.
    """
    mid = HALF_TICK * output.mid2_next
    later = jnp.concatenate([mid[steps:], jnp.broadcast_to(mid[-1:], (min(steps, mid.shape[0]),))])
    return -output.inventory_change[:, Owner.MAKER] * (later - mid)


def arbitrageur_pnl(output: StepOutput) -> Array:
    """Cash plus the change of inventory marked to V. [T] tick-lots."""
    cash, lots = output.cash_change[:, Owner.ARBITRAGEUR], output.inventory_change[:, Owner.ARBITRAGEUR]
    revaluation = output.inventory[:, Owner.ARBITRAGEUR] * (output.value_next - output.value)
    return cash + lots * output.value + revaluation


def belief_lag(output: StepOutput, belief: Array) -> Array:
    """``BeliefLag[t+1] = traded[t] |b[t+1] - b[t]|``: acting before the maker's belief moves. [T], paid a step late."""
    moved = output.arbitrageur_traded[:-1] * jnp.abs(jnp.diff(belief))
    return jnp.concatenate([jnp.zeros(1, jnp.float32), moved])


def binary_entropy(probability: Array) -> Array:
    """``H(b)`` in nats, 0 at both ends."""
    p = jnp.clip(probability, 1e-6, 1.0 - 1e-6)
    return -p * jnp.log(p) - (1.0 - p) * jnp.log1p(-p)


def market_terms(output: StepOutput, direction: Array, params: EnvParams, credit: str = MARKED) -> MarketTerms:
    """The money terms of an episode, in reward units; ``credit`` is that of :func:`shortfall_ticks`."""
    unit = money_unit(params)
    return MarketTerms(
        shortfall=shortfall_ticks(output, direction, params, credit) / params.is_unit_ticks,
        maker_pnl=maker_pnl(output) / unit,
        adverse_selection=adverse_selection(output) / unit,
        arbitrageur_pnl=arbitrageur_pnl(output) / unit,
    )


def compose(
    terms: MarketTerms,
    output: StepOutput,
    z: Array,
    belief: Array,
    leakage: Array,
    predictability: Array,
    weights: RewardWeights,
) -> Array:
    """Rewards of the three agents.

    ``r_E = -IS - lambda L - mu Pred``; ``r_M = PnL - alpha AdvSel - beta H(b) / T + gamma Acc(b) / T``;
    ``r_A = PnL + delta BeliefLag``.

    Args:
        terms: money terms in reward units.
        output: market terms of the episode.
        z: [] the class of the episode.
        belief: [T] the maker's posterior after each step.
        leakage: [T] L, nats; predictability: [T] Pred, nats.
        weights: of the terms.

    Returns:
        [T, agent] float32; the execution column means something at ``z = 1`` only.
    """
    chex.assert_equal_shape([terms.shortfall, belief, leakage, predictability])
    horizon = belief.shape[0]
    accuracy = jnp.where(z == 1, belief, 1.0 - belief)
    execution = -terms.shortfall - weights.leakage_weight * leakage - weights.predictability_weight * predictability
    maker = (
        terms.maker_pnl
        - weights.adverse_selection_weight * terms.adverse_selection
        - weights.belief_entropy_weight * binary_entropy(belief) / horizon
        + weights.belief_accuracy_weight * accuracy / horizon
    )
    arbitrageur = terms.arbitrageur_pnl + weights.belief_lag_weight * belief_lag(output, belief)
    return jnp.stack([execution, maker, arbitrageur], axis=1)
