"""The market with its event table sent to the book message by message: slow, plain, and the measure of the fast one."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from amarl_jax.lob.book import MessageKind, apply, live, remove
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
            return (book, accounts), (message, execution.marketable, execution.filled, stale_lots)

        due = state.book.expiry <= state.time
        replaced = (state.book.owner == Owner.SLOT) & slot_acts
        book, removals, _ = remove(state.book, live(state.book) & (due | replaced))
        (book, accounts), (sent, marketable, filled, stale) = jax.lax.scan(step, (book, state.accounts), messages)
        log = events.EventLog(sent, table.time_ms[order], marketable, filled, stale)
        return book, accounts, log, removals
