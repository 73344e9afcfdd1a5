"""How fast is training in a fitted flow and in a recorded one, against the Beta law of the same market?

    python experiments/flow/speed.py GOOG --flow=my_day/flow.json
    python experiments/flow/report.py

The debug configuration in a flow that ``fit_flow --stream`` wrote, one compiled update for each arm, run in turns: in
every turn each arm once, so that what slows the machine slows all. CPU time of the process. Writes
``speed_NAME.json``.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax

from amarl_jax import config as configuration
from amarl_jax.host import machine
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.update import begin, update

CONFIG = "configs/fast_debug.py"
LAW, BOUND = "environment.noise_law", "environment.max_noise_orders"
ARMS: dict[str, dict[str, Any]] = {
    "beta": {LAW: "beta"},
    "table": {},
    "recorded": {LAW: "recorded"},
}


def prepared(flow: Path, changes: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """A compiled update, a learner that it has touched once, and a row of what is known of both."""
    experiment = configuration.resolve(configuration.load(CONFIG, {"environment.flow": str(flow)} | changes))
    setup = experiment.setup
    state = begin(jax.random.key(experiment.run.seed), setup)
    began = time.process_time()
    compiled = jax.jit(lambda learner: update(learner, setup)[0]).lower(state).compile()
    seconds = time.process_time() - began
    spec, law = setup.game.market_spec, experiment.noise_law
    row = {
        "rows_per_step": spec.max_noise_orders,
        "book_capacity": spec.book_capacity,
        "steps_per_update": setup.game.steps_per_update(),
        "compile_cpu_seconds": round(seconds, 1),
    }
    if hasattr(law, "n_recorded"):
        row |= {"steps_played": law.n_steps, "steps_recorded": law.n_recorded}
    return compiled, jax.block_until_ready(compiled(state)), row


def main() -> None:
    """Compile all arms, run them in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the day, as in speed_NAME.json")
    parser.add_argument("--flow", type=Path, required=True, help="flow.json with stream.npz beside it")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--bounds", type=int, nargs="*", default=[], help="further bounds of the recorded flow")
    args = parser.parse_args()
    arms = ARMS | {f"recorded, {n} rows": {LAW: "recorded", BOUND: n} for n in args.bounds}
    with machine.prepared(configuration.resolve(configuration.load(CONFIG)).run):
        programs = {name: prepared(args.flow, changes) for name, changes in arms.items()}
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(args.turns):
            for name, (compiled, state, _) in programs.items():
                began = time.process_time()
                jax.block_until_ready(compiled(state))
                seconds[name].append(time.process_time() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = {
        name: row
        | {
            "cpu_seconds": {"median": medians[name], "min": min(seconds[name]), "max": max(seconds[name])},
            "steps_per_cpu_second": row["steps_per_update"] / medians[name],
            "of_beta": medians["beta"] / medians[name],
        }
        for name, (_, _, row) in programs.items()
    }
    sys.argv[1:] = [args.name, f"--flow={args.flow.name}", f"--turns={args.turns}"]  # names, without folders
    config = {"config": CONFIG, "arms": arms, "turns": args.turns}
    document = {"provenance": provenance(config, 0), "arms": rows}
    path = Path(__file__).with_name(f"speed_{args.name}.json")
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    print("\n".join(f"{name}: {row['of_beta']:.3f} of the Beta law's speed" for name, row in rows.items()))


if __name__ == "__main__":
    main()
