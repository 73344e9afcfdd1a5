"""The fundamental value, which only the arbitrageur sees, and the news that follows it."""

import jax.numpy as jnp

from amarl_jax.market.params import EnvParams
from amarl_jax.types import Array


def step_value(normal: Array, value: Array, direction: Array, params: EnvParams) -> Array:
    """One Ornstein-Uhlenbeck step, ``V + theta (u Delta - V) + sigma_V eps``, in ticks.

    Args:
        normal: [] ``eps``, a draw of N(0, 1).
        value: [] ``V[t]``, ticks.
        direction: [] ``u``, +1 or -1.
        params: market constants.

    Returns:
        [] ``V[t+1]``, ticks.
    """
    target = direction * params.value_target_ticks
    return value + params.value_reversion * (target - value) + params.value_volatility_ticks * normal


def step_news(news: Array, value: Array, params: EnvParams) -> Array:
    """Public value ``W[t+1] = W[t] + phi (V[t] - W[t])``: it lags the value. [] ticks."""
    return news + params.news_speed * (value - news)


def draw_direction(uniform: Array) -> Array:
    """``u`` uniform on {-1, +1}, independent of ``z``, from a number in [0, 1). [] int32."""
    return jnp.where(uniform < 0.5, 1, -1).astype(jnp.int32)
