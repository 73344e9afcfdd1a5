"""Constants of the market: static sizes in :class:`MarketSpec`, everything one might sweep in :class:`EnvParams`."""

import dataclasses

from flax import struct

from amarl_jax.types import Array

STEP_MS = 60_000.0  # one step is a minute


@dataclasses.dataclass(frozen=True)
class MarketSpec:
    """Sizes that change shapes, and switches that change the program. Closed over, never traced."""

    horizon: int = 390  # T, steps per episode, one minute each
    book_capacity: int = 96  # N, resting orders per side
    max_noise_orders: int = 20  # M_max, bound on noise orders per step
    max_order_size: int = 20  # lots, largest noise or child order
    n_levels: int = 20  # L, price levels per side in the snapshot
    n_tape_events: int = 20  # tape events the maker sees
    initial_levels: int = 5  # price levels per side of the opening book
    initial_sizes: tuple[int, ...] = (5, 3)  # lots of the orders that open each level
    offset_min_ticks: int = -2  # most aggressive limit offset of noise and child orders
    offset_max_ticks: int = 5  # most passive limit offset
    private_randomiser: bool = True  # one N(0, 1) number in the execution agent's observation
    tick_size: float = 0.01  # currency per tick, reports only
    initial_mid_price: float = 100.0  # currency, reports only

    @property
    def tick_bps(self) -> float:
        """One tick in basis points of the opening mid."""
        return 1e4 * self.tick_size / self.initial_mid_price

    @property
    def n_offsets(self) -> int:
        """Number of limit offsets, one tick apart."""
        return self.offset_max_ticks - self.offset_min_ticks + 1

    @property
    def n_tape_rows(self) -> int:
        """K: one arbitrageur, one slot and ``max_noise_orders`` noise orders."""
        return 2 + self.max_noise_orders

    @property
    def n_record_rows(self) -> int:
        """R: one slot and ``max_noise_orders`` noise orders."""
        return 1 + self.max_noise_orders

    @property
    def n_messages(self) -> int:
        """Rows of the event table of one step: the tape's plus two cancels and two quotes of the maker."""
        return self.n_tape_rows + 4


@struct.dataclass
class FlowTable:
    """The law of a noise order's kind, offset and size as cumulative probabilities; the last of each row is 1."""

    place_cdf: Array  # [1 + n_offsets] of market orders, then of limit offsets, most aggressive first
    lots_cdf: Array  # [1 + n_offsets, max_order_size] of 1, 2, ... lots, given the place


@struct.dataclass
class EnvParams:
    """Physical constants of the market, all traced leaves."""

    # hidden state
    informed_probability: Array | float = 0.5  # p_z, P(z = 1)
    value_target_ticks: Array | float = 20.0  # Delta, |m - V[0]|
    value_reversion: Array | float = 0.05  # theta, per step
    value_volatility_ticks: Array | float = 1.0  # sigma_V, ticks per sqrt(step)
    news_speed: Array | float = 0.1  # phi, per step: how fast public W follows V
    # flow
    noise_rate: Array | float = 10.0  # orders per step
    slot_rate: Array | float = 0.1  # P(the slot fires in a step) at z = 0
    lifetime_steps: Array | float = 10.0  # geometric mean lifetime of noise and slot orders
    market_order_probability: Array | float = 0.2  # p_market
    size_beta_a: Array | float = 4.44  # of the Beta law of an order's size, a share of the largest
    size_beta_b: Array | float = 13.31  # likewise
    tilt_per_tick: Array | float = 0.05  # psi
    tilt_max: Array | float = 0.3  # psi_max
    # latency
    latency_arbitrageur_ms: Array | float = 1.0  # from decision to book
    latency_maker_ms: Array | float = 10.0  # likewise
    latency_execution_ms: Array | float = 100.0  # likewise
    jitter_ms: Array | float = 2.0  # mean of the exponential jitter
    # agents' limits
    parent_lots: Array | int = 100  # Q
    maker_inventory_limit: Array | int = 100  # lots
    max_spread_ticks: Array | int = 10  # largest quote offset from mid
    max_quote_lots: Array | int = 10  # per quote and side
    arbitrageur_position_limit: Array | int = 20  # lots
    arbitrageur_order_lots: Array | int = 5  # per order
    # terminal cost and money unit
    terminal_penalty_ticks: Array | float = 10.0  # kappa, per lot left over
    is_unit_ticks: Array | float = 17.0  # reward unit, ticks per parent lot
    flow: FlowTable | None = None  # the law of the noise orders' marks, where it is a table
    size_cdf: Array | None = None  # [max_order_size] the size law, where a program has it ahead of its loops
    windows: Array | None = None  # [2, 2] ranges of first steps of a recording's windows: trained on, held out
