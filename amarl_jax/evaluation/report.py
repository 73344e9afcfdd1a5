"""The report on frozen policies: every number with its 95% interval, its unit and its meaning.

Every measure has one name, ``eval/`` before that of :mod:`amarl_jax.evaluation.metrics`; :data:`ALIASES` are what the
reference system calls some of them, which the JSON file has too.
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from amarl_jax.evaluation.frozen import ChildOrders, FrozenEpisodes, trace_columns
from amarl_jax.evaluation.metrics import METRICS, NORMAL_95, Evaluation, MetricValue, mean_and_error
from amarl_jax.information.calibration import brier, expected_calibration_error
from amarl_jax.information.divergence import (
    HistogramDivergence,
    TrajectoryDivergence,
    bootstrap,
    flow_entropy,
    histogram_divergence,
)
from amarl_jax.strict_json import finite
from amarl_jax.types import Array

NO_INTERVAL = (math.nan, math.nan)
N_RESAMPLES = 1000  # of episodes, for measures without a standard error in closed form
SIZE_EDGES_LOTS = (2, 4, 6, 9, 14)  # classes 1-2, 3-4, 5-6, 7-9, 10-14, 15 and more
TIME_EDGES = (0.25, 0.5, 0.75)  # quarters of the day


@dataclass(frozen=True)
class Measure:
    """One reported number."""

    value: float
    lower: float  # of the 95% interval; NaN where none is offered
    upper: float
    unit: str
    meaning: str


def report(key: Array, episodes: FrozenEpisodes, evaluation: Evaluation) -> dict[str, Measure]:
    """Everything that is reported, by name, in the order of :data:`GROUPS`.

    Args:
        key: typed key of the bootstrap.
        episodes: fresh episodes, host arrays.
        evaluation: of the same episodes' summaries.
    """
    divergence = bootstrap(key, evaluation.detection.log_ratio, episodes.summary.z, n_bootstrap=N_RESAMPLES)
    z, metrics = np.asarray(episodes.summary.z), evaluation.metrics
    units = {name: (metric.unit, metric.meaning) for name, metric in METRICS.items()} | UNITS
    found = {name: _measure(estimate, *units[name]) for name, estimate in metrics.items() if name in units}
    found |= _exact_measures(metrics)
    found |= _from_resampling(divergence, np.asarray(episodes.spread_belief_moments))
    found |= _of_orders(episodes.orders, z)
    found |= _of_episodes(episodes, z)
    return {f"eval/{name}": found[name] for name in sorted(found, key=_place)}


def _place(name: str) -> int:
    """Place of a measure's group in a report; a user's own groups are last."""
    group = name.partition("/")[0]
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


LOWER_BOUND = "a lower bound of I(z; G) by a misspecified model: of the recorded noise the reader knows a fitted law"


def _exact_measures(metrics: Mapping[str, MetricValue]) -> dict[str, Measure]:
    """The information with limits that hold its bracket and the error over episodes, and the bracket's width."""
    if "information/exact_nats" not in metrics:
        return {}
    nats, stderr = metrics["information/exact_nats"]
    bounds = [metrics[f"information/exact_nats_{end}"].value for end in ("lower", "upper")]
    half = NORMAL_95 * stderr
    name, width = "information/exact_nats", "information/exact_bracket_nats"
    if math.isnan(bounds[1]):
        return {name: Measure(nats, nats - half, math.nan, UNITS[name][0], LOWER_BOUND)}
    return {
        name: Measure(nats, min(bounds) - half, max(bounds) + half, *UNITS[name]),
        width: Measure(bounds[1] - bounds[0], *NO_INTERVAL, *UNITS[width]),
    }


def _from_resampling(divergence: TrajectoryDivergence, moments: np.ndarray) -> dict[str, Measure]:
    """Measures whose interval comes from the bootstrap."""
    correlation = spread_toxicity(np.random.default_rng(0), moments)
    return {
        "information/fresh_kl_nats": Measure(*divergence.kl_nats, *UNITS["information/fresh_kl_nats"]),
        "information/total_variation": Measure(*divergence.total_variation, *UNITS["information/total_variation"]),
        "maker/spread_toxicity_correlation": Measure(*correlation, *UNITS["maker/spread_toxicity_correlation"]),
    }


