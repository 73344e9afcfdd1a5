"""What a trader sees of the book: aggregated price levels, best first."""

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.lob.book import live
from amarl_jax.lob.messages import Book, Side
from amarl_jax.types import Array


@struct.dataclass
class Snapshot:
    """The best ``L`` price levels of both sides; rows as in :class:`Side`."""

    price: Array  # [2, L] ticks, 0 where no level
    size: Array  # [2, L] lots resting at that price, 0 where no level
    exists: Array  # [2, L] bool


def level_snapshot(book: Book, n_levels: int) -> Snapshot:
    """Total size at each of the ``n_levels`` best prices of both sides.

    Level ``l`` starts at the first order with ``l`` distinct better prices, found in the running count of distinct
    prices (by bisection on a CPU, by comparison elsewhere); its size is the difference of the cumulative sizes before
    two starts.
    """
    chex.assert_rank(book.key, 2)
    capacity = book.key.shape[-1]
    alive = live(book)
    slot = jnp.arange(capacity, dtype=jnp.int32)[None, :]
    changes = (book.key != jnp.roll(book.key, 1, axis=-1)) | (slot == book.first[:, None])
    level = jnp.cumsum(alive & changes, axis=-1, dtype=jnp.int32)  # 1 at the best price, 0 before it
    wanted = jnp.arange(1, n_levels + 2, dtype=jnp.int32)
    start = jax.lax.platform_dependent(level, wanted, cpu=_count_by_bisection, default=_count_by_comparison)
    inside = jnp.minimum(start, capacity - 1)
    total = book.cumulative[:, -1:]
    lots_better = jnp.take_along_axis(book.cumulative, jnp.maximum(start - 1, 0), axis=-1)
    lots_better = jnp.where(start == 0, 0, jnp.where(start == capacity, total, lots_better))
    exists = wanted[None, :n_levels] <= level[:, -1:]
    outwards = jnp.array([[-1], [1]], jnp.int32)
    price = jnp.take_along_axis(book.key, inside[:, :n_levels], axis=-1) * outwards
    return Snapshot(
        price=jnp.where(exists, price, 0),
        size=jnp.where(exists, lots_better[:, 1:] - lots_better[:, :-1], 0),
        exists=exists,
    )


def _count_by_bisection(rows: Array, bounds: Array) -> Array:
    """Number of elements of each ascending row [2, N] that are below each of ``bounds`` [K]. [2, K]."""
    return jax.vmap(lambda row: jnp.searchsorted(row, bounds, method="scan"))(rows)


def _count_by_comparison(rows: Array, bounds: Array) -> Array:
    """Counts of :func:`_count_by_bisection` without a loop: on a GPU each iteration is a kernel launch."""
    return jnp.sum(rows[:, None, :] < bounds[None, :, None], axis=-1, dtype=jnp.int32)


def normalised_depth(book: Book, mid2: Array, n_levels: int, size_scale: float) -> Array:
    """The book as features, float32 ``[4 * L]``: bid distances, bid sizes, ask distances, ask sizes, best level first.

    A distance is ``|price - mid| / n_levels``, signed so that it is positive away from mid (``mid2`` is twice the mid
    in ticks, int32 ``[]``); a size is ``lots / size_scale``. Both are 0 where there is no level, and the size of 0
    tells such a level from one at mid.
    """
    chex.assert_shape(mid2, ())
    chex.assert_type(mid2, jnp.int32)
    snapshot = level_snapshot(book, n_levels)
    bid, ask = snapshot.price[Side.BID], snapshot.price[Side.ASK]
    twice_outwards = jnp.stack([mid2 - 2 * bid, 2 * ask - mid2]).astype(jnp.float32)
    distance = jnp.where(snapshot.exists, twice_outwards / (2.0 * n_levels), 0.0)
    size = snapshot.size.astype(jnp.float32) / size_scale
    return jnp.stack([distance, size], axis=1).reshape(-1)
