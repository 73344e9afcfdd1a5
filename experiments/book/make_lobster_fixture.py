"""Make the synthetic LOBSTER pair of the tests: ``python experiments/book/make_lobster_fixture.py --output=DIR``.

LOBSTER data may not be redistributed. This is a random order flow through this project's own order book, written down
as LOBSTER writes it: one row per submission, cancellation, deletion and fill that changes the ten best levels of
either side, and the levels after it. Prices drift, so levels that were never seen come into view. A few hidden
executions, one cross and one trading halt are mixed in, which change no level.
"""

import argparse
from pathlib import Path

import numpy as np

from amarl_jax.lob.replay import MessageKind, replay

LIMIT, MARKET, IOC, CANCEL = list(MessageKind)[1:]
N_LEVELS, CAPACITY, TICK = 10, 1024, 100
NO_PRICE = 9_999_999_999


def order_flow(rng, n):
    """Orders around a drifting centre, a seventh of them market orders; limit orders are cancelled after a while."""
    centre = np.round(np.cumsum(rng.normal(0, 0.3, n))).astype(int)
    side = rng.choice([1, -1], n)
    away = rng.geometric(0.16, n) - 2 * (rng.random(n) < 0.04)
    orders = {
        "kind": rng.choice([LIMIT, MARKET], n, p=[0.86, 0.14]),
        "side": side,
        "price": centre - side * away,
        "quantity": rng.integers(1, 30, n) * 10,
        "order_id": 1000 + np.arange(n),
        "owner": np.zeros(n, int),
    }
    whole = rng.random(n) < 0.8
    cancels = orders | {"kind": np.full(n, CANCEL), "quantity": np.where(whole, 0, 10)}
    born = np.arange(n)
    order = np.argsort(np.concatenate([born, born + 0.5 + rng.geometric(0.005, n)]), kind="stable")
    return {name: np.concatenate([orders[name], cancels[name]])[order] for name in orders}


def atomic_events(flow, trades):
    """The flow as single changes of the book: (type, order id, size, price, direction of the resting order)."""
    fills = {}
    for price, quantity, maker, taker in trades[:, :4].tolist():
        fills.setdefault(taker, []).append((price, quantity, maker))
    resting, events = {}, []
    for kind, side, price, quantity, order_id, _ in zip(*(x.tolist() for x in flow.values()), strict=True):
        if kind == CANCEL:
            if order_id not in resting:
                continue
            left, price, side = resting[order_id]
            whole = quantity == 0 or quantity >= left
            events.append((3 if whole else 2, order_id, left if whole else quantity, price, side))
            resting[order_id] = (0 if whole else left - quantity, price, side)
        else:
            for fill_price, lots, maker in fills.get(order_id, []):
                events.append((4, maker, lots, fill_price, -side))
                resting[maker] = (resting[maker][0] - lots, fill_price, -side)
                quantity -= lots
            if kind == LIMIT and quantity:
                events.append((1, order_id, quantity, price, side))
                resting[order_id] = (quantity, price, side)
        resting = {name: order for name, order in resting.items() if order[0]}
    return np.array(events)


def levels_after(events):
    """The ten best levels after each event, from the book: [n, 2, 10, 2]."""
    kind, order_id, size, price, side = events.T
    kinds = np.array([0, LIMIT, CANCEL, CANCEL, IOC])[kind]
    messages = {
        "kind": kinds,
        "side": np.where(kind == 4, -side, side),
        "price": price,
        "quantity": size,
        "order_id": np.where(kind == 4, -np.arange(1, len(kind) + 1), order_id),
        "owner": np.zeros(len(kind), int),
    }
    result = replay(messages, CAPACITY, n_levels=N_LEVELS)
    assert not any(result.counters.values()), result.counters
    assert (result.trades[:, 2] == order_id[kind == 4]).all()
    return result.levels.astype(np.int64)


def write(folder, time, events, levels, base):
    folder.mkdir(parents=True, exist_ok=True)
    stem = "SYNTHETIC_34200000_57600000"
    there = levels[..., 1] > 0
    levels[..., 0] = np.where(there, levels[..., 0] * TICK + base, np.array([[-NO_PRICE], [NO_PRICE]]))
    book = levels[:, ::-1].swapaxes(1, 2).reshape(len(levels), -1)  # ask price, ask size, bid price, bid size
    rows = [f"{t:.6f}," + ",".join(map(str, event)) for t, event in zip(time, events.tolist(), strict=True)]
    (folder / f"{stem}_message_{N_LEVELS}.csv").write_text("\n".join(rows) + "\n")
    book_rows = [",".join(map(str, row)) for row in book.tolist()]
    (folder / f"{stem}_orderbook_{N_LEVELS}.csv").write_text("\n".join(book_rows) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--warm_up", type=int, default=1500, help="events before the first row")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    n, base = 2 * (arguments.rows + arguments.warm_up), 95_000  # $9.50 at tick 0
    flow = order_flow(rng, n)
    trades = replay(flow, CAPACITY).trades
    events = atomic_events(flow, trades)
    levels = levels_after(events)
    seen = np.append(True, (np.diff(levels, axis=0) != 0).any((1, 2, 3)))
    first = arguments.warm_up
    chosen = (first + np.flatnonzero(seen[first:]))[: arguments.rows - 7]
    events, levels = events[chosen], levels[chosen]
    events[:, 3] = events[:, 3] * TICK + base
    at = np.sort(rng.choice(np.arange(20, len(events) - 20), 7, replace=False))
    bid = levels[at - 1, 0, 0, 0] * TICK + base  # where an order that was not hidden would have traded
    aside = [(5, 0, 120, 0, 1), (5, 0, 30, 50, 1), (7, 0, 0, -1, -1), (7, 0, 0, 0, -1), (7, 0, 0, 1, -1)]
    aside = np.array([*aside, (6, -1, 900, 0, 1), (5, 0, 10, 0, 1)])
    aside[:, 3] += np.where(aside[:, 0] == 7, 0, bid)
    events = np.insert(events, at, aside, axis=0)
    levels = np.insert(levels, at, levels[at - 1], axis=0)
    time = 34_200 + np.cumsum(rng.exponential(0.25, len(events)))
    write(arguments.output, time, events, levels, base)


if __name__ == "__main__":
    main()
