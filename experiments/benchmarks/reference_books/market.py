"""The market on either reference book: the same event table, sent message by message. Frozen."""

import dataclasses
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.lob import book as lob
from amarl_jax.lob.messages import BookSpec, Message, MessageKind
from amarl_jax.market import events
from amarl_jax.market.env import Market
from amarl_jax.market.state import Accounts
from amarl_jax.types import N_OWNERS, Owner

from . import naive, tidied


def _fills_naive(trades):
    """Lots, tick-lots, owner and id of every trade, then lots, tick-lots and whether the message met anything."""
    price, lots, order_id, owner = trades.rows.T
    return lots, lots * price, owner, order_id, *naive.traded(trades), trades.count > 0


def _fills_tidied(report):
    return (
        report.taken,
        report.taken * report.price,
        report.owner,
        report.order_id,
        report.filled,
        report.notional,
        report.marketable,
    )


ENGINES = {"naive": (naive, _fills_naive), "tidied": (tidied, _fills_tidied)}


@dataclasses.dataclass(frozen=True)
class PeerMarket(Market):
    """The market, with its table scanned over a reference book."""

    engine: str = "tidied"

    @property
    def opening_book(self):
        """The provider's ladder, as the market opens it."""
        with jax.ensure_compile_time_eval():
            return jax.tree.map(np.asarray, self._ladder())

    def _ladder(self):
        opened = Market(self.spec).opening_book
        alive, size, price = lob.live(opened), lob.sizes(opened), lob.prices(opened)
        module, _ = ENGINES[self.engine]
        spec = BookSpec(capacity=self.spec.book_capacity, n_owners=N_OWNERS)
        book = module.empty(spec)
        for slot in range(self.spec.book_capacity):
            for side in (side for side in range(2) if alive[side, slot]):
                message = Message(
                    kind=jnp.int32(MessageKind.LIMIT),
                    side=jnp.int32(1 - 2 * side),
                    price=price[side, slot],
                    quantity=size[side, slot],
                    order_id=jnp.int32(opened.order_id[side, slot]),
                    owner=jnp.int32(Owner.PROVIDER),
                    expiry=jnp.int32(lob.NEVER),
                )
                book, _ = module.apply(book, message, spec)
        return book

    def quotes(self, book):
        """Best bid and ask and whether they exist."""
        return ENGINES[self.engine][0].best_quotes(book)

    def resting(self, book):
        """Orders at rest by side."""
        return ENGINES[self.engine][0].resting(book)

    def clear(self, state, slot_acts, table, params):
        """Every message in its turn, every fill booked at once."""
        module, fills = ENGINES[self.engine]
        order = jnp.argsort(table.time_ms, stable=True)
        messages = jax.tree.map(lambda x: x[order], table.messages)
        limits = events.position_limits(params)
        first_id = events.first_id(self.spec, state.time)
        owners = jnp.arange(N_OWNERS, dtype=jnp.int32)

        def step(carry, message):
            book, accounts = carry
            room = limits[message.owner] - message.side * accounts.inventory[message.owner]
            is_cancel = message.kind == MessageKind.CANCEL
            quantity = jnp.where(is_cancel, message.quantity, jnp.clip(message.quantity, 0, jnp.maximum(room, 0)))
            kind = jnp.where(is_cancel | (quantity > 0), message.kind, MessageKind.NONE).astype(jnp.int32)
            message = replace(message, quantity=quantity, kind=kind)
            book, executed = module.apply(book, message, self.book_spec)
            lots, money, owner, order_id, filled, notional, marketable = fills(executed)
            of_owner = owner[None, :] == owners[:, None]
            taker = message.owner == owners
            passive_lots = jnp.sum(jnp.where(of_owner, lots[None, :], 0), axis=1)
            passive_money = jnp.sum(jnp.where(of_owner, money[None, :], 0), axis=1)
            accounts = Accounts(
                cash=accounts.cash - message.side * (taker * notional - passive_money),
                inventory=accounts.inventory + message.side * (taker * filled - passive_lots),
            )
            stale = jnp.sum(jnp.where((owner == Owner.MAKER) & (order_id < first_id), lots, 0), dtype=jnp.int32)
            return (book, accounts), (message, marketable, filled, stale)

        def leaves(owner, expiry):
            return (expiry <= state.time) | ((owner == Owner.SLOT) & slot_acts)

        book, removals = module.remove(state.book, leaves)
        (book, accounts), (sent, marketable, filled, stale) = jax.lax.scan(step, (book, state.accounts), messages)
        log = events.EventLog(sent, table.time_ms[order], marketable, filled, stale, leaving=None, fate=None)
        return book, accounts, log, removals  # no records are kept here, the only readers of what is None
