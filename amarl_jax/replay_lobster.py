"""Replay LOBSTER files through the order book and report how long it agrees with what they recorded.

    python -m amarl_jax.replay_lobster --messages=M.csv --orderbook=B.csv --levels=10 --output=DIR

A book is seeded from a row of the order-book file, the messages behind it are replayed, and after every row its best
levels are compared with those recorded. Orders beyond the recorded levels are invisible to anyone who has only the
files, so agreement decays with time since seeding: the report, agreement.json and agreement.png in DIR, shows it as a
curve, and says what share of the disagreement lies at prices that have been out of view since, where orders may have
come and gone unseen. With --seeds above 1 the day is cut into as many windows, each with a book of its own, and the
curve is over all. With --take_in every window is replayed a second time by a book that is told of each level that comes
into view; the report has both, level by level.

The files may be plain, gzip or zip, an archive of both may be given twice, and they may have a header. What did not go
the plain way is counted and printed: messages that a book could not follow, seed rows whose bid and ask cross.
"""

import hashlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

import amarl_jax
from amarl_jax import config as configuration
from amarl_jax.errors import BadInput
from amarl_jax.host import cli, machine
from amarl_jax.host.runlog import closing_table
from amarl_jax.host.stages import stage
from amarl_jax.host.workdir import write_atomically, write_json
from amarl_jax.lob.lobster import CENT, Following, Recording, follow, read_recording

N_BINS = 40  # of the curve
NAMES = ("agreement.json", "agreement.png")
_MOST_LEVELS = 10  # compared by default
_LARGEST_TICK = 10_000_000  # 1,000 dollars
_LARGEST_CAPACITY = 1 << 20
_MEANINGS = {  # of what is printed if it is not 0
    "crossed_rows": "rows that were to seed a book, but bid and ask cross: a later one did",
    "submissions_traded": "submissions that traded, though recorded ones rest: stale orders in the book, or a halt",
    "taken_in": "orders taken in as they came into view",
    "taken_out": "orders found gone, wholly or in part, as their price came into view again",
    "invalid": "messages that no book takes",
    "duplicate": "submissions whose id was in the book",
    "unknown_cancel": "cancellations of orders that were not in the book: never in view, or refused",
    "refused": "submissions that found the side full; a larger --capacity takes them",
    "refused_lots": "shares of those",
    "evicted": "orders that a better one pushed out of a full side; a larger --capacity keeps them",
    "evicted_lots": "shares of those",
    "self_trade": "orders cancelled by the self-trade policy",
    "self_trade_lots": "shares of those",
}


def main(values: flags.FlagValues) -> None:
    """Read, replay, compare, write."""
    folder = _check_output(values.output)
    paths = [_check_file(name, values[name].value) for name in ("messages", "orderbook")]
    defaults = configuration.resolve(configuration.load("configs/default.py")).run
    try:
        with machine.prepared(defaults) as device:
            print(f"{device} | output {folder}")
            with stage("reading the recording"):
                recording = read_recording(*paths)
            n_levels = _choose_levels(values.levels, recording)
            options = {"n_levels": n_levels, "tick": values.tick, "capacity": values.capacity}
            followings = _follow_windows(recording, values.seeds, **options)
            told = _follow_windows(recording, values.seeds, take_in=True, **options) if values.take_in else []
    except ValueError as error:
        raise BadInput(str(error)) from None
    runs = {"alone": followings, **({"taken in": told} if told else {})}
    curves = {name: curve(windows) for name, windows in runs.items()}
    report = {
        "what": "share of price levels whose price and size are those recorded, by seconds since the book was seeded",
        "version": amarl_jax.__version__,
        "files": [{"name": path.name, "sha256": _sha256(path)} for path in paths],
        "settings": {"levels": n_levels, **{name: values[name].value for name in ("tick", "capacity", "seeds")}},
        "rows": len(recording),
        "curve": curves["alone"],
        "disagreement": levels_that_disagree(followings),
        "agreeing_by_level": {name: by_level(windows).tolist() for name, windows in runs.items()},
        "windows": [_summary(following) for following in followings],
    }
    if told:
        report["taken_in"] = {"curve": curves["taken in"], "windows": [_summary(following) for following in told]}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / NAMES[0], report)
    write_atomically(folder / NAMES[1], _figure(curves, n_levels))
    title = f"\n{paths[0].name}, {len(recording)} rows, {len(followings)} books"
    closing_table(title, _rows(curves["alone"], followings))
    if told:
        closing_table(f"{title}, told of what comes into view", _rows(curves["taken in"], told))
    print(f"written to {folder}: {', '.join(NAMES)}")


