"""Recorded days of which the law is known: orders drawn by it, one after the other, matched by hand."""

import heapq
from pathlib import Path

import numpy as np

from amarl_jax.lob.recording import Event, Recording

CENT = 100
WALL = [(k, 50_000) for k in range(12, 16)]  # ticks from the opening mid and shares, at rest from the start
OPEN, LEVELS = 10_000, 30  # ticks, levels shown


class Book:
    """Shares by price and side; who came first trades first."""

    def __init__(self):
        self.queues = {1: {}, -1: {}}  # price: list of [id, shares]
        for k, shares in WALL:
            for side in (1, -1):
                self.queues[side][OPEN - side * k] = [[0, shares]]

    def best(self, side):
        return max(self.queues[side]) if side > 0 else min(self.queues[side])

    def mid(self):
        return (self.best(1) + self.best(-1)) / 2

    def levels(self, side):
        ranked = sorted(self.queues[side], reverse=side > 0)[:LEVELS]
        rows = [[price * CENT, sum(shares for _, shares in self.queues[side][price])] for price in ranked]
        return rows + [[0, 0]] * (LEVELS - len(rows))


def day(marks, seconds, lifetimes, seed=0):
    """A recording of orders that come one after the other.

    Args:
        marks: side [n], is_limit [n], ticks behind mid [n] (at least 1: none trades at once), shares [n].
        seconds: [n] when each comes.
        lifetimes: [n] seconds until the owner takes out what is left.
        seed: unused orders' ids begin here.
    """
    book, rows, levels, due = Book(), [], [], []

    def write(time, event, key, shares, price, side):
        rows.append((time, event, key, shares, price * CENT, side))
        levels.append([book.levels(1), book.levels(-1)])

    def take_out(until):
        while due and due[0][0] <= until:
            time, key, side, price = heapq.heappop(due)
            queue = book.queues[side].get(price, [])
            for place, (other, shares) in enumerate(queue):
                if other == key:
                    del queue[place]
                    if not queue:
                        del book.queues[side][price]
                    write(time, Event.DELETION, key, shares, price, side)
                    break

    for i, time in enumerate(seconds):
        take_out(time)
        side, is_limit, behind, shares = (int(column[i]) for column in marks)
        key, mid = seed + 1 + i, book.mid()
        if is_limit:
            price = int(np.floor(mid)) - behind if side > 0 else int(np.ceil(mid)) + behind
            book.queues[side].setdefault(price, []).append([key, shares])
            heapq.heappush(due, (time + lifetimes[i], key, side, price))
            write(time, Event.SUBMISSION, key, shares, price, side)
            continue
        while shares:
            price = book.best(-side)
            queue = book.queues[-side][price]
            traded = min(shares, queue[0][1])
            key = queue[0][0]
            queue[0][1] -= traded
            shares -= traded
            if not queue[0][1]:
                queue.pop(0)
                if not queue:
                    del book.queues[-side][price]
            write(time, Event.EXECUTION, key, traded, price, -side)
    time, event, key, shares, price, side = (np.array(column) for column in zip(*rows, strict=True))
    return Recording(Path("m.csv"), Path("b.csv"), time, event, key, shares, price, side, np.array(levels))
