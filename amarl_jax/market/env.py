"""The market as a pure environment: ``reset(key, params, z)`` and ``step(key, state, actions, params)``.

One step, in this order: everyone decides on the state at the end of the last step; expired orders, and the slot's child
if the slot acts again, are removed in bulk; messages reach the book in order of latency; value and news move. The
horizon is fixed: an episode that ended with the parent order would leak ``z`` by its length.
"""

import dataclasses
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.draws import standard_normal
from amarl_jax.lob import book as lob
from amarl_jax.market import events, fundamental, noise
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.record import StepRecord, record_step
from amarl_jax.market.recorded_noise import Planned, RecordedNoise, StepFlow, first_step
from amarl_jax.market.slot import SlotDecision, as_sent, decode_action, noise_decision
from amarl_jax.market.state import Accounts, EnvState, TapeEvents
from amarl_jax.trees import pack, select
from amarl_jax.types import HALF_TICK, N_OWNERS, Array, Owner, Tape

MAX_PRICE_TICKS = 1 << 13  # with it, an episode's cash stays inside int32: see tests/market/test_accounts.py
MAX_LOTS = 1 << 10
VARIANCE_DECAY = 0.9  # per step, of the realised variance shown to the execution agent


@struct.dataclass
class Actions:
    """Joint action of one step, in public units."""

    execution: Array  # [3] size_frac in [-1, 1], limit_offset ticks, order_type_logit
    maker: Array  # [4] bid and ask offset in ticks from mid, bid and ask size as fractions of max_quote_lots
    arbitrageur: Array  # [] in [-1, 1]


@struct.dataclass
class StepOutput:
    """Market terms of one step; rewards are composed from them after the rollout."""

    cash_change: Array  # [O] int32, tick-lots
    inventory: Array  # [O] int32 lots, after the step's fills
    inventory_change: Array  # [O] int32, lots
    value: Array  # [] V[t] ticks, at the fills
    value_next: Array  # [] V[t+1] ticks
    mid2: Array  # [] int32, twice the mid at the start of the step
    mid2_next: Array  # [] int32, after it
    tape: Tape
    slot: SlotDecision  # what the slot sent, in either class
    quotes: events.MakerQuotes  # what the maker decided
    traded_lots: Array  # [] int32, bought and sold by all aggressors
    arbitrageur_traded: Array  # [] bool
    snipe_lots: Array  # [] int32, arbitrageur's fills against maker quotes of an earlier step
    n_messages: Array  # [] int32, messages that reached the book
    resting_orders: Array  # [2] int32, orders at rest after the step, bid and ask side
    record: StepRecord | None = None  # what an order-level feed shows, where the market keeps records
    slot_row: Array | None = None  # [] int32, row of the record that the slot sent, -1 for none


class StepDraws(NamedTuple):
    """Uniform numbers of one step, from one draw: each further call of jax.random adds to compile time."""

    value: Array  # [2] of the move of V
    n_noise: Array  # [] of the number of noise orders
    marks: Array  # [4, M_max] of the noise orders' side, size, offset and type
    lifetimes: Array  # [1 + M_max] of the slot's order and the noise orders
    jitter: Array  # [3] of the agents' latencies
    arrival: Array  # [1 + M_max] of the slot and the noise orders in the step


def draw_step(key: Array, max_noise_orders: int) -> StepDraws:
    """Draw the uniform numbers of a step other than the slot's."""
    n_columns = 1 + max_noise_orders
    uniform = jax.random.uniform(key, (2 + 6 * n_columns,), jnp.float32)
    flow = uniform[2:].reshape(6, n_columns)
    return StepDraws(uniform[:2], flow[0, 0], flow[:4, 1:], flow[4], flow[1:4, 0], flow[5])


def streams(key: Array) -> Array:
    """Two keys from the key of a step: the slot's, whichever rule decides for it, and that of all else. [2]."""
    return jax.random.split(key)


