"""When the execution agent is charged for the lots that are left: step by step, as value moves, or at the horizon.

Both add up to the same shortfall. What differs is how soon an action's cost is felt:

  long_day   the default market, 390 steps, with the debug networks: shortfall and completion update by update
  short_day  the debug market, 50 steps, trained as the lanes of the reduced sweep are: shortfall, completion and what a
             fresh detector finds, without a penalty and at the largest

    PYTHONPATH=. python experiments/shortfall_credit/shortfall_credit.py
    python experiments/shortfall_credit/report.py > experiments/shortfall_credit/README.md
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from amarl_jax import config as configuration
from amarl_jax import sweep
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.update import advance, begin

CREDITS = ("marked", "horizon")
SETTING = "agents.execution.shortfall_credit"
LONG_UPDATES, SHORT_UPDATES = 6, 36
KEPT = ("shortfall", "completion")
MEASURES = ("shortfall_units", "completion", "information_nats", "accuracy")


def long_day(credit: str, n_envs: int) -> list[dict[str, float]]:
    """The execution agent's shortfall, reward units, and completion after each update."""
    debug = configuration.load("configs/fast_debug.py")
    config = configuration.load("configs/default.py", {SETTING: credit, "training.n_envs": n_envs})
    config.networks = debug.networks
    for name in ("n_epochs", "lr_actor", "lr_mine", "lr_belief"):
        config.training[name] = debug.training[name]
    config.training.lr_schedule = "constant"
    setup = configuration.resolve(config).setup
    state = begin(jax.random.key(0), setup)
    rows = []
    for update in range(1, LONG_UPDATES + 1):
        state, measured = advance(state, setup, 1)
        means = {name: round(float(np.asarray(measured[f"phase_b/execution/{name}"])[0]), 4) for name in KEPT}
        rows.append({"env_steps": update * setup.game.steps_per_update()} | means)
        print(credit, rows[-1], flush=True)
    return rows


def short_day(credit: str, n_seeds: int) -> list[dict[str, Any]]:
    """Measures of every lane."""
    grid = {"sweep.n_lambdas": 2, "sweep.points_per_octave": 0, "sweep.n_seeds": n_seeds, "eval_episodes": 1024}
    config = configuration.load("configs/lambda_sweep.py:fast", grid | {SETTING: credit})
    steps = configuration.resolve(config).game.steps_per_update()
    config.training.total_timesteps = SHORT_UPDATES * steps
    with tempfile.TemporaryDirectory() as folder:
        swept = sweep.sweep(config, Path(folder) / "sweep")
    return [
        {"lambda": lane.penalty, "seed": lane.seed, **{name: round(row[name]["value"], 5) for name in MEASURES}}
        for lane, row in zip(swept.lanes, swept.rows, strict=True)
        if row is not None
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_envs", type=int, default=64, help="of the long day")
    parser.add_argument("--n_seeds", type=int, default=4, help="of the short day")
    parser.add_argument("--output", type=Path, default=Path("experiments/shortfall_credit/shortfall_credit.json"))
    args = parser.parse_args()
    began = time.process_time()
    results = {
        "long_day": {credit: long_day(credit, args.n_envs) for credit in CREDITS},
        "short_day": {credit: short_day(credit, args.n_seeds) for credit in CREDITS},
    }
    config = {"n_envs": args.n_envs, "n_seeds": args.n_seeds, "long_updates": LONG_UPDATES}
    config |= {"short_updates": SHORT_UPDATES}
    document = {"provenance": provenance(config, 0), "cpu_seconds": round(time.process_time() - began), **results}
    args.output.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
