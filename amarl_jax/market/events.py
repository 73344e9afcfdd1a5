"""One step's event table: who sends what, when it arrives, and what the book makes of it."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.kernels import OLDEST, cuda_capability
from amarl_jax.lob.book import NEVER, Book, BookSpec, Message, MessageKind, Side, live
from amarl_jax.lob.entries import Fate
from amarl_jax.lob.matching import running_sum
from amarl_jax.lob.table import NOBODY, Outcome, Row, TableReport, clear, locate
from amarl_jax.market.matching_kernel import match_in_one_kernel
from amarl_jax.market.noise import NoiseOrders
from amarl_jax.market.params import STEP_MS, EnvParams, MarketSpec
from amarl_jax.market.slot import SlotDecision
from amarl_jax.market.state import Accounts, EnvState
from amarl_jax.trees import pack
from amarl_jax.types import GAP_UNITS, N_OWNERS, TIME_UNITS, Array, Owner, Tape

NO_LIMIT = 1 << 29  # lots, for owners without a position limit
_NODES, _NODE_WEIGHTS = (half * 0.5 for half in np.polynomial.legendre.leggauss(12))
_NODES = _NODES + 0.5  # on (0, 1)
_LONGEST = 17.0  # jitter in units of its mean; beyond it lies a probability below 2^-24
MAKER_CANCELS, MAKER_QUOTES = slice(1, 3), slice(3, 5)  # rows of the event table


@struct.dataclass
class MakerQuotes:
    """Two quotes, bid first."""

    price: Array  # [2] int32, ticks
    lots: Array  # [2] int32, 0 for no quote


@struct.dataclass
class Intentions:
    """What everyone decided at the start of a step, before latency orders it."""

    signal: Array  # [] arbitrageur's action in [-1, 1]
    quotes: MakerQuotes
    slot: SlotDecision
    noise: NoiseOrders  # [M_max], the first noise_count are sent
    noise_count: Array  # [] int32
    lifetimes: Array  # [1 + M_max] int32 steps, of the slot's and the noise orders


@struct.dataclass
class EventTable:
    """Messages in rank order (arbitrageur, maker, slot, noise) with their arrival times."""

    messages: Message  # [M] each field
    time_ms: Array  # [M] arrival within the step


@struct.dataclass
class EventLog:
    """What happened to each row of the table, in arrival order."""

    message: Message  # [M], quantities after the position limits
    time_ms: Array  # [M]
    marketable: Array  # [M] bool
    filled: Array  # [M] int32 lots taken
    stale_maker_lots: Array  # [M] int32, lots taken from maker quotes of an earlier step
    leaving: Array  # [2, N] bool, orders that left the book before the first message
    fate: Fate  # of the orders at rest, by slot, and of the [M] rows


def empty_accounts() -> Accounts:
    """Accounts without cash or inventory."""
    return Accounts(cash=jnp.zeros(N_OWNERS, jnp.int32), inventory=jnp.zeros(N_OWNERS, jnp.int32))


def limit_price(side: Array, offset_ticks: Array, mid2: Array) -> Array:
    """Price ``offset`` ticks behind mid on the order's own side; half-tick centres round outward. int32 ticks."""
    bid_centre, ask_centre = mid2 >> 1, (mid2 + 1) >> 1
    return jnp.where(side > 0, bid_centre - offset_ticks, ask_centre + offset_ticks)


def position_limits(params: EnvParams) -> Array:
    """[O] lots: the largest absolute position each owner may reach; orders are cut to it when they arrive."""
    limits: dict[Owner, Array | int] = {
        Owner.SLOT: params.parent_lots,
        Owner.MAKER: params.maker_inventory_limit,
        Owner.ARBITRAGEUR: params.arbitrageur_position_limit,
    }
    return jnp.stack([jnp.asarray(limits.get(owner, NO_LIMIT), jnp.int32) for owner in Owner])


def first_id(spec: MarketSpec, time: Array) -> Array:
    """Id of the first row of step ``time``; opening orders have the ids below ``first_id(spec, 0)``."""
    return 2 * spec.initial_levels * len(spec.initial_sizes) + time * spec.n_messages


