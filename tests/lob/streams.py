"""Random message streams, made with NumPy, and the batched replay that all tests of the book share."""

import functools
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.lob.book import (
    BookSpec,
    Message,
    MessageKind,
    SelfTrade,
    Side,
    apply_all,
    empty_book,
)

N_STREAMS, N_MESSAGES, CAPACITY, N_OWNERS = 64, 256, 8, 3
FIELDS = ("kind", "side", "price", "quantity", "order_id", "owner", "expiry")
INT32 = np.iinfo(np.int32)


@functools.cache
def book_spec(self_trade=SelfTrade.ALLOW):
    return BookSpec(capacity=CAPACITY, n_owners=N_OWNERS, self_trade=self_trade)


@functools.cache
def compiled_replay(self_trade):
    """(books, messages) -> (books, executions), batched; raises if it is ever traced twice."""

    def replay(books, messages):
        return jax.vmap(lambda book, table: apply_all(book, table, book_spec(self_trade)))(books, messages)

    replay.__name__ = f"replay_{self_trade.value}"
    return jax.jit(chex.assert_max_traces(replay, n=1))


def empty_books():
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (N_STREAMS, *x.shape)), empty_book(book_spec()))


def replay(columns, self_trade=SelfTrade.ALLOW, books=None):
    """Replay int arrays [N_STREAMS, N_MESSAGES] of each message field; NumPy out."""
    messages = Message(**{name: jnp.asarray(columns[name], jnp.int32) for name in FIELDS})
    out = compiled_replay(self_trade)(empty_books() if books is None else books, messages)
    return jax.tree.map(np.asarray, out)


def play(rows, self_trade=SelfTrade.ALLOW):
    """Replay a short list of rows (kind, side, price, quantity, order_id, owner) in one lane, padding in the others.

    Returns the lane's book and a list of executions, one per row.
    """
    columns = {name: np.zeros((N_STREAMS, N_MESSAGES), np.int64) for name in FIELDS}
    for i, row in enumerate(rows):
        for name, value in zip(FIELDS, (*row, 100 + i), strict=True):
            columns[name][0, i] = value
    books, executions = replay(columns, self_trade)
    return lane_of(books, 0), [lane_of(lane_of(executions, 0), i) for i in range(len(rows))]


def lane_of(tree, lane):
    """One lane of a batch of books or executions."""
    return jax.tree.map(lambda x: x[lane], tree)


def resting(book):
    """[bids, asks] of one book: lists of (price, quantity, id, owner, expiry) in priority order."""
    size = np.diff(book.cumulative, prepend=0, axis=-1)
    sides = []
    for row, sign in ((Side.BID, -1), (Side.ASK, 1)):
        slots = slice(book.first[row], book.first[row] + book.count[row])
        columns = (sign * book.key[row], size[row], book.order_id[row], book.owner[row], book.expiry[row])
        sides.append(list(zip(*(x[slots].tolist() for x in columns), strict=True)))
    return sides


def fills(execution):
    """(price, quantity, id, owner) of the resting orders that traded, in the order in which they did."""
    slots = np.flatnonzero(execution.quantity)
    columns = (execution.price, execution.quantity, execution.order_id, execution.owner)
    return [tuple(int(x[slot]) for x in columns) for slot in slots]


def counters(book):
    return {name: int(value) for name, value in vars(book.counters).items()}


@dataclass(frozen=True)
class Mix:
    """What a stream is made of."""

    weights: tuple  # of padding, limit, market, immediate-or-cancel, cancel, and two unknown kinds
    width: int  # prices are uniform in -width .. width,
    improvement: int  # less this much for buys and more for sells: 0 or below makes orders meet
    buys: float  # probability of a buy
    largest: int  # lots
    odd: float  # probability that a field holds an extreme or impossible value
    reach: int  # how many messages back a cancel looks for its order


def random_mix(rng):
    return Mix(
        weights=tuple(rng.dirichlet([0.2, 6, rng.choice([0.1, 2]), 1, rng.choice([0.5, 4]), 0.1, 0.1])),
        width=rng.choice([0, 1, 4, 30]),
        improvement=rng.choice([0, 2]),
        buys=rng.choice([0.03, 0.5, 0.5, 0.97]),
        largest=rng.choice([2, 11, 59]),
        odd=0.04,
        reach=12,
    )


def random_stream(rng, mix, shape, first_id=0):
    """Streams of one mix, ``shape`` ending in the number of messages; ids count from ``first_id``."""

    def sometimes(chance):
        return rng.random(shape) < chance

    kind = rng.choice([*MessageKind, 7, -1], shape, p=mix.weights)
    side = np.where(sometimes(mix.buys), 1, -1)
    side = np.where(sometimes(mix.odd / 2), rng.choice([0, 2, -2, INT32.min], shape), side)
    price = rng.integers(-mix.width, mix.width + 1, shape) - side * mix.improvement
    extremes = [1 << 15, -(1 << 15), (1 << 15) + 1, -(1 << 15) - 1, INT32.max, INT32.min]
    price = np.where(sometimes(mix.odd), rng.choice(extremes, shape), price)
    quantity = rng.integers(1, mix.largest + 1, shape)
    odd_sizes = [0, -3, 1 << 15, (1 << 15) + 1, INT32.max, INT32.min]
    quantity = np.where(sometimes(mix.odd), rng.choice(odd_sizes, shape), quantity)
    quantity = np.where((kind == MessageKind.CANCEL) & sometimes(0.5), 0, quantity)
    index = np.broadcast_to(np.arange(shape[-1]), shape)
    earlier = np.maximum(index - rng.integers(1, mix.reach, shape), -1)  # -1 is a good unknown id
    again = (kind == MessageKind.CANCEL) | sometimes(1.5 * mix.odd)
    owner = rng.integers(0, N_OWNERS, shape)
    return {
        "kind": kind,
        "side": side,
        "price": price,
        "quantity": quantity,
        "order_id": np.where(again, earlier, index) + first_id,
        "owner": np.where(sometimes(mix.odd / 4), rng.choice([-1, N_OWNERS], shape), owner),
        "expiry": rng.integers(0, 50, shape),
    }


def random_streams(seed, first_id=0):
    """[N_STREAMS, N_MESSAGES], every stream with a mix of its own."""
    rng = np.random.default_rng(seed)
    streams = [random_stream(rng, random_mix(rng), (N_MESSAGES,), first_id) for _ in range(N_STREAMS)]
    return {name: np.stack([stream[name] for stream in streams]) for name in FIELDS}
