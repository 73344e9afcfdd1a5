"""Kyle's informed trader and competing makers learn on the order book, beside the closed form.

    python experiments/kyle/kyle.py                  # all arms, a few CPU-minutes; kyle.json
    python experiments/kyle/kyle.py --arm ladder     # one arm, the others stay as they are
    python experiments/kyle/report.py                # the table kyle.md and the figure kyle.png

Arms: `one_price_1` and `one_price_4`, one and four auctions in which the batch clears at the best quote for its net
flow (:mod:`single_price`), which is Kyle's game; `one_price_loud`, one such auction with four times the exploration;
`ladder`, one auction in which both orders walk a ladder that was posted before (:mod:`ladder`), which is not Kyle's
game and has another equilibrium. Eight seeds of an arm are one program.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import ladder
import numpy as np
import single_price

from amarl_jax.host.provenance import provenance
from amarl_jax.theory.limit_ladder import (
    LOTS,
    VALUES,
    WEIGHTS,
    competitive_ladder,
    lot_prices,
    marginal_value,
    trader_gain,
    variance_given_flow,
)

HERE = Path(__file__).parent
SEEDS, EPISODES, CURVE_POINTS = 8, 16384, 60
COMMON = {"value_deviation": 400.0, "noise_deviation": float(LOTS), "anneal_share": 0.6}
ONE_PRICE = {**COMMON, "n_makers": 2, "n_pairs": 512, "n_updates": 600, "learning_rate": (0.05, 0.004)}
LEVELS = tuple(round(0.125 * k, 3) for k in range(1, 29))
SETTINGS = {
    "one_price_1": single_price.Setting(n_auctions=1, explore=(0.3, 0.01), **ONE_PRICE),
    "one_price_4": single_price.Setting(n_auctions=4, explore=(0.3, 0.01), **ONE_PRICE),
    "one_price_loud": single_price.Setting(n_auctions=1, explore=(0.3, 0.04), **ONE_PRICE),
    "ladder": ladder.Setting(
        price=LEVELS, n_pairs=1024, n_updates=800, explore=(0.3, 0.05), learning_rate=(0.05, 0.005), **COMMON
    ),
}


def slope(x, y):
    """Least squares of y on x through the origin."""
    return float(x @ y / (x @ x))


def values_of_play(impact, intensity, noise_deviation, best):
    """Slope and constant of the trader's profit ``a (v - p_0)^2 + d``, of its own strategy or the best against it."""
    a, d = 0.0, 0.0
    for lam, beta in zip(impact[::-1], intensity[::-1], strict=True):
        d += a * lam**2 * noise_deviation**2
        a = 1.0 / (4.0 * lam * (1.0 - a * lam)) if best else beta * (1.0 - lam * beta) + a * (1.0 - lam * beta) ** 2
    return a, d


def trader_shortfall(impact, intensity, value_deviation, noise_deviation):
    """Share of the best attainable profit that the linear strategy misses against these impacts."""
    own, best = (values_of_play(impact, intensity, noise_deviation, which) for which in (False, True))
    profit = [a * value_deviation**2 + d for a, d in (own, best)]
    return 1.0 - profit[0] / profit[1]


def one_price_row(strategies, value, played, setting):
    """Measurements of one seed on fresh episodes of the book."""
    unit, worth = setting.value_deviation / setting.noise_deviation, setting.value_deviation * setting.noise_deviation
    value = value.astype(np.float64)
    flow, price, order, gain = (x.astype(np.float64) for x in (played.flow, played.price, played.order, played.gain))
    before = np.concatenate([np.zeros((len(value), 1)), price[:, :-1]], axis=1)
    times = range(setting.n_auctions)
    impact = [slope(flow[:, n], (price - before)[:, n]) for n in times]
    intensity = [slope(value - before[:, n], order[:, n]) for n in times]
    unexplained = [value - flow[:, : n + 1] @ np.linalg.lstsq(flow[:, : n + 1], value, rcond=None)[0] for n in times]
    gains = gain.sum(axis=1).mean(axis=0) / worth
    return {
        "impact": [x / unit for x in impact],  # sigma_v / sigma_u
        "intensity": [x * unit for x in intensity],  # sigma_u / sigma_v
        "pricing_error": [float(np.mean((value - price[:, n]) ** 2)) / setting.value_deviation**2 for n in times],
        "given_flow": [float(np.var(x)) / setting.value_deviation**2 for x in unexplained],
        "informed_profit": float(gains[0]),  # sigma_v sigma_u, all auctions together
        "noise_profit": float(gains[1]),
        "maker_profit": float(gains[2:].sum()),
        "maker_profit_error": float(np.std(gain[..., 2:].sum(axis=(1, 2))) / worth / np.sqrt(len(value))),
        "trader_shortfall": trader_shortfall(impact, intensity, setting.value_deviation, setting.noise_deviation),
        "quoted": np.exp(strategies.impact.astype(np.float64)).tolist(),  # [M, T] of each maker
    }


def learned_order(strategies):
    """Lots at each of VALUES."""
    return np.interp(VALUES, ladder.KNOTS, strategies.order) * LOTS


