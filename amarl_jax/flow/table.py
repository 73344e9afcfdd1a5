"""The joint law of kind, offset and size of an order, as a table; its smoothing is chosen on held-out orders.

A row is a place: 0 the market orders, then the limit offsets, most aggressive first. A column is a size in lots.
"""

from dataclasses import dataclass

import numpy as np

N_BLOCKS = 10  # of time, each held out once
STRENGTHS = tuple(float(2**k) for k in range(-4, 15))  # of the prior, in orders
_FLOOR = 0.5  # orders added to each cell of the margins


@dataclass(frozen=True)
class Smoothed:
    """A table, and the scores that its smoothing was chosen by."""

    table: np.ndarray  # [P, S] probabilities, all positive, summing to 1
    strength: float  # weight of the product of the margins, in orders
    held_out_nats: np.ndarray  # [len(STRENGTHS)] mean log-probability of held-out orders


def counts_of(place: np.ndarray, lots: np.ndarray, n_places: int, n_lots: int) -> np.ndarray:
    """Orders of each place [n] and of 1, 2, ... lots [n], ``[P, S]``."""
    return np.bincount(place * n_lots + lots - 1, minlength=n_places * n_lots).reshape(n_places, n_lots).astype(float)


def smoothed(counts: np.ndarray, strength: float) -> np.ndarray:
    """``(n + a m) / (N + a)``, m the product of the margins, none of which has a cell of 0. [P, S] of [P, S]."""
    total = counts.sum()
    of_place, of_lots = (counts.sum(axis) + _FLOOR for axis in (1, 0))
    prior = np.outer(of_place / of_place.sum(), of_lots / of_lots.sum())
    return (counts + strength * prior) / (total + strength)


def fit_table(place: np.ndarray, lots: np.ndarray, n_places: int, n_lots: int) -> Smoothed:
    """Fit the table of time-ordered orders, at the strength under which held-out blocks of time are most probable.

    Args:
        place: [n] int, 0 of a market order, 1 + the offset's number of a limit order.
        lots: [n] int, 1 .. n_lots.
        n_places: P.
        n_lots: S.
    """
    block = np.minimum(np.arange(len(place)) * N_BLOCKS // max(len(place), 1), N_BLOCKS - 1)
    by_block = np.stack([counts_of(place[block == b], lots[block == b], n_places, n_lots) for b in range(N_BLOCKS)])
    counts = by_block.sum(0)
    scores = [
        sum(float((own * np.log(smoothed(counts - own, strength))).sum()) for own in by_block) for strength in STRENGTHS
    ]
    best = STRENGTHS[int(np.argmax(scores))]
    return Smoothed(smoothed(counts, best), best, np.array(scores) / max(len(place), 1))