def decode_quotes(action: Array, mid2: Array, params: EnvParams) -> events.MakerQuotes:
    """Maker action to quotes: offsets clipped to [0, max_spread], at least one lot each, ``ask >= bid + 1``."""
    offset = jnp.clip(jnp.round(action[:2]), 0, params.max_spread_ticks).astype(jnp.int32)
    bid = events.limit_price(jnp.int32(1), offset[0], mid2)
    ask = jnp.maximum(events.limit_price(jnp.int32(-1), offset[1], mid2), bid + 1)
    lots = jnp.round(jnp.clip(action[2:], 0.0, 1.0) * params.max_quote_lots).astype(jnp.int32)
    return events.MakerQuotes(price=jnp.stack([bid, ask]), lots=jnp.maximum(lots, 1))


def _append_events(recent: TapeEvents, tape: Tape) -> TapeEvents:
    """Shift the step's events into the window of recent ones."""
    n_new = jnp.sum(tape.side != 0, dtype=jnp.int32)
    rows = n_new + jnp.arange(recent.side.shape[0], dtype=jnp.int32)
    new = TapeEvents(**{name: getattr(tape, name) for name in TapeEvents.__dataclass_fields__})
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), pack(recent, n_lead=1), pack(new, n_lead=1))
    return both.take(rows)


