import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.book_comparison import as_on
from amarl_jax.lob.book import MessageKind, Side
from amarl_jax.lob.snapshot import level_snapshot, normalised_depth
from tests.lob.streams import N_STREAMS, lane_of, play, random_streams, replay, resting

LIMIT, MARKET = MessageKind.LIMIT, MessageKind.MARKET
HAND_BOOK = [
    (LIMIT, 1, 103, 9, 1, 0),  # traded away below: a stale slot in front
    (LIMIT, 1, 99, 5, 2, 0),
    (LIMIT, 1, 99, 3, 3, 1),
    (LIMIT, 1, 97, 2, 4, 0),
    (LIMIT, 1, 90, 7, 5, 0),
    (LIMIT, 1, 89, 7, 6, 0),
    (MARKET, -1, 0, 10, 7, 2),  # takes the 9 at 103 and one lot at 99
    (LIMIT, -1, 102, 4, 8, 2),
]


@jax.jit
def observe(book):
    """Three levels, and the features with mid at 100.5."""
    return level_snapshot(book, n_levels=3), normalised_depth(book, jnp.int32(201), n_levels=3, size_scale=10.0)


def test_levels_and_features_of_a_hand_made_book():
    book, _ = play(HAND_BOOK)
    snapshot, depth = observe(book)
    assert snapshot.price.tolist() == [[99, 97, 90], [102, 0, 0]]
    assert snapshot.size.tolist() == [[7, 2, 7], [4, 0, 0]]
    assert snapshot.exists.tolist() == [[True, True, True], [True, False, False]]
    bids = [1.5 / 3, 3.5 / 3, 10.5 / 3, 0.7, 0.2, 0.7]
    asks = [1.5 / 3, 0.0, 0.0, 0.4, 0.0, 0.0]
    assert depth.dtype == jnp.float32
    np.testing.assert_allclose(depth, bids + asks, rtol=1e-6)  # float32


def test_empty_book_has_no_levels():
    book, _ = play([])
    snapshot, depth = observe(book)
    assert not snapshot.exists.any()
    assert depth.tolist() == [0.0] * 12


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_levels_of_random_books_equal_a_dictionary_of_prices(platform, monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", as_on(platform))
    n_levels = 5
    books, _ = replay(random_streams(seed=8))
    snapshots = jax.jit(jax.vmap(lambda book: level_snapshot(book, n_levels)))(books)
    snapshots = jax.tree.map(np.asarray, snapshots)
    n_seen = 0
    for i in range(N_STREAMS):
        rows = resting(lane_of(books, i))
        for side in Side:
            levels = {}
            for price, quantity, *_ in rows[side]:
                levels[price] = levels.get(price, 0) + quantity
            expected = list(levels.items())[:n_levels]
            exists = np.asarray(snapshots.exists[i, side])
            actual = zip(
                snapshots.price[i, side][exists].tolist(), snapshots.size[i, side][exists].tolist(), strict=True
            )
            assert list(actual) == expected
            assert exists.tolist() == [level < len(expected) for level in range(n_levels)]
            n_seen += len(expected)
    assert n_seen > N_STREAMS  # the books were not empty