def _of_orders(orders: ChildOrders, z: np.ndarray) -> dict[str, Measure]:
    """Measures of single child orders, whenever they were sent."""
    divergence = order_divergence(orders, z)
    kl, null_bias = (math.nan, math.nan) if divergence is None else (divergence.kl_nats, divergence.null_bias_nats)
    sent = mean_and_error(np.asarray(orders.acts)[z == 1].sum(axis=1))
    values = {"order_kl_nats": kl, "order_kl_null_bias_nats": null_bias, "order_entropy_nats": _entropy(orders, z == 1)}
    found = {f"execution/{name}": Measure(x, *NO_INTERVAL, *UNITS[f"execution/{name}"]) for name, x in values.items()}
    return found | {"execution/sent_orders": _measure(sent, *UNITS["execution/sent_orders"])}


def _of_episodes(episodes: FrozenEpisodes, z: np.ndarray) -> dict[str, Measure]:
    """Measures of whole episodes beside the metrics: variation of costs, calibration of the belief, volatility."""
    rows, belief = episodes.summary, np.asarray(episodes.summary.belief, np.float64)
    shortfall = np.asarray(rows.shortfall_ticks, np.float64)[z == 1]
    deviation = float(shortfall.std(ddof=1))
    half = NORMAL_95 * deviation / math.sqrt(2.0 * (shortfall.size - 1))  # for the deviation of a normal sample
    name = "execution/shortfall_deviation_ticks"
    means = {
        "information/belief_brier": mean_and_error((belief - z) ** 2)._replace(value=brier(belief, z)),
        "maker/economic_pnl_tick_lots": mean_and_error(np.asarray(rows.maker_pnl - rows.adverse_selection)),
        "market/volatility_ticks": mean_and_error(np.asarray(episodes.volatility_ticks)),
    }
    error = expected_calibration_error(belief, z)
    return {name: Measure(deviation, deviation - half, deviation + half, *UNITS[name])} | {
        **{name: _measure(mean, *UNITS[name]) for name, mean in means.items()},
        "information/belief_calibration_error": Measure(
            error, *NO_INTERVAL, *UNITS["information/belief_calibration_error"]
        ),
    }


