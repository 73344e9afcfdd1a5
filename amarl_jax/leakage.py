"""How much does your order flow give away? ``python -m amarl_jax.leakage --csv=orders.csv --label=z --episode=day``.

The file, plain, gzip or zip, has a header and one row per order, or per minute: a column that names the episode, one
that says of it 1 or 0 (your algorithm traded, or not), and numbers. Rows of an episode stand together or not; episodes
are what is independent, so all is split, resampled and permuted by them. An episode is read through what its numbers
add up to, in size and with their sign, through the least and the largest of each, and through how many rows it has.

Prints I(z; F) in nats on episodes that nothing was fitted to, KL and total variation with 95% intervals, and a verdict
("indistinguishable to this detector" is one that would have found a small planted signal). What other columns, or a
sequence model, would find is not in it: these are lower bounds.

  python -m amarl_jax.leakage --csv=orders.csv --label=z --episode=day
  python -m amarl_jax.leakage --csv=orders.csv.gz --label=algo --episode=day --columns=lots,gap --output=out.json
"""

import csv
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from amarl_jax.errors import BadInput
from amarl_jax.host import cli
from amarl_jax.host.runlog import closing_table
from amarl_jax.host.stages import stage
from amarl_jax.host.workdir import write_atomically
from amarl_jax.information import estimate
from amarl_jax.information.divergence import trajectory_divergence
from amarl_jax.information.significance import compare
from amarl_jax.lob.csv_rows import DAMAGED, open_text

FEWEST = 40  # episodes of both classes together
N_BOOTSTRAP = 1000


class Flow(NamedTuple):
    """Episodes of a file."""

    label: np.ndarray  # [n] 0 or 1
    features: np.ndarray  # [n, D] of whole episodes
    names: tuple[str, ...]  # [D] of the features
    n_rows: int


def read_flow(path: str | Path, label: str, episode: str, columns: Sequence[str] = ()) -> Flow:
    """Episodes of a CSV file with a header, each with its label and with totals of its rows.

    Args:
        path: plain, gzip or zip.
        label: column of 0 and 1, the same in all rows of an episode.
        episode: column that names the episode.
        columns: of numbers to read; default all others.

    Raises:
        BadInput: a column is not there, is not of numbers, or an episode has two labels.
    """
    episodes: dict[str, list[list[float]]] = {}
    labels: dict[str, int] = {}
    if not Path(path).is_file():
        raise BadInput(f"{path}: is not a file")
    try:
        with open_text(Path(path), "", names=True) as (name, text):
            rows = csv.DictReader(text)
            header = [column.strip() for column in rows.fieldnames or ()]
            rows.fieldnames = header
            columns = _columns(name, header, label, episode, columns)
            for row in rows:
                where = f"{name}: line {rows.line_num}"
                day, z = str(row[episode]).strip(), _label_of(where, label, row[label])
                if labels.setdefault(day, z) != z:
                    raise BadInput(f"{where}: {episode} {day} has both labels; {label} must be one of an episode")
                episodes.setdefault(day, []).append([_number(where, column, row[column]) for column in columns])
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not text in UTF-8 ({error}); save it as that") from None
    except (*DAMAGED, ValueError, csv.Error) as error:
        raise BadInput(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
    if not episodes:
        raise BadInput(f"{path}: holds no rows behind its header")
    features, names = _features([np.array(rows) for rows in episodes.values()], columns)
    return Flow(np.array(list(labels.values())), features, names, sum(map(len, episodes.values())))


def measure(flow: Flow, n_permutations: int = 99, seed: int = 0, verbose: bool = False) -> dict[str, Any]:
    """Information, divergences and verdict of a flow, as ``{name: {"value", "lower" or "stderr", ...}}``.

    Args:
        flow: from :func:`read_flow`.
        n_permutations: of the labels, for the p-value.
        seed: of splits and training.
        verbose: say what is being done.

    Raises:
        BadInput: too few episodes of a class, or nothing varies.
    """
    if flow.label.size < FEWEST:
        raise BadInput(f"{flow.label.size} episodes: must be at least {FEWEST}, of which a detector sees a part")
    keys = jax.random.split(jax.random.key(seed), 3)
    try:
        with stage("training critics on some episodes, reading others", verbose=verbose):
            found = estimate(flow.label, flow.features, key=keys[0])
        with stage("telling episodes apart", verbose=verbose):
            apart = trajectory_divergence(keys[1], flow.features, flow.label, n_bootstrap=N_BOOTSTRAP)
        with stage(f"the same for {n_permutations} permutations of the labels, and planted signals", verbose=verbose):
            verdict = compare(keys[2], flow.features, flow.label, n_permutations=n_permutations, n_planted=8)
    except ValueError as error:
        raise BadInput(str(error)) from None
    intervals = {name: getattr(apart, name)._asdict() for name in ("kl_nats", "total_variation")}
    return {
        "information_nats": {"value": found.value, "stderr": found.stderr, "ceiling": found.ceiling},
        **{name: {part: float(x) for part, x in interval.items()} for name, interval in intervals.items()},
        "p_value": verdict.p_value,
        "verdict": str(verdict),
        "n_episodes": int(flow.label.size),
        "n_labelled_1": int(flow.label.sum()),
        "features": list(flow.names),
    }


def _columns(path: Path, header: list[str], label: str, episode: str, columns: Sequence[str]) -> list[str]:
    """The columns to read as numbers; raises :class:`BadInput` if one is missing."""
    chosen = list(columns) or [column for column in header if column not in (label, episode)]
    for flag, names in (("label", [label]), ("episode", [episode]), ("columns", chosen)):
        for name in names:
            if name not in header:
                raise BadInput(f"--{flag}={name}: is no column of {path}, which has {', '.join(header) or 'none'}")
    if not chosen:
        raise BadInput(f"{path}: has no column beside {label} and {episode}")
    return chosen


def _label_of(where: str, column: str, text: Any) -> int:
    number = _number(where, column, text)
    if number not in (0.0, 1.0):
        raise BadInput(f"{where}: {column} is {text!r}, must be 0 or 1")
    return int(number)


def _number(where: str, column: str, text: Any) -> float:
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"{where}: {column} is {text!r}, must be a number; --columns=... names those to read")
    return number


