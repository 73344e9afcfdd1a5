"""The market probes as tables, from their JSON.

python experiments/market_probes/report.py > experiments/market_probes/README.md
"""

import json
from pathlib import Path
from typing import Any

from amarl_jax.evaluation.markdown import cell, machine, programs, table


def interval(difference: dict[str, float], digits: int = 2) -> str:
    """A paired difference with its 95% interval."""
    return f"{difference['value']:+.{digits}f} [{difference['lower']:+.{digits}f}, {difference['upper']:+.{digits}f}]"


def origin(probe: dict[str, Any]) -> str:
    """What was run, and where."""
    where = probe["provenance"]
    return (
        f"{where['config']['n_updates']} updates, {len({row['seed'] for row in probe['seeds']})} seeds, "
        f"{probe['n_episodes']} episodes each, {probe['cpu_seconds']} CPU-seconds, "
        f"commit {programs([where['commit']])}, {machine(where)}."
    )


def execution(probe: dict[str, Any]) -> str:
    """Shortfall and what is saved."""
    names = ["learned", "untrained", "twap", "vwap", "sweep"]
    rows = []
    for row in probe["seeds"]:
        costs = [
            f"{cell(row['shortfall_ticks'][n], 2)} ({row['completion'][n]['value']:.3f})" for n in ["as it is", *names]
        ]
        rows.append([str(row["seed"]), *costs])
    saved = [
        [str(row["seed"]), *(interval(row["saved_ticks"][name]) for name in names if name != "learned")]
        for row in probe["seeds"]
    ]
    return (
        "Ticks per parent lot, completion in brackets; after the first column, all finish by force.\n\n"
        + table(["seed", "learned, as it is", *names], rows)
        + "\n\nWhat the learned agent saves in the same episodes, with 95% intervals:\n\n"
        + table(["seed", *(f"against {name}" for name in names if name != "learned")], saved)
        + "\n"
    )


def against_grid(probe: dict[str, Any]) -> str:
    """Profit beside the best of the grid."""
    rows = [
        [
            str(row["seed"]),
            cell(row["profit_tick_lots"]["untrained"], 1),
            cell(row["profit_tick_lots"]["learned"], 1),
            f"{row['best_of_grid']}: {cell(row['profit_tick_lots'][row['best_of_grid']], 1)}",
            interval(row["learned_minus_best"], 1),
            f"{row['ratio_to_best']:.3f}"
            if row["profit_tick_lots"][row["best_of_grid"]]["value"] > 0
            else "no rule earns",
        ]
        for row in probe["seeds"]
    ]
    names = [name for name in probe["seeds"][0]["profit_tick_lots"] if name not in ("untrained", "learned")]
    grid = ", ".join(f"{name} {probe['seeds'][0]['profit_tick_lots'][name]['value']:.0f}" for name in names)
    header = ["seed", "untrained", "learned", "best rule", "learned less best", "ratio"]
    return f"{probe['unit'][0].upper()}{probe['unit'][1:]}.\n\n{table(header, rows)}\n\nThe grid (seed 0): {grid}.\n"


def belief(probe: dict[str, Any]) -> str:
    """Information the acting belief claims beside what a fresh detector finds."""
    rows = [
        [row["flow"], str(row["seed"]), cell(row["belief_nats"]), cell(row["fresh_nats"]), f"{row['share']:.2f}"]
        for row in probe["seeds"]
    ]
    return "Nats, both held out.\n\n" + table(["flow", "seed", "acting belief", "fresh detector", "share"], rows) + "\n"


TITLES = {
    "execution": "The execution agent against TWAP, VWAP and its untrained self, at lambda = 0",
    "maker": "The maker against every constant spread and size",
    "arbitrageur": "The arbitrageur against the value rule at its best margin",
    "belief": "The acting belief against a fresh detector, on scripted flow",
}
BODIES = {"execution": execution, "maker": against_grid, "arbitrageur": against_grid, "belief": belief}


def main() -> None:
    probes = json.loads(Path(__file__).with_name("market_probes.json").read_text())["probes"]
    print("# One agent learns, the others play rules\n")
    print("The debug market and networks. Command `python experiments/market_probes/market_probes.py`.")
    for name, title in TITLES.items():
        if name in probes:
            print(f"\n## {title}\n\n{BODIES[name](probes[name])}\n{origin(probes[name])}")


if __name__ == "__main__":
    main()