@dataclasses.dataclass(frozen=True)
class Market:
    """The environment: static sizes, the noise traders' law, and two pure functions.

    Attributes:
        spec: market sizes.
        noise_law: of the noise traders' orders.
        keeps_records: whether a step's output holds its order-level record.
    """

    spec: MarketSpec
    noise_law: noise.NoiseLaw = noise.orders
    keeps_records: bool = False

    @property
    def book_spec(self) -> lob.BookSpec:
        """Sizes of the matching engine."""
        return lob.BookSpec(
            capacity=self.spec.book_capacity, n_owners=N_OWNERS, max_price=MAX_PRICE_TICKS, max_quantity=MAX_LOTS
        )

    @functools.cached_property
    def opening_book(self) -> lob.Book:
        """The provider's ladder, one tick per level from mid, sizes in the stated order; a constant of the program.

        Orders are numbered as they arrive: for each size of each level a bid, then an ask. Host arithmetic, so that
        it can be built while tracing.
        """
        sizes, capacity = self.spec.initial_sizes, self.spec.book_capacity
        n_orders = self.spec.initial_levels * len(sizes)
        lots = np.pad(np.tile(sizes, self.spec.initial_levels), (0, capacity - n_orders))
        rank = np.arange(capacity)
        rows = {
            "key": np.where(rank < n_orders, 1 + rank // len(sizes), 0),
            "cumulative": np.cumsum(lots),
            "order_id": np.where(rank < n_orders, 2 * rank + np.array([[0], [1]]), 0),
            "owner": np.where(rank < n_orders, Owner.PROVIDER, 0),
            "expiry": np.where(rank < n_orders, lob.NEVER, 0),
        }
        blank = jax.eval_shape(lambda: lob.empty_book(self.book_spec))
        return dataclasses.replace(
            jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), blank),
            **{name: np.broadcast_to(row, (2, capacity)).astype(np.int32) for name, row in rows.items()},
            count=np.full(2, n_orders, np.int32),
        )

    def reset(self, key: Array, params: EnvParams, z: Array) -> EnvState:
        """Open a market.

        Args:
            key: typed key.
            params: market constants.
            z: [] int32, 0 or 1; the learner assigns it, stratified over environments.
        """
        chex.assert_rank(z, 0)
        recorded = None
        if isinstance(self.noise_law, RecordedNoise):
            key, key_window = jax.random.split(key)
            recorded = self._open_window(key_window, self.noise_law, params)
        uniform = jax.random.uniform(key, (3,), jnp.float32)
        window = jnp.zeros(self.spec.n_tape_events, jnp.int8)
        return EnvState(
            time=jnp.int32(0),
            book=jax.tree.map(jnp.asarray, self.opening_book),
            accounts=events.empty_accounts(),
            z=z.astype(jnp.int32),
            direction=fundamental.draw_direction(uniform[0]),
            private=standard_normal(uniform[1:])[0],
            value=jnp.float32(0.0),
            news=jnp.float32(0.0),
            mid2=jnp.int32(0),
            quote_mid2=jnp.int32(0),
            quote_ids=jnp.full(2, -1, jnp.int32),
            variance=jnp.float32(0.0),
            arbitrageur_traded=jnp.bool_(False),
            recent=TapeEvents(window, window, window, window, window.astype(jnp.uint8)),
            size_cdf=noise.size_distribution(params, self.spec.max_order_size),
            noise_cut=jnp.int32(0),
            window=None if recorded is None else recorded[0],
            planned=None if recorded is None else recorded[1],
        )

    def _open_window(self, key: Array, law: RecordedNoise, params: EnvParams) -> tuple[Array, Planned]:
        """First step of the episode in the recording, and what the slot does in it at z = 0."""
        if params.windows is None:
            raise ValueError("EnvParams.windows is None: a recorded flow needs the windows to play, as windows_of says")
        uniform = jax.random.uniform(key, (3,), jnp.float32)
        window = first_step(uniform[0], params.windows[0])
        return window, law.plan(uniform[1:], window, params)

    def step(self, key: Array, state: EnvState, actions: Actions, params: EnvParams) -> tuple[EnvState, StepOutput]:
        """Play one minute: :meth:`step_of` with the :func:`streams` of a typed key."""
        key_slot, key_rest = streams(key)
        return self.step_of(key_slot, key_rest, state, actions, params)

    def step_of(
        self, key_slot: Array, key_rest: Array, state: EnvState, actions: Actions, params: EnvParams
    ) -> tuple[EnvState, StepOutput]:
        """Play one minute.

        Args:
            key_slot: typed, drives the slot at ``z = 0``; the rule that decides at ``z = 1`` may use it too.
            key_rest: typed, drives all else.
            state: the market.
            actions: joint action; at ``z = 0`` the execution action is ignored.
            params: market constants.

        Returns:
            The market after the step and the step's market terms.
        """
        chex.assert_shape([actions.execution, actions.maker, actions.arbitrageur], [(3,), (4,), ()])
        p_buy = noise.buy_probability(state.news, state.mid2, params)
        decision = select(
            state.z == 1,
            decode_action(actions.execution, state.direction, self.spec),
            noise_decision(key_slot, p_buy, state.size_cdf, params, self.spec, self.noise_law)
            if state.planned is None
            else state.planned.decision,
        )
        decision = as_sent(decision)
        draws = draw_step(key_rest, self.spec.max_noise_orders)
        intentions, time_ms, cut = self._decide(draws, state, actions, decision, p_buy, params)
        table = events.build_table(state, self.quotes(state.book), intentions, time_ms, params, self.spec)
        book, accounts, log, removals = self.clear(state, decision.acts, table, params)
        mid2, spread = self._mid2_and_spread(book, state.mid2)
        after = state.replace(
            time=state.time + 1,
            book=book,
            accounts=accounts,
            value=fundamental.step_value(standard_normal(draws.value)[0], state.value, state.direction, params),
            news=fundamental.step_news(state.news, state.value, params),
            mid2=mid2,
            quote_mid2=state.mid2,
            quote_ids=table.messages.order_id[events.MAKER_QUOTES],
            noise_cut=state.noise_cut + cut,
        )
        if isinstance(self.noise_law, RecordedNoise):
            assert state.window is not None, "reset opens a window"
            coming = self.noise_law.plan(draws.marks[:2, 0], state.window + after.time, params)
            after = after.replace(planned=coming)
        return self._observe_step(state, after, log, intentions, removals, spread)

    def _decide(
        self,
        draws: StepDraws,
        state: EnvState,
        actions: Actions,
        decision: SlotDecision,
        p_buy: Array,
        params: EnvParams,
    ) -> tuple[events.Intentions, Array, Array]:
        """Everyone's orders with their arrival times [M], and the number of noise orders cut off by the bound."""
        flow, own_lifetime = self._noise_of_step(draws, state, p_buy, params)
        intentions = events.Intentions(
            signal=actions.arbitrageur,
            quotes=decode_quotes(actions.maker, state.mid2, params),
            slot=decision,
            noise=flow.orders,
            noise_count=flow.n_sent,
            lifetimes=jnp.concatenate([own_lifetime[None], flow.lifetimes]),
        )
        jitter, arrival = -jnp.log1p(-draws.jitter), jnp.concatenate([draws.arrival[:1], flow.time])
        return intentions, events.arrival_times(arrival, jitter, params), flow.cut

    def _noise_of_step(
        self, draws: StepDraws, state: EnvState, p_buy: Array, params: EnvParams
    ) -> tuple[StepFlow, Array]:
        """The noise traders' orders, drawn or as recorded, and the lifetime of the slot's order: [] int32 steps."""
        lifetimes = noise.lifetimes(draws.lifetimes, params)
        if isinstance(self.noise_law, RecordedNoise):
            assert state.window is not None, "reset opens a window"
            flow = self.noise_law.flow(state.window + state.time, state.planned, self.spec)
            recorded = self.noise_law.lifetime(draws.lifetimes[0])
            return flow, jnp.where(recorded > 0, recorded, lifetimes[0])
        count, cut = noise.bounded_count(draws.n_noise, params.noise_rate, self.spec.max_noise_orders)
        orders = self.noise_law(draws.marks, p_buy, state.size_cdf, params, self.spec)
        return StepFlow(orders, count, cut, lifetimes[1:], draws.arrival[1:]), lifetimes[0]

    def quotes(self, book: lob.Book) -> tuple[Array, Array]:
        """Best bid and ask [2] ticks and whether they exist [2]; an engine implements this, `resting` and `clear`."""
        return lob.best_quotes(book)

    def resting(self, book: lob.Book) -> Array:
        """Orders at rest by side, [2]."""
        return book.count

    def clear(
        self, state: EnvState, slot_acts: Array, table: events.EventTable, params: EnvParams
    ) -> tuple[lob.Book, Accounts, events.EventLog, Array]:
        """Remove expired orders and a replaced child in bulk, count them [2] for the tape, then play the table."""
        due = state.book.expiry <= state.time
        replaced = (state.book.owner == Owner.SLOT) & slot_acts
        leaving = lob.live(state.book) & (due | replaced)
        return events.process(state.book, leaving, state.accounts, table, params, self.book_spec)

    def _mid2_and_spread(self, book: lob.Book, last_mid2: Array) -> tuple[Array, Array]:
        """Twice the mid, and the spread; the last mid and 0 while a side is empty. [] int32 ticks each."""
        price, exists = self.quotes(book)
        both = jnp.all(exists)
        return jnp.where(both, price[0] + price[1], last_mid2), jnp.where(both, price[1] - price[0], 0)

    def _observe_step(
        self,
        before: EnvState,
        after: EnvState,
        log: events.EventLog,
        intentions: events.Intentions,
        removals: Array,
        spread: Array,
    ) -> tuple[EnvState, StepOutput]:
        """The tape and the market terms of a step that has been played."""
        tape = events.record_tape(log, before.mid2, removals, after.news - HALF_TICK * after.mid2, spread, self.spec)
        by_arbitrageur = log.message.owner == Owner.ARBITRAGEUR
        arbitrageur_traded = jnp.any(by_arbitrageur & (log.filled > 0))
        move = HALF_TICK * (after.mid2 - before.mid2)
        record, slot_row = record_step(before, log, self.spec) if self.keeps_records else (None, None)
        after = after.replace(
            variance=VARIANCE_DECAY * before.variance + (1 - VARIANCE_DECAY) * move**2,
            arbitrageur_traded=arbitrageur_traded,
            recent=_append_events(before.recent, tape),
        )
        return after, StepOutput(
            cash_change=after.accounts.cash - before.accounts.cash,
            inventory=after.accounts.inventory,
            inventory_change=after.accounts.inventory - before.accounts.inventory,
            value=before.value,
            value_next=after.value,
            mid2=before.mid2,
            mid2_next=after.mid2,
            tape=tape,
            slot=intentions.slot,
            quotes=intentions.quotes,
            traded_lots=jnp.sum(log.filled, dtype=jnp.int32),
            arbitrageur_traded=arbitrageur_traded,
            snipe_lots=jnp.sum(jnp.where(by_arbitrageur, log.stale_maker_lots, 0), dtype=jnp.int32),
            n_messages=jnp.sum(log.message.kind != lob.MessageKind.NONE, dtype=jnp.int32),
            resting_orders=self.resting(after.book),
            record=record,
            slot_row=slot_row,
        )
