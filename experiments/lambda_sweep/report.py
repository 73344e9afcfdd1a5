"""Tables and figures of the main experiment, from the arms' files alone.

    python experiments/lambda_sweep/report.py --size=cpu

writes ``<size>/results.md``, ``arms.png``, ``claims.png`` and ``main/transition.png``.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from arms import ARMS
from expected import beside_measured
from figures import draw_arms, draw_claims
from measured import (
    Measured,
    branches,
    control,
    convergence,
    cycles,
    distance,
    exponent,
    hidden_lots,
    read,
    splitting,
    starts_verdict,
    widening,
)

from amarl_jax.evaluation.lanes import read_lanes
from amarl_jax.evaluation.transition_figure import draw_transition
from amarl_jax.theory.curves import calibrated_curves

HERE = Path(__file__).parent
BY_PENALTY = {  # column of the main table: measure
    "I, nats": "information_nats",
    "KL, nats": "kl_nats",
    "accuracy": "accuracy",
    "shortfall, units": "shortfall_units",
    "completion": "completion",
    "child orders": "child_orders",
    "lots each": "child_lots",
    "spread, ticks": "spread_ticks",
    "I, labels shuffled": "control_information_nats",
}
FIXED = ("noise_quarter", "main", "noise_x4", "noise_x16")  # same parent order
SCALED = ("noise_quarter_scaled", "main", "noise_x4_scaled", "noise_x16_scaled")  # it grows as the root of the noise


def header(main: Measured) -> list[str]:
    """Where the numbers come from."""
    where, document = main.document["provenance"], main.document
    commit = where["commit"][:10] + where["commit"][40:]  # a "+" follows where files differed from it
    environment, execution = main.config["environment"], main.config["agents"]["execution"]
    return [
        f"# The penalty swept, size `{document['size']}`",
        "",
        f"Command `{where['command']}` and the like for each arm, commit `{commit}`, {where['date']}, "
        f"{where['hardware']['processor']}, devices {', '.join(where['hardware']['devices'])}.",
        f"T = {environment['max_steps_per_episode']} steps, Q = {execution['inventory_lots']} lots, "
        f"{environment['noise_trader_arrival_rate']:g} noise orders per step, "
        f"{main.config['training']['total_timesteps']:,} environment steps per lane, "
        f"{main.config['eval_episodes']} held-out episodes per lane. "
        "± is half of a 95% interval over seeds (Student's t).",
    ]


def main_table(main: Measured) -> list[str]:
    """Every measure at every penalty of the main sweep."""
    lines = ["", "## The curve", "", "| lambda | seeds | " + " | ".join(BY_PENALTY) + " |"]
    lines += ["|---" * (2 + len(BY_PENALTY)) + "|"]
    for penalty in main.penalties:
        cells = [main.at(penalty, measure) for measure in BY_PENALTY.values()]
        lines.append(f"| {penalty:g} | {cells[0].n} | " + " | ".join(map(str, cells)) + " |")
    return lines


def place(located: dict, name: str) -> str:
    """A definition of lambda* as a cell."""
    found = located.get(name)
    if found is None:
        return "-"
    number = lambda x: f"{x:.2f}" if isinstance(x, float) else str(x)  # noqa: E731
    if found["lower"] is None:
        return (
            f"{number(found['value'])} ({found['note'] or 'no interval'})"
            if found["value"] is not None
            else found["note"]
        )
    value = found["note"] if found["value"] is None else number(found["value"])
    return f"{value} [{number(found['lower'])}, {number(found['upper'])}]"


def arms_table(arms: dict[str, Measured]) -> list[str]:
    """What each arm says at both ends of the penalties, lambda* and the control."""
    lines = ["", "## The arms", ""]
    names = (
        "arm",
        "what differs",
        "lanes",
        "I at lowest",
        "I at highest",
        "completion at highest",
        "shortfall at lowest",
        "lambda_half",
        "lambda_eq",
        "width",
        "I, labels shuffled",
        "CPU min",
    )
    lines += ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for name in ARMS:
        if name not in arms:
            lines.append(f"| {name} | {ARMS[name].why} | not measured |" + " |" * (len(names) - 3))
            continue
        arm = arms[name]
        low, high = arm.penalties[[0, -1]]
        failed = arm.document["n_failed"]
        lanes = f"{arm.document['n_lanes']}" + (f", {failed} diverged" if failed else "")
        cells = (
            arm.at(low, "information_nats"),
            arm.at(high, "information_nats"),
            arm.at(high, "completion"),
            arm.at(low, "shortfall_units"),
            *(place(arm.located, what) for what in ("lambda_half", "lambda_eq", "width")),
            control(arm)[0],
            f"{arm.document['cpu_seconds'] / 60:.0f}",
        )
        lines.append(f"| {name} | {ARMS[name].why} | {lanes} | " + " | ".join(map(str, cells)) + " |")
    return lines


def questions(arms: dict[str, Measured]) -> list[str]:
    """The questions of the arms, each with a number."""
    main = arms["main"]
    verdict = starts_verdict(arms)
    highest = main.at(main.penalties[-1], "kl_nats")
    lines = ["", "## Transition or crossover", ""]
    lines.append(f"- Main sweep alone: {main.located['verdict']}")
    lines.append(
        f"- Over starts and horizons: {verdict if verdict is not None else 'not measured (loud and quiet starts)'}"
    )
    lines.append(
        f"- KL at the largest penalty, {main.penalties[-1]:g}: {highest} nats; "
        "the reference's conjecture is a sharp fall to 0"
    )
    lines += [f"- {line}" for line in branches(arms)]
    lines.append(f"- Labels shuffled, all lanes of the main sweep: I = {control(main)[0]} nats")
    if "forced" in arms:
        ends = [
            (arm.at(arm.penalties[-1], "information_nats"), arm.at(arm.penalties[-1], "completion"))
            for arm in (arms["forced"], main)
        ]
        texts = [f"I = {floor} nats with {done} done" for floor, done in ends]
        lines.append(f"- Forced completion, largest penalty: {texts[0]}; where mimicry is allowed {texts[1]}")
    return lines


def square_root_law(arms: dict[str, Measured]) -> list[str]:
    """Do curves collapse at equal Q / (sigma sqrt(N)), and how do hidden lots grow with N?"""
    fixed, scaled = ([arms[name] for name in names if name in arms] for names in (FIXED, SCALED))
    lines = ["", "## The square-root law", ""]
    if max(len(fixed), len(scaled)) < 2:
        return [*lines, "Not measured: no arm with another volume of noise."]
    lines += [
        "| arm | N | Q | Q / (sigma sqrt(N)) | hidden lots (I < 0.05) | mean gap of I to main, nats |",
        "|---" * 6 + "|",
    ]
    for arm in {arm.name: arm for arm in [*fixed, *scaled]}.values():
        gap = "-" if arm.name == "main" else str(distance(arms["main"], arm))
        order = arm.config["agents"]["execution"]["inventory_lots"]
        lines.append(f"| {arm.name} | {arm.n_noise:g} | {order} | {arm.leverage:.3f} | {hidden_lots(arm)} | {gap} |")
    lines.append("")
    for what, group in (("same parent order", fixed), ("parent order as the root of the noise", scaled)):
        slope, lower, upper = exponent(group)
        text = "not determined" if np.isnan(slope) else f"N^{slope:.2f} [{lower:.2f}, {upper:.2f}]"
        lines.append(
            f"- Hidden lots, {what}, {len(group)} volumes: {text}; the law says N^0.5 where the order does not run out"
        )
    return lines


def claims(arms: dict[str, Measured]) -> list[str]:
    """The reference's four emergent claims, each with its number."""
    main = arms["main"]
    rows = {
        "adaptive order splitting": splitting(main),
        "spread widens with belief: correlation over 0.6 at small lambda, near 0 at large": widening(main),
        "arbitrage cycles, set by the maker's latency and the belief's speed": cycles(arms),
        "flow converges to noise in total variation": convergence(main),
    }
    lines = ["", "## The reference's four emergent claims", "", "| claim | measured | verdict |", "|---|---|---|"]
    lines += [f"| {claim} | {number} | {word} |" for claim, (number, word) in rows.items()]
    return lines


