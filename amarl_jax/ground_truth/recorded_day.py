"""Recorded days with a known law: orders drawn from it, one after the other, and matched in plain Python."""

import heapq
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from amarl_jax.lob.recording import Event, Recording

CENT = 100  # 1e-4 dollars
WALL = [(k, 50_000) for k in range(12, 16)]  # ticks from the opening mid and shares, at rest from the start
OPEN, LEVELS = 10_000, 30  # ticks, levels shown
Marks = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class QueueBook:
    """Shares by price and side; who came first trades first."""

    def __init__(self) -> None:
        self.queues: dict[int, dict[int, list[list[int]]]] = {1: {}, -1: {}}  # price: list of [id, shares]
        for k, shares in WALL:
            for side in (1, -1):
                self.queues[side][OPEN - side * k] = [[0, shares]]

    def best(self, side: int) -> int:
        """Best price of a side, ticks."""
        return max(self.queues[side]) if side > 0 else min(self.queues[side])

    def mid(self) -> float:
        """Mid price, ticks."""
        return (self.best(1) + self.best(-1)) / 2

    def levels(self, side: int) -> list[list[int]]:
        """Price and shares of the best levels, as a recording has them."""
        ranked = sorted(self.queues[side], reverse=side > 0)[:LEVELS]
        rows = [[price * CENT, sum(shares for _, shares in self.queues[side][price])] for price in ranked]
        return rows + [[0, 0]] * (LEVELS - len(rows))

    def take_out(self, key: int, side: int, price: int) -> int:
        """Cancel an order; returns the shares it had left, 0 if it is gone."""
        queue = self.queues[side].get(price, [])
        for place, (other, shares) in enumerate(queue):
            if other == key:
                del queue[place]
                if not queue:
                    del self.queues[side][price]
                return shares
        return 0

    def trade(self, side: int, shares: int) -> Iterator[tuple[int, int, int]]:
        """Trade a market order; yields id, shares and price of each resting order that it meets."""
        while shares:
            price = self.best(-side)
            queue = self.queues[-side][price]
            key, there = queue[0]
            traded = min(shares, there)
            queue[0][1] -= traded
            shares -= traded
            if traded == there:
                queue.pop(0)
                if not queue:
                    del self.queues[-side][price]
            yield key, traded, price


class _Writer:
    """The rows of a recording."""

    def __init__(self) -> None:
        self.book = QueueBook()
        self.rows: list[tuple[float, int, int, int, int, int]] = []
        self.levels: list[list[list[list[int]]]] = []

    def write(self, time: float, event: Event, key: int, shares: int, price: int, side: int) -> None:
        """One event and the book behind it."""
        self.rows.append((time, event, key, shares, price * CENT, side))
        self.levels.append([self.book.levels(1), self.book.levels(-1)])


def day(marks: Marks, seconds: np.ndarray, lifetimes: np.ndarray, seed: int = 0) -> Recording:
    """A recording of orders that come one after the other.

    Args:
        marks: side [n], is_limit [n], ticks behind mid [n] (at least 1: none trades at once), shares [n].
        seconds: [n] time of arrival of each.
        lifetimes: [n] seconds until the owner cancels what is left.
        seed: ids of the orders count from the number after it.
    """
    writer, due = _Writer(), list[tuple[float, int, int, int]]()
    book = writer.book
    for i, time in enumerate(seconds):
        while due and due[0][0] <= time:
            left, key, side, price = heapq.heappop(due)
            shares = book.take_out(key, side, price)
            if shares:
                writer.write(left, Event.DELETION, key, shares, price, side)
        side, is_limit, behind, shares = (int(column[i]) for column in marks)
        key, mid = seed + 1 + i, book.mid()
        if is_limit:
            price = int(np.floor(mid)) - behind if side > 0 else int(np.ceil(mid)) + behind
            book.queues[side].setdefault(price, []).append([key, shares])
            heapq.heappush(due, (time + lifetimes[i], key, side, price))
            writer.write(time, Event.SUBMISSION, key, shares, price, side)
            continue
        for met, traded, price in book.trade(side, shares):
            writer.write(time, Event.EXECUTION, met, traded, price, -side)
    at, event, ids, sizes, prices, sides = (np.array(column) for column in zip(*writer.rows, strict=True))
    return Recording(Path("m.csv"), Path("b.csv"), at, event, ids, sizes, prices, sides, np.array(writer.levels))


def drawn_day(n: int, rate: float = 2.0, lifetime: float = 12.0, seed: int = 0) -> Recording:
    """A day of Poisson orders, the deeper the larger: a sixth at market, the others 1 to 6 ticks behind mid.

    Args:
        n: orders.
        rate: orders a second.
        lifetime: mean seconds that an order rests.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    is_limit, behind = rng.random(n) < 5 / 6, 1 + rng.binomial(5, 0.3, n)
    lots = 1 + rng.binomial(7, np.where(is_limit, 0.1 + 0.08 * behind, 0.15))
    seconds = 34_200 + np.cumsum(rng.exponential(1 / rate, n))
    return day((rng.choice([1, -1], n), is_limit, behind, 100 * lots), seconds, rng.exponential(lifetime, n))
