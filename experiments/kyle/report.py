"""The table and the figure of `kyle.json`: what was learned beside what is known.

python experiments/kyle/report.py   # writes kyle.md and kyle.png
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from ladder import KNOTS
from scipy import stats

from amarl_jax.evaluation.markdown import programs
from amarl_jax.theory.kyle import sequential_kyle
from amarl_jax.theory.limit_ladder import LOTS, lot_prices, marginal_value

HERE = Path(__file__).parent
BLACK, BLUE, ORANGE, GREEN, GREY = "black", "#0072B2", "#D55E00", "#009E73", "0.6"


def over_seeds(arm, key):
    """Mean and half the 95% interval over seeds, of each entry."""
    values = np.array([row[key] for row in arm["seeds"]])
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return values.mean(axis=0), half


def cell(mean, half, digits=3):
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def one_price_lines(document):
    """Closed form and learned coefficients by auction, and what prices and flow leave unknown."""
    arms = [(document[f"one_price_{n}"], sequential_kyle(1.0, 1.0, n)) for n in (1, 4)]
    lines = ["| | one auction | 1 of 4 | 2 of 4 | 3 of 4 | 4 of 4 |", "|---|---|---|---|---|---|"]
    for name, known, keys in (
        ("impact lambda_n, sigma_v / sigma_u", "price_impact", {"learned": "impact"}),
        ("intensity beta_n, sigma_u / sigma_v", "intensity", {"learned": "intensity"}),
        (
            "variance left, Sigma_n / Sigma_0",
            "posterior_variance",
            {"E(v - p_n)^2, learned": "pricing_error", "Var(v given flow), learned": "given_flow"},
        ),
    ):
        exact = np.concatenate([getattr(theory, known) for _, theory in arms])
        lines.append(f"| {name} | " + " | ".join(f"{x:.3f}" for x in exact) + " |")
        for label, key in keys.items():
            mean, half = (np.concatenate(x) for x in zip(*(over_seeds(arm, key) for arm, _ in arms), strict=True))
            lines.append(f"| {label} | " + " | ".join(map(cell, mean, half)) + " |")
    return lines


def money_lines(document):
    """Gains of all auctions together, in sigma_v sigma_u."""
    lines = ["| all auctions, in sigma_v sigma_u | one auction | learned | four auctions | learned |"]
    lines += ["|---|---|---|---|---|"]
    profits = [sequential_kyle(1.0, 1.0, n).informed_profit for n in (1, 4)]
    for name, key, known, digits in (
        ("trader's profit", "informed_profit", profits, 3),
        ("makers' profit", "maker_profit", (0.0, 0.0), 3),
        ("share of its best profit that the trader misses", "trader_shortfall", (0.0, 0.0), 5),
    ):
        cells = []
        for n_auctions, value in zip((1, 4), known, strict=True):
            cells += [f"{value:.3f}", cell(*over_seeds(document[f"one_price_{n_auctions}"], key), digits)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def markup_lines(document):
    """Mark-up of the best quote over its regression, beside what exploration explains.

    Two makers with log-normal deviations of scale s in the same impact: one more percent loses the flow at the rate
    ``1 / (2 s sqrt(pi))`` and earns a percent on half of it, so neither moves at the log-markup ``s sqrt(pi)``.
    """
    lines = ["Makers compete only as well as they explore (one auction):", ""]
    lines += ["| exploration s at last | log-markup s sqrt(pi) | log of learned impact over its regression |"]
    lines += ["|---|---|---|"]
    for name in ("one_price_loud", "one_price_1"):
        arm = document[name]
        scale = arm["provenance"]["config"]["explore"][1]
        rows = [(row["impact"][0], row["intensity"][0]) for row in arm["seeds"]]
        markup = np.log([lam * (beta**2 + 1.0) / beta for lam, beta in rows])
        half = stats.t.ppf(0.975, len(rows) - 1) * markup.std(ddof=1) / np.sqrt(len(rows))
        lines.append(f"| {scale} | {scale * np.sqrt(np.pi):.3f} | {cell(markup.mean(), half)} |")
    return lines


def ladder_maker_profit(arm):
    """Gain of all makers in equilibrium, sigma_v sigma_u: the last lot at a price earns nothing, those before it do."""
    price, theory = arm["provenance"]["config"]["price"], arm["theory"]
    queue = lot_prices(price, np.cumsum(theory["depth"]))
    probability, value = marginal_value(LOTS * np.array(theory["order"]))
    surplus = queue - value[: len(queue)]
    return float(2.0 * probability[: len(queue)] @ surplus / LOTS)


def ladder_lines(arm):
    """A line per quantity of the ladder, Kyle's value beside it."""
    exact, single = arm["theory"], sequential_kyle(1.0, 1.0, 1)
    rows = {
        "half_spread": ("half the spread, sigma_v", exact["half_spread"], 0.0),
        "regression_impact": (
            "cov(v, y) / var(y), sigma_v / sigma_u",
            exact["regression_impact"],
            single.price_impact[0],
        ),
        "given_flow": ("Var(v given flow) / Sigma_0", exact["given_flow"], single.posterior_variance[0]),
        "informed_profit": ("trader's profit, sigma_v sigma_u", exact["informed_profit"], single.informed_profit),
        "maker_profit": ("makers' profit, sigma_v sigma_u", ladder_maker_profit(arm), 0.0),
        "last_lot_profit": ("profit per last lot that trades, sigma_v", 0.0, None),
        "trader_shortfall": ("share of its best profit the trader misses", 0.0, 0.0),
    }
    shown = lambda x: "" if x is None else f"{x:.3f}"  # noqa: E731
    return [
        f"| {name} | {shown(computed)} | {cell(*over_seeds(arm, key))} | {shown(kyle)} |"
        for key, (name, computed, kyle) in rows.items()
    ]


