"""The foundation experiment as a Markdown table, from its JSON.

python experiments/foundation/report.py > experiments/foundation/market.md
"""

import json
from pathlib import Path
from typing import Any

from amarl_jax.evaluation.markdown import cell, machine, programs, table

COLUMNS = {
    "shortfall, ticks per lot": "shortfall_ticks",
    "completion": "completion",
    "I, nats": "information_nats",
    "accuracy": "accuracy",
    "orders decided on": "child_orders",
}


def load_of_the_book(policies: dict[str, dict[str, Any]]) -> str:
    """Orders and messages, the worst over policies."""
    resting = max(row["resting_orders_per_side"]["p99.9_of_peaks"] for row in policies.values())
    messages = max(row["messages_per_step"]["p99.9_of_peaks"] for row in policies.values())
    cut = max(row["noise_orders_cut_per_episode"] for row in policies.values())
    refused = max(row["orders_refused_or_evicted_per_episode"] for row in policies.values())
    return (
        f"In 999 of 1,000 episodes no side of the book ever held more than {resting:.0f} orders, and no step more than "
        f"{messages:.0f} messages; per episode {cut:.3f} noise orders were cut off by the bound, {refused:.3f} orders "
        "refused or evicted."
    )


def main() -> None:
    document = json.loads(Path(__file__).with_name("market.json").read_text())
    where = document["provenance"]
    print(f"Command `{where['command']}`, seed {where['seed']}, commit {programs([where['commit']])},")
    print(f"{machine(where)}. ± is one standard error.")
    for name, result in document["results"].items():
        policies = result["policies"]
        episodes = next(iter(policies.values()))["n_episodes"]
        print(f"\n## {name}: {episodes} episodes per row\n")
        rows = [
            [name.replace("_", " "), *(cell(row[key]) for key in COLUMNS.values())] for name, row in policies.items()
        ]
        print(table(["execution policy", *COLUMNS], rows))
        print(f"\n{load_of_the_book(policies)}")


if __name__ == "__main__":
    main()
