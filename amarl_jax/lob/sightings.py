"""Orders that come into view: levels of a recording that no message explains, as messages of their own.

Only the best levels are recorded, and what happens behind them is not. When the view widens, a level that enters it
says how much rests there by then. Two things follow. A disagreement at a price that has been in view ever since the
book was seeded has another cause than orders that were never visible (:func:`always_in_view`). And a book can be told
at that moment (:func:`with_sightings`): lots beyond what it knows of are an order that came while nobody looked, behind
those that it knows; lots that it knows of and the level lacks left meanwhile, the latest first.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from amarl_jax.lob.messages import MessageKind, Side
from amarl_jax.lob.recording import VISIBLE, Event, Recording
from amarl_jax.lob.window import Window, first_taker

_FAR = np.iinfo(np.int64).max  # behind every price
_OUTWARDS = (-1, 1)  # of bids, of asks


def farthest_in_view(levels: np.ndarray) -> np.ndarray:
    """How far the levels ``[n, 2, L, 2]`` reach, in outward price: anywhere where the last is empty. [n, 2]."""
    price, size = levels[:, :, -1, 0], levels[:, :, -1, 1]
    return np.where(size > 0, np.array(_OUTWARDS) * price, _FAR)


def always_in_view(recording: Recording, seed_row: int, rows: np.ndarray, n_levels: int) -> np.ndarray:
    """The levels at prices that the recording has shown in every row since the seed row: bool ``[n, 2, n_levels]``."""
    farthest = farthest_in_view(recording.levels[np.concatenate([[seed_row], rows]).astype(np.int64)])
    reach = np.minimum.accumulate(farthest)[1:]
    price, size = recording.levels[rows, :, :n_levels, 0], recording.levels[rows, :, :n_levels, 1]
    outward = np.where(size > 0, np.array(_OUTWARDS)[:, None] * price, _FAR)
    return outward <= reach[:, :, None]


@dataclass(frozen=True)
class Sighted:
    """A window's messages with those of its sightings between them."""

    window: Window
    row: np.ndarray  # [m] the row that each message belongs to, of n
    last: np.ndarray  # [n] number of the last message of each row
    taken_in: int = 0  # orders that came to rest unseen
    taken_out: int = 0  # orders that left unseen, wholly or in part


@dataclass
class _Level:
    """The orders at one price that a book holds, first to trade first; ids below 0 are of orders nobody saw come."""

    orders: dict[int, int] = field(default_factory=dict)  # id: lots

    def lots(self) -> int:
        return sum(self.orders.values())

    def add(self, order: int, lots: int) -> None:
        self.orders[order] = self.orders.get(order, 0) + lots

    def take(self, candidates: list[int], lots: int) -> list[tuple[int, int]]:
        """Take lots off these orders, one after the other: which, and how many."""
        taken = []
        for order in candidates:
            out = min(self.orders.get(order, 0), lots)
            if out:
                taken.append((order, out))
                lots -= out
                self.orders[order] -= out
                if not self.orders[order]:
                    del self.orders[order]
        return taken

    def candidates(self, order: int, lots: int) -> list[int]:
        """Where lots of an order leave from: itself; else what may be it, unseen ones first, of its size before others.

        An order that is spoken of and not known stands for one that was never seen, or for one that left unseen while
        the other came.
        """
        unseen = sorted((one for one in self.orders if one < 0), key=lambda one: self.orders[one] != lots)
        return [order, *unseen, *reversed([one for one in self.orders if one >= 0 and one != order])]


def with_sightings(recording: Recording, seed_row: int, rows: np.ndarray, window: Window) -> Sighted:
    """Tell a window's book of every level that comes into view, right after the message that widens the view.

    Args:
        recording: whose rows these are.
        seed_row: whose levels seed the book.
        rows: [n] consecutive, behind it.
        window: their messages, from :func:`amarl_jax.lob.window.seed_and_messages`.
    """
    tape = _Tape(recording, window)
    farthest = farthest_in_view(recording.levels[np.concatenate([[seed_row], rows]).astype(np.int64)])
    last = np.zeros(len(rows), np.int64)
    for i, row in enumerate(rows.tolist()):
        tape.send(i, row)
        for side in Side:
            before, now = int(farthest[i, side]), int(farthest[i + 1, side])
            if now > before:
                tape.look(side, row, before, now)
        last[i] = len(tape.source) - 1
    row = np.repeat(np.arange(len(rows)), np.diff(last, prepend=-1))
    return Sighted(tape.window(), row, last, tape.taken_in, tape.taken_out)


