"""The two credits side by side, as tables, from their JSON.

python experiments/shortfall_credit/report.py > experiments/shortfall_credit/README.md
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax.evaluation.markdown import machine, programs, table

KEPT = ("shortfall", "completion")
MEASURES = {
    "shortfall_units": "shortfall, units",
    "completion": "completion",
    "information_nats": "I, nats",
    "accuracy": "accuracy",
}


def long_day(results: dict[str, list[dict[str, float]]]) -> str:
    """Update by update."""
    header = ["environment steps", *(f"{name}, {credit}" for credit in results for name in KEPT)]
    rows = [
        [f"{row['env_steps']:,}", *(f"{results[credit][i][name]:.3f}" for credit in results for name in KEPT)]
        for i, row in enumerate(next(iter(results.values())))
    ]
    return table(header, rows)


def short_day(results: dict[str, list[dict[str, Any]]]) -> str:
    """Means over seeds with their standard errors."""
    rows = []
    for penalty in sorted({lane["lambda"] for lane in next(iter(results.values()))}):
        for credit, lanes in results.items():
            values = [[lane[name] for name in MEASURES] for lane in lanes if lane["lambda"] == penalty]
            mean, error = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
            cells = (f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True))
            rows.append([f"{penalty:g}", credit, str(len(values)), *cells])
    return table(["lambda", "credit", "seeds", *MEASURES.values()], rows)


def main() -> None:
    document = json.loads(Path(__file__).with_name("shortfall_credit.json").read_text())
    where = document["provenance"]
    print("# When the execution agent is charged for what is left\n")
    print(f"Command `{where['command']}`, {document['cpu_seconds']} CPU-seconds,")
    print(f"commit {programs([where['commit']])}, {machine(where)}.\n")
    print("## The default market, debug networks, one seed\n")
    print("Shortfall in reward units, one is what haste saves; a negative completion has sold what it was to buy.\n")
    print(long_day(document["long_day"]))
    print(f"\n## The debug market, {where['config']['short_updates']} updates\n")
    print("Held out, ± one standard error over seeds.\n")
    print(short_day(document["short_day"]))


if __name__ == "__main__":
    main()