def draw_main(folder: Path) -> None:
    """The transition figure of the main sweep from its table, with both theories calibrated to it."""
    penalty, information = read_lanes(folder / "lanes.csv").grid("information_nats")
    located = json.loads((folder / "sweep.json").read_text())["located"]["main"]
    parts = {"located": located, "theory": calibrated_curves(penalty.tolist(), float(information[:, 0].mean()))}
    with tempfile.TemporaryDirectory() as scratch:
        paths = {name: Path(scratch) / f"{name}.json" for name in parts}
        for name, path in paths.items():
            path.write_text(json.dumps(parts[name]))
        draw_transition(folder / "lanes.csv", Path(scratch) / "transition", **paths)
        shutil.copyfile(Path(scratch) / "transition.png", folder / "transition.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="cpu")
    folder = HERE / parser.parse_args().size
    arms = {name: read(folder / name) for name in ARMS if (folder / name / "sweep.json").exists()}
    if "main" not in arms:
        sys.exit(f"{folder}: the main sweep has not been run")
    main_arm = arms["main"]
    lines = [*header(main_arm), *main_table(main_arm), *beside_measured(main_arm, folder / "main" / "curves.csv")]
    lines += [*arms_table(arms), *questions(arms)]
    lines += [*square_root_law(arms), *claims(arms), "", "![arms](arms.png)", "", "![claims](claims.png)"]
    (folder / "results.md").write_text("\n".join(lines) + "\n")
    draw_main(folder / "main")
    draw_arms(arms, folder / "arms.png")
    draw_claims(arms, folder / "claims.png")


if __name__ == "__main__":
    main()
