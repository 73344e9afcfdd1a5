"""The market between two steps."""

from flax import struct

from amarl_jax.lob.book import Book
from amarl_jax.types import Array, PyTree


@struct.dataclass
class Accounts:
    """Exact integer books of every owner; each array sums to 0 over owners after every message."""

    cash: Array  # [O] int32, tick-lots
    inventory: Array  # [O] int32, lots


@struct.dataclass
class TapeEvents:
    """Events of the tape without their step, oldest first."""

    side: Array  # [H] int8, 0 where there was no event yet
    price_ticks: Array  # [H] int8
    size_lots: Array  # [H] int8
    marketable: Array  # [H] int8
    time_256: Array  # [H] uint8


class EnvState(struct.PyTreeNode):
    """Everything the next step depends on, hidden state included."""

    time: Array  # [] int32, steps done
    book: Book
    accounts: Accounts
    z: Array  # [] int32, 1 if the execution agent decides for the slot
    direction: Array  # [] int32, u = s, +1 or -1
    private: Array  # [] N(0, 1), seen by the execution agent alone
    value: Array  # [] V[t], ticks
    news: Array  # [] W[t], ticks
    mid2: Array  # [] int32, twice the mid, ticks
    quote_mid2: Array  # [] int32, twice the mid the maker's working quotes were set around
    quote_ids: Array  # [2] int32, ids of the maker's working quotes, -1 for none
    variance: Array  # [] moving average of squared mid moves, ticks^2 per step
    arbitrageur_traded: Array  # [] bool, whether it traded in the last step
    recent: TapeEvents  # the last events of the tape
    size_cdf: Array  # [max_order_size] the size law, drawn from by noise and slot
    noise_cut: Array  # [] int32, noise orders lost to the bound so far
    window: Array | None = None  # [] int32, step of the recording at which the episode began, where noise is recorded
    planned: PyTree = None  # likewise, the slot's plan for the coming step at z = 0, see market.recorded_noise