def _kind(present: Array, kind: Array | MessageKind) -> Array:
    """The kind of a message that may be absent."""
    return jnp.where(present, kind, MessageKind.NONE).astype(jnp.int32)


def _arbitrageur_row(quotes: tuple[Array, Array], signal: Array, params: EnvParams) -> dict[str, Array]:
    """Immediate-or-cancel at the best opposite price seen: a signal over 1/3 lifts the ask, under -1/3 hits the bid."""
    best, exists = quotes
    side = jnp.where(signal > 0, 1, -1).astype(jnp.int32)
    target = jnp.where(side > 0, 1, 0).astype(jnp.int32)
    sends = (jnp.abs(signal) > 1.0 / 3.0) & exists[target]
    return {
        "kind": _kind(sends, MessageKind.IMMEDIATE_OR_CANCEL)[None],
        "side": side[None],
        "price": best[target][None],
        "quantity": jnp.asarray(params.arbitrageur_order_lots, jnp.int32)[None],
    }


def _maker_rows(quotes: MakerQuotes) -> dict[str, Array]:
    """Two cancels of the working quotes, then two new quotes."""
    cancel = jnp.full(2, MessageKind.CANCEL, jnp.int32)
    post = _kind(quotes.lots > 0, MessageKind.LIMIT)
    none = jnp.zeros(2, jnp.int32)
    return {
        "kind": jnp.concatenate([cancel, post]),
        "side": jnp.array([1, -1, 1, -1], jnp.int32),
        "price": jnp.concatenate([none, quotes.price]),
        "quantity": jnp.concatenate([none, quotes.lots]),
    }


def _order_rows(present: Array, order: NoiseOrders | SlotDecision, mid2: Array) -> dict[str, Array]:
    """Limit or market orders around mid, of the slot or of noise traders."""
    return {
        "kind": _kind(present, jnp.where(order.is_limit, MessageKind.LIMIT, MessageKind.MARKET)),
        "side": order.side,
        "price": limit_price(order.side, order.offset_ticks, mid2),
        "quantity": order.lots,
    }


def build_table(
    state: EnvState,
    quotes: tuple[Array, Array],
    intentions: Intentions,
    time_ms: Array,
    params: EnvParams,
    spec: MarketSpec,
) -> EventTable:
    """Lay out the messages of one step in rank order: arbitrageur, maker, slot, noise.

    Args:
        state: the market as everyone saw it when deciding.
        quotes: best bid and ask [2] and whether they exist [2], as the arbitrageur saw them.
        intentions: what everyone decided.
        time_ms: [M] arrival times in rank order.
        params: market constants.
        spec: market sizes.
    """
    sent = jnp.arange(spec.max_noise_orders, dtype=jnp.int32) < intentions.noise_count
    slot = jax.tree.map(lambda x: x[None], intentions.slot)
    blocks = [
        _arbitrageur_row(quotes, intentions.signal, params),
        _maker_rows(intentions.quotes),
        _order_rows(slot.acts, slot, state.mid2),
        _order_rows(sent, intentions.noise, state.mid2),
    ]
    columns = {name: jnp.concatenate([block[name] for block in blocks]).astype(jnp.int32) for name in blocks[0]}
    new_ids = first_id(spec, state.time)
    owners = [Owner.ARBITRAGEUR] + [Owner.MAKER] * 4 + [Owner.SLOT] + [Owner.NOISE] * spec.max_noise_orders
    messages = Message(
        **columns,
        order_id=(new_ids + jnp.arange(spec.n_messages, dtype=jnp.int32)).at[MAKER_CANCELS].set(state.quote_ids),
        owner=jnp.array(owners, jnp.int32),
        expiry=jnp.concatenate([jnp.full(5, NEVER, jnp.int32), state.time + intentions.lifetimes]).astype(jnp.int32),
    )
    return EventTable(messages=messages, time_ms=time_ms)