def curve(followings: Sequence[Following], n_bins: int = N_BINS) -> dict[str, list[float | None]]:
    """Mean agreement in equal bins of time since seeding; None where no row falls.

    ``levels`` is the mean over the compared levels of both sides, ``touch`` the share of rows in which best bid and
    best ask both agree, in price and size.
    """
    seconds = np.concatenate([following.seconds for following in followings])
    agreeing = np.concatenate([following.agreeing for following in followings])
    edges = np.linspace(0.0, max(float(seconds.max(initial=0.0)), 1e-9), n_bins + 1)
    bins = np.clip(np.searchsorted(edges, seconds, side="right") - 1, 0, n_bins - 1)
    rows = np.bincount(bins, minlength=n_bins)

    def mean(values: np.ndarray) -> list[float | None]:
        sums = np.bincount(bins, values, minlength=n_bins)
        return [float(total / n) if n else None for total, n in zip(sums, rows, strict=True)]

    return {
        "from_seconds": edges[:-1].tolist(),
        "to_seconds": edges[1:].tolist(),
        "rows": rows.tolist(),
        "levels": mean(agreeing.mean((1, 2))),
        "touch": mean(agreeing[:, :, 0].all(1).astype(float)),
    }


def levels_that_disagree(followings: Sequence[Following]) -> dict[str, Any]:
    """Levels that disagree, and the share of them at prices that have been out of view since the book was seeded.

    What happened there was never shown. Disagreement at a price that was always shown has another cause.
    """
    wrong = sum(int((~following.agreeing).sum()) for following in followings)
    always = sum(int((~following.agreeing & following.always_in_view).sum()) for following in followings)
    return {
        "levels": wrong,
        "of": sum(following.agreeing.size for following in followings),
        "share_never_visible": 1.0 - always / wrong if wrong else None,
    }


def by_level(followings: Sequence[Following]) -> np.ndarray:
    """Share of rows and sides in which each level agrees, best first. [K]."""
    return np.concatenate([following.agreeing for following in followings]).mean((0, 1))