def _features(episodes: Sequence[np.ndarray], columns: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Features of episodes [rows, D]: rows; sum, sum of sizes, least and largest by column; constant ones left out."""
    names = ["rows", *(f"{what} {column}" for what in ("sum of", "size of", "least", "largest") for column in columns)]
    rows = [
        np.concatenate([[len(one)], one.sum(axis=0), np.abs(one).sum(axis=0), one.min(axis=0), one.max(axis=0)])
        for one in episodes
    ]
    table = np.array(rows, np.float64)
    varies = np.ptp(table, axis=0) > 0
    _, first = np.unique(table, axis=1, return_index=True)  # a column of positive numbers sums to its size
    kept = [i for i in sorted(first) if varies[i]]
    if not kept:
        raise BadInput("every episode looks alike: no column varies between them")
    return table[:, kept], tuple(names[i] for i in kept)


def main(values: flags.FlagValues) -> None:
    """Read, measure, print."""
    for name in ("csv", "label", "episode"):
        if values[name].value is None:
            raise BadInput(f"--{name} is required: --csv=FILE --label=COLUMN --episode=COLUMN")
    columns = [name.strip() for name in (values.columns or "").split(",") if name.strip()]
    output = None if values.output is None else cli.user_path("--output", values.output)
    if output is not None and output.is_dir():
        raise BadInput(f"--output {output}: is a folder, where a JSON file is to be written")
    if output is not None:
        cli.folder_to_write("--output", output.parent)
    flow = read_flow(cli.user_path("--csv", values.csv), values.label, values.episode, columns)
    found = measure(flow, values.n_permutations, values.seed, verbose=True)
    information, kl, variation = (found[name] for name in ("information_nats", "kl_nats", "total_variation"))
    limits = "[{lower:.3f}, {upper:.3f}]".format
    rows = [
        ("information", f"{information['value']:.3f} +- {information['stderr']:.3f}", "nats, held out, a lower bound"),
        ("", f"{information['ceiling']:.3f}", "nats: would be certainty"),
        ("KL", f"{kl['value']:.3f} {limits(**kl)}", "nats, of the flow with the label from the flow without"),
        ("total variation", f"{variation['value']:.3f} {limits(**variation)}", "probability"),
        ("verdict", "", found["verdict"]),
    ]
    title = f"\n{found['n_episodes']} episodes of {flow.n_rows:,} rows, {found['n_labelled_1']} labelled 1"
    closing_table(title, rows)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, (json.dumps(found, indent=1) + "\n").encode())
        print(f"written to {output}")


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Define the flags: the file, its columns, permutations and seed."""
    flags.DEFINE_string("csv", None, "File with a header, one row per order or per minute.", values)
    flags.DEFINE_string("label", None, "Column of 0 and 1, one value per episode.", values)
    flags.DEFINE_string("episode", None, "Column that names the episode, a day say.", values)
    flags.DEFINE_string("columns", None, "Columns of numbers, with commas between; default all others.", values)
    flags.DEFINE_integer("n_permutations", 99, "Permutations of the labels behind the p-value.", 1, flag_values=values)
    flags.DEFINE_string("output", None, "JSON file to write the numbers to.", values)
    flags.DEFINE_integer("seed", 0, "Another seed splits and trains otherwise.", 0, flag_values=values)


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
