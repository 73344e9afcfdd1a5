"""What XLA's levels of optimisation cost to compile a whole update on a CPU, and how fast it then trains.

Each level is measured by `train.py` in a process of its own, because XLA reads its flags once. The levels take turns:
a machine that slows down slows them all.

    python experiments/benchmarks/levels.py --config=configs/fast_debug.py --n_envs=64
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from amarl_jax.evaluation.provenance import provenance

HERE = Path(__file__).resolve().parent


def measure(level: int, config: str, n_envs: int, repeats: int) -> dict[str, Any]:
    """One process: compilation and speed of a whole update at one level."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "row.json"
        sizes = [f"--config={config}", "--n_envs", str(n_envs), "--lanes", "--split_envs", "0"]
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level={level}".strip()
        subprocess.run(
            [sys.executable, str(HERE / "train.py"), *sizes, f"--repeats={repeats}", f"--output={output}"],
            env=os.environ | {"XLA_FLAGS": flags},
            check=True,
        )
        document = json.loads(output.read_text())
    (row,) = document["updates"]
    compile_cpu_seconds = row["compile_cpu_seconds"]
    return {
        "compile_cold_cpu_seconds": compile_cpu_seconds["cold"],
        "compile_warm_cpu_seconds": compile_cpu_seconds["warm"],
        "env_steps_per_cpu_second": row["env_steps_per_cpu_second"],
        "gflop_per_cpu_second": document["matrix_product"]["gflop_per_cpu_second"],  # what the core reaches
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/fast_debug.py")
    parser.add_argument("--n_envs", type=int, default=64)
    parser.add_argument("--levels", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="updates timed in a round")
    parser.add_argument("--output", type=Path, default=HERE / "levels_cpu.json")
    args = parser.parse_args()
    origin = provenance({name: value for name, value in vars(args).items() if name != "output"}, 0)
    rows: dict[int, list[dict[str, Any]]] = {level: [] for level in args.levels}
    for _ in range(args.rounds):
        for level in args.levels:
            rows[level].append(measure(level, args.config, args.n_envs, args.repeats))
    medians = {
        level: {name: round(statistics.median(row[name] for row in measured), 2) for name in measured[0]}
        for level, measured in rows.items()
    }
    args.output.write_text(json.dumps({"provenance": origin, "levels": medians, "rounds": rows}, indent=1) + "\n")
    for level, median in medians.items():
        print(level, median)


if __name__ == "__main__":
    main()
