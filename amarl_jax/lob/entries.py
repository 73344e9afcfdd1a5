"""Resting orders and a table's new orders in one array by priority: merged once, compacted once."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.lob.matching import running_sum
from amarl_jax.lob.messages import INT32_MAX, Book, Message
from amarl_jax.types import Array

SIDES = np.arange(2, dtype=np.int32)  # rows of the [2, N] arrays
BEHIND_ALL = INT32_MAX  # key of a slot behind the live ones; minus it, of a slot before them


@struct.dataclass
class Entries:
    """``L = N + M`` entries a side for ``N`` slots and ``M`` messages; unused ones are last and empty."""

    source: Array  # [2, L] slot of a resting order, N + j for the order of message j, N + M for none
    key: Array  # [2, L] ticks, as in the book
    place: Array  # [2 N + M] entry of each slot and of each message's order


@struct.dataclass
class Fate:
    """What a table left of the orders resting before it, ``[2 N]`` by slot, and of its own orders, ``[M]``."""

    lots: Array  # [2 N + M] lots at rest after the table, an order that a full side pushed out included
    slot: Array  # [2 N + M] slot ``side * N + slot`` of the book after it, -1 for an order that is not there


def merge(book: Book, alive: Array, own: Array, is_limit: Array, reach: Array) -> tuple[Entries, Array]:
    """Assign an entry to every slot and to every limit order of a table.

    Args:
        book: before the table.
        alive: [2, N] bool, its live slots.
        own: [M] side of each message's order.
        is_limit: [M] bool, messages whose order may come to rest.
        reach: [M] ticks, the largest key on the opposite side that a message meets; its own key is minus it.

    Returns:
        The entries, and the number of opposite entries that each message's price meets, [M].
    """
    n_slots, n_messages = book.key.shape[1], reach.shape[0]
    n_entries = n_slots + n_messages
    slot = jnp.arange(n_slots, dtype=jnp.int32)
    index = jnp.arange(n_messages, dtype=jnp.int32)
    key = jnp.where(alive, book.key, jnp.where(slot[None, :] < book.first[:, None], -BEHIND_ALL, BEHIND_ALL))

    new_key = -reach
    goes_first = (new_key[None, :] < new_key[:, None]) | (
        (new_key[None, :] == new_key[:, None]) & (index[None, :] < index[:, None])
    )
    same_side = own[None, :] == own[:, None]
    both_bounds = jnp.concatenate([new_key, reach])  # one search for both
    rank, met_resting = jnp.split(_count_up_to(key, jnp.concatenate([own, 1 - own]), both_bounds), 2)
    place = rank + jnp.sum(is_limit[None, :] & same_side & goes_first, axis=1, dtype=jnp.int32)
    newcomers = jnp.zeros((2, n_slots + 1), jnp.int32).at[own, rank].add(is_limit.astype(jnp.int32))
    shifted = slot[None, :] + running_sum(newcomers)[:, :-1]

    meets_new = is_limit[None, :] & ~same_side & (new_key[None, :] <= reach[:, None])
    met = met_resting + jnp.sum(meets_new, axis=1, dtype=jnp.int32)

    source = jnp.full((2, n_entries), n_entries, jnp.int32)
    source = source.at[SIDES[:, None], shifted].set(slot[None, :], unique_indices=True)
    source = source.at[own, jnp.where(is_limit, place, n_entries)].set(n_slots + index, mode="drop")
    return Entries(
        source=source,
        key=at_entries(jnp.where(alive, book.key, 0), new_key, source),
        place=jnp.concatenate([shifted.reshape(-1), jnp.minimum(place, n_entries - 1)]),
    ), met


def at_entries(resting: Array, new: Array, source: Array) -> Array:
    """Values ``[2, N, ...]`` of the slots and ``[M, ...]`` of the messages at their entries, 0 at empty ones."""
    new = jnp.concatenate([new, jnp.zeros_like(new[:1])])
    values = jnp.concatenate([resting, jnp.broadcast_to(new, (2, *new.shape))], axis=1)
    return values.at[SIDES[:, None], source].get(mode="clip")


def fates(own: Array, is_limit: Array, entries: Entries, at_rest: Array, n_slots: int) -> Fate:
    """Lots and slots, after a table, of every resting order and every order of the table.

    Args:
        own: [M] side of each message's order.
        is_limit: [M] bool, messages whose order may come to rest.
        entries: of the slots and the limit orders.
        at_rest: [2, L] lots of each entry after the table.
        n_slots: N.
    """
    rank = running_sum((at_rest > 0).astype(jnp.int32))
    slot = jnp.where((at_rest > 0) & (rank <= n_slots), SIDES[:, None] * n_slots + rank - 1, -1)
    side = jnp.concatenate([jnp.asarray(np.repeat(SIDES, n_slots)), own])
    has_entry = jnp.concatenate([jnp.ones(2 * n_slots, bool), is_limit])
    return Fate(
        lots=jnp.where(has_entry, at_rest[side, entries.place], 0),
        slot=jnp.where(has_entry, slot[side, entries.place], -1),
    )


def compact(book: Book, messages: Message, entries: Entries, running: Array, at_rest: Array) -> Book:
    """The book after the table: the best ``N`` orders of each side from slot 0 on; the rest is evicted and counted.

    Args:
        book: before the table.
        messages: [M].
        entries: of the slots and the limit orders.
        running: [2, L] inclusive running size after the table.
        at_rest: [2, L] lots of each entry after it.
    """
    n_slots, n_entries = book.key.shape[1], at_rest.shape[1]
    alive = at_rest > 0
    rank = running_sum(alive.astype(jnp.int32))
    kept = alive & (rank <= n_slots)
    slot = jnp.where(kept, rank - 1, n_slots)
    entry = jnp.full((2, n_slots), n_entries - 1, jnp.int32)
    entry = entry.at[SIDES[:, None], slot].set(jnp.arange(n_entries, dtype=jnp.int32)[None, :], mode="drop")
    source, key, cumulative = jnp.moveaxis(
        jnp.stack([entries.source, entries.key, running], axis=-1)[SIDES[:, None], entry], -1, 0
    )
    resting = jnp.stack([book.order_id, book.owner, book.expiry], axis=-1)
    new = jnp.stack([messages.order_id, messages.owner, messages.expiry], axis=-1)
    order_id, owner, expiry = jnp.moveaxis(at_entries(resting, new, source), -1, 0)
    evicted = alive & ~kept
    counters = replace(
        book.counters,
        evicted=book.counters.evicted + jnp.sum(evicted, dtype=jnp.int32),
        evicted_lots=book.counters.evicted_lots + jnp.sum(jnp.where(evicted, at_rest, 0), dtype=jnp.int32),
    )
    return Book(
        key=key,
        cumulative=cumulative,
        order_id=order_id,
        owner=owner,
        expiry=expiry,
        first=jnp.zeros_like(book.first),
        count=jnp.minimum(rank[:, -1], n_slots),
        counters=counters,
    )


def _count_up_to(key: Array, side: Array, bound: Array) -> Array:
    """Number of keys in the ascending row ``side`` of ``key`` [2, N] that are at most ``bound``. [M].

    By bisection on a CPU; elsewhere by comparison with all keys, since each loop iteration costs a kernel launch.
    """
    return jax.lax.platform_dependent(key, side, bound, cpu=_count_by_bisection, default=_count_by_comparison)


def _count_by_comparison(key: Array, side: Array, bound: Array) -> Array:
    n_within = jnp.sum(key[:, None, :] <= bound[None, :, None], axis=-1, dtype=jnp.int32)
    return jnp.where(side == 0, n_within[0], n_within[1])


def _count_by_bisection(key: Array, side: Array, bound: Array) -> Array:
    n_slots = key.shape[1]
    flat = key.reshape(-1)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) >> 1
        within = (middle < high) & (flat[side * n_slots + jnp.minimum(middle, n_slots - 1)] <= bound)
        return jnp.where(within, middle + 1, low), jnp.where(within, high, middle)

    ends = jnp.zeros_like(bound), jnp.full_like(bound, n_slots)
    return jax.lax.fori_loop(0, n_slots.bit_length(), halve, ends)[0]
