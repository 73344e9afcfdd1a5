"""The replay ablation as a paragraph and a table, from its JSON.

python experiments/replay/report.py > experiments/replay/ablation.md
"""

import json
from pathlib import Path

from amarl_jax.evaluation.markdown import cell, machine, programs, table

COLUMNS = {
    "before the move": "new_policy_before_the_move",
    "after 1 rollout": "new_policy_after_1_rollout",
    "after 5": "new_policy_after_5_rollouts",
    "at the end": "new_policy_at_the_end",
    "before the move ": "old_policy_before_the_move",
    "5 rollouts into the move": "old_policy_after_5_rollouts",
    "at its end": "old_policy_at_the_end",
    "1 rollout after its return": "old_policy_1_rollout_after_its_return",
}


def paragraph(summary: dict[str, dict[str, dict[str, float]]], config: dict) -> str:
    """Which arm does best after the move and after the return."""
    phases = [name.replace("_", " ") for name in config["phases"]]
    text = f"The execution policy moves from {phases[0]} to {phases[1]} after {config['n_rollouts']} rollouts and "
    text += "returns after as many."
    for what, look in (
        ("On the new policy, five rollouts after the move,", "new_policy_after_5_rollouts"),
        ("On the new policy, averaged over its rollouts,", "new_policy_mean_of_phase"),
        ("On the old policy, one rollout after its return,", "old_policy_1_rollout_after_its_return"),
    ):
        losses = sorted((row[look]["value"], arm, cell(row[look])) for arm, row in summary.items())
        text += f" {what} the held-out loss is, from the lowest: " + ", ".join(f"{a} {c}" for _, a, c in losses) + "."
    return text


def main() -> None:
    document = json.loads(Path(__file__).with_name("ablation.json").read_text())
    where, summary = document["provenance"], document["summary"]
    print(f"Command `{where['command']}`, {where['config']['n_seeds']} seeds, commit {programs([where['commit']])}, on")
    print(f"{machine(where)}. ± is one standard error over seeds; arms share their episodes.\n")
    print(paragraph(summary, where["config"]))
    print("\nLoss in nats per prefix, four columns on the new policy, four on the old one.\n")
    rows = [[arm, *(cell(looks[key]) for key in COLUMNS.values())] for arm, looks in summary.items()]
    print(table(["belief learns from", *(name.strip() for name in COLUMNS)], rows))


if __name__ == "__main__":
    main()
