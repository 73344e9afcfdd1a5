"""Write ``README.md``, ``answer.json`` and the figure of the phase diagram from ``lanes.csv`` and ``pieces.json``.

python experiments/phase_diagram/report.py
"""

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amarl_jax import strict_json
from amarl_jax.evaluation.figures import STYLES, save
from amarl_jax.evaluation.markdown import table as markdown_table
from amarl_jax.evaluation.metrics import NORMAL_95
from amarl_jax.host.workdir import write_json
from amarl_jax.lanes.table import LaneTable, read_lanes
from amarl_jax.lanes.trade_off import COST
from amarl_jax.theory.deterministic import (
    Haste,
    best_information,
    jump,
    leverage,
    linear_haste,
    quadratic_haste,
    signed_order_deviation,
)
from amarl_jax.theory.gaussian_channel import Channel, information
from amarl_jax.theory.randomised import best_mixture
from amarl_jax.transition.curve_fits import SCALE
from amarl_jax.transition.frontier import Policies, frontier
from amarl_jax.transition.intervals import student_half_width

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # pieces.py and mix_tables.py lie beside this folder
import pieces  # noqa: E402
from mix_tables import best_share, best_shares, mix_section, read_mixes, ties  # noqa: E402

FINE = ", fine"  # ends the name of an arm with the finer grid
I = "exact_nats"  # noqa: E741
STARTS = ("loud", "quiet")
GAINS = {"linear": linear_haste, "quadratic": quadratic_haste}  # g(d) of the theory
ROUNDING = 1e-6  # nats: a smaller drop of the theory is none
MIX_PENALTIES = (0.5, 1.0, 1.41, 2.0, 4.0)
TICKS = (0.0, 0.1, 0.25, 1.0, 4.0)
HEAD = """# The measured phase diagram

Exact information that a trader charged for what leaks gives away, in the debug market with parent orders of 10 to 80
lots, with and without a private coin, from loud and quiet first policies, and with child orders capped at a size that
noise sends. [Theory, sections 3 and 4](../../docs/theory.md#3-the-deterministic-trader-a-first-order-jump), is
compared: the leverage is `Q / (sigma sqrt(N))`, N the noise orders of the steps that the whole order takes at the
largest child size. Without a coin the theory's trader jumps above a leverage of 1.64 where haste earns linearly,
above 4.64 where its gain is quadratic; with a coin nowhere. The theory's penalty is in units of what full haste
saves, which a unit of reward is made to be; how far C really goes stands beside it. The theory's order gives itself
away by its volume alone. First policies draw their sizes as noise does in every market, so
`quiet` begins near the mimic in each.

± is half of a 95% interval: over seeds (Student's t), or, of one seed, over the episodes of its measurement. The
largest of several drops is chosen by size, which favours it by their noise."""


def expected(about: Mapping[str, Any], penalties: np.ndarray) -> dict[str, Any]:
    """The theory at a piece's leverage: jumps without a coin, and both traders' I at these penalties [L].

    Args:
        about: the piece's entry in ``pieces.json``.
        penalties: lambda, reward units per nat.
    """
    environment, trader = (about["config"][part] for part in ("environment", "agents"))
    trader = trader["execution"]
    steps = math.ceil(trader["inventory_lots"] / trader["max_order_size"])
    sigma = signed_order_deviation(environment["noise_order_size_mean"], environment["noise_order_size_std"])
    d = leverage(trader["inventory_lots"], sigma, environment["noise_trader_arrival_rate"] * steps)
    channel = Channel(environment["informed_probability"])
    found: dict[str, Any] = {"leverage": d, "steps": steps, "lots": trader["inventory_lots"]}
    found |= {"largest_child": trader["max_order_size"], "lambda": penalties.tolist()}
    for name, gain in GAINS.items():
        at = jump(gain(d), channel)
        found[name] = {
            "jump": at and {"lambda": at.penalty, "from": at.loud_information, "to": at.quiet_information},
            "nats": [_pure(x, gain(d), channel) for x in penalties],
        }
    mixed = [best_mixture(x, linear_haste(d), channel).information if x > 0 else None for x in penalties]
    loudest = float(information(d, channel))
    found["randomising"] = {"jump": None, "nats": [loudest if x is None else x for x in mixed]}
    return found