def arrival_times(uniform: Array, jitter: Array, params: EnvParams) -> Array:
    """Arrival times in rank order, ms.

    Arbitrageur and maker decide at the start of the step and arrive after their latency and jitter. The slot decides
    at a uniform time, such that its message still lands within the step: its arrival is uniform on
    [latency + jitter, step], in both classes. Noise arrives uniformly.

    Args:
        uniform: [1 + M_max] in [0, 1), of the slot and the noise orders.
        jitter: [3] standard exponential draws of arbitrageur, maker and slot.
        params: market constants.

    Returns:
        [M] ms within the step.
    """
    latency = jnp.stack([params.latency_arbitrageur_ms, params.latency_maker_ms, params.latency_execution_ms])
    delay = jnp.minimum(latency + params.jitter_ms * jitter, STEP_MS)
    slot = delay[2] + uniform[0] * (STEP_MS - delay[2])
    return jnp.concatenate([delay[0][None], jnp.full(4, delay[1]), slot[None], uniform[1:] * STEP_MS])


def slot_arrival_ratio(time_ms: Array, params: EnvParams) -> Array:
    """Density of the slot's arrival time over that of a noise order, which is uniform on the step.

    Given its delay d the slot arrives uniformly on [d, STEP], so the ratio is ``E STEP / (STEP - d) 1[d <= t]`` over
    ``d = latency + jitter x`` with x standard exponential, by Gauss-Legendre quadrature in x. An arrival at the
    very end, to which delays longer than the step are cut, counts as the slot's.

    Args:
        time_ms: [...] within the step.
        params: market constants.
    """
    latency, jitter = params.latency_execution_ms, params.jitter_ms
    within = jnp.where(jitter > 0, (time_ms - latency) / jnp.maximum(jitter, 1e-6), _LONGEST)
    reach = jnp.where(time_ms >= latency, jnp.minimum(within, _LONGEST), 0.0)[..., None]
    along_nodes = (1,) * jnp.ndim(time_ms) + (-1,)
    nodes, weights = (jnp.asarray(x, jnp.float32).reshape(along_nodes) for x in (_NODES, _NODE_WEIGHTS))
    delay = latency + jitter * (reach * nodes)
    room = jnp.maximum(STEP_MS - delay, 1e-3 * STEP_MS)
    return jnp.sum(reach * weights * jnp.exp(-reach * nodes) * (STEP_MS / room), axis=-1)


def arrival_order(time_ms: Array) -> Array:
    """Rows in the order (arrival time, rank), [M]; a pairwise count of so few rows costs a tenth of a stable sort."""
    index = jnp.arange(time_ms.shape[0], dtype=jnp.int32)
    earlier = time_ms[None, :] < time_ms[:, None]
    tied = (time_ms[None, :] == time_ms[:, None]) & (index[None, :] < index[:, None])
    rank = jnp.sum(earlier | tied, axis=1, dtype=jnp.int32)
    return jnp.zeros_like(index).at[rank].set(index, unique_indices=True)


def _settle(accounts: Accounts, log: EventLog, notional: Array, report: TableReport) -> Accounts:
    """Book every fill to both owners: the takers by side, the resting owners the other way."""
    taker = log.message.owner[:, None] == jnp.arange(N_OWNERS, dtype=jnp.int32)[None, :]
    lots = jnp.sum(jnp.where(taker, (log.message.side * log.filled)[:, None], 0), axis=0, dtype=jnp.int32)
    money = jnp.sum(jnp.where(taker, (log.message.side * notional)[:, None], 0), axis=0, dtype=jnp.int32)
    bids, asks = Side.BID, Side.ASK
    return Accounts(
        cash=accounts.cash - money - report.owner_notional[bids] + report.owner_notional[asks],
        inventory=accounts.inventory + lots + report.owner_quantity[bids] - report.owner_quantity[asks],
    )


