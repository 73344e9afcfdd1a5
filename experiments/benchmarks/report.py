"""What training and compiling cost, as Markdown tables, from the JSON files of train.py.

python experiments/benchmarks/report.py > experiments/benchmarks/train.md
"""

import json
from pathlib import Path
from typing import Any

from amarl_jax.evaluation.markdown import machine, programs

UPDATES = (
    "| environments | lanes | steps per wall s | steps per CPU s | compile, CPU s | from cache | state, MiB "
    "| scratch, MiB per environment |\n|---|---|---|---|---|---|---|---|"
)
PARTS = (
    "| part | per update | CPU s | share of CPU time | steps per CPU s | compile, CPU s |\n|---|---|---|---|---|---|"
)
INSIDE = ("environment", "belief_decode")  # measured alone, and part of playing


def update_line(row: dict[str, Any]) -> str:
    """One number of environments and lanes."""
    state, scratch = row["bytes"]["state"] / 2**20, row["bytes"]["scratch_per_environment"] / 2**20
    memory = f"{state:.1f} | {scratch:.2f} |"
    if "skipped" in row:
        return f"| {row['n_envs']} | {row['lanes']} | {row['skipped']} | - | - | - | {memory}"
    wall, cpu, compiling = row["env_steps_per_wall_second"], row["env_steps_per_cpu_second"], row["compile_cpu_seconds"]
    speed = f"{wall:,.0f} | {cpu:,.0f} | {compiling['cold']:.1f} | {compiling['warm']:.1f}"
    return f"| {row['n_envs']} | {row['lanes']} | {speed} | {memory}"


def split_lines(split: dict[str, Any]) -> list[str]:
    """The parts of an update; shares are of the sum of those that are not inside another."""
    parts = split["parts"]
    taken = {name: part["per_update"] * part["cpu_seconds_median"] for name, part in parts.items()}
    total = sum(seconds for name, seconds in taken.items() if name not in INSIDE)
    lines = [PARTS]
    for name, part in parts.items():
        title = name.replace("_", " ") + (" (of play)" if name in INSIDE else "")
        speed, compiling = part["env_steps_per_cpu_second"], part["compile_cpu_seconds"]["cold"]
        numbers = f"{taken[name]:.2f} | {taken[name] / total:.0%} | {speed:,.0f} | {compiling:.1f}"
        lines.append(f"| {title} | {part['per_update']} | {numbers} |")
    return lines


def floor_line(document: dict[str, Any]) -> str:
    """What the arithmetic alone would allow."""
    product = document["matrix_product"]
    line = (
        f"A product of {product['size']} x {product['size']} runs at {product['gflop_per_wall_second']:.0f} GFLOP "
        f"per wall second, {product['gflop_per_cpu_second']:.0f} per CPU-second"
    )
    if document["split"]:
        flops = sum(document["split"]["flops_per_env_step"].values())
        allowed = product["gflop_per_cpu_second"] * 1e9 / flops
        line += (
            f"; an environment step has {flops / 1e6:.1f} MFLOP of products, so at most {allowed:,.0f} steps per CPU s"
        )
    return line + "."


def heading(where: dict[str, Any], of: str = "") -> list[str]:
    """Title, with what the section is of in front of configuration and device; command, commit and machine."""
    devices = ", ".join(sorted(set(where["hardware"]["devices"])))
    return [
        f"### {of}{Path(where['config']['config']).stem} on {devices}",
        "",
        f"`{where['command']}`, commit {programs([where['commit']])},",
        f"{machine(where)}, load {where['hardware']['load'][0]}.",
    ]


def section(document: dict[str, Any]) -> str:
    """One file of train.py."""
    lines = [
        *heading(document["provenance"]),
        floor_line(document),
        "",
        UPDATES,
        *(update_line(row) for row in document["updates"]),
    ]
    if document["split"]:
        lines += ["", f"Parts at {document['split']['n_envs']} environments, one episode per phase:", ""]
        lines += split_lines(document["split"])
    return "\n".join(lines) + "\n"


def main() -> None:
    here = Path(__file__).parent
    for path in sorted(here.glob("train_*.json")):
        print(section(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