def _pure(penalty: float, haste: Haste, channel: Channel) -> float:
    """I of the trader without a coin; at no penalty that of full haste."""
    return best_information(penalty, haste, channel) if penalty > 0 else float(information(haste.max_leverage, channel))


def with_fine(table: LaneTable) -> LaneTable:
    """The table with each finer arm in the arm whose gap it fills; a lane that both have stands once.

    Curves leave out seeds without every penalty of their arm, so the finer grid is to be run for all seeds or for none.
    """
    of = table.columns["arm"].tolist()
    arms, penalties = [arm.removesuffix(FINE) for arm in of], np.round(table.columns["lambda"], 9)
    octaves_last = sorted(range(len(arms)), key=lambda i: of[i] == arms[i])
    rows = {(arms[i], penalties[i], table.columns["seed"][i]): i for i in octaves_last}
    columns = table.columns | {"arm": np.array(arms), "lambda": penalties}
    keep = np.array(sorted(rows.values()))
    return LaneTable({name: each[keep] for name, each in columns.items()})


def half_width(values: np.ndarray, errors: np.ndarray) -> float:
    """Half of a 95% interval of the mean of values [S]: over seeds, or for one seed from its standard error."""
    return float(student_half_width(values)) if len(values) > 1 else NORMAL_95 * float(errors[0])


def fall(table: LaneTable, arm: str) -> dict[str, Any] | None:
    """The curve of one arm and its largest drop between neighbouring penalties; None with fewer than two penalties."""
    seeds, penalties, nats = table.by_seed(I, arm)
    if len(penalties) < 2 or not len(seeds):
        return None
    errors, units = table.grid(f"{I}_stderr", arm)[1], table.grid(COST, arm)[1]
    drops = -np.diff(nats, axis=1)
    most = int(np.argmax(drops.mean(axis=0)))
    error = np.hypot(errors[:, most], errors[:, most + 1])
    return {
        "n_seeds": len(seeds),
        "lambda": penalties.tolist(),
        "nats": nats.mean(axis=0).tolist(),
        "half": [half_width(nats[:, i], errors[:, i]) for i in range(len(penalties))],
        "units": units.mean(axis=0).tolist(),
        "drop": float(drops[:, most].mean()),
        "drop_half": half_width(drops[:, most], error),
        "drop_place": most,
    }


def starts_differ(table: LaneTable, market: str) -> dict[str, Any] | None:
    """Largest difference between the starts over the penalties, loud less quiet, seeds paired; None without both."""
    arms = [f"{market}, {start}" for start in STARTS]
    if not set(arms) <= set(table.arms()):
        return None
    (a, penalties, loud), (b, others, quiet) = (table.by_seed(I, arm) for arm in arms)
    both = np.intersect1d(a, b)
    shared = np.intersect1d(penalties, others)
    if not len(both) or not len(shared):
        return None
    here, there = (np.ix_(np.isin(s, both), np.isin(p, shared)) for s, p in ((a, penalties), (b, others)))
    errors = [table.grid(f"{I}_stderr", arm)[1] for arm in arms]
    gaps = loud[here] - quiet[there]
    error = np.hypot(errors[0][here], errors[1][there])
    most = int(np.argmax(np.abs(gaps.mean(axis=0))))
    half = half_width(gaps[:, most], error[:, most])
    return {"lambda": float(shared[most]), "nats": float(gaps[:, most].mean()), "half": half, "n_seeds": len(both)}


def hull_of(table: LaneTable, market: str) -> dict[str, Any]:
    """The frontier of all policies of a market, both starts: a straight piece of its hull is a jump."""
    names, values, errors = [], [], []
    for arm in (f"{market}, {start}" for start in STARTS):
        if arm not in table.arms():
            continue
        for i, penalty in enumerate(table.grid(I, arm)[0]):
            points = np.stack([table.grid(name, arm)[1][:, i] for name in (I, COST)], axis=1)
            measured = np.stack([table.grid(f"{name}_stderr", arm)[1][:, i] for name in (I, COST)], axis=1)
            n = len(points)
            if n:
                names.append(f"{arm}, lambda {penalty:g}")
                values.append(points.mean(axis=0))
                errors.append(points.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else measured[0])
    if not names:
        return {}
    found = frontier(Policies.scripted(names, np.array(values), np.array(errors)))
    penalties = np.unique(table.columns["lambda"])
    return found.as_json(penalties)