_MONEY = "tick-lots per episode"
UNITS: dict[str, tuple[str, str]] = {  # name of every measure, without eval/: unit, meaning
    "execution/shortfall_ticks": ("ticks per parent lot", "implementation shortfall, remainder included"),
    "execution/shortfall_deviation_ticks": ("ticks per parent lot", "its standard deviation over informed episodes"),
    "execution/shortfall_units": ("reward units", "the same over is_unit_ticks"),
    "execution/shortfall_bps": ("basis points of the opening mid", "the same"),
    "execution/completion": ("share of the parent order", "done at the horizon"),
    "execution/child_orders": (
        "orders per episode",
        "that the policy decided to send, those included that the position limit then cut to nothing",
    ),
    "execution/sent_orders": ("orders per episode", "that reached the book"),
    "execution/order_kl_nats": ("nats", "KL of the marks of one child order from those of noise, whenever it is sent"),
    "execution/order_kl_null_bias_nats": ("nats", "what order_kl_nats reads on average where the laws are equal"),
    "execution/order_entropy_nats": ("nats", "of the size, price and time of one child order"),
    "information/exact_nats": ("nats", "I(z; G), exact: what whoever knows the policy finds"),
    "information/exact_bracket_nats": ("nats", "upper less lower bound; the limits of exact_nats are these, widened"),
    "information/exact_accuracy": ("probability", "of naming z right, knowing the policy"),
    "information/bound_nats": ("nats", "H(z): the largest value that information can have"),
    "information/fresh_nats": ("nats", "I(z; F), fresh cross-fitted detector, held out, a lower bound"),
    "information/fresh_accuracy": ("probability", "of naming z right, fresh detector, held out"),
    "information/fresh_kl_nats": ("nats", "KL(F | z=1 || F | z=0), Donsker-Varadhan of the fresh detector, held out"),
    "information/fresh_efficiency": ("share of the information", "fresh detector's held-out nats over the exact ones"),
    "information/total_variation": ("probability", "of the flow's law from the noise law, seen by the fresh detector"),
    "information/mine_nats": (
        "nats",
        "what the MI critic claims; it prices the leakage where leakage_source is mine",
    ),
    "information/mine_efficiency": ("share of the information", "what the MI critic claims over the exact nats"),
    "information/belief_nats": ("nats", "what the maker's belief claims on the same episodes"),
    "information/belief_efficiency": ("share of the information", "what the belief claims over the exact nats"),
    "information/belief_accuracy": ("probability", "the maker's belief names z right at the horizon"),
    "information/belief_brier": ("probability^2", "Brier score of the belief at the horizon: 1/4 is a fair coin's"),
    "information/belief_calibration_error": (
        "probability",
        "expected calibration error of the belief in ten equally filled bins; not 0 for a perfect one",
    ),
    "market/spread_ticks": ("ticks", "best ask - best bid, mean over steps"),
    "market/traded_lots": ("lots per episode", "traded by anybody"),
    "market/volatility_ticks": ("ticks per sqrt(step)", "root mean square of the mid's moves"),
    "maker/quoted_spread_ticks": ("ticks", "ask - bid that it quotes, mean over steps"),
    "maker/pnl_tick_lots": (_MONEY, "spread captured against mid plus revaluation, before adverse selection"),
    "maker/adverse_selection_tick_lots": (_MONEY, "sum q D (V - mid) over its fills"),
    "maker/economic_pnl_tick_lots": (_MONEY, "PnL less adverse selection: marked to V"),
    "maker/markout_5_steps_tick_lots": (_MONEY, "mid's move against the maker after its fills"),
    "maker/belief_accuracy_mean": ("probability", "that its belief gives to the truth, mean over steps"),
    "maker/spread_toxicity_correlation": ("correlation", "over steps of its spread with the belief it quoted on"),
    "arbitrageur/pnl_tick_lots": (_MONEY, "marked to V"),
    "arbitrageur/snipe_lots": ("lots per episode", "filled against quotes of an earlier step"),
}
GROUPS = ("execution", "information", "market", "maker", "arbitrageur")  # the order of a report
ALIASES = {  # what the reference system calls some of them, in eval_metrics.json: its name to ours
    "eval/exec/implementation_shortfall_mean": "eval/execution/shortfall_ticks",
    "eval/exec/implementation_shortfall_std": "eval/execution/shortfall_deviation_ticks",
    "eval/exec/completion_rate_mean": "eval/execution/completion",
    "eval/exec/mi_estimate_mean": "eval/information/fresh_nats",
    "eval/exec/kl_divergence_mean": "eval/execution/order_kl_nats",
    "eval/exec/flow_entropy_mean": "eval/execution/order_entropy_nats",
    "eval/mm/pnl_mean": "eval/maker/pnl_tick_lots",
    "eval/mm/adverse_selection_mean": "eval/maker/adverse_selection_tick_lots",
    "eval/mm/belief_accuracy_mean": "eval/maker/belief_accuracy_mean",
    "eval/mm/avg_spread_mean": "eval/maker/quoted_spread_ticks",
    "eval/arb/pnl_mean": "eval/arbitrageur/pnl_tick_lots",
    "eval/market/realized_vol_mean": "eval/market/volatility_ticks",
    "eval/market/total_volume_mean": "eval/market/traded_lots",
}


def spread_toxicity(rng: np.random.Generator, moments: np.ndarray) -> tuple[float, float, float]:
    """Pooled correlation of spread and belief with its 95% interval, episodes resampled; NaN if one never varies.

    Args:
        rng: of the bootstrap.
        moments: [n, 5] of each episode, see :func:`amarl_jax.evaluation.frozen.spread_belief_moments`.
    """
    moments = np.asarray(moments, np.float64)
    n = len(moments)
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=N_RESAMPLES)
    means = np.concatenate([moments.mean(axis=0)[None], counts @ moments / n])
    x, y, xx, yy, xy = means.T
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (xy - x * y) / np.sqrt(np.maximum(xx - x**2, 0.0) * np.maximum(yy - y**2, 0.0))
    if not np.isfinite(correlation).all():
        return math.nan, math.nan, math.nan
    lower, upper = np.quantile(correlation[1:], (0.025, 0.975))
    return float(correlation[0]), float(lower), float(upper)


