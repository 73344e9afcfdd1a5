"""Tables of private mixes of a lane's policy with the whole order at once, as ``frontier/mix.py`` measures them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax.evaluation.markdown import programs, table

MIXED = """With a private coin a lane's trader sends the whole order at once in a share of the episodes and plays what
it learned in the others, against the lane's own maker and arbitrageur. A reader that knows both policies and the
share, not the coin, reads the same fresh episodes for every share (lower bounds of one filter). The ends tie at
`lambda`, unless both leak the same; there the best share leaks so much less than the line between the ends, and saves
so many units. Intervals are 95%, over episodes."""


ROUNDING = 1e-6  # nats


def read_mixes(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of mixes; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ties(row: Mapping[str, Any]) -> bool:
    """True if the ends of a mix leak differently, so that there is a penalty at which they tie."""
    return abs(row["nats"][0] - row["nats"][-1]) > ROUNDING


def _tie_of(row: Mapping[str, Any]) -> list[str]:
    """Cells: the penalty at which the ends tie, the best share there, and what it saves, with intervals."""
    penalty, nats, units = (
        f"{row[name]:.{digits}f} [{row['intervals'][name][0]:.{digits}f}, {row['intervals'][name][1]:.{digits}f}]"
        for name, digits in (("penalty", 2), ("below_line_nats", 3), ("gain_units", 3))
    )
    return [penalty, f"{row['best_share']:.2f}", nats, units]


def mix_section(rows: Sequence[dict[str, Any]], name: str = "seed") -> list[str]:
    """The section of mixes: both ends, where they tie, and how far below the line between them the best mix lies.

    Args:
        rows: at least one.
        name: what tells lanes of one penalty apart, ``seed`` or ``sweep``.
    """
    head = ["lane's lambda", name, "learned C, units", "I, nats", "at once C", "I", "tie at lambda", "best share"]
    cells = []
    for row in sorted(rows, key=lambda row: (row["lambda"], row[name])):
        ends = [f"{row[what][end]:.3f}" for end in (0, -1) for what in ("cost_units", "nats")]
        cells.append([f"{row['lambda']:.3g}", f"{row[name]}", *ends, *(_tie_of(row) if ties(row) else ["-"] * 4)])
    found = table([*head, "nats below the line", "units saved"], cells)
    commits = programs(row["provenance"]["commit"] for row in rows)
    command = f"Command `{rows[-1]['provenance']['command']}`, commits {commits}."
    return ["## Private mixes with the whole order at once", "", MIXED, "", found, "", command, ""]


def best_share(row: Mapping[str, Any], penalty: float) -> dict[str, float]:
    """The mix with the least ``C + lambda I`` at a penalty: its share, nats, units and objective."""
    nats, cost = np.array(row["nats"]), np.array(row["cost_units"])
    total = cost + penalty * nats
    best = int(np.argmin(total))
    return {"share": best / (len(nats) - 1), "nats": nats[best], "units": cost[best], "total": total[best]}


def best_shares(rows: Sequence[dict[str, Any]], penalties: Sequence[float]) -> str:
    """What the best share of each mix leaks and costs at these penalties, and the objective of the better end."""
    head = ["sweep", "lambda", "best share", "I, nats", "C, units", "C + lambda I", "of the better end"]
    cells = []
    for row in sorted(filter(ties, rows), key=lambda row: row["sweep"]):
        for penalty in penalties:
            ends = [row["cost_units"][end] + penalty * row["nats"][end] for end in (0, -1)]
            told = [f"{x:.3f}" for x in (*best_share(row, penalty).values(), min(ends))]
            cells.append([row["sweep"], f"{penalty:.3g}", *told])
    return table(head, cells)
