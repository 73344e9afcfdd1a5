"""The one-slot change that an entering or a cancelled order makes in its row."""

from dataclasses import replace

import jax.numpy as jnp
from flax import struct

from amarl_jax.lob.messages import Book, Message
from amarl_jax.types import Array


@struct.dataclass
class Edit:
    """A change of one row by one slot."""

    row: Array  # [2] bool, the row that changes, if any
    slot: Array  # [] where an order enters, leaves or shrinks
    lots: Array  # [] change of cumulative size from that slot on
    enters: Array  # [] bool
    leaves: Array  # [] bool
    forwards: Array  # [] bool, an entering order makes room towards the front, where slots are free


def plan_entry(book: Book, own_row: Array, rank: Array, lots: Array) -> Edit:
    """Plan the entry of an order of ``lots`` (0: no entry) behind ``rank`` others in its row, ``own_row`` bool ``[2]``.

    In a full row the last order makes room; an order that would rank behind even that one does not enter.
    """
    first = jnp.sum(jnp.where(own_row, book.first, 0), dtype=jnp.int32)
    enters = (lots > 0) & (rank < book.key.shape[-1])
    forwards = first > 0
    return Edit(
        row=own_row & enters,
        slot=first + rank - forwards,
        lots=jnp.where(enters, lots, 0),
        enters=enters,
        leaves=jnp.zeros((), bool),
        forwards=forwards,
    )


def plan_cancel(hit: Array, size: Array, quantity: Array) -> Edit:
    """Plan the cancel of ``quantity`` lots of the one order under ``hit`` (bool ``[2, N]``); 0 or too many: all."""
    slot = jnp.arange(hit.shape[-1], dtype=jnp.int32)[None, :]
    resting = jnp.sum(jnp.where(hit, size, 0), dtype=jnp.int32)
    cancelled = jnp.where(quantity == 0, resting, jnp.minimum(quantity, resting))
    return Edit(
        row=jnp.any(hit, axis=-1),
        slot=jnp.sum(jnp.where(hit, slot, 0), dtype=jnp.int32),
        lots=-cancelled,
        enters=jnp.zeros((), bool),
        leaves=cancelled == resting,
        forwards=jnp.zeros((), bool),
    )


def apply_edit(book: Book, edit: Edit, message: Message, key: Array, removed: Array) -> Book:
    """Shift one end of the edited row by one slot, write what enters, take ``removed`` lots ``[2]`` off the front."""
    capacity = book.key.shape[-1]
    slot = jnp.arange(capacity, dtype=jnp.int32)[None, :]
    beyond = jnp.where(edit.row, edit.slot, capacity)  # [2], past the end in a row that does not change
    next_from = jnp.where(edit.leaves, beyond, jnp.where(edit.row & edit.enters & edit.forwards, 0, capacity))
    next_to = jnp.where(edit.leaves, capacity, beyond)
    previous_from = jnp.where(edit.enters & ~edit.forwards, beyond, capacity)
    written_at = jnp.where(edit.enters, beyond, capacity)
    from_next = (slot >= next_from[:, None]) & (slot < next_to[:, None])
    from_previous = slot >= previous_from[:, None]
    written = slot == written_at[:, None]
    lots = jnp.where(slot >= beyond[:, None], edit.lots, 0)

    def shift(x: Array) -> Array:
        following = jnp.concatenate([x[:, 1:], x[:, -1:]], axis=-1)
        previous = jnp.concatenate([x[:, :1], x[:, :-1]], axis=-1)
        return jnp.where(from_next, following, jnp.where(from_previous, previous, x))

    def move(x: Array, value: Array) -> Array:
        return jnp.where(written, value, shift(x))

    # Nothing lies before the first slot. Not written with `lots_before`: XLA would share its buffer with the other
    # uses and write the result over it, and such an in-place loop is not vectorised and takes ten times as long.
    cumulative = jnp.where(from_previous & (slot == 0), 0, shift(book.cumulative))
    return replace(
        book,
        key=move(book.key, key),
        cumulative=jnp.maximum(cumulative - removed[:, None], 0) + lots,
        order_id=move(book.order_id, message.order_id),
        owner=move(book.owner, message.owner),
        expiry=move(book.expiry, message.expiry),
    )