def order_columns(orders: ChildOrders, chosen: np.ndarray) -> np.ndarray:
    """Marks of every child order of the chosen episodes: lots, offset, limit or not, share of the day. [k, 4]."""
    picked = jax.tree.map(lambda x: np.asarray(x)[chosen], orders)
    acts = picked.acts == 1
    horizon = acts.shape[1]
    time = np.broadcast_to((np.arange(horizon) + 0.5) / horizon, acts.shape)
    offset = np.where(picked.is_limit == 1, picked.offset_ticks, 0)
    return np.stack([picked.lots[acts], offset[acts], picked.is_limit[acts], time[acts]], axis=1).astype(np.float64)


def order_edges(orders: ChildOrders) -> tuple[tuple[float, ...], ...]:
    """Inner edges of the four columns: size classes, every offset that occurs, limit or market, quarters of the day."""
    low, high = int(np.min(orders.offset_ticks)), int(np.max(orders.offset_ticks))
    sizes = tuple(edge + 0.5 for edge in SIZE_EDGES_LOTS)
    return sizes, tuple(edge + 0.5 for edge in range(low, high)), (0.5,), TIME_EDGES


def order_divergence(orders: ChildOrders, z: np.ndarray) -> HistogramDivergence | None:
    """Child orders at z = 1 against those the slot draws from the noise law at z = 0; None if either sent none."""
    ours, noise = order_columns(orders, z == 1), order_columns(orders, z == 0)
    if not (len(ours) and len(noise)):
        return None
    return histogram_divergence(ours, noise, order_edges(orders))


def _entropy(orders: ChildOrders, informed: np.ndarray) -> float:
    columns = order_columns(orders, informed)
    return flow_entropy(columns, order_edges(orders)) if len(columns) else math.nan


def _measure(estimate: MetricValue, unit: str, meaning: str) -> Measure:
    half = NORMAL_95 * estimate.stderr
    return Measure(estimate.value, estimate.value - half, estimate.value + half, unit, meaning)


def flat(measures: dict[str, Measure]) -> dict[str, float | None]:
    """``name``, ``name_lower`` and ``name_upper`` of every measure, also under the reference's names for some.

    None for numbers that are not finite.
    """
    numbers: dict[str, float] = {}
    also = {alias: measures[name] for alias, name in ALIASES.items() if name in measures}
    for name, measure in (measures | also).items():
        numbers[name] = measure.value
        if math.isfinite(measure.lower):
            numbers |= {f"{name}_lower": measure.lower, f"{name}_upper": measure.upper}
    return finite(numbers)


def units_table(measures: Mapping[str, Measure]) -> str:
    """Text of the companion table, CSV: name, value, 95% limits, unit, meaning."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "value", "lower_95", "upper_95", "unit", "meaning"))
    for name, m in measures.items():
        numbers = ("" if math.isnan(x) else f"{x:.6g}" for x in (m.value, m.lower, m.upper))
        writer.writerow((name, *numbers, m.unit, m.meaning))
    return text.getvalue()


def save_episodes(path: Path, episodes: FrozenEpisodes) -> None:
    """Save what figures need of the episodes as ``.npz``: summaries, child orders, one trace."""
    rows = episodes.summary
    assert episodes.trace is not None, "evaluation asks for traces"
    columns = {f"trace_{name}": column for name, column in trace_columns(episodes.trace).items()}
    columns |= {f"orders_{name}": getattr(episodes.orders, name) for name in episodes.orders.__dataclass_fields__}
    columns |= {name: getattr(rows, name) for name in ("z", "completion", "shortfall_ticks", "belief", "child_orders")}
    np.savez_compressed(path, allow_pickle=False, **{name: np.asarray(x) for name, x in columns.items()})