def table(document):
    """The page."""
    lines = ["# Kyle on the book", "", "One price for the net flow, two makers that undercut each other:", ""]
    lines += [*one_price_lines(document), "", *money_lines(document), "", *markup_lines(document), ""]
    lines += ["A ladder of limit orders, depth by free entry; its equilibrium is computed, Kyle's is another:", ""]
    lines += ["| quantity | equilibrium of the ladder | learned, 8 seeds | Kyle |", "|---|---|---|---|"]
    lines += [*ladder_lines(document["ladder"]), ""]
    lines += ["Means over 8 seeds ± half the 95% interval (Student). sigma_u is the noise of one auction.", ""]
    for name, arm in document.items():
        origin = arm["provenance"]
        run = f"commit {programs([origin['commit']])}, {arm['cpu_seconds']:.0f} CPU-seconds"
        lines.append(f"- `{name}`: `{origin['command']}`, {run}.")
    return "\n".join(lines) + "\n"


def draw_learning(axis, arm):
    """Both coefficients over their closed forms, every seed and the mean."""
    curves, exact = arm["curves"], sequential_kyle(1.0, 1.0, 1)
    for key, label, colour, known in (
        ("best_quote", r"impact $\lambda$ of the best quote", BLUE, exact.price_impact),
        ("intensity", r"intensity $\beta$", ORANGE, exact.intensity),
    ):
        ratio = np.array(curves[key])[:, :, 0] / known[0]
        axis.plot(curves["update"], ratio.T, color=colour, lw=0.6, alpha=0.6)
        axis.plot(curves["update"], ratio.mean(axis=0), color=colour, lw=2.2, label=label)
    axis.axhline(1.0, color=BLACK, lw=1.0, ls="--", label="closed form")
    axis.set(xlabel="update", ylabel="learned / closed form", title="one auction, one price", ylim=(0.0, 2.5))


def draw_by_auction(axis, arm, n_auctions):
    """Impact and intensity in every auction."""
    exact, auctions = sequential_kyle(1.0, 1.0, n_auctions), np.arange(1, n_auctions + 1)
    for key, label, colour, mark, known in (
        ("impact", r"impact $\lambda_n$, $\sigma_v/\sigma_u$", BLUE, "o", exact.price_impact),
        ("intensity", r"intensity $\beta_n$, $\sigma_u/\sigma_v$", ORANGE, "s", exact.intensity),
    ):
        mean, half = over_seeds(arm, key)
        axis.plot(auctions, known, color=colour, lw=1.2, ls="--")
        axis.errorbar(auctions, mean, yerr=half, fmt=mark, color=colour, mfc="none", capsize=3, label=label)
    axis.plot([], [], color=GREY, ls="--", label="closed form")
    axis.set(xlabel="auction n", title=f"{n_auctions} auctions, one price", xticks=auctions, ylim=(0.0, None))


def draw_variance(axis, document):
    """Pricing error after every auction."""
    for n_auctions, colour, mark in ((1, GREEN, "^"), (4, BLUE, "o")):
        arm, exact = document[f"one_price_{n_auctions}"], sequential_kyle(1.0, 1.0, n_auctions)
        time = np.arange(n_auctions + 1) / n_auctions
        mean, half = over_seeds(arm, "pricing_error")
        axis.plot(time, np.append(1.0, exact.posterior_variance), color=colour, lw=1.2, ls="--")
        label = f"learned, {n_auctions} auction{'s' * (n_auctions > 1)}"
        axis.errorbar(time[1:], mean, yerr=half, fmt=mark, color=colour, mfc="none", capsize=3, label=label)
    axis.plot([], [], color=GREY, ls="--", label="closed form")
    axis.set(xlabel="share of the auctions", ylabel=r"$E(v-p_n)^2\,/\,\Sigma_0$", title="what prices do not yet know")
    axis.set(ylim=(0.0, 1.05))