def one_side(price, depth, order):
    """The ask side as learned: the trader's profit, the best one, value of the last lots and how often they trade."""
    gain = trader_gain(lot_prices(price, np.cumsum(depth)))
    lots = np.clip(np.round(order).astype(int), 0, gain.shape[1] - 1)
    own = WEIGHTS @ gain[np.arange(len(VALUES)), lots]
    probability, value = marginal_value(order)
    last = np.cumsum(np.round(depth).astype(int)) - 1
    return {
        "own": own / LOTS,
        "best": WEIGHTS @ gain.max(axis=1) / LOTS,
        "value": value[last],
        "probability": probability[last],
    }


def ladder_row(strategies, measured, setting):
    """Measurements of one seed, by Bayes and quadrature on the learned strategies; money as measured on the book."""
    price, order = np.array(setting.price), learned_order(strategies)
    depth = np.maximum(np.rint(np.exp(strategies.log_depth.astype(np.float64))), 1.0)
    asks, bids = one_side(price, depth[1], order), one_side(price, depth[0], -order[::-1])
    deep = depth > 2.0  # levels with more than the lot that always tests the price
    surplus = np.stack([price - bids["value"], price - asks["value"]])
    odds = np.stack([bids["probability"], asks["probability"]])
    worth = setting.value_deviation * setting.noise_deviation
    return {
        "order": (np.asarray(strategies.order, np.float64)).tolist(),  # sigma_u, at the knots
        "depth": depth.tolist(),  # [2, K] lots, bids first
        "given_flow": variance_given_flow(order),
        "regression_impact": regression_impact(order),
        "informed_profit": float(measured["informed"].mean()) / worth,
        "noise_profit": float(measured["noise"].mean()) / worth,
        "maker_profit": float(measured["makers"].mean()) / worth,
        "maker_profit_error": float(measured["makers"].std() / np.sqrt(len(measured["makers"]))) / worth,
        "trader_shortfall": float(1.0 - (asks["own"] + bids["own"]) / (asks["best"] + bids["best"])),
        "last_lot_profit": float(np.sum((odds * surplus)[deep]) / np.sum(odds[deep])),  # sigma_v per lot that trades
        "half_spread": float(np.mean([price[np.argmax(side)] for side in deep])),
    }


def regression_impact(order):
    """``cov(v, y) / var(y)`` in sigma_v / sigma_u, of orders in lots at VALUES."""
    x = order / LOTS
    return float(WEIGHTS @ (VALUES * x) / (WEIGHTS @ x**2 + 1.0))


def ladder_theory(setting):
    """The computed equilibrium on the same prices."""
    exact = competitive_ladder(np.array(setting.price))
    depth = np.diff(exact.depth, prepend=0.0)
    return {
        "values": VALUES.tolist(),
        "order": (exact.order / LOTS).tolist(),
        "depth": depth.tolist(),
        "given_flow": variance_given_flow(exact.order),
        "regression_impact": regression_impact(exact.order),
        "informed_profit": exact.profit,
        "half_spread": setting.price[int(np.argmax(depth > 2.0))],
        "iteration_error_lots": exact.error,
    }


def learn(module, setting):
    """Strategies of all seeds, their path, and fresh episodes: one program each for learning and measuring."""
    roots = jax.vmap(jax.random.key)(jnp.arange(SEEDS, dtype=jnp.uint32))
    keys = jax.vmap(jax.random.split)(roots)
    settled, path = jax.jit(jax.vmap(lambda k: module.train(k, setting)))(keys[:, 0])
    measured = jax.jit(jax.vmap(lambda k, s: module.measure(k, s, EPISODES, setting)))(keys[:, 1], settled)
    return jax.tree.map(np.asarray, (settled, path, measured))


def seed_of(tree, seed):
    return jax.tree.map(lambda x: x[seed], tree)


def record(name):
    """One arm: provenance, rows by seed, learning curves or the computed equilibrium."""
    setting, started = SETTINGS[name], time.process_time()
    config = {**dataclasses.asdict(setting), "seeds": SEEDS, "episodes": EPISODES}
    origin = provenance(config, 0)
    module = ladder if name == "ladder" else single_price
    settled, path, measured = learn(module, setting)
    document = {"provenance": origin}
    if name == "ladder":
        document["theory"] = ladder_theory(setting)
        rows = [ladder_row(seed_of(settled, s), seed_of(measured, s), setting) for s in range(SEEDS)]
    else:
        at = np.linspace(0, setting.n_updates - 1, CURVE_POINTS).astype(int)
        rows = [one_price_row(seed_of(settled, s), *seed_of(measured, s), setting) for s in range(SEEDS)]
        document["curves"] = {
            "update": at.tolist(),
            "intensity": np.exp(path.intensity[:, at]).tolist(),  # [seed, point, T]
            "best_quote": np.exp(path.impact[:, at].min(axis=2)).tolist(),
        }
    document |= {"seeds": rows, "cpu_seconds": round(time.process_time() - started, 1)}
    return document


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arm", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="arms to run")
    path = HERE / "kyle.json"
    for name in parser.parse_args(arguments).arm:
        document = json.loads(path.read_text()) if path.exists() else {}
        document[name] = record(name)
        path.write_text(json.dumps(document, indent=1) + "\n")
        print(f"{name}: {document[name]['cpu_seconds']} CPU-seconds", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
