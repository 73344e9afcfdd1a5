"""Belief, coverage and size as Markdown tables, from their JSON.

python experiments/calibration/detection_report.py > experiments/calibration/calibration.md
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amarl_jax.evaluation.markdown import machine, programs, table

HERE = Path(__file__).resolve().parent


def load(name: str) -> dict[str, Any]:
    """A result file of this folder."""
    return json.loads((HERE / f"{name}.json").read_text())


def heading(title: str, where: dict[str, Any]) -> Iterator[str]:
    """A title and where the numbers under it come from."""
    yield f"\n## {title}\n"
    yield f"Command `{where['command']}`, seed {where['seed']}, commit {programs([where['commit']])},"
    yield f"{machine(where)}.\n"


def share(row: dict[str, Any], name: str, interval: str) -> str:
    """A share with its 95% interval."""
    low, high = row[interval]
    return f"{row[name]:.3f} ({low:.3f} to {high:.3f})"


def belief() -> Iterator[str]:
    document = load("posterior")
    yield from heading("Is the belief a posterior?", document["provenance"])
    yield "The largest value over all prefixes, on fresh episodes.\n"
    names = (
        "largest_mean_absolute_error",
        "largest_mean_absolute_error_of_the_prior",
        "largest_calibration_error",
        "largest_calibration_error_of_the_exact_posterior",
    )
    columns = [
        "law",
        "mean absolute error",
        "that of 1/2",
        "calibration error",
        "that of the posterior",
        "telescoping, nats",
    ]
    rows = [
        [row["law"], *(f"{row[name]:.4f}" for name in names), f"{row['largest_telescoping_error_nats']:.0e}"]
        for row in document["rows"]
    ]
    yield table(columns, rows)


def coverage() -> Iterator[str]:
    document = load("coverage")
    yield from heading("Do intervals of a trajectory divergence hold the truth?", document["provenance"])
    yield "Share of replications, nominally 0.95, with its exact 95% interval.\n"
    columns = ["detector", "episodes", "KL, nats", "replications", "KL", "KL, percentiles alone"]
    columns += ["Jensen-Shannon", "total variation", "plug-in KL"]
    rows = []
    for row in document["rows"]:
        shares = [
            share(row[name], "coverage", "coverage_interval_95") for name in ("kl_nats", "kl_nats_by_percentiles_alone")
        ]
        shares += [
            f"{row[name]['coverage']:.3f}" for name in ("jensen_shannon_nats", "total_variation", "kl_plug_in_nats")
        ]
        head = [row["detector"], str(row["n_episodes"]), f"{row['kl_nats']['truth']:g}", str(row["n_replications"])]
        rows.append(head + shares)
    yield table(columns, rows)


def size() -> Iterator[str]:
    document = load("size")
    results = document["results"]
    yield from heading("Size and power of the permutation test", document["provenance"])
    yield "Share of tests that reject at 5%, with its exact 95% interval.\n"
    cases = {
        "cross-fitted detector, labels permuted by episode": results["detector"],
        "difference of means, labels permuted by episode": results["unit"]["episode"],
        "difference of means, steps pooled and permuted": results["unit"]["step"],
    }
    rows = [[name, str(row["n_tests"]), share(row, "rejected", "interval_95")] for name, row in cases.items()]
    yield table(["true null", "tests", "rejected"], rows)
    yield "\nThe three-part verdict, on nothing and on 0.02 nats in one of the columns.\n"
    rows = [
        [
            str(row["n_episodes"]),
            f"{row['information_nats']:g}",
            share(row["permutation_test"], "rejected", "interval_95"),
            f"{row['recovered_nats']:.4f} of {row['planted_nats']:g}",
            ", ".join(f"{name}: {count}" for name, count in row["verdicts"].items()),
        ]
        for row in results["verdict"]
    ]
    yield table(["episodes", "I, nats", "rejected", "planted nats recovered", "verdicts"], rows)


def main() -> None:
    print("# Calibration of belief, intervals and tests")
    for part in (belief, coverage, size):
        print("\n".join(part()))


if __name__ == "__main__":
    main()
