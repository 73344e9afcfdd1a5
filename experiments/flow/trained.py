"""What does a trader leak that learned in a fitted flow, and one that learned in a recorded day, beside TWAP?

    python experiments/flow/trained.py GOOG --flow=my_day/flow.json --law=table --workdir=runs/table
    python experiments/flow/trained.py GOOG --flow=my_day/flow.json --law=recorded --workdir=runs/recorded
    python experiments/flow/report.py

Trains the debug configuration with a tilted trader to its end, then measures it, TWAP and a mimic against the same
maker and arbitrageur: exactly, and by a detector trained afresh on the public tape. Of a recorded day evaluation plays
the last fifth, which training never saw. Writes ``trained_LAW_NAME.json``: measures, and no order of the day.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from amarl_jax import config as configuration
from amarl_jax import evaluate, train
from amarl_jax.evaluation import frozen_run
from amarl_jax.host.provenance import Stopwatch, provenance
from amarl_jax.strict_json import finite

CONFIG = "configs/fast_debug.py"
POLICIES = ("learned", "twap", "mimic")
MEASURES = (
    *("exact_nats", "exact_nats_lower", "exact_nats_upper", "information_nats", "shortfall_ticks"),
    *("completion", "belief_efficiency", "fresh_efficiency"),
)


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the day, as in trained_LAW_NAME.json")
    parser.add_argument("--flow", type=Path, required=True, help="flow.json, with stream.npz beside it")
    parser.add_argument("--law", choices=("table", "recorded"), required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--n_episodes", type=int, default=1024)
    args = parser.parse_args()
    changes = {"environment.noise_law": args.law, "networks.execution_actor.head": "tilt"}
    config = configuration.load(CONFIG, {"environment.flow": str(args.flow)} | changes)
    watch = Stopwatch()
    trained = train.train(config, workdir=args.workdir)
    watch.lap("train")
    rows = evaluate.compare_baselines(frozen_run.load(args.workdir), args.n_episodes)
    watch.lap("evaluate")
    experiment = configuration.resolve(config)
    law = experiment.noise_law
    found: dict[str, Any] = {
        "updates": experiment.n_updates,
        "steps": experiment.total_timesteps,
        "seconds": watch.seconds,
        "episodes": args.n_episodes,
        "policies": {name: {measure: rows[name][measure] for measure in MEASURES} for name in POLICIES},
        "closing": finite({name: value.value for name, value in trained.evaluation.metrics.items()}),
    }
    if hasattr(law, "n_recorded"):
        found["noise"] = law.in_words
    named = [f"--flow={args.flow.name}", f"--law={args.law}", f"--n_episodes={args.n_episodes}"]  # without folders
    sys.argv[1:] = [args.name, *named]
    document = {"provenance": provenance({"config": CONFIG, **changes}, experiment.run.seed), **found}
    path = Path(__file__).with_name(f"trained_{args.law}_{args.name}.json")
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    print(f"written to {path.name}")


if __name__ == "__main__":
    main()
