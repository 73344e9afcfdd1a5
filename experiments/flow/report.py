"""The page of the results on recorded days, from the JSON files beside it.

python experiments/flow/report.py
"""

import json
from pathlib import Path
from typing import Any

from amarl_jax.evaluation.markdown import cell, machine, programs, table

FOLDER = Path(__file__).parent
GOAL, RATES = 0.05, 0.02  # Wasserstein distance of the range; relative error of rates
ALLOWED = {"beta": 0.0, "table": 0.1, "recorded": 0.25}  # of the Beta law's steps per second that may be lost
HEAD = """# Recorded days

What a fitted flow, and a recorded day as the noise, have of the day that they come from; what training in them costs;
what a trader leaks in them, where that has been run. The days are LOBSTER's public samples of 2012-06-21, which may
not be passed on: here are rates, distances and timings alone.

```bash
python -m amarl_jax.fit_flow --messages=M.csv --orderbook=B.csv --stream --output=DIR
python experiments/flow/day.py NAME --messages=M.csv --orderbook=B.csv
python experiments/flow/speed.py NAME --flow=DIR/flow.json
python experiments/flow/trained.py NAME --flow=DIR/flow.json --law=table --workdir=runs/table
python experiments/flow/trained.py NAME --flow=DIR/flow.json --law=recorded --workdir=runs/recorded
python experiments/flow/report.py
```
"""


def documents(pattern: str) -> dict[str, dict[str, Any]]:
    """The result files of this pattern, by what stands for the star."""
    before, after = pattern.split("*")
    found = sorted(FOLDER.glob(pattern))
    return {path.name.removeprefix(before).removesuffix(after): json.loads(path.read_text()) for path in found}


def held(value: float, limit: float) -> str:
    """A number, in bold where it is beyond its limit."""
    return f"{value:.3f}" if value <= limit else f"**{value:.3f}**"


def rates(days: dict[str, dict[str, Any]]) -> list[str]:
    """Rates of the table's law and of the orders that are played."""
    names = {"orders_per_second": "arrival rate", "share_of_market_orders": "market orders", "mean_shares": "mean size"}
    rows = [
        [day, law, *(f"{one['goals'][law][name]['relative']:+.2%}" for name in names)]
        for day, one in days.items()
        for law in ("table", "recorded")
    ]
    worst = max(
        abs(one["goals"][law][name]["relative"]) for one in days.values() for law in one["goals"] for name in names
    )
    said = f"The largest is {worst:.2%}; the goal is {RATES:.0%}."
    return ["## Rates, relative to those recorded", "", table(["day", "noise law", *names.values()], rows), "", said]


def laws(days: dict[str, dict[str, Any]]) -> list[str]:
    """Wasserstein distances of the one-dimensional laws."""
    lines = ["## Distances from the recorded day", ""]
    lines += [f"Wasserstein, as a share of the recorded range (0.1% to 99.9%); in bold beyond {GOAL}. Noise alone.", ""]
    names = [name for name, one in next(iter(days.values()))["distances"]["table"].items() if "wasserstein" in one]
    rows = [
        [day, law, *(held(found[name]["wasserstein_of_range"], GOAL) for name in names)]
        for day, one in days.items()
        for law, found in one["distances"].items()
    ]
    curves = [name for name, one in next(iter(days.values()))["distances"]["table"].items() if "mean" in one]
    more = [
        [day, law, *(f"{found[name]['mean']:.3f}" if name in found else "-" for name in curves)]
        for day, one in days.items()
        for law, found in one["distances"].items()
    ]
    lines += [table(["day", "noise law", *names], rows), "", "Curves, mean absolute difference:", ""]
    return [*lines, table(["day", "noise law", *curves], more)]


def steps(days: dict[str, dict[str, Any]]) -> list[str]:
    """How the recorded day is played, and what the fit takes."""
    rows = [
        [
            day,
            f"{one['rows']:,}",
            f"{one['cpu_seconds']['read']:.1f} + {one['cpu_seconds']['fit']:.1f}",
            f"{one['orders_per_step_variance']:.1f}",
            f"{one['steps']['recorded']:,}",
            f"{one['steps']['played']:,} ({one['steps']['played'] / one['steps']['recorded'] - 1:+.1%})",
            f"{one['steps']['bound']}",
            f"{one['steps']['orders_in_divided']:.1%}",
        ]
        for day, one in days.items()
    ]
    header = ["day", "rows", "read + fit, CPU s", "variance of orders a step over Poisson's", "steps", "played"]
    said = (
        "A step with more orders than the bound is played as several; every order is played, in the order recorded. "
        "The last column is the share of the orders that come in such steps."
    )
    return [
        "## The fit, and the steps of a recorded day",
        "",
        table([*header, "bound", "orders in divided"], rows),
        "",
        said,
    ]


