"""A scripted execution policy for programs in NumPy, with the interface of the reference system's policies.

::

    policy = NumPyPolicy(make_baselines(spec)["twap"], spec, params)
    policy.reset(100, arrival_price=100.0)
    action, _, _ = policy.act(observation, remaining, time_remaining, mid_price)
"""

import dataclasses
import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.market.observe import PRICE_SCALE, SIZE_SCALE, ExecutionView, PublicView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.learned import observation_sizes
from amarl_jax.policies.protocol import Policy
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent, Array, PyTree


def execution_view(observation: Array, params: EnvParams) -> ExecutionView:
    """The view from which :func:`amarl_jax.market.observe.execution_features` [4 L + 12] are made."""
    depth, own = observation[:-12], observation[-12:]
    time_left, mid, news_gap, spread, side, undone, _, volatility, lots, along, offset, private = own
    public = PublicView(depth, time_left, mid * PRICE_SCALE, news_gap * PRICE_SCALE, spread * PRICE_SCALE)
    return ExecutionView(
        public=public,
        direction=side.astype(jnp.int32),
        remaining=jnp.round(undone * params.parent_lots).astype(jnp.int32),
        completion=1.0 - undone,
        volatility=volatility * PRICE_SCALE,
        child_lots=jnp.round(lots * SIZE_SCALE).astype(jnp.int32),
        child_along=along,
        child_offset=offset * PRICE_SCALE,
        private=private,
    )


class NumPyPolicy:
    """``reset`` and ``act`` over NumPy arrays; the policy draws from its own seed.

    Args:
        policy: of the execution seat, :func:`amarl_jax.policies.baselines.make_baselines` for example.
        spec: market sizes.
        params: market constants.
        seed: of its draws.
    """

    def __init__(self, policy: Policy, spec: MarketSpec, params: EnvParams, seed: int = 0) -> None:
        self.policy, self.spec = policy, spec
        self.params = as_arrays(params)
        self.arrival_price = spec.initial_mid_price
        self._size = observation_sizes(spec, self.params)[Agent.EXECUTION]
        self._key = jax.random.key(seed)
        self._carry = policy.init(self.params)

    def reset(self, initial_inventory: int | None = None, arrival_price: float | None = None) -> None:
        """Begin an episode.

        Args:
            initial_inventory: lots of the parent order; None leaves it as it is.
            arrival_price: mid at the opening, currency; None is the market's.
        """
        if initial_inventory is not None:
            lots = operator.index(initial_inventory)
            if lots < 1:
                raise ValueError(f"initial_inventory = {lots}: must be at least 1 lot")
            self.params = dataclasses.replace(self.params, parent_lots=jnp.int32(lots))
        self.arrival_price = self.spec.initial_mid_price if arrival_price is None else float(arrival_price)
        self._carry = self.policy.init(self.params)

    def act(self, obs: Any, remaining: int, time_remaining: float, mid: float) -> tuple[np.ndarray, float, float]:
        """One decision.

        Args:
            obs: features of the execution agent [4 L + 12], as the adapters observe them.
            remaining: lots of the parent order still to do.
            time_remaining: share of the horizon that is left, 1 at the opening.
            mid: mid price, currency.

        Returns:
            The action [size_frac, limit_offset, order_type_logit], float32 in public units, and 0 for its log-density
            and entropy, which scripted policies do not have.

        Raises:
            ValueError: the observation has another shape, or a number is missing or not finite.
        """
        seen = np.asarray(obs, np.float32)
        if seen.shape != (self._size,) or not np.isfinite(seen).all():
            raise ValueError(f"observation of 'execution': must be ({self._size},) finite numbers, has {seen.shape}")
        ticks = (mid - self.arrival_price) / self.spec.tick_size
        told = np.array([remaining, time_remaining, ticks], np.float32)
        if not np.isfinite(told).all():
            raise ValueError(f"remaining, time_remaining, mid = {remaining}, {time_remaining}, {mid}: must be finite")
        self._key, self._carry, action = self._act(self._key, self._carry, seen, told, self.params)
        return np.array(action, np.float32), 0.0, 0.0

    @functools.partial(jax.jit, static_argnums=0)
    def _act(
        self, key: Array, carry: PyTree, seen: Array, told: Array, params: EnvParams
    ) -> tuple[Array, PyTree, Array]:
        view = execution_view(seen, params)
        remaining, time_left, mid = told
        view = dataclasses.replace(
            view,
            public=dataclasses.replace(view.public, time_left=time_left, mid=mid),
            remaining=remaining.astype(jnp.int32),
            completion=1.0 - remaining / params.parent_lots,
        )
        key, key_act = jax.random.split(key)
        carry, decision = self.policy.act(key_act, carry, view, params)
        return key, carry, decision.action
