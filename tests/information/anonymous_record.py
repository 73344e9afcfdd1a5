"""Episodes played step by step, and what an exchange's feed shows of them: every order, nobody's name.

The market's own program plays; the book is played a second time here, message by message in plain Python, which says
what each order traded, and must end at the book that the program ended at.
"""

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.learn.rollout import step_keys
from amarl_jax.lob.book import MessageKind, live, prices, sizes
from amarl_jax.market import observe
from amarl_jax.market.env import Actions, Market, streams
from amarl_jax.types import Owner


@dataclass(frozen=True)
class Resting:
    """An order at rest at the start of a step."""

    number: int
    side: int  # +1 bid, -1 ask
    price: int  # ticks
    lots: int
    by_maker: bool


@dataclass(frozen=True)
class Arrival:
    """An order of a step that is neither the maker's nor the arbitrageur's, as it reached the book."""

    number: int
    side: int  # +1 buy, -1 sell
    price: int | None  # ticks, None for a market order
    lots: int
    time_ms: float


@dataclass(frozen=True)
class Step:
    """What is seen of one step; everything down to ``depth`` is known at its start."""

    resting: tuple[Resting, ...]
    mid2: int
    news: float  # W[t], ticks
    spread: float  # ticks
    variance: float  # ticks^2 per step
    depth: np.ndarray  # [4 L]
    left: frozenset[int]  # of the resting orders, those that left in bulk
    rows: tuple[Arrival, ...]  # in order of arrival
    traded: dict[int, int]  # lots by order, passive and aggressive, 0 left out
    rest_after: frozenset[int]
    value: float  # V[t], ticks: what W tells of it after the step


@dataclass(frozen=True)
class Truth:
    """What the record does not say; read by tests alone."""

    z: int
    direction: int
    private: float
    choices: tuple[int | str, ...]  # by step: the number of the slot's order, "silent" or "cut"
    children: tuple[int | None, ...]  # by step, the slot's order at rest at its start
    positions: tuple[int, ...]  # by step, lots of the slot at its start
    views: tuple[observe.ExecutionView, ...]  # by step, what the execution agent saw
    wanted: tuple[int, ...]  # by step, lots of the slot's order before the position limit, 0 for none


@dataclass(frozen=True)
class Record:
    """An episode: what is public, and the truth beside it."""

    steps: tuple[Step, ...]
    truth: Truth | None = None


@dataclasses.dataclass(frozen=True)
class RecordingMarket(Market):
    """The market, which shows the event log and what left in bulk to whoever called ``step_of`` in the same trace."""

    seen: list = dataclasses.field(default_factory=list, compare=False)

    def clear(self, state, slot_acts, table, params):
        cleared = super().clear(state, slot_acts, table, params)
        leaves = (state.book.expiry <= state.time) | ((state.book.owner == Owner.SLOT) & slot_acts)
        self.seen.append({"log": cleared[2], "left": live(state.book) & leaves, "removals": cleared[3]})
        return cleared


def records(keys, market, players, z, params):
    """Play ``E`` episodes to their horizon against a maker that believes the prior; a list of :class:`Record`.

    Keys are spent as :func:`amarl_jax.learn.rollout.rollouts` spends them with ``PriorBelief``: the same keys are the
    same episodes. One program per market and players; ``params`` are traced.

    Args:
        keys: [E] typed keys.
        market: whose ``spec`` and ``noise_law`` are used.
        players: memoryless or not, any three policies.
        z: [E] int32.
        params: as arrays, see :func:`amarl_jax.trees.as_arrays`.
    """
    begin, play = _programs(RecordingMarket(market.spec, market.noise_law), players)
    key_steps, carry = begin(keys, jnp.asarray(z, jnp.int32), params)
    steps = []
    for time in range(market.spec.horizon):
        carry, step = play(key_steps, jnp.int32(time), carry, params)
        steps.append(jax.tree.map(np.asarray, step))
    episodes = range(len(keys))
    return [_anonymous([jax.tree.map(lambda x, e=e: x[e], step) for step in steps], market.spec) for e in episodes]


def record(key, market, players, z, params):
    """One episode: :func:`records` of one."""
    return records(key[None], market, players, jnp.asarray([z]), params)[0]


@functools.cache
def _programs(market, players):
    def begin(key, z, params):
        key_reset, key_steps = jax.random.split(key)
        return key_steps, (market.reset(key_reset, params, z), tuple(player.init(params) for player in players))

    def play(key, time, carry, params):
        state, memories = carry
        key_env, key_maker, key_arbitrageur = step_keys(key, time)
        key_slot, key_rest = streams(key_env)
        seen = observe.views(state, jnp.asarray(params.informed_probability, jnp.float32), params, market.spec)
        views = (seen.execution, seen.maker, seen.arbitrageur)
        keys = (jax.random.clone(key_slot), key_maker, key_arbitrageur)
        acted = [
            player.act(k, memory, view, params)
            for player, k, memory, view in zip(players, keys, memories, views, strict=True)
        ]
        actions = Actions(*(decision.action for _, decision in acted))
        after, output = market.step_of(key_slot, key_rest, state, actions, params)
        shown = market.seen.pop()
        return (after, tuple(memory for memory, _ in acted)), {
            **shown,
            "before": _columns(state),
            "after": _columns(after),
            "state": state.replace(book=None, recent=None),
            "view": seen.execution,
            "slot": output.slot,
        }

    return jax.jit(jax.vmap(begin, (0, 0, None))), jax.jit(jax.vmap(play, (0, None, 0, None)))