def process(
    book: Book,
    leaving: Array,
    accounts: Accounts,
    table: EventTable,
    params: EnvParams,
    book_spec: BookSpec,
) -> tuple[Book, Accounts, EventLog, Array]:
    """Remove the ``leaving`` orders and send the table to the book in the order (arrival time, rank, index).

    A new order is cut to what its owner's position limit leaves when it arrives; if nothing is left, none is sent.
    Only three owners have a limit. Arbitrageur and slot send one order a step and have none at rest when it arrives;
    the maker's two quotes follow its two cancels at once. So the position of a limited owner when its order arrives
    is that at the start of the step, plus what its cancels find traded, plus what its own orders took.

    Returns:
        The book, the accounts, what happened, and the orders [2] that left at the start.
    """
    working = locate(book, live(book) & ~leaving, table.messages.order_id[MAKER_CANCELS])
    target = jnp.full(table.time_ms.shape, NOBODY, jnp.int32).at[MAKER_CANCELS].set(working)
    order = arrival_order(table.time_ms)
    messages, target, time_ms = pack((table.messages, target, table.time_ms), n_lead=1).take(order)
    limits = position_limits(params)

    def admit(inventory: Array, message: Message) -> Array:
        room = limits[message.owner] - message.side * inventory[message.owner]
        return jnp.clip(message.quantity, 0, jnp.maximum(room, 0))

    def settle(inventory: Array, row: Row, outcome: Outcome) -> Array:
        passive = jnp.where(row.side == Side.BID, outcome.target_filled, -outcome.target_filled)
        own = row.message.owner == jnp.arange(N_OWNERS, dtype=jnp.int32)
        return inventory + jnp.where(own, row.message.side * outcome.filled + passive, 0)  # a scatter is 3 launches

    is_old = (cuda_capability() or OLDEST) < OLDEST
    kernel = None if is_old else functools.partial(match_in_one_kernel, limits=limits)
    ledger = accounts.inventory
    book, report = clear(book, leaving, messages, target, working, ledger, admit, settle, book_spec, kernel)
    outcome = report.outcome
    is_cancel = messages.kind == MessageKind.CANCEL
    log = EventLog(
        message=replace(
            messages,
            kind=_kind(is_cancel | (outcome.quantity > 0), messages.kind),
            quantity=jnp.where(is_cancel, messages.quantity, outcome.quantity),
        ),
        time_ms=time_ms,
        marketable=outcome.marketable,
        filled=outcome.filled,
        stale_maker_lots=outcome.marked,
        leaving=leaving,
        fate=report.fate,
    )
    return book, _settle(accounts, log, outcome.notional, report), log, report.removed


def shown_rows(is_shown: Array, n_rows: int) -> tuple[Array, Array]:
    """Indices of the rows under ``is_shown`` [M], in order, and a mask of the indices in use. [n_rows] each."""
    index = jnp.arange(is_shown.shape[0], dtype=jnp.int32)
    nth = running_sum(is_shown.astype(jnp.int32))
    rows = jnp.zeros(n_rows, jnp.int32).at[jnp.where(is_shown, nth - 1, n_rows)].set(index, mode="drop")
    return rows, jnp.arange(n_rows) < nth[-1]


def record_tape(log: EventLog, mid2: Array, removals: Array, value_gap: Array, spread: Array, spec: MarketSpec) -> Tape:
    """The step as the maker sees it: every order but its own, anonymous, in arrival order.

    Args:
        log: [M] rows in arrival order.
        mid2: [] twice the mid at the start of the step.
        removals: [2] orders that left at the start of the step.
        value_gap: [] ``W - mid`` after the step, ticks.
        spread: [] after the step, ticks.
        spec: market sizes.
    """
    on_tape = (log.message.kind != MessageKind.NONE) & (log.message.owner != Owner.MAKER)
    rows, shown = shown_rows(on_tape, spec.n_tape_rows)

    is_market = log.message.kind == MessageKind.MARKET
    price = jnp.where(is_market, 0, (2 * log.message.price - mid2) >> 1)
    time = jnp.clip(jnp.floor(log.time_ms * (TIME_UNITS / STEP_MS)), 0, TIME_UNITS - 1).astype(jnp.int32)
    size = jnp.clip(log.message.quantity, 0, 127)
    marks = jnp.stack([log.message.side, jnp.clip(price, -127, 127), size, log.marketable.astype(jnp.int32), time], -1)
    side, price, size, marketable, time = jnp.where(shown[:, None], marks[rows], 0).T
    return Tape(
        side=side.astype(jnp.int8),
        price_ticks=price.astype(jnp.int8),
        size_lots=size.astype(jnp.int8),
        marketable=marketable.astype(jnp.int8),
        time_256=time.astype(jnp.uint8),
        removals=jnp.clip(removals, 0, 127).astype(jnp.int8),
        value_gap_16=jnp.clip(jnp.round(value_gap * GAP_UNITS), -32767, 32767).astype(jnp.int16),
        spread_ticks=jnp.clip(spread, 0, 32767).astype(jnp.int16),
    )
