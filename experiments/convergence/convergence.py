"""How long a lane has to train: cost and exact information of lanes trained for several numbers of updates.

    python experiments/convergence/convergence.py --workdir=runs/convergence
    python experiments/convergence/convergence.py --n_updates 160 --n_lambdas 2
    python experiments/convergence/report.py

The debug market, six penalties or the lowest of them, ``leakage_source = exact``: every number of updates is one sweep,
whose learning rates and entropy bonus fall over its own length. Training is long enough where twice as much of it moves
neither cost nor information beyond the spread of seeds. Rows go to ``experiments/convergence/lanes.csv`` after each
sweep; an interrupted one is continued by the same command.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

from amarl_jax import config as configuration
from amarl_jax import sweep
from amarl_jax.host.provenance import provenance

HERE = Path(__file__).parent
N_LAMBDAS, LAMBDA_MAX = 6, 16.0  # 0, 1/16, 1/4, 1, 4, 16
STEPS_PER_UPDATE = 12_800
KEPT = ("lambda", "seed", "status", "shortfall_units", "completion", "exact_nats", "exact_nats_lower")
KEPT += ("exact_nats_upper", "child_orders", "mine_efficiency", "belief_efficiency")
COLUMNS = ("updates", *KEPT, "shortfall_units_stderr", "exact_nats_stderr")


def settings(n_updates: int, n_seeds: int, n_lambdas: int) -> dict[str, Any]:
    """What differs from ``configs/lambda_sweep.py:fast``."""
    return {
        "sweep.lambda_max": LAMBDA_MAX * 4.0 ** (n_lambdas - N_LAMBDAS),
        "sweep.n_lambdas": n_lambdas,
        "sweep.points_per_octave": 0.5,
        "sweep.n_seeds": n_seeds,
        "training.total_timesteps": n_updates * STEPS_PER_UPDATE,
        "agents.execution.leakage_source": "exact",
        "networks.belief_transformer.target": "exact",
        "eval_episodes": 1024,
        "exact.n_episodes": 1024,
        "exact.n_particles": 64,
        "exact.n_private": 16,
        "logging.use_tensorboard": False,
        "exp_name": f"convergence_{n_updates}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/convergence"))
    parser.add_argument("--n_updates", type=int, nargs="+", default=[40, 80, 160])
    parser.add_argument("--n_seeds", type=int, default=2)
    parser.add_argument("--n_lambdas", type=int, default=N_LAMBDAS, help="the lowest so many")
    given = parser.parse_args()
    for n_updates in given.n_updates:
        started, workdir = time.process_time(), given.workdir / str(n_updates)
        config = configuration.load("configs/lambda_sweep.py:fast", settings(n_updates, given.n_seeds, given.n_lambdas))
        sweep.sweep(config, workdir, resume=(workdir / "config.json").exists())
        keep(workdir / "lanes.csv", n_updates)
        about = provenance(config.to_dict(), config.seed) | {"cpu_seconds": time.process_time() - started}
        (HERE / f"sweep_{n_updates}.json").write_text(json.dumps(about, indent=1) + "\n")


def keep(lanes: Path, n_updates: int) -> None:
    """Put the lanes of one sweep into the table, in place of those of that length that it has."""
    table, rows = HERE / "lanes.csv", []
    if table.exists():
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["updates"]) != n_updates]
    with lanes.open(newline="") as file:
        rows += [{"updates": n_updates} | {name: row[name] for name in COLUMNS[1:]} for row in csv.DictReader(file)]
    rows.sort(key=lambda row: (float(row["lambda"]), int(row["updates"]), int(row["seed"])))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