def answer(table: LaneTable, ran: Mapping[str, Any]) -> dict[str, Any]:
    """Theory, largest drop, starts and hull of every market that has a measured curve."""
    markets: dict[str, Any] = {}
    table = with_fine(table)
    about = {each["arm"].removesuffix(FINE): each for each in ran.values()}
    for arm in table.arms():
        found = fall(table, arm)
        if found is None:
            continue
        market, start = arm.rsplit(", ", 1)
        if market not in markets:
            of_market = np.isin(table.columns["arm"], [f"{market}, {each}" for each in STARTS])
            penalties = np.unique(table.columns["lambda"][of_market])
            markets[market] = {"theory": expected(about[arm], penalties), "falls": {}}
        markets[market]["falls"][start] = found
    for market, told in markets.items():
        told |= {"starts": starts_differ(table, market), "frontier": hull_of(table, market)}
    order = sorted(markets, key=lambda name: ("capped" in name, "coin on" in name, markets[name]["theory"]["lots"]))
    return strict_json.finite({name: markets[name] for name in order})


def theory_name(market: str, gain: str = "linear") -> str:
    """Which of the theory's traders plays in a market."""
    return "randomising" if "coin on" in market else gain


def theory_table(markets: Mapping[str, Any]) -> str:
    """Leverage and predicted jumps without a coin, by parent order and largest child."""
    rows = {}
    for told in markets.values():
        theory = told["theory"]
        cells = [f"{theory[name]}" for name in ("lots", "largest_child", "steps")] + [f"{theory['leverage']:.2f}"]
        for gain in GAINS:
            at = theory[gain]["jump"]
            cells.append("none" if at is None else f"{at['from']:.2f} to {at['to']:.2f} at {at['lambda']:.2f}")
        rows[theory["largest_child"] < theory["lots"], theory["lots"]] = cells
    header = ["parent, lots", "largest child", "steps", "leverage", "jump, linear gain, nats", "jump, quadratic gain"]
    return markdown_table(header, [rows[key] for key in sorted(rows)])


def falls_table(markets: Mapping[str, Any]) -> str:
    """The largest drop between neighbouring penalties of every arm, beside the theory's on the same penalties."""
    header = ["market", "start", "seeds", "I, nats", "C, units", "largest drop, nats", "at lambda", "theory", "at"]
    rows = []
    for market, told in markets.items():
        for start, found in told["falls"].items():
            penalties, place = found["lambda"], found["drop_place"]
            curve = dict(zip(told["theory"]["lambda"], told["theory"][theory_name(market)]["nats"], strict=True))
            predicted = -np.diff([curve[penalty] for penalty in penalties])
            most = int(np.argmax(predicted))
            falls = predicted[most] > ROUNDING
            between = [f"{penalties[i]:.3g} to {penalties[i + 1]:.3g}" for i in (place, most)]
            ends = [f"{found[name][0]:.3f} to {found[name][-1]:.3f}" for name in ("nats", "units")]
            drop = f"{found['drop']:.3f} ± {found['drop_half']:.3f}"
            rows.append(
                [market, start, f"{found['n_seeds']}", *ends, drop, between[0]]
                + ([f"{predicted[most]:.3f}", between[1]] if falls else ["none", ""])
            )
    return markdown_table(header, rows)


def sentences(markets: Mapping[str, Any]) -> list[str]:
    """What the coin does to the largest drop, how far the starts lie apart, and what the hulls say."""
    gaps = {market: told["starts"] for market, told in markets.items() if told["starts"] is not None}
    sections = {
        "The coin": coin_lines(markets),
        "The start, loud less quiet, where it is largest": [
            f"- {market}: {gap['nats']:+.3f} ± {gap['half']:.3f} nats at lambda {gap['lambda']:.3g}."
            for market, gap in gaps.items()
        ],
        "Straight pieces of the hull over both starts": [
            f"- {market}: {told['frontier']['statement']}." for market, told in markets.items()
        ],
    }
    return [line for title, lines in sections.items() if lines for line in (f"## {title}", "", *lines, "")]


