"""Pieces of a sweep that is run over days: one table of their lanes, one file of what each ran with.

A lane depends on its seed and its settings alone, so pieces together are what one sweep of them all would be. Processes
that run at the same time keep theirs in folders of their own, which are joined afterwards:

    python experiments/pieces.py runs/one runs/other --into=experiments/main_sweep
"""

import argparse
import csv
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from amarl_jax import sweep
from amarl_jax.evaluation.markdown import programs
from amarl_jax.host.provenance import provenance

STEPS_PER_UPDATE = 12_800  # environment steps of an update of the debug market


class Piece(Protocol):
    """All penalties of one arm and seed; ``str`` of it names its workdir and its entry in ``pieces.json``."""

    seed: int

    @property
    def arm(self) -> str:
        """Name in the table's column "arm"."""
        ...


def read_pieces(folder: Path) -> dict[str, Any]:
    """What the pieces that are done ran with, by name."""
    path = folder / "pieces.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(folder: Path, piece: Piece, lanes: Path, about: dict[str, Any]) -> None:
    """Add a piece to the table, in place of its own earlier rows, and to ``pieces.json``."""
    _write(folder, [row | {"arm": piece.arm} for row in _rows(lanes)], {str(piece): about})


def join(folders: Sequence[Path], into: Path) -> None:
    """Add the pieces of several folders to those of another; of the same piece the last counts."""
    for folder in folders:
        _write(into, _rows(folder / "lanes.csv"), read_pieces(folder))


def _rows(table: Path) -> list[dict[str, Any]]:
    """Rows of a table of lanes."""
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(folder: Path, lanes: list[dict[str, Any]], about: Mapping[str, Any]) -> None:
    """Write whole pieces over what a folder has of them, and beside what else it has."""
    table = folder / "lanes.csv"
    new = {(row["arm"], row["seed"]) for row in lanes}
    old = _rows(table) if table.exists() else []
    rows = [row for row in old if (row["arm"], row["seed"]) not in new] + lanes
    rows.sort(key=lambda row: (row["arm"], float(row["lambda"]), int(row["seed"])))
    folder.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        names = dict.fromkeys(name for row in rows for name in row)  # of an older program some are missing
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"lane": i} for i, row in enumerate(rows))
    pieces = read_pieces(folder) | dict(about)
    (folder / "pieces.json").write_text(json.dumps(dict(sorted(pieces.items())), indent=1) + "\n")


def run(piece: Piece, config: Any, workdir: Path, folder: Path) -> None:
    """Train and measure one piece, from where an earlier process left it, and keep it in ``folder``."""
    wall, cpu = time.time(), time.process_time()
    resumed = (workdir / "config.json").exists()
    origin = provenance(config.to_dict(), piece.seed)  # before the hours in which the checkout may move
    sweep.sweep(config, workdir, resume=resumed)
    about = origin | {
        "arm": piece.arm,
        "seconds": {"cpu": round(time.process_time() - cpu, 1), "wall": round(time.time() - wall, 1)},
        "resumed": resumed,  # then the seconds are those of the last process
    }
    keep(folder, piece, workdir / "lanes.csv", about)


def foot(pieces: Mapping[str, Any], experiment: str, steps_per_update: int = STEPS_PER_UPDATE) -> list[str]:
    """Where the numbers of a report come from: commits, updates, machine, hours and the commands."""
    commits = programs(piece["commit"] for piece in pieces.values())
    updates = sorted({piece["config"]["training"]["total_timesteps"] // steps_per_update for piece in pieces.values()})
    hours = sum(piece["seconds"]["cpu"] for piece in pieces.values()) / 3600
    more = " (of interrupted pieces the last process)" if any(piece["resumed"] for piece in pieces.values()) else ""
    processors = ", ".join(sorted({piece["hardware"]["processor"] for piece in pieces.values()}))
    return [
        f"{len(pieces)} pieces, {', '.join(map(str, updates))} updates a lane, commit {commits}; {processors}; "
        f"{hours:.1f} CPU-hours{more}.",
        "",
        "```bash",
        f"python experiments/{experiment}/run.py",
        f"python experiments/{experiment}/report.py",
        "```",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="each holds lanes.csv and pieces.json")
    parser.add_argument("--into", type=Path, required=True)
    given = parser.parse_args()
    join(given.folders, given.into)


if __name__ == "__main__":
    main()
