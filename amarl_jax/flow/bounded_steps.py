"""A stream on a clock of its own: a step in which more orders come than a market's step takes is played as several.

Recorded orders come in bursts. A step of the market has a fixed number of rows, so a bound on them either loses orders,
or delays them, or is as large as the largest burst and mostly empty. Here time runs slower where it is busy, as the
business time of Clark (1973) does: every order is played, in the order recorded, and the other steps are as they were.
"""

import dataclasses

import numpy as np

from amarl_jax.flow.stream import MOST_LIFETIME, TIME_UNITS, Stream, orders_by_step


def pieces(counts: np.ndarray, bound: int) -> np.ndarray:
    """Number of steps of at most ``bound`` orders that each step is played in, [S] of its orders [S]."""
    return np.maximum(-(-counts // bound), 1)


def in_bounded_steps(stream: Stream, bound: int) -> Stream:
    """The stream in steps of at most ``bound`` orders, all of them in the order recorded.

    A step of ``n`` orders becomes ``ceil(n / bound)`` steps of as equal numbers of orders as can be, each of which
    reaches from half way since the last order before it to half way to the next behind it. Times and lifetimes are
    those recorded, on this clock.
    """
    counts = orders_by_step(stream)
    if counts.max(initial=0) <= bound:
        return stream
    parts = pieces(counts, bound)
    start = np.cumsum(parts) - parts  # the first that each recorded step is played in
    step = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(step)) - stream.first[step]
    played = start[step] + within * parts[step] // counts[step]
    first = np.searchsorted(played, np.arange(parts.sum() + 1))
    at = step + stream.time / TIME_UNITS
    begins = _beginnings(at, first, start)

    def clock(time: np.ndarray) -> np.ndarray:
        """Time in played steps of a time in recorded ones; behind the end both run alike."""
        return np.interp(time, begins, np.arange(len(begins))) + np.maximum(time - len(counts), 0.0)

    place = np.clip(np.floor((clock(at) - played) * TIME_UNITS), 0, TIME_UNITS - 1)  # orders of one time have one clock
    rests = (clock(at + stream.lifetime / TIME_UNITS) - played) * TIME_UNITS - place
    return dataclasses.replace(
        stream,
        first=first.astype(np.int32),
        time=place.astype(np.uint16),
        lifetime=np.clip(np.floor(rests + 0.5), 0, MOST_LIFETIME * TIME_UNITS).astype(np.uint32),
    )


def _beginnings(at: np.ndarray, first: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Recorded times at which the played steps begin, then the end of the last, [S' + 1].

    Args:
        at: [n] recorded times of the orders, in steps.
        first: [S' + 1] number of each played step's first order.
        start: [S] the first step that each recorded one is played in.
    """
    begins = np.full(len(first), float(len(start)))
    begins[start] = np.arange(len(start))
    inner = np.setdiff1d(np.arange(len(first) - 1), start)
    begins[inner] = (at[first[inner] - 1] + at[first[inner]]) / 2
    return begins
