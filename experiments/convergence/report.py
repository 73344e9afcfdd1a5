"""Write ``experiments/convergence/README.md`` from ``lanes.csv``: ``python experiments/convergence/report.py``."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from amarl_jax.evaluation.markdown import programs

HERE = Path(__file__).parent
HEAD = """# How long a lane has to train

Cost and exact information of lanes of the debug market, trained for several numbers of updates, each over schedules of
its own length; means over seeds. `moved` is the step from half as many updates, with its standard error: that of the
paired differences of the seeds and of the episodes of each measurement together.

| lambda | updates | seeds | shortfall, units | moved | exact, nats | moved | objective | completion |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    with (HERE / "lanes.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    cells: dict[tuple[float, int], dict[int, dict[str, float]]] = defaultdict(dict)
    for row in rows:
        numbers = {name: float(row[name] or "nan") for name in row if name != "status"}
        cells[numbers["lambda"], int(row["updates"])][int(row["seed"])] = numbers
    lines = [line_of(cells, *cell) for cell in sorted(cells)]
    files = sorted(HERE.glob("sweep_*.json"), key=lambda path: int(path.stem.removeprefix("sweep_")))
    runs = [json.loads(path.read_text()) for path in files]
    commits = programs(run["commit"] for run in runs)
    about = runs[0]["hardware"]
    names = [path.stem.removeprefix("sweep_") for path in files]
    spent = ", ".join(f"{name} updates {run['cpu_seconds'] / 60:.0f}" for name, run in zip(names, runs, strict=True))
    foot = f"Commit {commits}; {about['processor']}, one core of {about['cores']}. CPU minutes: {spent}."
    commands = "```bash\npython experiments/convergence/convergence.py\npython experiments/convergence/report.py\n```"
    (HERE / "README.md").write_text("\n".join([HEAD, *lines]) + f"\n\n{foot}\n\n{commands}\n")


def line_of(cells: dict, penalty: float, updates: int) -> str:
    """One row of the table."""
    here, half = cells[penalty, updates], cells.get((penalty, updates // 2), {})
    objective = [row["shortfall_units"] + penalty * row["exact_nats"] for row in here.values()]
    parts = [f"{penalty:g}", f"{updates}", f"{len(here)}"]
    for name, digits in (("shortfall_units", 4), ("exact_nats", 3)):
        parts += [f"{np.mean([row[name] for row in here.values()]):.{digits}f}", moved(here, half, name, digits)]
    completion = np.mean([row["completion"] for row in here.values()])
    return "| " + " | ".join([*parts, f"{np.mean(objective):.3f}", f"{completion:.3f}"]) + " |"


def moved(here: dict, half: dict, name: str, digits: int) -> str:
    """Mean of the paired differences over the seeds that both have, and its standard error."""
    seeds = here.keys() & half.keys()
    if not seeds:
        return ""
    steps = np.array([here[seed][name] - half[seed][name] for seed in seeds])
    measured = [row[seed][f"{name}_stderr"] ** 2 for row in (here, half) for seed in seeds]
    error = np.sqrt(np.sum(measured)) / len(seeds)
    if len(seeds) > 1:
        error = max(error, steps.std(ddof=1) / np.sqrt(len(seeds)))
    return f"{steps.mean():+.{digits}f} ± {error:.{digits}f}"


if __name__ == "__main__":
    main()
