"""Write ``README.md`` and ``posterior.png`` of this folder from ``rows.jsonl``.

python experiments/exact/report.py
"""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from amarl_jax.evaluation.markdown import programs
from amarl_jax.transition.intervals import counted_seeds

HERE = Path(__file__).parent
COST = ("shortfall_units", "completion")
PAID = {"exact": "what leaks", "mine": "what MINE claims"}  # by source, for a reader
HEAD = """# What the order flow gives away

Exact information `I(z; G)` of the debug market's order-level record, in nats (certainty is 0.693), beside what learned
detectors find on the tape `F` of episodes they did not train on. The bracket is the two bounds of the particle filters;
± is one standard error over episodes. Efficiency is a detector's nats over the exact ones: those of as many episodes as
the detector's where they were read (with K = 64 and 8 private numbers), since the value of a few episodes is right to a
tenth at best. MINE and the maker's belief are those of the run as it ended; a fresh detector is trained from scratch on
the number of episodes said."""

CHARGE = """\
While a trader learns it pays for the lower bound of a filter of {} particles and {} private numbers. Readers of other
sizes, of the same 1,024 episodes of learned policies, put the information between these bounds. "Charged" is the
former's lower bound, over what the largest finds."""
LIMITS = """What exact targets find beyond labels, more episodes would give; what a wider network finds beyond that, a
larger network. "Not told who leaves" is what the exact reader loses, on the same episodes, where it does not know which
orders left the book by themselves: the record has that, the tape has not. The rest no network of this form reads."""


def numbers(row: dict[str, Any], name: str) -> str:
    """Value and standard error."""
    return f"{row[name]['value']:.3f} ± {row[name]['stderr']:.3f}"


def share(value: float, row: dict[str, Any]) -> str:
    """A detector's nats and its efficiency."""
    exact = exact_of(row)
    return f"{value:.3f}" + (f" ({100 * value / exact:.0f}%)" if exact > 0.01 else "")