def replays(days: dict[str, dict[str, Any]]) -> list[str]:
    """Agreement of replayed books with and without what comes into view."""
    rows, lines = [], ["## Replay of the day through the book", ""]
    for day, one in days.items():
        for name in ("alone", "taken_in") if one["replay"] else ():
            found = one["replay"][name]
            touch, unseen = found["touch_by_seconds"]["touch"], found["disagreement"]["share_never_visible"]
            levels = [f"{share:.1%}" for share in found["by_level"]]
            row = [
                f"{found['touch']:.1%}",
                f"{touch[0]:.1%}",
                f"{touch[-1]:.1%}",
                f"{found['executions_as_recorded']:.1%}",
            ]
            rows.append(
                [day, name.replace("_", " "), ", ".join(levels), *row, "-" if unseen is None else f"{unseen:.2%}"]
            )
    header = ["day", "book", "levels that agree, best first", "touch", "soon", "at the end", "executions as recorded"]
    lines += [
        "Fifty seedings a day. *Taken in*: told of each level that comes into view. The last column is the share of "
        "the disagreement at prices that have been out of view since the seeding, where orders come and go unseen.",
        "",
    ]
    return [*lines, table([*header, "never visible"], rows)]


def speeds(found: dict[str, dict[str, Any]]) -> list[str]:
    """Training steps per CPU-second against the Beta law."""
    lines = ["## Speed of training", ""]
    rows = [
        [
            day,
            arm,
            str(row["rows_per_step"]),
            f"{row['steps_per_cpu_second']:,.0f}",
            f"{row['of_beta']:.3f}" if 1 - row["of_beta"] <= ALLOWED.get(arm, 1.0) else f"**{row['of_beta']:.3f}**",
            f"{row['compile_cpu_seconds']:.0f}",
        ]
        for day, one in found.items()
        for arm, row in one["arms"].items()
    ]
    header = ["day", "noise law", "rows a step", "steps per CPU s", "of the Beta law", "compile, CPU s"]
    for day, one in found.items():
        turns = one["provenance"]["config"]["turns"]
        lines += [f"{day}: the debug configuration, medians of {turns} turns on {machine(one['provenance'])}.", ""]
    lines += ["The goals are 0.9 for a table and 0.75 for recorded flow; what misses its goal is in bold.", ""]
    return [*lines, table(header, rows)]


def traders(found: dict[str, dict[str, Any]]) -> list[str]:
    """Exact and detected leakage of the trained trader, TWAP and a mimic."""
    lines = ["## What a trader leaks", ""]
    rows = []
    for name, one in found.items():
        for policy, row in one["policies"].items():
            exact = cell(row["exact_nats"]) if row["exact_nats"]["value"] is not None else "-"
            bracket = [row[f"exact_nats_{side}"]["value"] for side in ("lower", "upper")]
            ends = [f"{end:.3f}" if end is not None else "unknown" for end in bracket]
            detected, cost = cell(row["information_nats"]), cell(row["shortfall_ticks"], 2)
            rows.append(
                [name.replace("_", ", "), policy, exact, " to ".join(ends), detected, cost, cell(row["completion"], 2)]
            )
    header = ["law, day", "policy", "exact, nats", "bracket", "detected", "shortfall, ticks a lot", "filled"]
    lines += [
        "Debug networks, trained to their end with a tilted trader, against the same maker and arbitrageur. In a day"
        " recorded nobody knows the law: the exact value is a lower bound by the fitted table, another model.",
        "",
    ]
    return [*lines, table(header, rows)]


def origin(found: dict[str, dict[str, Any]]) -> list[str]:
    """Commits that the numbers of a section come from."""
    return ["", f"Commit {programs(one['provenance']['commit'] for one in found.values())}."]


def main() -> None:
    """Write the page."""
    days, parts = documents("day_*.json"), [HEAD.rstrip()]
    if days:
        for part in (steps, rates, laws, replays):
            parts += ["\n".join(part(days))]
        parts += ["\n".join(origin(days)).lstrip()]
    for pattern, part in (("speed_*.json", speeds), ("trained_*.json", traders)):
        found = documents(pattern)
        parts += ["\n".join([*part(found), *origin(found)])] if found else []
    (FOLDER / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
