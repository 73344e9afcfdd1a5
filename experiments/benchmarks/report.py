"""What an update costs, as Markdown tables, from the JSON files of first_look.py.

python experiments/benchmarks/report.py > experiments/benchmarks/first_look.md
"""

import json
from pathlib import Path
from typing import Any

HEADER = "| part | compile, CPU s | run, wall s | steps per wall s | steps per CPU s |\n|---|---|---|---|---|"


def line(name: str, part: dict[str, Any]) -> str:
    """One part of an update."""
    wall, per_wall, per_cpu = (
        part["wall_seconds"]["median"],
        part["env_steps_per_wall_second"],
        part["env_steps_per_cpu_second"],
    )
    name = name.replace("_", " ")
    return f"| {name} | {part['compile_cpu_seconds']:.1f} | {wall:.3f} | {per_wall:,.0f} | {per_cpu:,.0f} |"


def section(row: dict[str, Any], title: str) -> str:
    """One number of environments."""
    state, peak = row["state_bytes"] / 2**20, row["peak_bytes_per_env_of_update"] / 2**20
    parts = "\n".join(line(name, part) for name, part in row["parts"].items())
    memory = f"Learner state {state:.1f} MiB per lane; scratch of the update {peak:.1f} MiB per environment."
    return f"### {title}, {row['n_envs']} environments\n\n{HEADER}\n{parts}\n\n{memory}\n"


def main() -> None:
    for path in sorted(Path(__file__).parent.glob("first_look_*.json")):
        document = json.loads(path.read_text())
        where = document["provenance"]
        machine = f"{where['hardware']['cores']} cores of {where['hardware']['processor']}"
        print(f"`{where['command']}`, commit `{where['commit'][:10]}`, {machine}, load {where['hardware']['load'][0]};")
        print(f"a large matrix product runs at {document['matmul_gflops']:.0f} GFLOP/s.\n")
        title = Path(where["config"]["config"]).stem
        print("\n".join(section(row, title) for row in document["rows"]))


if __name__ == "__main__":
    main()