def table(rows: list[dict[str, Any]]) -> str:
    """One line per row."""
    sizes = sorted({int(size) for row in rows for size in row["fresh"]})
    head = ["policy", "shortfall, units", "completion", "exact", "bracket", "exact accuracy", "exact, 16,384 episodes"]
    head += [f"fresh, {size:,} episodes" for size in sizes] + ["MINE", "belief"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        low, high = (row[f"information/exact_nats_{side}"]["value"] for side in ("lower", "upper"))
        cells = [row["row"], numbers(row, "execution/shortfall_units"), numbers(row, "execution/completion")]
        cells += [numbers(row, "information/exact_nats"), f"{low:.3f} to {high:.3f}"]
        cells += [numbers(row, "information/exact_accuracy")]
        cells += [f"{row['many']['nats']:.3f} ± {row['many']['stderr']:.3f}" if "many" in row else ""]
        cells += [share(row["fresh"][str(size)]["nats"], row) if str(size) in row["fresh"] else "" for size in sizes]
        cells += [share(row[name]["value"], row) if name in row else "" for name in ("mine", "belief")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def limits_table(rows: list[dict[str, Any]]) -> str:
    """What a detector's network finds, by what it was fitted to."""
    fits = list(rows[0]["fits"])
    lines = [
        "| lanes | exact | not told who leaves | " + " | ".join(f"fitted to {fit}" for fit in fits) + " |",
        "|---" * (3 + len(fits)) + "|",
    ]
    for row in rows:
        exact = row["exact"]
        lost = row.get("untold", {}).get("lost")
        untold = "" if lost is None else f"{-lost['nats']:+.3f} ± {lost['stderr']:.3f}"
        cells = [row["row"], f"{exact['nats']:.3f} ± {exact['stderr']:.3f}", untold]
        cells += [
            f"{row['fits'][fit]['nats']:.3f} ({100 * row['fits'][fit]['nats'] / exact['nats']:.0f}%)" for fit in fits
        ]
        lines.append("| " + " | ".join(cells) + " |")
    n = rows[0]["episodes"]
    how = f"{n['fitted']:,} episodes to fit, {n['held_out']:,} held out. " + LIMITS
    return "\n".join(lines) + "\n\n" + how


def cost_table(found: dict[str, Any]) -> str:
    """Steps per CPU-second of training by source."""
    lines = [
        "| networks | source of leakage | environment steps per CPU-second | times the time of `mine` |",
        "|---|---|---|---|",
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['run']} | {row['source']} | {row['steps_per_cpu_second']:,.0f} | {row['times_mine']:.2f} |"
        )
    return "\n".join(lines)


def charge_table(rows: list[dict[str, Any]]) -> str:
    """What readers of every size put between their bounds, and what those of training's size charge."""
    readers = list(dict.fromkeys((row["n_particles"], row["n_private"]) for row in rows))
    finest = max(readers)
    training = tuple(rows[0]["of_training"])
    lines = [
        "| lambda | seed | exact | " + " | ".join(f"{k} particles, {m} private" for k, m in readers) + " | charged |",
        "|---" * (4 + len(readers)) + "|",
    ]
    for penalty, seed in sorted({(row["lambda"], row["seed"]) for row in rows}):
        of = {
            (row["n_particles"], row["n_private"]): row
            for row in rows
            if (row["lambda"], row["seed"]) == (penalty, seed)
        }
        if of.keys() != set(readers):
            continue
        exact = of[finest]
        cells = [f"{penalty:.3g}", str(seed), f"{exact['nats']:.3f} ± {exact['stderr']:.3f}"]
        cells += [f"{of[reader]['lower']:.3f} to {of[reader]['upper']:.3f}" for reader in readers]
        lines.append("| " + " | ".join([*cells, f"{of[training]['lower'] / exact['nats']:.0%}"]) + " |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Exact posterior and belief over the first informed episode of each lane of seed 0."""
    lanes = [row for row in rows if "episode" in row and row["seed"] == 0]
    sources = list(dict.fromkeys(row["source"] for row in lanes))
    figure, axes = plt.subplots(
        len(sources), 4, figsize=(11, 2.4 * len(sources)), sharex=True, sharey=True, squeeze=False
    )
    for i, source in enumerate(sources):
        for axis, row in zip(axes[i], [row for row in lanes if row["source"] == source], strict=False):
            exact = 1.0 / (1.0 + np.exp(-np.array(row["episode"]["log_ratio"])))
            steps = np.arange(1, exact.size + 1)
            axis.plot(steps, exact, color="black", label="exact")
            axis.plot(steps, row["episode"]["belief"], color="tab:orange", linestyle="--", label="maker's belief")
            axis.axhline(0.5, color="0.8", linewidth=0.8, zorder=0)
            axis.set_title(f"charged for {PAID[source]}, lambda {row['lambda']:g}", fontsize=8)
            axis.set_ylim(0, 1)
        axes[i][0].set_ylabel("P(z = 1), a day with z = 1")
    for axis in axes[-1]:
        axis.set_xlabel("step")
    axes[0][0].legend(fontsize=8, loc="lower right", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def read(name: str) -> list[dict[str, Any]]:
    """Rows of a file of this folder; none where there is none."""
    path = HERE / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summary(rows: list[dict[str, Any]], source: str) -> str:
    """What lanes of one source pay and give away, and each reader's share of it; means over seeds."""
    head = ["lambda", "seeds", "shortfall, units", "completion", "exact, nats"]
    head += ["fresh, 16,384", "fresh, 1,024", "MINE", "belief"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for penalty in sorted({row["lambda"] for row in rows if row.get("source") == source}):
        seeds = [row for row in rows if row.get("source") == source and row["lambda"] == penalty]
        cells = [f"{penalty:g}", f"{len(seeds)}"]
        cells += [f"{np.mean([row[f'execution/{name}']['value'] for row in seeds]):.3f}" for name in COST]
        cells.append(f"{np.mean([exact_of(row) for row in seeds]):.3f}")
        for size in ("16384", "1024"):
            cells.append(efficiency([(row["fresh"][size]["nats"], row) for row in seeds if size in row["fresh"]]))
        cells += [efficiency([(row[name]["value"], row) for row in seeds]) for name in ("mine", "belief")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def efficiency(found: list[tuple[float, dict[str, Any]]]) -> str:
    """Nats of the seeds together over their exact ones."""
    return f"{100 * sum(nats for nats, _ in found) / sum(exact_of(row) for _, row in found):.0f}%"


def draw_curve(rows: list[dict[str, Any]], path: Path) -> None:
    """Information by reader against lambda, charged for what leaks; the price of hiding, by source."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), width_ratios=(4, 5))
    below = {"textcoords": "offset points", "ha": "right", "va": "top"}
    lanes = [row for row in rows if row.get("source") == "exact"]
    grid = sorted({row["lambda"] for row in lanes})
    readers = {
        "exact": (exact_of, "k-o"),
        "fresh detector, 16,384 episodes": (lambda row: row["fresh"].get("16384", {}).get("nats"), "C0--s"),
        "MINE": (lambda row: row["mine"]["value"], "C1-.^"),
        "maker's belief": (lambda row: row["belief"]["value"], "C2:D"),
    }
    for name, (read_of, style) in readers.items():
        means = [
            np.mean([x for row in lanes if row["lambda"] == at and (x := read_of(row)) is not None]) for at in grid
        ]
        left.plot(np.arcsinh(np.array(grid) / 0.5), means, style, markersize=4, label=name)
    of_seeds = np.arcsinh([row["lambda"] / 0.5 for row in lanes]), [exact_of(row) for row in lanes]
    left.plot(*of_seeds, "k.", markersize=3, label="exact, of each seed")
    left.set_xticks(np.arcsinh(np.array(grid) / 0.5), [f"{at:g}" for at in grid])
    left.set(xlabel="lambda, reward units per nat", ylabel="information about z, nats", ylim=(0, 0.73))
    left.axhline(np.log(2), color="0.6", linewidth=0.8)
    left.annotate("certainty, ln 2", (np.arcsinh(32.0), np.log(2)), xytext=(0, -3), **below, color="0.4", fontsize=8)
    left.set_title("a trader that pays for what leaks", loc="left", fontsize=9)
    counted = {counted_seeds(sum(row["lambda"] == at for row in lanes)) for at in grid}
    left.legend(
        fontsize=8,
        frameon=False,
        loc="center right",
        title=f"means of {' or '.join(sorted(counted))}",
        title_fontsize=8,
    )
    draw_costs(rows, grid, right)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def draw_costs(rows: list[dict[str, Any]], grid: list[float], axis: Axes) -> None:
    """Draw what hiding costs by source, with lambda beside every point, and the scripted policies."""
    for source, style in (("exact", "k-o"), ("mine", "C1-.^")):
        of = [row for row in rows if row.get("source") == source]
        points = [[np.mean([f(row) for row in of if row["lambda"] == at]) for f in (exact_of, cost_of)] for at in grid]
        axis.plot(*np.array(points).T, style, markersize=4)
        for at, (x, y) in zip(grid, points, strict=True):
            shift = (5, 3) if source == "mine" or at == grid[-1] else (-9, -10)
            where = {"textcoords": "offset points", "xytext": shift, "fontsize": 8, "color": style[:2].strip("-")}
            words = f"{at:g}{unfilled([row for row in of if row['lambda'] == at])}"
            if source == "exact" and at == grid[-1]:
                words = f"charged for {PAID[source]}:\nlambda {words}"
            axis.annotate(words, (x, y), **where)
            if source == "mine" and at == grid[-2]:
                axis.annotate(f"charged for {PAID[source]}", (x, y), **where | {"xytext": (18, 3)})
    for row in rows:
        if "source" in row:
            continue
        axis.plot(exact_of(row), cost_of(row), "x", color="0.5", markersize=5)
        words = row["row"].replace("_", " ") + unfilled([row])
        side = {"xytext": (-6, 0), "ha": "right"} if exact_of(row) > 0.5 else {"xytext": (6, 0)}
        if row["row"] == "mimic_one_sided":  # the learned ones are on its right
            words, side = words.replace("mimic ", "mimic\n").replace(", ", ",\n"), {"xytext": (-5, -5), "ha": "right"}
        style = {"textcoords": "offset points", "va": "center", "fontsize": 7, "color": "0.4"}
        axis.annotate(words, (exact_of(row), cost_of(row)), **style, **side)
    axis.set(xlabel="exact information, nats", ylabel="shortfall, reward units", xlim=(-0.11, 0.73), ylim=(0, None))
    axis.set_xticks(np.linspace(0.0, 0.7, 8))
    axis.set_title("the price of hiding; numbers: lambda, crosses: scripted policies", loc="left", fontsize=9)


def unfilled(rows: list[dict[str, Any]]) -> str:
    """How much of the order is done, in words, where it is not nearly all of it."""
    done = np.mean([row["execution/completion"]["value"] for row in rows])
    return "" if done > 0.95 else f", {done:.0%} done"


def exact_of(row: dict[str, Any]) -> float:
    """Exact nats, of many episodes where they were read."""
    return row.get("many", {}).get("nats", row["information/exact_nats"]["value"])


def cost_of(row: dict[str, Any]) -> float:
    """Shortfall in reward units."""
    return row["execution/shortfall_units"]["value"]


def growth_table(rows: list[dict[str, Any]], many: dict[str, dict[str, float]]) -> str:
    """Fresh detectors of several sizes."""
    sizes = sorted({int(size) for row in rows for size in row["fresh"]})
    lines = ["| policy | " + " | ".join(f"{size:,} episodes" for size in sizes) + " |", "|---" * (1 + len(sizes)) + "|"]
    for row in rows:
        row = row | ({"many": many[row["row"]]} if row["row"] in many else {})
        found = [row["fresh"][str(size)] for size in sizes]
        cells = [f"{share(x['nats'], row)} ± {x['stderr']:.3f}" for x in found]
        lines.append("| " + " | ".join([row["row"], *cells]) + " |")
    for row in read("growth_earlier.jsonl"):
        same = next(one for one in rows if one["row"] == row["row"])  # the same policy in the same market
        found = [row["fresh"].get(str(size)) for size in sizes]
        cells = [f"{share(x['nats'], same)} ± {x['stderr']:.3f}" if x else "" for x in found]
        lines.append("| " + " | ".join([f"{row['row']}, by the detector of version 0.1", *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    rows, limits, growth = (read(name) for name in ("rows.jsonl", "limits.jsonl", "growth.jsonl"))
    many = {row["row"]: row["exact"] for row in limits}
    rows = [row | ({"many": many[row["row"]]} if row["row"] in many else {}) for row in rows]
    about = rows[0]["provenance"]
    commits = programs(row["provenance"]["commit"] for row in [*rows, *limits, *growth])
    k, private, n = rows[0]["n_particles"], rows[0]["n_private"], rows[0]["exact_episodes"]
    machine = about["hardware"]
    where = f"Commit {commits}; {machine['processor']}, {machine['cores']} cores."
    how = f"Read exactly: {n} episodes a row, K = {k} particles a filter, {private} private numbers. {where}"
    commands = (HERE / "measure.py").read_text().split('"""')[1].splitlines()
    shown = "\n".join(line.strip() for line in commands if line.strip().startswith("python"))
    lanes = "python experiments/exact/lanes.py --source exact mine --workdir=runs/exact"
    paid = [f"Charged for {PAID[source]}:\n\n{summary(rows, source)}" for source in ("mine", "exact")]
    draw_curve(rows, HERE / "curve.png")
    parts = [
        HEAD,
        *paid,
        "![what hiding costs, and who sees what](curve.png)",
        "## Every row",
        table(rows),
        how,
        f"```bash\n{lanes}\n{shown}\n```",
    ]
    if any("episode" in row for row in rows):
        draw(rows, HERE / "posterior.png")
        parts.append("![The exact posterior beside the maker's belief](posterior.png)")
    if growth:
        parts += ["## How detectors grow with their episodes", growth_table(growth, many)]
    if limits:
        parts += ["## What limits a detector", limits_table(limits), "`python experiments/exact/limits.py`"]
    if charge := read("charge.jsonl"):
        parts += ["## What the trader is charged", CHARGE.format(*charge[0]["of_training"]), charge_table(charge)]
        of_charge = programs(row["provenance"]["commit"] for row in charge)
        parts += [f"Lanes of the main sweep, commit {of_charge}; `python experiments/exact/charge.py`"]
    if (HERE / "cost.json").exists():
        cost = json.loads((HERE / "cost.json").read_text())
        parts += ["## What the exact source costs", cost_table(cost), "`python experiments/exact/cost.py`"]
    (HERE / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
