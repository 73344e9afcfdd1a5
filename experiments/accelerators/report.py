"""The tables of compiled.json, with what the paper model makes of it.

python experiments/accelerators/report.py > experiments/accelerators/README.md
"""

import json
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

import hlo  # noqa: E402
import model  # noqa: E402
from programs import ATTENTION, PROGRAMS  # noqa: E402

from amarl_jax.evaluation.markdown import machine, programs, table  # noqa: E402
from amarl_jax.learn.cost import PARTS  # noqa: E402

INTRODUCTION = """# What the programs are on accelerators that are not there

Compiled ahead of time on a CPU, for an H100 and for a TPU v5e, by their own compilers: real code, exact schedules, and
nothing was run on either. Products are those of cuBLAS: without a card nothing can be tuned, so Triton's are off
(`targets.py`), and on a card XLA may fuse some of them. Written by `python experiments/accelerators/report.py` from
`compiled.json`, which `python experiments/accelerators/compile.py --venvs=FOLDER` writes; `run.sh` measures where there
is a device, and `fit.py` has two constants out of that: what a launch takes with its share of graphs, the bandwidth.
"""
COMPARISON = """## Before and after

Before is commit {commits}, in `before.json`, which the same command wrote; estimates are those of the model below. It
counted products in TensorFloat-32, where a run has float32; of what is counted after, that changes no launch. At
commit 6dadac1 an update took 1.57 million launches; what reads the tape had become better, and longer, since. For a TPU
nothing was counted before.
"""
PLAY_GOAL, UPDATE_GOAL = (
    200,
    700_000,
)  # launches of a step of play in one graph, and of an update, default configuration
CASES = ("slow", "middle", "fast")  # constants of the model
TRAINED = 10_000_000  # steps, of the goals for a device
MEMORY = 0.9 * 80e9  # bytes of an H100 for lanes
LEFT = """\
What is left: playing leads, with policies, messages and orders of a step, and the belief's decoding, about a dozen
kernels a layer of it; of what reads the tape only gradients are left. The gradient of the predictor keeps a 64 by 64
matrix for every step of every episode it is taken of, 6 MB an episode; with what the filter keeps likewise, and with
four microbatches of the belief at a time, an update needs more scratch than it did, so fewer lanes fit a card. The
kernels written for this (`amarl_jax/nets/recurrent_kernels.py`, `amarl_jax/market/matching_kernel.py`) count as one
launch each, whatever they take: the model sees their bytes, not their steps.
"""
FILES_TEXT = """## H100: launches by the file that asks for them

Of the default configuration; of a fusion, the file of its result, of a copy that XLA adds, none.

{table}

Matching a step's messages is one kernel. Merging the step's orders into the book and closing its gaps are not, and have
been left undone: all that concerns the book is {play:.0%} of a step of random play, which has no networks and meets its
goal, but {book:.0%} of an update's launches, so one kernel for all of it would save less than that.
While episodes are played they are stored step by step, and at the end transposed to one episode after the other, in one
launch for each kind of number. That reads and writes at most {transposed:.1f} of the {moved:.0f} GiB that play moves:
storing them by step to the end would save no more, and change the axes of everything that reads them.
"""
CPU_TEXT = """## What it costs on a CPU

CPU-seconds of the debug update, before ({before}) and after ({after}), the middle of {repeats} processes each, which
took turns; other programs were running, and processes of one side differ by up to {spread:.0%}, so that 5% more, which
the goal allows, would not be seen for certain (`python experiments/accelerators/cpu.py`).

{table}
"""
GROUPS = {  # of files, by the beginning of their paths; the first that fits
    "the book and the messages to it": ("lob/", "market/events.py", "market/matching_kernel.py"),
    "the rest of the market": ("market/",),
    "networks and policies": ("nets/", "policies/"),
    "rollouts and learning": ("learn/",),
    "other files": ("",),
}
ATTENTION_TEXT = """## The belief's attention in other ways

Alone, for an H100. Learning: the gradient of 16 episodes of the default configuration, in blocks of a window as the
program has it, or by `jax.nn.dot_product_attention` with a local window in float32. Playing: a rollout of 128
environments that attends to a ring of keys and values, the whole of it as the program has it, or in four scans of which
each reads what is written by its end. Steps from 200 on read all of it in either.

Neither other way is taken. The library's launches and moves more than the blocks; its cuDNN form takes half precision
only, while the belief computes in float32, and is not lowered where cuDNN is not installed. Four scans move less of one
part of an update whose time is launches, and compile the whole step of play four times.
"""
ESTIMATE = """## On paper: an estimate

Launches times what a launch takes, plus bytes over the bandwidth, plus products over the rate of float32, simply added;
nobody has measured the constants here (`model.py`: {constants}; {bandwidth:.1f} TB/s, {flops:.0f} TFLOP/s). Bytes are
at most what is moved, for the caches are left out.
"""


