"""The batched replay that all tests of the book share, and as many random streams as it takes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.ground_truth.message_streams import FIELDS, N_OWNERS, random_mix, random_stream
from amarl_jax.lob.book import (
    BookSpec,
    Message,
    SelfTrade,
    Side,
    apply_all,
    empty_book,
)

N_STREAMS, N_MESSAGES, CAPACITY = 64, 256, 8


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


def random_streams(seed, first_id=0):
    """[N_STREAMS, N_MESSAGES], every stream with a mix of its own."""
    rng = np.random.default_rng(seed)
    streams = [random_stream(rng, random_mix(rng), (N_MESSAGES,), first_id) for _ in range(N_STREAMS)]
    return {name: np.stack([stream[name] for stream in streams]) for name in FIELDS}