class _Tape:
    """Messages as they are sent, and what a book that hears them knows of each level."""

    def __init__(self, recording: Recording, window: Window) -> None:
        self._recording, self._window = recording, window
        self._levels: tuple[dict[int, _Level], dict[int, _Level]] = ({}, {})
        for side, orders in zip(Side, (window.bids, window.asks), strict=True):
            for rank, lots, order, _ in orders.tolist():
                self._levels[side][int(window.price_of(np.array(rank)))] = _Level({order: lots})
        self.source: list[int] = []  # the window's message that each one is, -1 of a sighting
        self._sightings: list[tuple[int, int, int, int, int]] = []  # kind, side, price, lots, id
        self._makers, self._lots = window.maker.copy(), window.messages["quantity"].copy()
        self._next_id = first_taker(recording.levels.shape[2]) - len(window.maker)
        self.taken_in = self.taken_out = 0

    def send(self, i: int, row: int) -> None:
        """Send the window's message ``i``, about ``row``."""
        self.source.append(i)
        event, direction = int(self._recording.event[row]), int(self._recording.direction[row])
        if event not in VISIBLE:
            return
        price, lots, order = int(self._recording.price[row]), int(self._recording.size[row]), int(self._makers[i])
        side = Side.BID if direction > 0 else Side.ASK
        level = self._levels[side].setdefault(price, _Level())
        if event == Event.SUBMISSION:
            level.add(order, lots)
        elif event == Event.EXECUTION:  # what trades is first in the queue, whoever it is
            if order not in level.orders:
                self._makers[i] = next((one for one in level.orders if one < 0), order)
            level.take(list(level.orders), lots)
        else:
            first, *others = level.take(level.candidates(order, lots), lots) or [(order, lots)]
            self._makers[i], self._lots[i] = first
            for other, out in others:
                self._tell(MessageKind.CANCEL, side, price, out, other)

    def look(self, side: Side, row: int, before: int, now: int) -> None:
        """Tell of the prices beyond ``before`` and up to ``now``, outwards, as the levels of ``row`` have them."""
        sign, known = _OUTWARDS[side], self._levels[side]
        shown = {price: lots for price, lots in self._recording.levels[row, side].tolist() if lots}
        for price in {*shown, *known}:
            if before < sign * price <= now:
                self._correct(side, price, shown.get(price, 0))

    def _correct(self, side: Side, price: int, lots: int) -> None:
        level = self._levels[side].setdefault(price, _Level())
        missing = lots - level.lots()
        if missing > 0:
            level.add(self._next_id, missing)
            self._tell(MessageKind.LIMIT, side, price, missing, self._next_id)
            self._next_id -= 1
            self.taken_in += 1
        for order, out in level.take(list(reversed(level.orders)), max(-missing, 0)):
            self._tell(MessageKind.CANCEL, side, price, out, order)
            self.taken_out += 1

    def _tell(self, kind: MessageKind, side: Side, price: int, lots: int, order: int) -> None:
        self.source.append(-1)
        self._sightings.append((int(kind), -_OUTWARDS[side], price, lots, order))

    def window(self) -> Window:
        """The window with the sightings among its messages, and prices that hold theirs."""
        own, source = self._window, np.array(self.source, np.int64)
        kind, side, price, lots, order = np.array(self._sightings, np.int64).reshape(-1, 5).T
        prices = np.union1d(own.prices, price)
        at_sighting = source < 0

        def merged(given: np.ndarray, sighted: np.ndarray) -> np.ndarray:
            column = given[source]
            column[at_sighting] = sighted
            return column

        visible = own.messages["side"] != 0
        given_price = np.where(visible, own.price_of(own.messages["price"]), 0)
        cancels = own.messages["kind"] == MessageKind.CANCEL
        order_id = np.where(cancels, self._makers, own.messages["order_id"])
        given = own.messages | {"order_id": order_id, "quantity": self._lots}
        columns = {"kind": kind, "side": side, "quantity": lots, "order_id": order, "owner": np.zeros_like(order)}
        messages = {name: merged(given[name], column) for name, column in columns.items()}
        ranked = np.searchsorted(prices, merged(given_price, price)) - len(prices) // 2
        messages["price"] = np.where(messages["side"] != 0, ranked, 0)
        seeds = [_reranked(orders, own, prices) for orders in (own.bids, own.asks)]
        return replace(own, messages=messages, bids=seeds[0], asks=seeds[1], maker=self._makers, prices=prices)


def _reranked(orders: np.ndarray, window: Window, prices: np.ndarray) -> np.ndarray:
    """Resting orders with prices as ranks among others."""
    rank = np.searchsorted(prices, window.price_of(orders[:, 0])) - len(prices) // 2
    return np.concatenate([rank[:, None], orders[:, 1:]], axis=1)
