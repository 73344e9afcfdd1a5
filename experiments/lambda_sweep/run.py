"""Run the main experiment: the penalty lambda swept in the whole market, and the arms that say what it rests on.

    python experiments/lambda_sweep/run.py --size=cpu --arms main no_randomiser
    python experiments/lambda_sweep/report.py --size=cpu

Each arm is one call of ``amarl_jax.sweep.sweep``; its workdir, with checkpoints and every learning curve, is
``<workdir>/<arm>`` outside the checkout. What is kept goes to ``experiments/lambda_sweep/<size>/<arm>``:

  sweep.json      provenance, lambda* and verdict, every measure of every lane (numbers to 6 digits)
  lanes.csv       one row per lane
  transition.png  I, KL, accuracy, shortfall and fill rate against lambda
  curves.csv      learning curves, means over the seeds of a penalty

An arm whose workdir exists is continued from its last checkpoint: run the same command again after an interruption.
``--size=cpu`` is the debug market with the debug networks, a reduced experiment; ``--size=full`` is
``configs/lambda_sweep.py``; ``--size=tiny`` shows that the whole path works and means nothing.
"""

import argparse
import csv
import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # arms.py lies beside this file

from arms import ARMS, BASES, config_of

from amarl_jax import sweep
from amarl_jax.host.runlog import read_metrics

HERE = Path(__file__).parent
CURVES = (  # metrics kept of every update, of the last phase it plays
    "phase_b/execution/shortfall",
    "phase_b/execution/completion",
    "phase_b/information/source_nats",
    "phase_b/information/belief_nats",
    "phase_b/belief/final_accuracy",
    "phase_b/maker/quoted_spread_ticks",
    "phase_b/arbitrageur/snipe_lots",
    "phase_a/execution/entropy",
    "objective",
)


def run_arm(name: str, size: str, workdir: Path, n_updates: int | None, n_seeds: int | None) -> int:
    """Train and measure one arm, keep its small files; returns how many lanes failed."""
    started, cpu = time.time(), time.process_time()
    config = config_of(name, size, n_updates, n_seeds)
    resume = (workdir / "config.json").exists()
    print(f"== {name}: {ARMS[name].why}", flush=True)
    swept = sweep.sweep(config, workdir, resume=resume)
    seconds = {"wall_seconds": time.time() - started, "cpu_seconds": time.process_time() - cpu}
    keep(swept, HERE / size / name, {"arm": name, "why": ARMS[name].why, "size": size, "resumed": resume, **seconds})
    print(f"== {name}: {seconds['cpu_seconds'] / 60:.1f} CPU minutes, {seconds['wall_seconds'] / 60:.1f} minutes")
    return len(swept.failures)


def keep(swept: sweep.Swept, folder: Path, about: dict[str, Any]) -> None:
    """Copy what is small and says everything."""
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(_rounded(about | swept.answer), separators=(",", ":"), allow_nan=False)
    (folder / "sweep.json").write_text(document.replace('{"lane":', '\n{"lane":') + "\n")
    for name in ("lanes.csv", "transition.png"):
        shutil.copyfile(swept.workdir / name, folder / name)
    write_curves(swept, folder / "curves.csv")


def write_curves(swept: sweep.Swept, path: Path) -> None:
    """Means over the whole lanes of each penalty, update by update."""
    groups: dict[tuple[float, int], list[dict[str, Any]]] = {}
    for row in read_metrics(swept.workdir / "metrics.jsonl"):
        if row["lane"] not in swept.failures:
            groups.setdefault((swept.lanes[int(row["lane"])].penalty, int(row["update"])), []).append(row)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [name for name in CURVES if all(name in rows[0] for rows in groups.values())]
        writer.writerow(("lambda", "update", *names))
        for (penalty, update), rows in sorted(groups.items()):
            means = (np.mean([row[name] for row in rows]) for name in names)
            writer.writerow((f"{penalty:g}", update, *(f"{mean:.5g}" for mean in means)))


def _rounded(value: Any) -> Any:
    """Floats to 6 significant digits."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(BASES), default="cpu")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["main"])
    parser.add_argument("--workdir", type=Path, default=Path("runs/lambda_sweep"), help="holds <size>/<arm>")
    parser.add_argument("--n_updates", type=int, default=None, help="of every lane; default by size")
    parser.add_argument("--n_seeds", type=int, default=None, help="at each penalty; default by size and arm")
    args = parser.parse_args()
    folder, asked = args.workdir / args.size, (args.n_updates, args.n_seeds)
    failed = sum(run_arm(name, args.size, folder / name, *asked) for name in args.arms)
    if failed:
        print(f"{failed} lanes diverged: marked in lanes.csv, named in sweep.json", file=sys.stderr)
        sys.exit(4)


if __name__ == "__main__":
    main()
