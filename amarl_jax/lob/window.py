"""Rows of a recording as messages that a book takes, and the orders that seed it."""

from dataclasses import dataclass

import numpy as np

from amarl_jax.lob.messages import MessageKind, Side
from amarl_jax.lob.recording import VISIBLE, Event, Recording

CENT = 100  # in 1e-4 dollars, the tick of nearly every US stock


@dataclass(frozen=True)
class Window:
    """Rows of a recording as messages, and the orders that seed the book, one per level.

    A price is its rank among the prices that occur, 0 for the middle one: the book only compares prices, and in ticks
    one stub quote at 199,999.99 would leave sizes too little of the int32 range of ``price * size``.
    """

    messages: dict[str, np.ndarray]  # as `replay` takes them
    bids: np.ndarray  # [k, 4] as `replay` takes them; ids -1, -2, ..
    asks: np.ndarray  # [k, 4] likewise; ids continue below those of the L bid levels
    maker: np.ndarray  # [n] the order that a row is about: its own id, or that of the seeded level that contains it
    prices: np.ndarray  # [P] 1e-4 dollars, those that occur, ascending; the first is 0, for none

    def price_of(self, ranks: np.ndarray) -> np.ndarray:
        """Prices of these ranks, 1e-4 dollars."""
        return self.prices[ranks + len(self.prices) // 2]


def seed_and_messages(recording: Recording, seed_row: int, rows: np.ndarray, tick: int = CENT) -> Window:
    """Seed orders from the levels of ``seed_row``, and messages from ``rows``.

    An execution becomes the order that caused it: immediate-or-cancel, from the other side, at the resting order's
    price, with an id of its own below those of the seeded levels. A cancellation of an order older than the seed row
    reduces the level that contains it. All other events are padding.
    """
    seed, n_levels = recording.levels[seed_row], recording.levels.shape[2]
    event, direction, size = recording.event[rows], recording.direction[rows], recording.size[rows]
    visible = np.isin(event, VISIBLE)
    _check_prices(recording, seed_row, tick, rows[visible])
    prices = np.unique(np.concatenate([[0], recording.price[rows[visible]], seed[seed[..., 1] > 0, 0]]))
    level_id = -1 - np.arange(2 * n_levels).reshape(2, n_levels)
    maker = recording.order_id[rows].copy()
    older = visible & ~np.isin(maker, maker[event == Event.SUBMISSION])
    for side, sign in ((Side.BID, 1), (Side.ASK, -1)):
        for level, (price, lots) in enumerate(seed[side].tolist()):
            if lots:
                maker[older & (direction == sign) & (recording.price[rows] == price)] = level_id[side, level]
    executed, whole = event == Event.EXECUTION, (event == Event.DELETION) & (maker > 0)
    orders = [_seed_orders(seed[side], level_id[side], prices) for side in Side]
    return Window(
        messages={
            "kind": _kinds(event),
            "side": np.where(visible, np.where(executed, -direction, direction), 0),
            "price": np.where(visible, _ranks(recording.price[rows], prices), 0),
            "quantity": np.where(visible & ~whole, size, 0),
            "order_id": np.where(executed, first_taker(n_levels) - np.arange(len(rows)), maker),
            "owner": np.zeros(len(rows), np.int64),
        },
        bids=orders[Side.BID],
        asks=orders[Side.ASK],
        maker=maker,
        prices=prices,
    )


def _kinds(event: np.ndarray) -> np.ndarray:
    kinds = np.full(len(Event) + 1, MessageKind.NONE)
    kinds[Event.SUBMISSION] = MessageKind.LIMIT
    kinds[Event.CANCELLATION] = kinds[Event.DELETION] = MessageKind.CANCEL
    kinds[Event.EXECUTION] = MessageKind.IMMEDIATE_OR_CANCEL
    return kinds[event]


def _ranks(price: np.ndarray, prices: np.ndarray) -> np.ndarray:
    return np.searchsorted(prices, price) - len(prices) // 2


def _seed_orders(levels: np.ndarray, ids: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """One order ``[k, 4]`` for each of the levels ``[L, 2]`` that is not empty."""
    price, size = levels[levels[:, 1] > 0].T
    return np.stack([_ranks(price, prices), size, ids[: len(size)], np.zeros_like(size)], axis=1)


def _check_prices(recording: Recording, seed_row: int, tick: int, rows: np.ndarray) -> None:
    """Raise ValueError where a price of a visible message or of the seed row is off the tick."""
    odd = rows[recording.price[rows] % tick != 0]
    if len(odd):
        where, price = recording.message_line(odd[0]), recording.price[odd[0]]
        raise ValueError(f"{where}: price {price} is not a multiple of the tick {tick}")
    if (recording.levels[seed_row, ..., 0] % tick != 0).any():
        raise ValueError(f"{recording.orderbook_line(seed_row)}: a price is not a multiple of the tick {tick}")


def first_taker(n_levels: int) -> int:
    """Id of the first taker, below those of the seeded levels; the others count down from it."""
    return -1 - 2 * n_levels
