"""Measure what training costs with each source of leakage: environment steps per CPU-second of whole updates.

    python experiments/exact/cost.py
    python experiments/exact/report.py

The programs take turns, so that a busy machine slows all alike. Rows go to ``experiments/exact/cost.json``.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax

from amarl_jax import config as configuration
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.update import begin, update

HERE = Path(__file__).parent
RUNS = {
    "debug": ("configs/fast_debug.py", {}),
    "default": (
        "configs/default.py",
        {
            "training.n_envs": 16,
            "training.alternating.exec_phase_steps": 390,
            "training.alternating.mm_arb_phase_steps": 390,
        },
    ),
}
SOURCES = {
    "mine": {},
    "exact": {"agents.execution.leakage_source": "exact"},
    "exact, belief fitted to it too": {
        "agents.execution.leakage_source": "exact",
        "networks.belief_transformer.target": "exact",
    },
}


def compiled(name: str, source: str) -> tuple[Any, Any, int]:
    """The update of one source, its learner, and the environment steps of an update."""
    path, changes = RUNS[name]
    experiment = configuration.resolve(configuration.load(path, changes | SOURCES[source]))
    setup = experiment.setup
    state = begin(jax.random.key(0), setup)
    program = jax.jit(lambda s: update(s, setup)[0]).lower(state).compile()
    return program, jax.block_until_ready(program(state)), setup.game.steps_per_update()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=list(RUNS))
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rows = []
    for name in given.runs:
        programs = {source: compiled(name, source) for source in SOURCES}
        seconds: dict[str, list[float]] = {source: [] for source in SOURCES}
        for _ in range(given.repeats):
            for source, (program, state, _) in programs.items():
                started = time.process_time()
                jax.block_until_ready(program(state))
                seconds[source].append(time.process_time() - started)
        for source, spent in seconds.items():
            steps = programs[source][2] / statistics.median(spent)
            share = statistics.median(spent) / statistics.median(seconds["mine"])
            rows.append({"run": name, "source": source, "steps_per_cpu_second": steps, "times_mine": share})
            print(f"{name}, {source}: {steps:,.0f} steps per CPU-second, {share:.2f} times the time", flush=True)
    found = {"rows": rows, "provenance": provenance({name: RUNS[name][1] for name in given.runs}, 0)}
    (HERE / "cost.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
