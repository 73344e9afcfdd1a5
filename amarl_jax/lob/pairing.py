"""Pair a message file and an order-book file of one day that were cut at different numbers of levels.

LOBSTER lists the messages that touch the levels of a file, so the deeper file has more rows. The rows that both have
are found by the levels they touch, and the day is read at the smaller number of levels.
"""

import numpy as np

from amarl_jax.lob.messages import Side


def rows_of_shallow_messages(levels: np.ndarray, n_messages: int) -> tuple[np.ndarray, int] | None:
    """Rows of a deeper order-book file that match messages of fewer levels, and how many levels; None if none match.

    Messages of S levels are those after which one of the S best levels differs, and those that do not change the book
    at all: hidden executions, auctions, halts.

    Args:
        levels: [n, 2, L, 2] price and size, bids first.
        n_messages: rows of the message file, fewer than n.
    """
    differs = (levels[1:] != levels[:-1]).any((1, 3))  # [n - 1, L]
    deepest = np.where(differs.any(1), np.argmax(differs, axis=1), 0)  # best level that differs
    deepest = np.concatenate([[0], deepest])
    for n_levels in range(1, levels.shape[2]):
        rows = np.flatnonzero(deepest < n_levels)
        if len(rows) == n_messages:
            return rows, n_levels
    return None


def rows_of_deep_messages(
    levels: np.ndarray, visible: np.ndarray, price: np.ndarray, direction: np.ndarray
) -> np.ndarray | None:
    """Rows of a deeper message file that touch the levels of an order-book file; None where they do not fit.

    Args:
        levels: [n, 2, L, 2] price and size, bids first; n below the number m of messages.
        visible: [m] bool, of messages about a visible order.
        price: [m].
        direction: [m] +1 of resting buys, -1 of resting sells.
    """
    worst, full = levels[:, :, -1, 0], levels[:, :, -1, 1] > 0
    lowest_bid = np.where(full[:, Side.BID], worst[:, Side.BID], np.iinfo(np.int64).min).tolist()
    highest_ask = np.where(full[:, Side.ASK], worst[:, Side.ASK], np.iinfo(np.int64).max).tolist()
    touching: list[int] = []
    row, last = 0, len(lowest_bid) - 1
    for message, (seen, at, side) in enumerate(zip(visible.tolist(), price.tolist(), direction.tolist(), strict=True)):
        if not seen or (at >= lowest_bid[row] if side > 0 else at <= highest_ask[row]):
            row = min(len(touching), last)
            touching.append(message)
    return np.array(touching) if len(touching) == last + 1 else None
