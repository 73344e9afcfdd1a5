"""The order book against the two frozen reference books and a native one: messages and environment steps per second.

    PYTHONPATH=. python experiments/benchmarks/book.py --output=experiments/benchmarks/book_cpu.json
    PYTHONPATH=. taskset -c 0 python experiments/benchmarks/book.py --capacity 64 128 --batch 1024 --step-batch \
      --engines apply table native --output=experiments/benchmarks/book_native_cpu.json

Messages: a stream of 60% limit orders (a sixth of them marketable), 30% cancels and 10% market orders, played by
``--batch`` books side by side. Every engine gives the same things back, the final books and lots and money of every
message; ours is measured twice, message by message (``apply``) and in tables of ``--table`` messages (``table``).
Environment steps: the market under random play, on our table and on either reference book. On a CPU all engines run
large batches in blocks of ``--block`` books, one after the other. All engines of a row are compiled first, then timed
in turn, ``--runs`` times over; the ratios are medians of ratios within a turn. Runs unchanged on a GPU.

The native book (native_book.cpp) is the yardstick of how far all of this is from the machine: price levels in an array,
queues of orders, one core. The system's compiler makes it, and where there is none it is left out.
"""

import argparse
import functools
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import native_book  # noqa: E402
from reference_books import naive, tidied  # noqa: E402
from reference_books.market import PeerMarket  # noqa: E402

from amarl_jax.host.provenance import provenance  # noqa: E402
from amarl_jax.lob.book import (  # noqa: E402
    BookSpec,
    Message,
    MessageKind,
    apply,
    empty_book,
    live,
    prices,
    sizes,
)
from amarl_jax.lob.table import apply_table  # noqa: E402
from amarl_jax.market.env import Actions, Market  # noqa: E402
from amarl_jax.market.params import EnvParams, MarketSpec  # noqa: E402
from amarl_jax.trees import as_arrays  # noqa: E402

N_OWNERS = 6
COLUMNS = {  # the markets of the specification: its leaner column and its default one
    "lean": (
        {"book_capacity": 64, "max_noise_orders": 12},
        {"noise_rate": 5.0, "slot_rate": 0.05, "parent_lots": 50, "max_spread_ticks": 5},
    ),
    "default": ({"book_capacity": 96, "max_noise_orders": 20}, {}),
}
ENGINES = ("apply", "table", "tidied", "naive", "native")