LOOPS = """\
Loops count as often as they run. One in each program, of the incomplete beta function behind the law of order sizes,
runs as long as its argument wants and counts as one pass.
"""
GOALS_TEXT = """\
What that makes of the goals for a device. Lanes side by side share their launches and nothing else, and as many are
taken at once as 72 GB hold; the inner steps of the project's own kernels are in no number here.
"""


def said(name):
    """What a program is, in words."""
    program = PROGRAMS[name]
    size = f", {program.n_envs} environments" if program.n_envs else ""
    return f"{program.kind}, `{program.config.removeprefix('configs/')}`{size}"


def mib(n_bytes):
    return f"{n_bytes / 2**20:,.1f}"


def compiling(rows):
    """What every target has: seconds, memory, collectives."""
    header = ["program", "target", "compiles", "CPU s", "scratch, MiB", "output, MiB", "collectives", "commit"]
    cells = []
    for key, row in rows.items():
        (target, name), commit = key.split(), programs([row["provenance"]["commit"]])
        if "failed" in row:
            cells.append([said(name), target, f"no: {row['failed'][:120]}", "", "", "", "", commit])
            continue
        sizes = row["bytes"]
        numbers = [
            f"{row['seconds']['cpu']:.0f}",
            mib(sizes["temp"]),
            mib(sizes["output"]),
            str(row["collectives"]),
            commit,
        ]
        cells.append([said(name), target, "yes", *numbers])
    return table(header, cells)


def launches(rows):
    """Launches of each part, of programs that have a schedule."""
    header = ["program", "part", "launches", "in CUDA graphs", "graphs", "bare", "GiB moved, at most"]
    cells = []
    for key, row in rows.items():
        parts = [(PARTS[part], counts) for part, counts in row["parts"].items()]
        whole = {
            kind: sum(counts[kind] for _, counts in parts) for kind in ("launches", "nodes", "graphs", "bare", "bytes")
        }
        for part, counts in [*sorted(parts, key=lambda pair: -pair[1]["launches"]), ("all", whole)]:
            numbers = [f"{counts[kind]:,.0f}" for kind in ("launches", "nodes", "graphs", "bare")]
            cells.append([said(key.split()[1]), part, *numbers, f"{counts['bytes'] / 2**30:,.2f}"])
        steps = row["steps_in_an_environment"]
        by_step = [f"{whole[kind] / steps:,.0f}" for kind in ("launches", "nodes", "graphs", "bare")]
        cells.append([said(key.split()[1]), "all, per environment step", *by_step, ""])
    return table(header, cells)


def compared(rows, earlier):
    """Launches of each part before and after, of programs that were counted twice, and of the estimate."""
    header = ["program", "part", "launches before", "after", "of them bare", "by the model before", "after"]
    cells = []
    for key in [key for key in rows if "parts" in earlier.get(key, {})]:
        both, name = (earlier[key]["parts"], rows[key]["parts"]), said(key.split()[1])
        rates = [f"{model.steps_per_second(row[key]) / 1e3:,.0f} k/s" for row in (earlier, rows)]
        for part in sorted(both[0].keys() | both[1].keys(), key=lambda part: -launches_of(both[0], part)):
            numbers = [f"{launches_of(parts, part):,.0f}" for parts in both]
            cells.append([name, PARTS[part], *numbers, f"{launches_of(both[1], part, 'bare'):,.0f}", "", ""])
        totals = [sum(launches_of(parts, part) for part in parts) for parts in both]
        bare = sum(launches_of(both[1], part, "bare") for part in both[1])
        cells.append([name, "all", *(f"{total:,.0f}" for total in totals), f"{bare:,.0f}", *rates])
        steps = rows[key]["steps_in_an_environment"]
        cells.append([name, "all, per environment step", *(f"{total / steps:,.0f}" for total in totals), "", "", ""])
    return table(header, cells)