def _follow_windows(recording: Recording, n_seeds: int, **options: Any) -> list[Following]:
    n_rows = len(recording) // n_seeds - 1
    if n_rows < 1:
        raise BadInput(f"--seeds={n_seeds}: the files have {len(recording)} rows, too few for so many windows")
    starts = [window * len(recording) // n_seeds for window in range(n_seeds)]
    told = ", told of what comes into view" if options.get("take_in") else ""
    followings = []
    with stage(f"replaying {n_rows * n_seeds:,} rows{told}", n_seeds, "windows") as under_way:
        for start in starts:
            followings.append(follow(recording, start, n_rows, **options))
            under_way.advance()
    return followings


def _summary(following: Following) -> dict[str, Any]:
    return {
        "seed_row": following.seed_row,
        "crossed_rows": following.crossed_rows,
        "rows": len(following.seconds),
        "agreeing_by_level": following.agreeing.mean((0, 1)).tolist(),
        "disagreement": levels_that_disagree([following]),
        "taken_in": following.taken_in,
        "taken_out": following.taken_out,
        "executions": following.executions,
        "executions_as_recorded": following.executions_as_recorded,
        "submissions_traded": following.submissions_traded,
        "counters": following.counters,
    }


def _rows(table: dict[str, list[float | None]], followings: Sequence[Following]) -> list[tuple[str, Any, str]]:
    filled = [i for i, n in enumerate(table["rows"]) if n]
    executions = sum(following.executions for following in followings)
    exact = sum(following.executions_as_recorded for following in followings)
    unseen = levels_that_disagree(followings)["share_never_visible"]
    levels = ", ".join(f"{share:.0%}" for share in by_level(followings))
    return [
        ("levels, first", table["levels"][filled[0]], "share agreeing soon after seeding"),
        ("levels, last", table["levels"][filled[-1]], f"the same after {table['to_seconds'][filled[-1]]:.0f} s"),
        ("touch, last", table["touch"][filled[-1]], "share of rows in which best bid and ask agree by then"),
        ("by level", levels, "share agreeing, best level first"),
        ("never visible", unseen, "share of the disagreement at prices that were out of view since seeding"),
        ("executions", exact / executions if executions else None, "share that traded the recorded order and size"),
        *((name.replace("_", " "), f"{n:,}", _MEANINGS[name]) for name, n in _totals(followings).items() if n),
    ]


def _totals(followings: Sequence[Following]) -> dict[str, int]:
    """Counts of irregular events, summed over the windows."""
    return {
        "crossed_rows": sum(following.crossed_rows for following in followings),
        "submissions_traded": sum(following.submissions_traded for following in followings),
        "taken_in": sum(following.taken_in for following in followings),
        "taken_out": sum(following.taken_out for following in followings),
        **{name: sum(following.counters[name] for following in followings) for name in followings[0].counters},
    }


def _figure(curves: dict[str, dict[str, list[float | None]]], n_levels: int) -> bytes:
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    drawn = (("levels", f"all {n_levels} levels of both sides"), ("touch", "best bid and ask"))
    for run, table in curves.items():
        middle = (np.array(table["from_seconds"]) + np.array(table["to_seconds"])) / 2
        line, told = ("-", "") if run == "alone" else ("--", ", told of what comes into view")
        for colour, (name, label) in enumerate(drawn):
            axes.plot(middle, np.array(table[name], float), line, color=f"C{colour}", marker=".", label=label + told)
    axes.set(xlabel="seconds since the book was seeded", ylabel="agreement with the recording", ylim=(0, 1.02))
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _check_file(name: str, value: str | None) -> Path:
    if value is None:
        raise BadInput(f"--{name} is required, a LOBSTER CSV file")
    path = cli.user_path(f"--{name}", value)
    if not os.path.isfile(path):
        raise BadInput(f"--{name} {path}: {'is not a regular file' if os.path.exists(path) else 'no such file'}")
    return path


def _check_output(value: str | None) -> Path:
    """The output folder; raises :class:`BadInput` unless it can be made and holds no report."""
    if value is None:
        raise BadInput("--output is required, a folder for the report")
    folder = cli.folder_to_write("--output", cli.user_path("--output", value))
    found = next((name for name in NAMES if (folder / name).exists()), None)
    if found:
        raise BadInput(f"--output {folder}: already holds a report ({found}); choose another folder")
    return folder


def _choose_levels(wanted: int | None, recording: Recording) -> int:
    there = recording.levels.shape[2]
    if wanted is not None and wanted > there:
        raise BadInput(f"--levels={wanted}: the order-book file has {there}")
    return min(there, _MOST_LEVELS) if wanted is None else wanted


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def define_flags(values: flags.FlagValues, _: Sequence[str]) -> None:
    """Define the flags: two files, a folder, and how to replay."""
    flags.DEFINE_string("messages", None, "LOBSTER message file.", values)
    flags.DEFINE_string("orderbook", None, "LOBSTER order-book file of the same rows.", values)
    flags.DEFINE_string("output", None, "Folder for agreement.json and agreement.png.", values)
    flags.DEFINE_boolean("take_in", False, "Replay a second time, told of each level that comes into view.", values)
    numbers = (  # name, default, largest, meaning
        ("levels", None, None, f"Levels of each side to compare, by default all up to {_MOST_LEVELS}."),
        ("tick", CENT, _LARGEST_TICK, "Tick in 1e-4 dollars, which divides the price of every visible order."),
        ("capacity", 1024, _LARGEST_CAPACITY, "Orders that each side of the book can hold."),
        ("seeds", 1, None, "Windows, each with a book of its own."),
    )
    for name, default, most, meaning in numbers:
        flags.DEFINE_integer(name, default, meaning, lower_bound=1, upper_bound=most, flag_values=values)


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