def mixed_stream(rng, n_books, n_messages, capacity):
    """Message columns [n_books, n_messages]; cancels name one of the last ``capacity / 2`` passive orders."""
    shape = (n_books, n_messages)
    draw = rng.random(shape)
    kind = np.where(draw < 0.6, MessageKind.LIMIT, np.where(draw < 0.9, MessageKind.CANCEL, MessageKind.MARKET))
    marketable = draw < 0.1
    side = np.where(rng.random(shape) < 0.5, 1, -1)
    offset = np.where(marketable, -rng.integers(1, 4, shape), rng.integers(1, 11, shape))
    index = np.broadcast_to(np.arange(n_messages), shape)
    rests = (kind == MessageKind.LIMIT) & ~marketable
    nth = np.maximum(np.cumsum(rests, axis=1) - rng.integers(1, capacity // 2, shape), 0)
    passive = np.argsort(~rests, axis=1, kind="stable")
    named = np.minimum(np.take_along_axis(passive, nth, axis=1), index)
    large = marketable | (kind == MessageKind.MARKET)
    return Message(
        kind=kind,
        side=side,
        price=-side * offset,
        quantity=np.where(kind == MessageKind.CANCEL, 0, rng.integers(1, np.where(large, 61, 21), shape)),
        order_id=np.where(kind == MessageKind.CANCEL, named, index),
        owner=rng.integers(0, N_OWNERS, shape),
        expiry=np.zeros(shape),
    )


def sound_streams(rng, n_books, n_messages, spec, block):
    """Mixed streams that overflow no side, which the references would not survive: drawn with some to spare, picked."""
    n_drawn = n_books + 64
    columns = mixed_stream(rng, n_drawn, n_messages, spec.capacity)
    messages = jax.tree.map(lambda x: jnp.asarray(x, jnp.int32), columns)
    books = jax.tree.map(lambda x: jnp.broadcast_to(x, (n_drawn, *x.shape)), empty_book(spec))
    counters = in_blocks(player("apply", spec, None), block)(books, messages)[0].counters
    fits = np.flatnonzero(np.asarray(counters.evicted + counters.refused) == 0)
    if not len(fits):
        raise RuntimeError(f"every stream of {n_messages} messages overflows {spec.capacity} slots")
    return jax.tree.map(lambda x: x[np.resize(fits, n_books)], messages)


def player(engine, spec, table):
    """(book, messages [E]) -> (book, lots [E], money [E]) for one book."""

    def one_by_one(step, totals):
        def play(book, messages):
            def body(book, message):
                book, report = step(book, message, spec)
                return book, totals(report)

            book, (lots, money) = jax.lax.scan(body, book, messages)
            return book, lots, money

        return play

    def in_tables(book, messages):
        tables = jax.tree.map(lambda x: x.reshape(-1, table), messages)
        book, reports = jax.lax.scan(lambda book, rows: apply_table(book, rows, spec), book, tables)
        return book, reports.outcome.filled.reshape(-1), reports.outcome.notional.reshape(-1)

    return {
        "apply": one_by_one(apply, lambda execution: (execution.filled, execution.notional)),
        "tidied": one_by_one(tidied.apply, lambda report: (report.filled, report.notional)),
        "naive": one_by_one(naive.apply, naive.traded),
        "table": in_tables,
    }[engine]


def at_rest(books):
    """(price, lots, id, owner) of every order at rest in books [E], by book and side, best first."""
    alive = np.asarray(jax.vmap(live)(books))
    columns = (jax.vmap(prices)(books), jax.vmap(sizes)(books), books.order_id, books.owner)
    return np.stack([np.asarray(column)[alive] for column in columns], axis=1).tolist()


def empty(engine, spec):
    return {"naive": naive.empty, "tidied": tidied.empty}.get(engine, empty_book)(spec)


def in_blocks(function, block):
    """``vmap``, in blocks of ``block`` lanes one after the other where there are more and a block is asked for."""

    def batched(*arguments):
        n_lanes = jax.tree.leaves(arguments)[0].shape[0]
        if block is None or n_lanes <= block:
            return jax.vmap(function)(*arguments)
        return jax.lax.map(lambda lane: function(*lane), arguments, batch_size=block)

    return jax.jit(batched)


def timed(programs, runs, slowest_s):
    """Compile all, then run all in turn. {name: {"compile": {...}, "wall": [...], "cpu": [...]}}, and last outputs."""
    clocks, outputs = {}, {}
    for name, program in programs.items():
        wall, cpu = time.perf_counter(), time.process_time()
        outputs[name] = jax.block_until_ready(program())
        compile_s = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        clocks[name] = {"first_run": compile_s, "wall": [], "cpu": []}
    for _ in range(runs):
        for name, program in programs.items():
            if clocks[name]["wall"] and min(clocks[name]["wall"]) > slowest_s:
                continue  # twice is enough for what takes that long
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(program())
            clocks[name]["wall"].append(time.perf_counter() - wall)
            clocks[name]["cpu"].append(time.process_time() - cpu)
    return clocks, outputs


def summary(clocks, n_units, unit, ours):
    """Rates, spreads and ratios to the references of one row."""
    rates = {}
    for name, clock in clocks.items():
        wall, cpu = np.array(clock["wall"]), np.array(clock["cpu"])
        rates[name] = {
            f"{unit}_per_wall_s": n_units / np.median(wall),
            f"{unit}_per_cpu_s": n_units / np.median(cpu),
            "spread_wall": float((wall.max() - wall.min()) / np.median(wall)),
            "runs": len(wall),
            "first_run": clock["first_run"],
        }
    ratios = {
        f"{mine} / {reference}": float(
            np.median([b / a for a, b in zip(clocks[mine]["cpu"], clocks[reference]["cpu"], strict=False)])
        )
        for mine in ours
        for reference in ("tidied", "naive", "native")
        if mine in clocks and reference in clocks
    }
    return {"rates": rates, "ratios_per_cpu_s": ratios}


def measure_messages(capacity, batch, options):
    """One row: every engine on the same streams."""
    spec = BookSpec(capacity=capacity, n_owners=N_OWNERS)
    n_messages = options.messages if batch <= 1024 else max(options.table, options.messages // 4)
    rng = np.random.default_rng(options.seed)
    messages = sound_streams(rng, batch, n_messages, spec, options.block)
    programs = {}
    for engine in options.engines:
        if engine == "native":
            programs[engine] = native_book.player(messages, spec)
            continue
        books = jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, *x.shape)), empty(engine, spec))
        play = in_blocks(player(engine, spec, options.table), options.block)
        programs[engine] = functools.partial(play, books, messages)
    clocks, outputs = timed(programs, options.runs, options.slowest_s)
    lots, money = (np.asarray(x) for x in outputs["table"][1:])
    for engine, (_, other_lots, other_money) in outputs.items():
        if not (np.array_equal(lots, other_lots) and np.array_equal(money, other_money)):
            raise RuntimeError(f"{engine} trades other lots or money at capacity {capacity}, batch {batch}")
    if "native" in outputs and at_rest(outputs["table"][0]) != native_book.at_rest(outputs["native"][0]):
        raise RuntimeError(f"the native book keeps other orders at capacity {capacity}, batch {batch}")
    return {
        "capacity": capacity,
        "batch": batch,
        "messages_per_book": n_messages,
        "share_filled": float((lots > 0).mean()),
        "mean_orders_at_rest": float(outputs["table"][0].count.mean()),
        "book_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(outputs["table"][0])) // batch,
        **summary(clocks, batch * n_messages, "messages", ("apply", "table")),
    }


