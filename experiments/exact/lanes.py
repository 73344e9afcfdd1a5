"""Train the lanes that the exact posterior is shown on: four penalties, two seeds, for either source of leakage.

    python experiments/exact/lanes.py --source exact mine --workdir=runs/exact

A source's lanes are one sweep in the debug market, ``<workdir>/<source>``, with checkpoints and learning curves; an
interrupted one is continued by the same command. ``measure.py`` reads them.
"""

import argparse
from pathlib import Path

from amarl_jax import config, sweep

PENALTIES = {"sweep.lambda_max": 16.0, "sweep.n_lambdas": 4, "sweep.points_per_octave": 0.5}  # 0, 1, 4, 16
N_UPDATES = 40


def settings(source: str, n_updates: int, n_seeds: int) -> dict:
    """What differs from ``configs/lambda_sweep.py:fast``."""
    return {
        **PENALTIES,
        "sweep.n_seeds": n_seeds,
        "training.total_timesteps": n_updates * 12_800,
        "agents.execution.leakage_source": source,
        "networks.belief_transformer.target": "exact" if source == "exact" else "label",
        "eval_episodes": 256,
        "logging.use_tensorboard": False,
        "exp_name": f"exact_{source}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", nargs="+", default=["mine", "exact"])
    parser.add_argument("--workdir", type=Path, default=Path("runs/exact"))
    parser.add_argument("--n_updates", type=int, default=N_UPDATES)
    parser.add_argument("--n_seeds", type=int, default=2)
    given = parser.parse_args()
    for source in given.source:
        workdir = given.workdir / source
        changes = settings(source, given.n_updates, given.n_seeds)
        sweep.sweep(
            config.load("configs/lambda_sweep.py:fast", changes), workdir, resume=(workdir / "config.json").exists()
        )


if __name__ == "__main__":
    main()
