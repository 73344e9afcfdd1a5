"""A noise law that is a table: kind, offset and size of an order, jointly, with the numbers in ``EnvParams``."""

import dataclasses

import chex
import jax.numpy as jnp
import numpy as np

from amarl_jax.market.noise import MarksLaw, NoiseLaw, NoiseOrders, orders
from amarl_jax.market.params import EnvParams, FlowTable, MarketSpec
from amarl_jax.types import Array


def table_of(probabilities: np.ndarray) -> FlowTable:
    """The leaves of ``EnvParams.flow`` from probabilities [1 + n_offsets, max_order_size], host arithmetic.

    The first row is that of market orders, the others those of limit orders, most aggressive first. Sizes of a row of
    probability 0 are uniform: no order of it is drawn.
    """
    table = np.asarray(probabilities, np.float64)
    of_place = table.sum(1)
    rows = np.where(of_place[:, None] > 0, table, 1.0)
    place, lots = (np.cumsum(x / x.sum(-1, keepdims=True), -1) for x in (of_place, rows))
    place[..., -1] = lots[..., -1] = 1.0
    return FlowTable(place_cdf=place.astype(np.float32), lots_cdf=lots.astype(np.float32))  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class TableNoise:
    """Orders drawn from ``params.flow``: a place, which is the kind and the offset, then a size given the place."""

    def __call__(
        self, uniform: Array, p_buy: Array, size_cdf: Array, params: EnvParams, spec: MarketSpec
    ) -> NoiseOrders:
        """Independent orders.

        Args:
            uniform: [4, ...] in [0, 1): side, size, not used, place; the orders have the remaining shape.
            p_buy: [] from :func:`amarl_jax.market.noise.buy_probability`.
            size_cdf: not used; the table has sizes of its own.
            params: market constants with a table of the spec's shape.
            spec: market sizes.
        """
        flow = _table(params, spec)
        thresholds = flow.place_cdf.reshape((-1,) + (1,) * (uniform.ndim - 1))
        place = jnp.sum(uniform[3][None] >= thresholds, axis=0, dtype=jnp.int32)
        lots = 1 + jnp.sum(uniform[1][..., None] >= flow.lots_cdf[place], axis=-1, dtype=jnp.int32)
        return NoiseOrders(
            side=jnp.where(uniform[0] < p_buy, 1, -1).astype(jnp.int32),
            lots=lots,
            offset_ticks=spec.offset_min_ticks + jnp.maximum(place - 1, 0),
            is_limit=place > 0,
        )

    def marks(self, p_buy: Array, size_cdf: Array, params: EnvParams, spec: MarketSpec) -> MarksLaw:
        """The probabilities by which :meth:`__call__` draws; sizes are conditional on the place."""
        flow = _table(params, spec)
        places = jnp.diff(flow.place_cdf, prepend=0.0)
        limit = jnp.float32(1.0) - flow.place_cdf[0]
        return MarksLaw(
            buy=p_buy,
            limit=limit,
            lots=jnp.diff(flow.lots_cdf, prepend=0.0, axis=-1),
            offset=of_limit_orders(places[1:], limit),
        )


def of_limit_orders(places: Array, limit: Array) -> Array:
    """Offset probabilities given a limit order, [n], from those of the places [n] and their sum; uniform if it is 0."""
    even = np.float32(1.0 / places.shape[-1])
    return jnp.where(limit > 0, places / jnp.where(limit > 0, limit, 1.0), even)


def law_of(params: EnvParams) -> NoiseLaw:
    """The noise law that market constants call for: the table's where they hold one."""
    if params.windows is not None:
        raise ValueError("EnvParams.windows: a recorded flow is played by the law of its recording, recorded_noise")
    return orders if params.flow is None else TableNoise()


def like(law: NoiseLaw, spec: MarketSpec) -> EnvParams:
    """Placeholder market constants, with the shapes that a law needs."""
    shape = (1 + spec.n_offsets, spec.max_order_size)
    return EnvParams(
        flow=table_of(np.ones(shape)) if isinstance(law, TableNoise) else None,
        windows=np.zeros((2, 2), np.int32) if hasattr(law, "plan") else None,  # type: ignore[arg-type]
    )


def _table(params: EnvParams, spec: MarketSpec) -> FlowTable:
    """The table of the market's constants, its shape checked against the market's sizes."""
    flow = params.flow
    if flow is None:
        raise ValueError("EnvParams.flow is None: the table noise law needs a table, as table_of makes it")
    chex.assert_shape(flow.place_cdf, (1 + spec.n_offsets,))
    chex.assert_shape(flow.lots_cdf, (1 + spec.n_offsets, spec.max_order_size))
    return flow
