"""The baselines as a Markdown table and a figure, from their JSON.

python experiments/baselines/report.py
"""

import json
from pathlib import Path
from typing import Any

from amarl_jax.evaluation.markdown import cell, programs, table
from amarl_jax.lanes.plane_figure import draw_plane

COLUMNS = {
    "shortfall, ticks per lot": "shortfall_ticks",
    "completion": "completion",
    "I, exact, nats": "exact_nats",
    "accuracy, knowing the policy": "exact_accuracy",
    "fresh detector, nats": "information_nats",
    "its accuracy": "accuracy",
    "orders decided on": "child_orders",
}


def kl(row: dict[str, Any]) -> str:
    """KL with its 95% interval over episodes."""
    return "{value:.2f} [{lower:.2f}, {upper:.2f}]".format(**row["kl_nats"])


def lines_of(rows: dict[str, dict[str, Any]]) -> str:
    """One line per policy."""
    shown = {title: key for title, key in COLUMNS.items() if all(has(row, key) for row in rows.values())}
    cells = [
        [name.replace("_", " "), *(cell(row[key]) for key in shown.values()), kl(row)] for name, row in rows.items()
    ]
    return table(["execution policy", *shown, "KL, nats"], cells)


def has(row: dict[str, Any], key: str) -> bool:
    """Whether a row was measured so; older results were not read exactly."""
    return row.get(key, {}).get("value") is not None


def main() -> None:
    folder = Path(__file__).parent
    document = json.loads((folder / "baselines.json").read_text())
    where = document["provenance"]
    lines = [
        f"Command `{where['command']}`, seed {where['seed']}, commit {programs([where['commit']])},",
        f"{document['cpu_seconds']:.0f} CPU seconds on {where['hardware']['processor']}.",
        "± is one standard error; KL of the trajectory, by the fresh detector, with its 95% interval.",
    ]
    for name, rows in document["markets"].items():
        episodes = next(iter(rows.values()))["n_episodes"]
        lines += ["", f"## {name}: {episodes} episodes per row", "", lines_of(rows)]
    (folder / "baselines.md").write_text("\n".join(lines) + "\n")
    draw_plane(folder / "baselines.json", folder / "baselines")


if __name__ == "__main__":
    main()
