"""Tables and the growth figure of the order book benchmark, from its result files.

    PYTHONPATH=. python experiments/benchmarks/book_report.py cpu

reads book_cpu.json (messages), book_steps_cpu.json and, where there are such, book_large_cpu.json (more rows of
messages), book_native_cpu.json (beside the native book) and book_growth_cpu.json beside itself and writes book_cpu.md
and book_growth_cpu.png.
"""

import itertools
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from amarl_jax.evaluation.markdown import programs

HERE = Path(__file__).resolve().parent
ENGINES = {"apply": "one by one", "table": "as a table"}  # how messages are matched
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
LINES = tuple(zip(COLOURS, "osD^v", strict=True))  # colour and marker of a size


def rate(row, engine, unit):
    """Units per CPU-second and the spread over the runs, as a cell."""
    measured = row["rates"].get(engine)
    return f"{measured[f'{unit}_per_cpu_s']:,.0f} (± {measured['spread_wall'] / 2:.0%})" if measured else ""


def table(rows, unit, keys, engines):
    """A Markdown table of rates and ratios."""
    ratios = [name for name in rows[0]["ratios_per_cpu_s"] if name.split(" / ")[0] in engines]
    lines = [
        "| " + " | ".join([*keys, *engines, *ratios]) + " |",
        "|" + "---|" * (len(keys) + len(engines) + len(ratios)),
    ]
    for row in rows:
        cells = [str(row[key]) for key in keys] + [rate(row, engine, unit) for engine in engines]
        cells += [f"{row['ratios_per_cpu_s'].get(name, float('nan')):.2f}" for name in ratios]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compile_line(rows):
    """First runs, compilation included, of the widest batch of messages."""
    first = {name: rate["first_run"]["cpu_s"] for name, rate in rows[0]["rates"].items()}
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in first.items())


def growth_figure(rows, path):
    """Messages per second against batch, and cost of a message against capacity, one line per engine and size."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    capacities, batches = sorted({row["capacity"] for row in rows}), sorted({row["batch"] for row in rows})
    for (colour, mark), capacity in zip(itertools.cycle(LINES), capacities, strict=False):
        chosen = sorted((row for row in rows if row["capacity"] == capacity), key=lambda row: row["batch"])
        for engine, style in (("apply", "-"), ("table", "--")):
            rates = [row["rates"][engine]["messages_per_wall_s"] for row in chosen]
            left.plot(
                [row["batch"] for row in chosen],
                rates,
                style + mark,
                color=colour,
                ms=4,
                label=f"{ENGINES[engine]}, {capacity} orders a side",
            )
    left.set(xscale="log", yscale="log", xlabel="books side by side", ylabel="messages per second (wall clock)")
    for (colour, mark), batch in zip(
        itertools.cycle(LINES), [b for b in batches if b in (1, 256, 16384)], strict=False
    ):
        chosen = sorted((row for row in rows if row["batch"] == batch), key=lambda row: row["capacity"])
        for engine, style in (("apply", "-"), ("table", "--")):
            cost = [1e6 / row["rates"][engine]["messages_per_cpu_s"] for row in chosen]
            right.plot(
                [row["capacity"] for row in chosen],
                cost,
                style + mark,
                color=colour,
                ms=4,
                label=f"{ENGINES[engine]}, {batch:,} book{'s' * (batch > 1)}",
            )
    right.set(
        xscale="log",
        yscale="log",
        xlabel="orders a side; memory of a book",
        ylabel="CPU time per message, microseconds",
    )
    size = {row["capacity"]: row["book_bytes"] / 1e3 for row in rows}
    right.set_xticks(capacities, [f"{n}\n{size[n]:.1f} kB" for n in capacities])
    right.minorticks_off()
    right.yaxis.set_major_formatter("{x:g}")
    for axis in (left, right):
        axis.legend(fontsize=7, ncol=2, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=160)


def growth_line(rows):
    """How the cost of a message grows over the capacities, and how the rate grows over the batches."""
    capacities, batches = sorted({row["capacity"] for row in rows}), sorted({row["batch"] for row in rows})
    rates = {(row["capacity"], row["batch"]): row["rates"]["table"]["messages_per_cpu_s"] for row in rows}
    low, high = capacities[0], capacities[-1]
    costs = ", ".join(f"{rates[low, batch] / rates[high, batch]:.1f} ({batch})" for batch in batches)
    gains = ", ".join(f"{rates[n, batches[-1]] / rates[n, 1]:.1f} ({n})" for n in capacities)
    return (
        f"From {low} to {high} orders a side, {high / low:g} times as many, a message of `table` costs so many times "
        f"as much CPU, by batch: {costs}. From 1 book to {batches[-1]:,} the rate per CPU-second grows by, by "
        f"capacity: {gains}."
    )


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    bars = json.loads((HERE / f"book_{device}.json").read_text())
    steps = json.loads((HERE / f"book_steps_{device}.json").read_text())
    growth_file = HERE / f"book_growth_{device}.json"
    growth = json.loads(growth_file.read_text())["messages"] if growth_file.exists() else []
    large_file = HERE / f"book_large_{device}.json"
    messages = bars["messages"] + (json.loads(large_file.read_text())["messages"] if large_file.exists() else [])
    messages.sort(key=lambda row: (row["capacity"], row["batch"]))
    engines = ("apply", "table", "tidied", "naive")
    machine = bars["provenance"]["hardware"]
    source, settings = programs([bars["provenance"]["commit"]]), bars["provenance"]["config"]
    bytes_per_book = {row["capacity"]: row["book_bytes"] for row in messages + growth}
    text = f"""# The order book beside two reference books

Written by `python experiments/benchmarks/book_report.py {device}` from `book_{device}.json` (commit {source})
and the files named below. Machine: {machine["processor"]}, {machine["cores"]} cores, load {machine["load"]}.
Rates are per CPU-second, with half the spread of the runs; ratios are medians of the ratios within a turn, above 1
where ours is faster.

Messages ({settings["messages"]} per book; `table` takes {settings["table"]} at a time):

{table(messages, "messages", ("capacity", "batch"), engines)}

Environment steps under random play (`book_steps_{device}.json`; capacity 64 is the lean market of the specification,
96 the default one):

{table(steps["steps"], "steps", ("book_capacity", "batch"), ("table", "tidied", "naive"))}

CPU-seconds of the first run of the first row, compilation included: {compile_line(bars["messages"])}.

Bytes per book by capacity: {", ".join(f"{n}: {size:,}" for n, size in sorted(bytes_per_book.items()))}.

"""
    native_file = HERE / f"book_native_{device}.json"
    if native_file.exists():
        native = json.loads(native_file.read_text())
        load = native["provenance"]["hardware"]["load"]
        rows = table(native["messages"], "messages", ("capacity", "batch"), ("apply", "table", "native"))
        text += (
            f"\n`{native_file.name}`, beside a native book of one core (native_book.cpp), load {load}:\n\n{rows}\n\n"
        )
    if growth:
        text += f"\n`{growth_file.name}`:\n\n![growth](book_growth_{device}.png)\n\n{growth_line(growth)}\n"
        growth_figure(growth, HERE / f"book_growth_{device}.png")
    (HERE / f"book_{device}.md").write_text(text)


if __name__ == "__main__":
    main()
