"""A limit order book in plain Python: a dictionary of price levels, each a queue.

It is independent of the array book, in code and method, and slow; it exists to be obviously right.
"""

from collections import deque
from dataclasses import dataclass, field

NONE, LIMIT, MARKET, IMMEDIATE_OR_CANCEL, CANCEL = range(5)
COUNTERS = (
    "invalid",
    "duplicate",
    "unknown_cancel",
    "refused",
    "refused_lots",
    "evicted",
    "evicted_lots",
    "self_trade",
    "self_trade_lots",
)


@dataclass
class Order:
    """An order with what is left of it."""

    side: int  # 1 buys, -1 sells
    price: int  # ticks
    quantity: int  # lots
    order_id: int
    owner: int
    expiry: int | None


@dataclass
class Report:
    """Effects of one message, in lots."""

    fills: list[tuple[int, int, int, int]] = field(
        default_factory=list
    )  # (price, quantity, id, owner) of resting orders
    rested: int = 0
    refused: int = 0
    cancelled: int = 0
    self_cancelled: int = 0
    evicted: tuple[int, int, int] | None = None  # (lots, id, owner)
    accepted: bool = False
    marketable: bool = False


class ReferenceBook:
    """A book of ``capacity`` orders a side, with the rules of :mod:`amarl_jax.lob.book`.

    ``self_trade`` is the value of a :class:`amarl_jax.lob.book.SelfTrade`; prices lie in ``-max_price .. max_price``.
    """

    def __init__(self, capacity: int, n_owners: int, self_trade: str, max_price: int, max_quantity: int) -> None:
        self.capacity, self.n_owners, self.self_trade = capacity, n_owners, self_trade
        self.max_price, self.max_quantity = max_price, max_quantity
        self.levels: dict[int, dict[int, deque[Order]]] = {1: {}, -1: {}}
        self.orders: dict[int, Order] = {}
        self.counters = dict.fromkeys(COUNTERS, 0)

    def resting(self, side: int) -> list[tuple[int, int, int, int, int | None]]:
        """Orders at rest, (price, quantity, id, owner, expiry) in priority order."""
        levels = self.levels[side]
        return [
            (o.price, o.quantity, o.order_id, o.owner, o.expiry)
            for price in sorted(levels, reverse=side == 1)
            for o in levels[price]
        ]

    def checksum(self) -> int:
        """Checksum of what rests now, by the formula of :mod:`amarl_jax.lob.replay`."""
        a, total = 0x9E3779B1, 1
        for side, sign in ((0, 1), (1, -1)):
            weight = 2 * side + 1
            for price in sorted(self.levels[sign], reverse=sign == 1):
                for o in self.levels[sign][price]:
                    total += weight * (((a * price + o.quantity) * a + o.order_id) * a + o.owner)
                    weight += 4
        return total % 2**32

    def process(
        self, kind: int, side: int, price: int, quantity: int, order_id: int, owner: int, expiry: int | None
    ) -> Report:
        """Apply one message."""
        report = Report()
        if kind == NONE:
            return report
        if kind == CANCEL:
            self._cancel(order_id, quantity, report)
        elif not self._is_sound(kind, side, price, quantity, owner):
            self.counters["invalid"] += 1
        elif order_id in self.orders:
            self.counters["duplicate"] += 1
        else:
            report.accepted = True
            self._trade_and_rest(kind, Order(side, price, quantity, order_id, owner, expiry), report)
        return report

    def _is_sound(self, kind: int, side: int, price: int, quantity: int, owner: int) -> bool:
        if kind not in (LIMIT, MARKET, IMMEDIATE_OR_CANCEL) or side not in (1, -1):
            return False
        if kind != MARKET and not -self.max_price <= price <= self.max_price:
            return False
        return 0 < quantity <= self.max_quantity and 0 <= owner < self.n_owners

    def _cancel(self, order_id: int, quantity: int, report: Report) -> None:
        if quantity < 0:
            self.counters["invalid"] += 1
            return
        order = self.orders.get(order_id)
        if order is None:
            self.counters["unknown_cancel"] += 1
            return
        report.accepted = True
        report.cancelled = order.quantity if quantity == 0 else min(quantity, order.quantity)
        order.quantity -= report.cancelled
        if order.quantity == 0:
            self.drop(order)

    def drop(self, order: Order) -> None:
        """Remove a resting order."""
        level = self.levels[order.side][order.price]
        level.remove(order)
        if not level:
            del self.levels[order.side][order.price]
        del self.orders[order.order_id]

    def _front(self, kind: int, incoming: Order) -> Order | None:
        """The resting order that the incoming one meets next, or None."""
        levels = self.levels[-incoming.side]
        if not levels:
            return None
        best = min(levels) if incoming.side == 1 else max(levels)
        meets = kind == MARKET or (incoming.price >= best if incoming.side == 1 else incoming.price <= best)
        return levels[best][0] if meets else None

    def _trade_and_rest(self, kind: int, incoming: Order, report: Report) -> None:
        report.marketable = self._front(kind, incoming) is not None
        while incoming.quantity and (resting := self._front(kind, incoming)) is not None:
            if resting.owner == incoming.owner and self.self_trade != "allow":
                loser = resting if self.self_trade == "cancel_resting" else incoming
                report.self_cancelled += loser.quantity
                self.counters["self_trade"] += 1
                self.counters["self_trade_lots"] += loser.quantity
                loser.quantity = 0
            else:
                lots = min(incoming.quantity, resting.quantity)
                report.fills.append((resting.price, lots, resting.order_id, resting.owner))
                incoming.quantity -= lots
                resting.quantity -= lots
            if resting.quantity == 0:
                self.drop(resting)
        if kind == LIMIT and incoming.quantity:
            self._rest(incoming, report)

    def _rest(self, incoming: Order, report: Report) -> None:
        levels = self.levels[incoming.side]
        if sum(len(level) for level in levels.values()) == self.capacity:
            worst = min(levels) if incoming.side == 1 else max(levels)
            if (incoming.price - worst) * incoming.side <= 0:
                report.refused = incoming.quantity
                self.counters["refused"] += 1
                self.counters["refused_lots"] += incoming.quantity
                return
            last = levels[worst][-1]
            report.evicted = (last.quantity, last.order_id, last.owner)
            self.counters["evicted"] += 1
            self.counters["evicted_lots"] += last.quantity
            self.drop(last)
        report.rested = incoming.quantity
        levels.setdefault(incoming.price, deque()).append(incoming)
        self.orders[incoming.order_id] = incoming
