"""What must hold of every book after every message, looked at from outside, on thousands of books at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.message_streams import FIELDS, N_OWNERS, random_mix, random_stream
from amarl_jax.lob.book import BookSpec, Message, SelfTrade, apply, empty_book

N_BOOKS, N_MESSAGES, CAPACITY, N_MIXES = 4096, 120, 6, 32
SLOTS = np.arange(CAPACITY)


@functools.partial(jax.jit, static_argnames="spec")
def step(books, messages, spec):
    return jax.vmap(lambda book, message: apply(book, message, spec))(books, messages)


def mixed_streams(seed):
    rng = np.random.default_rng(seed)
    parts = [random_stream(rng, random_mix(rng), (N_BOOKS // N_MIXES, N_MESSAGES)) for _ in range(N_MIXES)]
    return {name: np.concatenate([part[name] for part in parts]).astype(np.int32) for name in FIELDS}


def lots_at_rest(book, alive):
    """Sizes [B, 2, N] of live orders, from the running sizes alone; stale slots must add nothing."""
    size = np.diff(book.cumulative.astype(np.int64), prepend=0, axis=-1)
    assert (size[alive] > 0).all(), "a live order without lots"
    assert (size[~alive] == 0).all(), "lots in an empty slot"
    return size


def check_order(book, alive):
    """Live orders are one block, sorted by price, never crossed, each id once."""
    assert ((book.first >= 0) & (book.count >= 0) & (book.first + book.count <= CAPACITY)).all()
    in_order = (np.diff(book.key, axis=-1) >= 0) | ~(alive[..., 1:] & alive[..., :-1])
    assert in_order.all(), "not sorted by price"
    best = np.where(alive, book.key.astype(np.int64), 2**40).min(-1)  # [B, 2], -bid and ask
    assert (best.sum(-1) > 0).all(), "crossed"
    filler = 2**40 + np.arange(2 * CAPACITY)
    ids = np.where(alive, book.order_id.astype(np.int64), filler.reshape(2, CAPACITY)).reshape(N_BOOKS, -1)
    assert (np.diff(np.sort(ids, axis=-1), axis=-1) > 0).all(), "an id twice"


def arrival_is_priority(book, alive, born):
    """Among equal prices, earlier arrivals stand in front; ``born`` [B, ids] is when each id came to rest."""
    lane = np.arange(N_BOOKS)[:, None, None]
    arrival = born[lane, np.where(alive, book.order_id, 0)]
    same_level = (np.diff(book.key, axis=-1) == 0) & alive[..., 1:] & alive[..., :-1]
    assert (np.diff(arrival, axis=-1) > 0)[same_level].all(), "later arrival in front"
    return int(same_level.sum())


@pytest.mark.parametrize("self_trade", SelfTrade)
def test_every_message_leaves_every_book_sound_and_conserves_lots(self_trade):
    spec = BookSpec(capacity=CAPACITY, n_owners=N_OWNERS, self_trade=self_trade)
    columns = mixed_streams(seed=11)
    columns["order_id"] += 1  # -1, the unknown id, becomes 0
    books = jax.tree.map(lambda x: jnp.broadcast_to(x, (N_BOOKS, *x.shape)), empty_book(spec))
    born = np.zeros((N_BOOKS, N_MESSAGES + 2), np.int64)
    before, n_queued = np.zeros(N_BOOKS, np.int64), 0
    for i in range(N_MESSAGES):
        message = Message(**{name: jnp.asarray(columns[name][:, i]) for name in FIELDS})
        books, execution = step(books, message, spec)
        book, done = jax.tree.map(np.asarray, (books, execution))
        alive = (book.first[..., None] <= SLOTS) & (book.first[..., None] + book.count[..., None] > SLOTS)
        rested = done.rested > 0
        born[rested, columns["order_id"][rested, i]] = i
        after = lots_at_rest(book, alive).sum((1, 2))
        check_order(book, alive)
        n_queued += arrival_is_priority(book, alive, born)
        # The incoming order's remainder is what the cancel-incoming policy takes; that never was at rest.
        taken = done.self_cancelled if self_trade is SelfTrade.CANCEL_RESTING else 0
        np.testing.assert_array_equal(after - before, done.rested - done.filled - done.cancelled - done.evicted - taken)
        entered = np.where(done.accepted & (columns["kind"][:, i] == 1), columns["quantity"][:, i].astype(np.int64), 0)
        blocked = done.self_cancelled if self_trade is SelfTrade.CANCEL_INCOMING else 0
        limit = entered > 0
        np.testing.assert_array_equal((done.rested + done.refused + done.filled + blocked)[limit], entered[limit])
        before = after
    assert n_queued > 10 * N_BOOKS  # queues were long enough for the order of arrival to mean something