def _columns(state):
    book = state.book
    return {
        "live": live(book),
        "number": book.order_id,
        "owner": book.owner,
        "price": prices(book),
        "lots": sizes(book),
    }


def _book(columns):
    """Live orders by side, best first: lists of [id, price, lots, owner], bids and asks."""
    names = ("number", "price", "lots", "owner")
    return [
        [[int(columns[name][side, slot]) for name in names] for slot in np.flatnonzero(columns["live"][side])]
        for side in (0, 1)
    ]


def _play_book(book, log, capacity):
    """The messages of a step, one by one, on ``book`` [bids, asks]; lots traded by order. The book is changed."""
    traded = {}
    for i in range(len(log.time_ms)):
        kind, side, number = int(log.message.kind[i]), int(log.message.side[i]), int(log.message.order_id[i])
        price, lots, owner = int(log.message.price[i]), int(log.message.quantity[i]), int(log.message.owner[i])
        if kind == MessageKind.NONE:
            continue
        if kind == MessageKind.CANCEL:
            for orders in book:
                orders[:] = [order for order in orders if order[0] != number]
            continue
        own, opposite = (book[0], book[1]) if side > 0 else (book[1], book[0])
        while lots and opposite and (kind == MessageKind.MARKET or side * (price - opposite[0][1]) >= 0):
            fill = min(lots, opposite[0][2])
            lots -= fill
            opposite[0][2] -= fill
            for taker_or_maker in (number, opposite[0][0]):
                traded[taker_or_maker] = traded.get(taker_or_maker, 0) + fill
            if opposite[0][2] == 0:
                opposite.pop(0)
        if lots and kind == MessageKind.LIMIT:
            ahead = sum(side * (order[1] - price) >= 0 for order in own)
            own.insert(ahead, [number, price, lots, owner])
    for orders in book:
        del orders[capacity:]
    return traded


def _anonymous(steps, spec):
    """A record of one episode's steps; orders are numbered anew, as they arrive, the opening ones as they were."""
    n_opening = 2 * spec.initial_levels * len(spec.initial_sizes)
    numbers = {i: i for i in range(n_opening)}
    public, choices, children, positions, wanted = [], [], [], [], []
    for step in steps:
        log, slot = step["log"], step["slot"]
        is_order = np.isin(log.message.kind, (MessageKind.LIMIT, MessageKind.MARKET, MessageKind.IMMEDIATE_OR_CANCEL))
        for i in np.flatnonzero(is_order):
            numbers[int(log.message.order_id[i])] = len(numbers)
        children.extend(numbers[order[0]] for side in _book(step["before"]) for order in side if order[3] == Owner.SLOT)
        children.extend([None] * (1 + len(public) - len(children)))
        choices.append("cut" if slot.acts else "silent")
        for i in np.flatnonzero(is_order & (log.message.owner == Owner.SLOT)):
            choices[-1] = numbers[int(log.message.order_id[i])]
        positions.append(int(step["state"].accounts.inventory[Owner.SLOT]))
        wanted.append(int(slot.lots))
        public.append(_step(step, is_order, numbers, spec))
    state = steps[0]["state"]
    truth = Truth(
        z=int(state.z),
        direction=int(state.direction),
        private=float(state.private),
        choices=tuple(choices),
        children=tuple(children),
        positions=tuple(positions),
        views=tuple(step["view"] for step in steps),
        wanted=tuple(wanted),
    )
    return Record(tuple(public), truth)


def _step(step, is_order, numbers, spec):
    book, log, state, view = _book(step["before"]), step["log"], step["state"], step["view"]
    resting = tuple(
        Resting(numbers[number], sign, price, lots, owner == Owner.MAKER)
        for sign, side in zip((1, -1), book, strict=True)
        for number, price, lots, owner in side
    )
    gone = set(step["before"]["number"][step["left"]].tolist())
    staying = [[order for order in side if order[0] not in gone] for side in book]
    assert [len(a) - len(b) for a, b in zip(book, staying, strict=True)] == step["removals"].tolist()
    traded = _play_book(staying, log, spec.book_capacity)
    assert staying == _book(step["after"]), "the book played in Python is not the market's"
    anybody = is_order & np.isin(log.message.owner, (Owner.SLOT, Owner.NOISE))
    rows = tuple(
        Arrival(
            number=numbers[int(log.message.order_id[i])],
            side=int(log.message.side[i]),
            price=int(log.message.price[i]) if log.message.kind[i] == MessageKind.LIMIT else None,
            lots=int(log.message.quantity[i]),
            time_ms=float(log.time_ms[i]),
        )
        for i in np.flatnonzero(anybody)
    )
    return Step(
        resting=resting,
        mid2=int(state.mid2),
        news=float(state.news),
        spread=float(view.public.spread),
        variance=float(state.variance),
        depth=view.public.depth,
        left=frozenset(numbers[number] for number in gone),
        rows=rows,
        traded={numbers[number]: lots for number, lots in traded.items()},
        rest_after=frozenset(numbers[order[0]] for side in staying for order in side),
        value=float(state.value),
    )
