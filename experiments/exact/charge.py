"""Measure what a trader that pays for what leaks is charged, beside what it leaks.

    python experiments/exact/charge.py --workdir=runs/main_sweep/exact_loud_2 --lanes 10 12 14
    python experiments/exact/report.py

While it learns, the trader pays for the lower bound of a small filter, as few particles and private numbers as
``agents.execution.exact_particles`` and ``exact_private`` say. The lanes of a finished sweep are played and read by
that filter, by those with more of either, and by that of the tables. Rows go to ``experiments/exact/charge.jsonl`` one
by one; those that are there are passed over.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation.frozen import play_frozen
from amarl_jax.host.provenance import provenance
from amarl_jax.posterior.exact import ExactSpec, exact_information

HERE = Path(__file__).parent
READERS = (
    "16:4",
    "16:16",
    "64:4",
    "64:16",
)  # particles of a filter and private numbers: of training, ..., of the tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a sweep with exact information")
    parser.add_argument("--lanes", type=int, nargs="+", required=True)
    parser.add_argument("--readers", nargs="+", default=READERS, help="particles:private numbers")
    parser.add_argument("--n_episodes", type=int, default=1024)
    parser.add_argument("--output", type=Path, default=HERE / "charge.jsonl")
    given = parser.parse_args()
    done = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    for reader in given.readers:
        n_particles, n_private = map(int, reader.split(":"))
        spec = ExactSpec(given.n_episodes, n_particles, n_private)
        for lane in given.lanes:
            run = runs.load(given.workdir, lane)
            about = {
                "lambda": float(run.setup.weights.leakage_weight),
                "seed": run.seed,
                "n_particles": n_particles,
                "n_private": n_private,
            }
            if any(about.items() <= row.items() for row in done):
                continue
            key = jax.random.fold_in(jax.random.key(run.seed), lane)  # all readers read the same episodes
            played = play_frozen(key, run.state, run.setup, given.n_episodes, exact=spec)
            prior = float(run.setup.params.informed_probability)
            found = exact_information(jax.tree.map(np.asarray, played.exact), np.asarray(played.summary.z), prior)
            learn = run.setup.game.learn
            row = about | {
                "of_training": [learn.exact_particles, learn.exact_private],
                "n_episodes": given.n_episodes,
                **{name: getattr(found, name) for name in ("nats", "lower", "upper", "stderr")},
                "provenance": provenance(run.config.to_dict(), run.seed),
            }
            with given.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"lambda {about['lambda']:g}, {reader}: {found.lower:.3f} to {found.upper:.3f}", flush=True)


if __name__ == "__main__":
    main()