def random_actions(key, params):
    """A joint action, uniform over what the agents may do."""
    uniform = jax.random.uniform(key, (8,))
    execution = jnp.stack([2 * uniform[0] - 1, 7 * uniform[1] - 2, 2 * uniform[2] - 1])
    offsets, sizes = uniform[3:5] * params.max_spread_ticks, uniform[5:7]
    return Actions(execution=execution, maker=jnp.concatenate([offsets, sizes]), arbitrageur=2 * uniform[7] - 1)


def episode(key, z, market, params):
    """Random play from reset to horizon: what every step gave out, and the last accounts."""

    def play(state, time):
        key_act, key_step = jax.random.split(jax.random.fold_in(key, time))
        return market.step(key_step, state, random_actions(key_act, params), params)

    start = market.reset(key, params, z)
    final, output = jax.lax.scan(play, start, jnp.arange(market.spec.horizon))
    return output, final.accounts


def measure_steps(column, batch, options):
    """One row: random play in the market on every engine; equal keys, so equal trades."""
    sizes, constants = COLUMNS[column]
    spec = MarketSpec(horizon=options.steps, **sizes)
    params = as_arrays(EnvParams(**constants))
    markets = {"table": Market(spec)}
    markets |= {name: PeerMarket(spec, engine=name) for name in ("tidied", "naive") if name in options.engines}
    keys, z = jax.random.split(jax.random.key(options.seed), batch), jnp.arange(batch) % 2
    programs = {}
    for name, market in markets.items():
        play = in_blocks(functools.partial(episode, market=market, params=params), options.block)
        programs[name] = functools.partial(play, keys, z)
    clocks, outputs = timed(programs, options.runs, options.slowest_s)
    for name, result in outputs.items():
        for ours, theirs in zip(jax.tree.leaves(outputs["table"]), jax.tree.leaves(result), strict=True):
            if not np.array_equal(ours, theirs):
                raise RuntimeError(f"the market on the {name} book plays another game")
    return {
        "market": column,
        "book_capacity": spec.book_capacity,
        "batch": batch,
        "steps": options.steps,
        **summary(clocks, batch * options.steps, "steps", ("table",)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacity", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64, 1024, 8192])
    parser.add_argument("--step-batch", type=int, nargs="*", default=[64, 1024])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--messages", type=int, default=512, help="per book; a quarter of them above 1024 books")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--table", type=int, default=64, help="messages in a table")
    parser.add_argument("--block", type=int, default=None, help="books in a block; default 64 on a CPU, else no blocks")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--slowest_s", type=float, default=20.0, help="what takes longer is timed once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    if "native" in options.engines and native_book.compiler() is None:
        print("no C++ compiler on this machine: the native book is left out", flush=True)
        options.engines.remove("native")
    options.block = options.block or (64 if jax.default_backend() == "cpu" else None)
    result = {
        "config": {name: value for name, value in vars(options).items() if name != "output"},
        "messages": [],
        "steps": [],
    }
    for capacity in options.capacity:
        for batch in options.batch:
            result["messages"].append(measure_messages(capacity, batch, options))
            report(result, options)
    for column in COLUMNS:
        for batch in options.step_batch:
            result["steps"].append(measure_steps(column, batch, options))
            report(result, options)


def report(result, options):
    """Write what there is so far and print the newest row."""
    config = {name: value for name, value in vars(options).items() if name != "output"}
    options.output.write_text(json.dumps({"provenance": provenance(config, options.seed), **result}, indent=1) + "\n")
    row = (result["steps"] or result["messages"])[-1]
    rates = {name: f"{next(iter(rate.values())):,.0f}" for name, rate in row["rates"].items()}
    ratios = {name: round(value, 2) for name, value in row["ratios_per_cpu_s"].items()}
    print({name: row[name] for name in ("market", "capacity", "batch") if name in row}, rates, ratios, flush=True)


if __name__ == "__main__":
    main()
