"""Inputs and outputs of the order book: messages, execution reports, counters and the book itself."""

import dataclasses
import enum
from enum import IntEnum

from flax import struct

from amarl_jax.types import Array

INT32_MAX = 2**31 - 1
NEVER = INT32_MAX  # expiry of an order that has none


class Side(IntEnum):
    """Row of the ``[2, N]`` arrays. In a message, a side is +1 for a buy and -1 for a sell."""

    BID = 0
    ASK = 1


class MessageKind(IntEnum):
    """What a message asks for."""

    NONE = 0  # padding: does nothing, is counted nowhere
    LIMIT = 1  # trade up to the price, rest what is left
    MARKET = 2  # trade at any price, drop what is left
    IMMEDIATE_OR_CANCEL = 3  # trade up to the price, drop what is left
    CANCEL = 4  # take `quantity` lots (0: all) off the resting order `order_id`


class SelfTrade(enum.Enum):
    """What happens when an order reaches a resting order of its own owner."""

    ALLOW = "allow"  # they trade
    CANCEL_RESTING = "cancel_resting"  # the resting order leaves, the newcomer goes on
    CANCEL_INCOMING = "cancel_incoming"  # the newcomer's remainder leaves, the resting order stays


@dataclasses.dataclass(frozen=True)
class BookSpec:
    """Static size and rules of a book. The bounds keep every sum and product of the engine inside int32."""

    capacity: int  # N, resting orders per side
    n_owners: int  # O
    self_trade: SelfTrade = SelfTrade.ALLOW
    max_price: int = 1 << 15  # ticks, bound on |price|
    max_quantity: int = 1 << 15  # lots, bound on the quantity of one order

    def __post_init__(self) -> None:
        """Raise ValueError where a size is not positive or a cumulative size or notional could leave int32."""
        for name in ("capacity", "n_owners", "max_price", "max_quantity"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_price * self.max_quantity > INT32_MAX:
            raise ValueError(f"max_price * max_quantity must fit int32, got {self.max_price} * {self.max_quantity}")
        if (self.capacity + 1) * self.max_quantity > INT32_MAX:
            raise ValueError(f"(capacity + 1) * max_quantity must fit int32, got {self.capacity}, {self.max_quantity}")


@struct.dataclass
class Message:
    """One instruction to the book. All int32; scalars for one message, ``[E]`` for a table of them."""

    kind: Array  # [] MessageKind
    side: Array  # [] +1 buy, -1 sell; a CANCEL does not need it
    price: Array  # [] ticks; read for LIMIT and IMMEDIATE_OR_CANCEL only
    quantity: Array  # [] lots; for a CANCEL 0 means all
    order_id: Array  # [] any int32 that is no resting order's id; for a CANCEL the order to cancel
    owner: Array  # [] in 0 .. O-1; a CANCEL does not need it
    expiry: Array  # [] stored, not read by the engine: the step at whose start the order leaves, or NEVER


@struct.dataclass
class Counters:
    """Counts of exceptional events since the book was empty. int32 ``[]``."""

    invalid: Array  # messages with an unknown kind, or an impossible side, quantity, price or owner; book untouched
    duplicate: Array  # orders whose id already rests in the book; book untouched
    unknown_cancel: Array  # cancels of an id that does not rest; book untouched
    refused: Array  # limit orders whose remainder found the side full and was not better than the worst order there
    refused_lots: Array  # lots of those remainders
    evicted: Array  # resting orders pushed out of a full side by a strictly better newcomer
    evicted_lots: Array  # lots of those orders
    self_trade: Array  # orders cancelled by the self-trade policy
    self_trade_lots: Array  # lots of those orders


@struct.dataclass
class Book:
    """Both sides in price-time priority. Live orders fill the slots ``first .. first + count - 1`` of their row.

    Filled orders leave at the front, so only ``first`` moves; the contents of all other slots are stale.
    """

    key: Array  # [2, N] ticks, -price for bids and price for asks: ascends with falling priority in both rows
    cumulative: Array  # [2, N] lots, inclusive running size: 0 before the first live order, the total after the last
    order_id: Array  # [2, N]
    owner: Array  # [2, N]
    expiry: Array  # [2, N] steps
    first: Array  # [2] slot of the best order
    count: Array  # [2] live orders
    counters: Counters


@struct.dataclass
class Execution:
    """What one message did. Per-order rows are those of the side hit, in priority order before the match."""

    quantity: Array  # [N] lots taken from each resting order, 0 where it was not reached
    price: Array  # [N] ticks, of that resting order; stale where quantity is 0
    order_id: Array  # [N] id of that resting order; stale where quantity is 0
    owner: Array  # [N] owner of that resting order; stale where quantity is 0
    owner_quantity: Array  # [O] lots filled of each owner's resting orders
    owner_notional: Array  # [O] tick-lots of those fills
    filled: Array  # [] lots the message traded
    notional: Array  # [] tick-lots the message traded
    rested: Array  # [] lots that came to rest
    refused: Array  # [] lots of the remainder that a full side refused
    cancelled: Array  # [] lots a CANCEL took off
    self_cancelled: Array  # [] lots the self-trade policy took off, resting or incoming
    evicted: Array  # [] lots of the order that the newcomer pushed out, 0 if none
    evicted_id: Array  # [] id of that order; stale where evicted is 0
    evicted_owner: Array  # [] owner of that order; stale where evicted is 0
    accepted: Array  # [] bool, a valid order that was not a duplicate, or a cancel that found its order
    marketable: Array  # [] bool, an accepted order whose price met the best opposite quote on arrival