def coin_lines(markets: Mapping[str, Any]) -> list[str]:
    """The largest drop without a coin less the one with it, where both were run."""
    lines = []
    for market, without in markets.items():
        other = markets.get(market.replace("coin off", "coin on"))
        if "coin off" not in market or other is None:
            continue
        for start in sorted(without["falls"].keys() & other["falls"].keys()):
            off, on = (each["falls"][start] for each in (without, other))
            gap, half = off["drop"] - on["drop"], math.hypot(off["drop_half"], on["drop_half"])
            word = "smaller with it" if gap > half else "larger with it" if gap < -half else "not told apart"
            name = market.replace(", coin off", "")
            told = f"largest drop without it less with it {gap:+.3f} ± {half:.3f} nats"
            lines.append(f"- {name}, {start}: {told}: {word}.")
    return lines


def draw(markets: Mapping[str, Any], mixes: Mapping[str, dict[str, Any]], path: Path) -> list[str]:
    """Exact I over lambda, a panel per market, one row per kind of arm and one column per parent order.

    Args:
        markets: of :func:`answer`.
        mixes: one of ``frontier/mix.py`` by market, where there is one.
        path: without suffix.
    """
    kinds = list(dict.fromkeys(market.split(", ", 1)[1] for market in markets))
    lots = sorted({told["theory"]["lots"] for told in markets.values()})
    figure = Figure(figsize=(1.0 + 3.4 * len(lots), 0.6 + 2.8 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), len(lots), squeeze=False, sharex=True, sharey=True)
    for line, kind in zip(axes, kinds, strict=True):
        for axis, parent in zip(line, lots, strict=True):
            market = f"{parent} lots, {kind}"
            axis.set_visible(market in markets)
            if market in markets:
                _draw_panel(axis, market, markets[market], mixes.get(market))
    return save(figure, path)


def _draw_panel(axis: Axes, market: str, told: Mapping[str, Any], mix: Mapping[str, Any] | None) -> None:
    """Draw the measured curves of one market, the theory's, and what a private mix of two ends would leak."""
    for start, found in told["falls"].items():
        style = _style(STARTS.index(start))
        axis.errorbar(found["lambda"], found["nats"], yerr=found["half"], **style, label=start, lw=1.5)
    penalties = told["theory"]["lambda"]
    for j, gain in enumerate(["randomising"] if "coin on" in market else GAINS):
        colour, dash = ("0.3", ":") if j == 0 else ("0.6", "-.")
        label = "theory, mixing" if gain == "randomising" else f"theory, {gain} gain"
        axis.plot(penalties, told["theory"][gain]["nats"], color=colour, ls=dash, label=label)
    if mix is not None:
        fine = np.linspace(0.0, 2.0 * mix["penalty"], 100)
        axis.plot(fine, [best_share(mix, x)["nats"] for x in fine], **_style(2), label="a private mix of two ends")
    axis.set_xscale("asinh", linear_width=SCALE)
    axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axis.minorticks_off()
    axis.tick_params(labelbottom=True, labelleft=True)  # also where the panel below or beside is missing
    axis.set_title(f"{market}, leverage {told['theory']['leverage']:.2f}", fontsize="small")
    axis.set(xlabel="lambda, units per nat", ylabel="I, exact, nats", ylim=(0.0, 0.75))
    axis.grid(alpha=0.3)
    axis.legend(fontsize="x-small")


def _style(i: int) -> dict[str, Any]:
    """Colour and dashes of a line."""
    colour, line = STYLES[i]
    return {"color": colour, "ls": line}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE, help="holds lanes.csv and pieces.json")
    folder = parser.parse_args().folder
    ran = pieces.read_pieces(folder)
    markets = answer(read_lanes(folder / "lanes.csv"), ran)
    write_json(folder / "answer.json", markets)
    mixes = read_mixes(folder / "mix.jsonl")
    two_ends = {ran[mix["sweep"]]["arm"].rsplit(", ", 1)[0]: mix for mix in mixes if ties(mix)}
    draw(markets, two_ends, folder / "phase_diagram")
    lines = [HEAD, "", "![exact I over lambda by leverage](phase_diagram.png)", "", theory_table(markets), ""]
    lines += [falls_table(markets), "", *sentences(markets)]
    if mixes:
        lines += [*mix_section(mixes, "sweep"), best_shares(mixes, MIX_PENALTIES), ""]
    lines += pieces.foot(ran, "phase_diagram")
    (folder / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
