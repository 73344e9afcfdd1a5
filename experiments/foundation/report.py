"""The foundation experiment as a Markdown table, from its JSON.

python experiments/foundation/report.py > experiments/foundation/market.md
"""

import json
from pathlib import Path
from typing import Any

COLUMNS = {
    "shortfall, ticks per lot": "shortfall_ticks",
    "completion": "completion",
    "I, nats": "information_nats",
    "accuracy": "accuracy",
    "child orders": "child_orders",
}


def cell(estimate: dict[str, float]) -> str:
    """A mean with its standard error."""
    return f"{estimate['value']:.3f} ± {estimate['stderr']:.3f}"


def table(policies: dict[str, dict[str, Any]]) -> list[str]:
    """One row per policy."""
    lines = ["| execution policy | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name, row in policies.items():
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cell(row[key]) for key in COLUMNS.values()) + " |")
    return lines


def load_of_the_book(policies: dict[str, dict[str, Any]]) -> str:
    """Orders and messages, the worst over policies."""
    resting = max(row["resting_orders_per_side"]["p99.9_of_peaks"] for row in policies.values())
    messages = max(row["messages_per_step"]["p99.9_of_peaks"] for row in policies.values())
    cut = max(row["noise_orders_cut_per_episode"] for row in policies.values())
    refused = max(row["orders_refused_or_evicted_per_episode"] for row in policies.values())
    return (
        f"99.9th percentile of an episode's peaks: {resting:.0f} resting orders per side, {messages:.0f} messages per "
        f"step; per episode {cut:.3f} noise orders cut off by the bound, {refused:.3f} orders refused or evicted."
    )


def main() -> None:
    document = json.loads(Path(__file__).with_name("market.json").read_text())
    where = document["provenance"]
    print(f"Command `{where['command']}`, seed {where['seed']}, commit `{where['commit'][:10]}`,")
    print(f"{where['hardware']['cores']} cores of {where['hardware']['processor']}. ± is one standard error.")
    for name, result in document["results"].items():
        policies = result["policies"]
        episodes = next(iter(policies.values()))["n_episodes"]
        print(f"\n## {name}: {episodes} episodes per row\n")
        print("\n".join(table(policies)))
        print(f"\n{load_of_the_book(policies)}")


if __name__ == "__main__":
    main()
