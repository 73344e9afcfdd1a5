"""Tables and figures of the main experiment, from the arms' files alone.

    python experiments/lambda_sweep/report.py --size=cpu

writes ``<size>/results.md``, and as .png and .pdf ``arms``, ``claims``, ``main/transition`` (not of an older program,
whose verdict was by another rule), ``main/fills`` and, where the volume of noise was moved, ``collapse``.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from arms import ARMS
from claims import convergence, cycles, splitting, widening
from expected import beside_measured
from figures import draw_arms, draw_claims, draw_collapse, noise_arms
from measured import Measured, branches, common_penalties, control, difference, read, starts_verdict
from square_root import HIDDEN_NATS, collapse_exponent, hidden_exponent, hidden_lots, runs_out

from amarl_jax.host.provenance import is_older
from amarl_jax.lanes.fills_figure import draw_lane_fills
from amarl_jax.lanes.frontier_figure import draw_frontier
from amarl_jax.lanes.transition_figure import draw_transition

HERE = Path(__file__).parent
BY_PENALTY = {  # column of the main table: measure
    "I, nats": "information_nats",
    "KL, nats": "kl_nats",
    "accuracy": "accuracy",
    "shortfall, units": "shortfall_units",
    "completion": "completion",
    "orders decided on": "child_orders",
    "orders sent": "sent_orders",
    "lots each": "child_lots",
    "spread, ticks": "spread_ticks",
    "I, labels shuffled": "control_information_nats",
}


def header(main: Measured) -> list[str]:
    """Where the numbers come from."""
    where, document = main.document["provenance"], main.document
    environment, execution = main.config["environment"], main.config["agents"]["execution"]
    return [
        f"# The penalty swept, size `{document['size']}`",
        "",
        f"Command `{where['command']}` and the like for each arm, commit {main.commit}, {where['date']}, "
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
    """What each arm says at both ends of the penalties that all have, lambda* and the control."""
    low, high = common_penalties(arms.values())[[0, -1]]
    lines = ["", "## The arms", ""]
    names = (
        "arm",
        "what differs",
        "lanes",
        "seeds",
        f"I at {low:g}",
        f"I at {high:g}",
        f"completion at {high:g}",
        f"shortfall at {low:g}",
        f"shortfall at {high:g}",
        "lambda_half",
        "lambda_eq",
        "width",
        "I, labels shuffled",
        "steps a lane",
        "commit",
        "CPU min",
    )
    lines += ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for name in ARMS:
        if name not in arms:
            lines.append(f"| {name} | {ARMS[name].why} | not measured |" + " |" * (len(names) - 3))
            continue
        arm = arms[name]
        failed = arm.document["n_failed"]
        lanes = f"{arm.document['n_lanes']}" + (f", {failed} diverged" if failed else "")
        cells = (
            len(arm.grid("information_nats")[1]),
            arm.at(low, "information_nats"),
            arm.at(high, "information_nats"),
            arm.at(high, "completion"),
            arm.at(low, "shortfall_units"),
            arm.at(high, "shortfall_units"),
            *(place(arm.located, what) for what in ("lambda_half", "lambda_eq", "width")),
            control(arm),
            f"{arm.steps:,}",
            arm.commit,
            spent(arm),
        )
        lines.append(f"| {name} | {ARMS[name].why} | {lanes} | " + " | ".join(map(str, cells)) + " |")
    return [*lines, "", *unlike_main(arms)]


def spent(arm: Measured) -> str:
    """CPU minutes; of a resumed arm those of its last process alone."""
    return f"{arm.document['cpu_seconds'] / 60:.0f}" + ("+" if arm.document.get("resumed") else "")


def unlike_main(arms: dict[str, Measured]) -> list[str]:
    """What makes arms hard to compare, said where it is so."""
    main, lines = arms["main"], ["Seeds are those whose lanes are all whole; shortfall is in reward units."]
    if any(arm.document.get("resumed") for arm in arms.values()):
        lines.append("+: an arm was interrupted, and this is the time of its last process.")
    days = {name: arm.config["environment"]["max_steps_per_episode"] for name, arm in arms.items()}
    episodes = {name: arm.steps / days[name] for name, arm in arms.items()}
    other = [name for name in arms if not math.isclose(episodes[name], episodes["main"], rel_tol=0.01)]
    if other:
        lines.append(f"Not trained as long as main, in episodes: {', '.join(other)}.")
    commits = [name for name, arm in arms.items() if arm.commit != main.commit]
    if commits:
        lines.append(f"Of another commit than main: {', '.join(commits)}; what changed in between counts as well.")
    return lines


def questions(arms: dict[str, Measured]) -> list[str]:
    """The questions of the arms, each with a number."""
    main = arms["main"]
    verdict = starts_verdict(arms)
    highest = main.at(main.penalties[-1], "kl_nats")
    lines = ["", "## Transition or crossover", ""]
    lines.append(f"- Main sweep alone, commit {main.commit}: {main.located['verdict']}")
    lines.append(
        f"- Over starts and horizons: {verdict if verdict is not None else 'not measured (loud and quiet starts)'}"
    )
    lines.append(
        f"- KL at the largest penalty, {main.penalties[-1]:g}: {highest} nats; "
        "the reference's conjecture is a sharp fall to 0"
    )
    lines += [f"- {line}" for line in branches(arms)]
    lines.append(f"- Labels shuffled, all lanes of the main sweep: I = {control(main)} nats")
    if "forced" in arms:
        last = common_penalties([arms["forced"], main])[-1]
        texts = [
            f"I = {arm.at(last, 'information_nats')} nats with {arm.at(last, 'completion')} done"
            for arm in (arms["forced"], main)
        ]
        lines.append(f"- Forced completion, at lambda {last:g}: {texts[0]}; where mimicry is allowed {texts[1]}")
    return [*lines, *against_main(arms)]


def against_main(arms: dict[str, Measured]) -> list[str]:
    """I and shortfall of each arm less those of main, over the penalties both have."""
    main = arms["main"]
    lines = []
    for name, arm in arms.items():
        if name == "main":
            continue
        at = common_penalties([main, arm])
        leaks, costs = (difference(arm, main, measure, at) for measure in ("information_nats", "shortfall_units"))
        lines.append(f"| {name} | {len(at)} | {leaks} | {costs} |")
    if not lines:
        return []
    head = "| arm less main, mean over the penalties both have | penalties | I, nats | shortfall, units |"
    return ["", head, "|---|---|---|---|", *lines, "", "± is half of Welch's 95% interval over the seeds of either."]


def square_root_law(arms: dict[str, Measured]) -> list[str]:
    """Do curves collapse at equal Q / (sigma sqrt(N)), and how do hidden lots grow with N?"""
    groups = noise_arms(arms)
    everyone = {arm.name: arm for group in groups.values() for arm in group}
    lines = ["", "## The square-root law", ""]
    if len(everyone) < 2:
        return [*lines, "Not measured: no arm with another volume of noise."]
    at = common_penalties(everyone.values())
    lines += [
        f"| arm | N | Q | Q / (sigma sqrt(N)) | hidden lots (I < {HIDDEN_NATS:g}) | of seeds | I less main's, nats |",
        "|---" * 7 + "|",
    ]
    for arm in everyone.values():
        gap = "-" if arm.name == "main" else str(difference(arm, arms["main"], "information_nats", at))
        lots, seeds = hidden_lots(arm, at), len(arm.seeds_at(at, "information_nats"))
        text = f"{lots}, all of it" if runs_out(arm, lots) else f"{lots}" if lots.n else "none"
        hid = f"{lots.n} of {seeds}"
        lines.append(
            f"| {arm.name} | {arm.n_noise:g} | {arm.order_lots} | {arm.leverage:.3f} | {text} | {hid} | {gap} |"
        )
    lines += [
        "",
        f"Over lambda {', '.join(f'{x:g}' for x in at)}. Where the law holds the last column is 0 for arms with main's "
        "Q / (sigma sqrt(N)), and only for those.",
        "",
        "Lots that leak the same grow as N^a, from all volumes and orders together; the law says 0.5:",
        "",
        "| lambda | " + " | ".join(f"{x:g}" for x in at) + " |",
        "|---" * (1 + len(at)) + "|",
        "| a | " + " | ".join(str(collapse_exponent(list(everyone.values()), x)) for x in at) + " |",
        "",
    ]
    for what, group in groups.items():
        slope = hidden_exponent(group, at)
        whole = [arm.name for arm in group if runs_out(arm, hidden_lots(arm, at))]
        bounded = f"; left out, for all of the order hid: {', '.join(whole)}" if whole else ""
        lines.append(f"- Hidden lots as a power of N, {what}, {len(group)} volumes: {slope}{bounded}")
    return [*lines, "", "![collapse](collapse.png)"]


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
    """The figures of the main sweep from its files."""
    document = json.loads((folder / "sweep.json").read_text())
    located = document["located"]["main"]
    if not is_older(document["provenance"]["commit"]):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "located.json"
            path.write_text(json.dumps(located))
            draw_transition(folder / "lanes.csv", folder / "transition", path if "lambda_half" in located else None)
    draw_frontier(folder / "sweep.json", folder / "frontier")
    draw_lane_fills(folder / "sweep.json", folder / "fills")


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
    draw_arms(arms, folder / "arms")
    draw_claims(arms, folder / "claims")
    if len({arm.name for group in noise_arms(arms).values() for arm in group}) > 1:
        draw_collapse(arms, folder / "collapse")


if __name__ == "__main__":
    main()