def draw_ladder(axis, arm):
    """Prices of the lots of both ladders: learned, equilibrium, and Kyle's line."""
    price = np.array(arm["provenance"]["config"]["price"])
    for number, row in enumerate(arm["seeds"]):
        for side in row["depth"]:
            label = "learned, both sides of 8 seeds" if number == 0 and side is row["depth"][0] else None
            axis.step(np.cumsum(side) / LOTS, price, where="pre", color=BLUE, lw=0.6, alpha=0.6, label=label)
    axis.step(np.cumsum(arm["theory"]["depth"]) / LOTS, price, where="pre", color=BLACK, lw=1.8, label="equilibrium")
    depth = np.linspace(0.0, 8.0, 2)
    axis.plot(depth, 0.5 * depth, color=GREY, lw=1.2, ls="--", label=r"Kyle's price, $y\,\sigma_v/2\sigma_u$")
    axis.set(xlabel=r"depth, $\sigma_u$", ylabel=r"price, $\sigma_v$", title="one auction, ladder", ylim=(0.0, 4.5))
    axis.set(xlim=(0.0, 8.0))


def draw_orders(axis, arm):
    """Orders of the trader against a ladder."""
    for number, row in enumerate(arm["seeds"]):
        label = "learned, 8 seeds" if number == 0 else None
        axis.plot(KNOTS, row["order"], color=BLUE, lw=0.6, alpha=0.6, label=label)
    axis.plot(arm["theory"]["values"], arm["theory"]["order"], color=BLACK, lw=1.8, label="equilibrium")
    axis.plot(KNOTS, KNOTS, color=GREY, lw=1.2, ls="--", label=r"Kyle's order, $v\,\sigma_u/\sigma_v$")
    axis.set(xlabel=r"value $v$, $\sigma_v$", ylabel=r"order $x$, $\sigma_u$", title="one auction, ladder: the trader")
    axis.set(xlim=(-3.0, 3.0), ylim=(-5.0, 5.0))


def draw_money(axis, document):
    """Gains of everyone in every arm."""
    names = {"one_price_1": "1 auction", "one_price_4": "4 auctions", "ladder": "ladder"}
    owners = (
        ("informed_profit", "trader", ORANGE, ""),
        ("maker_profit", "makers", BLUE, "///"),
        ("noise_profit", "noise", GREY, "..."),
    )
    for shift, (key, label, colour, hatch) in zip((-0.25, 0.0, 0.25), owners, strict=True):
        pairs = [over_seeds(document[name], key) for name in names]
        at = np.arange(len(names)) + shift
        means, halves = zip(*pairs, strict=True)
        axis.bar(at, means, 0.22, yerr=halves, color=colour, hatch=hatch, edgecolor="white", capsize=3, label=label)
    known = [sequential_kyle(1.0, 1.0, n).informed_profit for n in (1, 4)]
    known.append(document["ladder"]["theory"]["informed_profit"])
    for number, value in enumerate(known):
        ends = [number - 0.38, number - 0.12]
        label = "trader in equilibrium" if number == 0 else None
        axis.plot(ends, [value, value], color=BLACK, lw=2.0, ls="--", label=label)
    axis.axhline(0.0, color=BLACK, lw=0.8)
    axis.set(ylabel=r"gain, $\sigma_v\sigma_u$", title="whose money", xticks=range(len(names)))
    axis.set_xticklabels(names.values())


def draw(document):
    figure, axes = plt.subplots(2, 3, figsize=(13.0, 7.6), constrained_layout=True)
    draw_learning(axes[0, 0], document["one_price_1"])
    draw_by_auction(axes[0, 1], document["one_price_4"], 4)
    draw_variance(axes[0, 2], document)
    draw_ladder(axes[1, 0], document["ladder"])
    draw_orders(axes[1, 1], document["ladder"])
    draw_money(axes[1, 2], document)
    for axis in axes.flat:
        axis.legend(fontsize=9, frameon=False)
    figure.savefig(HERE / "kyle.png", dpi=130)
    plt.close(figure)


def main():
    document = json.loads((HERE / "kyle.json").read_text())
    (HERE / "kyle.md").write_text(table(document))
    draw(document)


if __name__ == "__main__":
    main()
