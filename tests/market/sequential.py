"""The market with its event table sent to the book message by message: slow, plain, and the measure of the fast one."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from amarl_jax.lob.book import MessageKind, apply, live, remove, sizes
from amarl_jax.lob.entries import Fate
from amarl_jax.market import events
from amarl_jax.market.env import Market
from amarl_jax.market.state import Accounts
from amarl_jax.types import N_OWNERS, Owner


class SequentialMarket(Market):
    """Every position limit is checked against accounts that every fill has been booked to."""

    def clear(self, state, slot_acts, table, params):
        order = jnp.argsort(table.time_ms, stable=True)
        messages = jax.tree.map(lambda x: x[order], table.messages)
        limits = events.position_limits(params)
        first_id = events.first_id(self.spec, state.time)

        def step(carry, message):
            book, accounts = carry
            room = limits[message.owner] - message.side * accounts.inventory[message.owner]
            is_cancel = message.kind == MessageKind.CANCEL
            quantity = jnp.where(is_cancel, message.quantity, jnp.clip(message.quantity, 0, jnp.maximum(room, 0)))
            kind = jnp.where(is_cancel | (quantity > 0), message.kind, MessageKind.NONE).astype(jnp.int32)
            message = replace(message, quantity=quantity, kind=kind)
            book, execution = apply(book, message, self.book_spec)
            taker = jax.nn.one_hot(message.owner, N_OWNERS, dtype=jnp.int32)
            accounts = Accounts(
                cash=accounts.cash - message.side * (taker * execution.notional - execution.owner_notional),
                inventory=accounts.inventory + message.side * (taker * execution.filled - execution.owner_quantity),
            )
            is_stale = (execution.owner == Owner.MAKER) & (execution.order_id < first_id)
            stale_lots = jnp.sum(jnp.where(is_stale, execution.quantity, 0), dtype=jnp.int32)
            pushed_out = jnp.stack([execution.evicted_id, execution.evicted])
            return (book, accounts), (
                message,
                execution.marketable,
                execution.filled,
                stale_lots,
                execution.refused,
                pushed_out,
            )

        due = state.book.expiry <= state.time
        replaced = (state.book.owner == Owner.SLOT) & slot_acts
        leaving = live(state.book) & (due | replaced)
        book, removals, _ = remove(state.book, leaving)
        (book, accounts), (sent, marketable, filled, stale, refused, pushed_out) = jax.lax.scan(
            step, (book, state.accounts), messages
        )
        book, _, _ = remove(book, jnp.zeros_like(leaving))  # the next step's slots begin at 0
        at_rest = live(state.book).reshape(-1)
        ids = jnp.concatenate([jnp.where(at_rest, state.book.order_id.reshape(-1), -1), _own_ids(sent)])
        fate = _fate(book, ids, pushed_out)
        n_slots = at_rest.shape[0]
        fate = replace(fate, lots=fate.lots.at[n_slots:].add(jnp.where(sent.kind == MessageKind.LIMIT, refused, 0)))
        return (
            book,
            accounts,
            events.EventLog(sent, table.time_ms[order], marketable, filled, stale, leaving, fate),
            removals,
        )


def _own_ids(messages):
    """Ids of the orders that may have come to rest, -1 for other messages. [M]."""
    return jnp.where(messages.kind == MessageKind.LIMIT, messages.order_id, -1)


def _fate(book, ids, pushed_out):
    """What became of the orders with these ids, by looking for them; -1 is nobody's.

    Args:
        book: after the last message, its slots from 0 on.
        ids: [K].
        pushed_out: [M, 2] id and lots of the order that each message evicted.
    """
    known = ids >= 0
    here = live(book).reshape(-1)[None, :] & (book.order_id.reshape(-1)[None, :] == ids[:, None]) & known[:, None]
    gone = (pushed_out[None, :, 0] == ids[:, None]) & known[:, None]
    lots = jnp.sum(jnp.where(here, sizes(book).reshape(1, -1), 0), 1) + jnp.sum(
        jnp.where(gone, pushed_out[None, :, 1], 0), 1
    )
    return Fate(lots=lots, slot=jnp.where(jnp.any(here, axis=1), jnp.argmax(here, axis=1), -1).astype(jnp.int32))