def goals(rows):
    """The goals in the default configuration, and what was counted."""
    cells = []
    if "parts" in (play := rows.get("h100 play_default", {})):
        parts, steps = play["parts"], play["steps_in_an_environment"]
        counts = [
            sum(launches_of(parts, part, kind) for part in parts) / steps for kind in ("launches", "graphs", "bare")
        ]
        found = f"{counts[0]:,.0f} launches, {counts[1]:,.1f} graphs, {counts[2]:,.1f} bare"
        met = counts[0] <= PLAY_GOAL and round(counts[1]) <= 1 and round(counts[2]) == 0
        cells.append(["a step of play", f"at most {PLAY_GOAL} launches, one graph", found, "yes" if met else "no"])
    if "parts" in (update := rows.get("h100 update_default", {})):
        total = sum(launches_of(update["parts"], part) for part in update["parts"])
        met = "yes" if total <= UPDATE_GOAL else "no"
        cells.append(["an update", f"at most {UPDATE_GOAL:,} launches", f"{total:,.0f}", met])
    return table(["goal", "wanted", "counted", "met"], cells)


def goals_on_paper(rows):
    """What the model says of the goals for a device, from slow to fast constants."""
    cells = []
    if "parts" in (play := rows.get("h100 play_default", {})):
        rates = [model.steps_per_second(play, case) / 1e6 for case in CASES]
        cells.append(["random play, 4,096 environments, a second", "5 million steps", *(f"{x:.1f} M" for x in rates)])
    if "parts" in (update := rows.get("h100 update_default", {})):
        n_updates = TRAINED / update["env_steps"]
        seconds = [n_updates * sum(model.seconds(update, case).values()) for case in CASES]
        cells.append(["10 million default steps, compiled", "180 s", *(f"{x:.0f} s" for x in seconds)])
        lanes = 12 * 8
        rounds = -(-lanes // int(MEMORY // (update["bytes"]["temp"] + update["bytes"]["output"])))
        each = -(-lanes // rounds)
        minutes = [rounds * n_updates * model.seconds_of_lanes(update, each, case) / 60 for case in CASES]
        what = f"{lanes} lanes of them, {each} at once"
        cells.append([what, "60 min", *(f"{x:.0f} min" for x in minutes)])
    return table(["goal, H100", "wanted", *CASES], cells)


def refused(earlier):
    """What did not compile before, a line each."""
    failed = [(said(key.split()[1]), row["failed"]) for key, row in earlier.items() if "failed" in row]
    return "\n".join(f"Before, {name} did not compile: `{error}`." for name, error in failed)


def launches_of(parts, part, kind="launches"):
    """Launches of a part, 0 where it is none of the program's."""
    return parts.get(part, {}).get(kind, 0.0)


def estimates(rows):
    """Environment steps per second by the model, with what takes the time."""
    header = ["program", "slow", "middle", "fast", "launches", "memory", "products"]
    cells = []
    for key, row in rows.items():
        rates = [f"{model.steps_per_second(row, case) / 1e3:,.0f} k/s" for case in CASES]
        spent = model.seconds(row)
        shares = [f"{part / sum(spent.values()):.0%}" for part in spent.values()]
        cells.append([said(key.split()[1]), *rates, *shares])
    return table(header, cells)


def by_file(rows):
    """Launches of a step of play and of an update by what the file is about, with what the text says of them."""
    columns = [rows["h100 play_default"], rows["h100 update_default"]]
    scales = [columns[0]["steps_in_an_environment"], 1]
    counts = {name: [0.0, 0.0] for name in (*GROUPS, "XLA does not say")}
    for i, (row, scale) in enumerate(zip(columns, scales, strict=True)):
        for path, launches in row["files"].items():
            fits = (name for name, starts in GROUPS.items() if path.startswith(starts))
            counts[next(fits) if path else "XLA does not say"][i] += launches / scale
    cells = [[name, *(f"{n:,.0f}" for n in pair)] for name, pair in counts.items()]
    book, of_update = counts["the book and the messages to it"][1], sum(pair[1] for pair in counts.values())
    moved = sum(launches_of(columns[0]["parts"], part, "bytes") for part in columns[0]["parts"]) / 2**30
    return FILES_TEXT.format(
        table=table(["about", "a step of play", "an update"], cells),
        book=book / of_update,
        play=counts["the book and the messages to it"][0] / sum(pair[0] for pair in counts.values()),
        transposed=2 * columns[0]["bytes"]["output"] / 2**30,
        moved=moved,
    )


def on_cpu(found):
    """CPU-seconds before and after, of cpu.json."""
    about, middle = found["provenance"]["config"], found["CPU-seconds, middle"]
    cells = [
        [kind, f"{before:.2f}", f"{middle['after'][kind]:.2f}", f"{middle['after'][kind] / before - 1:+.0%}"]
        for kind, before in middle["before"].items()
    ]
    commits = {name: programs([about[name]]) for name in ("before", "after")}
    spread = max(
        max(values) / min(values) - 1
        for runs in found["runs"].values()
        for values in (
            [run["trace and lower"] for run in runs],
            [run["compile"] for run in runs],
            [statistics.median(run["updates"][1:]) for run in runs],
        )
    )
    return CPU_TEXT.format(
        **commits, spread=spread, repeats=about["repeats"], table=table(["", "before", "after", "more"], cells)
    )


def attention(rows):
    """What the belief's attention launches and moves, in each way that was compiled."""
    cells = []
    for key, row in rows.items():
        parts = row["parts"]
        counts = [f"{sum(launches_of(parts, part, kind) for part in parts):,.0f}" for kind in ("launches", "bare")]
        moved = sum(launches_of(parts, part, "bytes") for part in parts) / 2**30
        cells.append([PROGRAMS[key.split()[1]].kind, *counts, f"{moved:,.2f}", mib(row["bytes"]["temp"])])
    return table(["", "launches", "of them bare", "GiB moved, at most", "scratch, MiB"], cells)


def operations(rows):
    """What a TPU's compiler says: operations, and its own cycles."""
    header = ["program", "operations a step", "with an estimate", "cycles a step, by the compiler"]
    cells = []
    for key, row in rows.items():
        walk, steps = row["operations"], row["steps_in_an_environment"]
        known = walk["operations"] - walk["without_cycles"]
        numbers = [f"{n / steps:,.0f}" for n in (walk["operations"], known)]
        # rows counted before placeholders were told apart have them in the sum
        numbers += [f"{walk['cycles'] / steps:,.0f}" if walk["cycles"] < hlo.NO_ESTIMATE else "not counted"]
        cells.append([said(key.split()[1]), *numbers])
    return table(header, cells)


def read(name):
    """The rows of a file of compile.py; none where there is no such file."""
    path = HERE / name
    return json.loads(path.read_text())["rows"] if path.exists() else {}


def main():
    found, earlier = read("compiled.json"), read("before.json")
    rows = {key: row for key, row in found.items() if key.split()[1] not in ATTENTION}
    alone = {key: row for key, row in found.items() if key not in rows}
    scheduled = {key: row for key, row in rows.items() if "parts" in row}
    walked = {key: row for key, row in rows.items() if "operations" in row}
    where = next(iter(rows.values()))["provenance"]
    print(INTRODUCTION)
    print(f"jax {where['libraries']['jax']}, {machine(where)}; a program is that of the commit beside it.\n")
    print(compiling(rows), "\n\n## H100: launches of one run\n", LOOPS, sep="\n")
    print(launches(scheduled), "", sep="\n")
    if earlier:
        commits = programs(row["provenance"]["commit"] for row in earlier.values())
        print(
            COMPARISON.format(commits=commits),
            compared(rows, earlier),
            "",
            refused(earlier),
            "",
            goals(rows),
            "",
            LEFT,
            sep="\n",
        )
    if all("files" in rows.get(f"h100 {name}", {}) for name in ("play_default", "update_default")):
        print(by_file(rows))
    constants = ", ".join(f"{name} {value:g}" for name, value in model.CONSTANTS["middle"].items())
    numbers = {"bandwidth": model.BYTES_PER_S / 1e12, "flops": model.FLOPS_PER_S["float32"] / 1e12}
    print(ESTIMATE.format(constants=constants, **numbers), estimates(scheduled), sep="\n")
    print("", GOALS_TEXT, goals_on_paper(rows), sep="\n")
    if alone:
        print("", ATTENTION_TEXT, attention(alone), sep="\n")
    if (HERE / "cpu.json").exists():
        print("", on_cpu(json.loads((HERE / "cpu.json").read_text())), sep="\n")
    if walked:
        print("\n## TPU v5e: operations of one run\n", operations(walked), sep="\n")


if __name__ == "__main__":
    main()
