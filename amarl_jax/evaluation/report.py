"""What is reported of frozen policies: every number with its 95% interval, its unit and its meaning.

The names ``eval/exec/...``, ``eval/mm/...``, ``eval/arb/...`` and ``eval/market/...`` are the reference system's; the
ones named like :mod:`amarl_jax.evaluation.metrics` are this project's.
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from amarl_jax.evaluation.frozen import ChildOrders, FrozenEpisodes
from amarl_jax.evaluation.metrics import METRICS, Estimate, Evaluation, mean_and_error
from amarl_jax.information.calibration import brier, expected_calibration_error
from amarl_jax.information.divergence import HistogramDivergence, bootstrap, flow_entropy, histogram_divergence
from amarl_jax.types import Array

NORMAL_95 = 1.959964  # standard errors on either side
N_RESAMPLES = 1000  # of episodes, for what has no standard error in closed form
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
    """Everything that is reported, by name: the reference's keys first.

    Args:
        key: typed key of the bootstrap.
        episodes: fresh episodes, host arrays.
        evaluation: of the same episodes' summaries.
    """
    divergence = bootstrap(key, evaluation.detection.log_ratio, episodes.summary.z, n_bootstrap=N_RESAMPLES)
    z, metrics = np.asarray(episodes.summary.z), evaluation.metrics
    informed = z == 1
    orders = order_divergence(episodes.orders, z)
    shortfall = np.asarray(episodes.summary.shortfall_ticks, np.float64)[informed]
    deviation = float(shortfall.std(ddof=1))
    half = NORMAL_95 * deviation / math.sqrt(2.0 * (shortfall.size - 1))  # of a normal sample's deviation
    units = {name: (metric.unit, metric.meaning) for name, metric in METRICS.items()} | UNITS
    named = {f"eval/{name}": _measure(estimate, *units[name]) for name, estimate in metrics.items() if name in units}
    ours = _exact_measures(metrics) | named
    sent = mean_and_error(np.asarray(episodes.orders.acts)[informed].sum(axis=1))
    ours["eval/execution/sent_orders"] = _measure(sent, "orders per episode", "that reached the book")
    kl, ticks = divergence.kl_nats, "ticks per parent lot"
    ours["eval/information/fresh_kl_nats"] = Measure(*kl, *UNITS["information/fresh_kl_nats"])
    variation = "total variation of the flow's law from the noise law, seen by the fresh detector"
    ours |= _belief_measures(np.asarray(episodes.summary.belief, np.float64), z)
    ours["eval/information/total_variation"] = Measure(*divergence.total_variation, "probability", variation)
    meaning = "correlation over steps of the maker's quoted spread with the belief it quoted on"
    correlation = spread_toxicity(np.random.default_rng(0), np.asarray(episodes.spread_belief_moments))
    ours["eval/maker/spread_toxicity_correlation"] = Measure(*correlation, "correlation", meaning)
    null_bias = math.nan if orders is None else orders.null_bias_nats
    meaning = "what the order-level KL reads on average where the laws are equal"
    ours["eval/exec/kl_divergence_null_bias"] = Measure(null_bias, math.nan, math.nan, "nats", meaning)
    reference = {
        "implementation_shortfall_mean": _measure(metrics["execution/shortfall_ticks"], ticks, "informed episodes"),
        "implementation_shortfall_std": Measure(
            deviation, deviation - half, deviation + half, ticks, "deviation over informed episodes"
        ),
        "completion_rate_mean": _measure(metrics["execution/completion"], "share of the parent order", "informed"),
        "mi_estimate_mean": _measure(
            metrics["information/fresh_nats"], "nats", "I(z; F), a fresh detector, held out, at most ln 2 at p_z = 1/2"
        ),
        "kl_divergence_mean": Measure(
            math.nan if orders is None else orders.kl_nats, math.nan, math.nan, "nats", "one child order from noise's"
        ),
        "flow_entropy_mean": Measure(
            _entropy(episodes.orders, informed), math.nan, math.nan, "nats", "of one child order's size, price and time"
        ),
    }
    of_execution = {f"eval/exec/{name}": measure for name, measure in reference.items()}
    return of_execution | _reference_others(episodes, metrics) | ours


def _exact_measures(metrics: Mapping[str, Estimate]) -> dict[str, Measure]:
    """The information with limits that hold its bracket and the error over episodes, and the bracket's width."""
    if "information/exact_nats" not in metrics:
        return {}
    nats, stderr = metrics["information/exact_nats"]
    bounds = [metrics[f"information/exact_nats_{end}"].value for end in ("lower", "upper")]
    half = NORMAL_95 * stderr
    width = "mean upper less mean lower bound; limits of exact_nats are these bounds, widened by its standard error"
    return {
        "eval/information/exact_nats": Measure(
            nats, min(bounds) - half, max(bounds) + half, "nats", "I(z; G), exact: what whoever knows the policy finds"
        ),
        "eval/information/exact_bracket_nats": Measure(bounds[1] - bounds[0], math.nan, math.nan, "nats", width),
    }


def _belief_measures(belief: np.ndarray, z: np.ndarray) -> dict[str, Measure]:
    """How good the maker's belief at the horizon is as a probability."""
    squared = mean_and_error((belief - z) ** 2)
    half = NORMAL_95 * squared.stderr
    score = brier(belief, z)
    error = expected_calibration_error(belief, z)
    meaning = "of the belief at the horizon: 0 is perfect, 1/4 a fair coin's"
    gap = "expected calibration error of the belief in ten equally filled bins; not 0 for a perfect one"
    return {
        "eval/information/belief_brier": Measure(score, score - half, score + half, "probability^2", meaning),
        "eval/information/belief_calibration_error": Measure(error, math.nan, math.nan, "probability", gap),
    }


def _reference_others(episodes: FrozenEpisodes, metrics: Mapping[str, Estimate]) -> dict[str, Measure]:
    """The reference's keys of maker, arbitrageur and market."""
    volatility = mean_and_error(np.asarray(episodes.volatility_ticks))
    money = "tick-lots per episode"
    rows = episodes.summary
    economic = mean_and_error(np.asarray(rows.maker_pnl - rows.adverse_selection))
    spread = "spread captured against mid plus revaluation, before adverse selection"
    return {
        "eval/mm/pnl_mean": _measure(metrics["maker/pnl_tick_lots"], money, spread),
        "eval/maker/economic_pnl_tick_lots": _measure(economic, money, "PnL less adverse selection: marked to V"),
        "eval/mm/adverse_selection_mean": _measure(
            metrics["maker/adverse_selection_tick_lots"], money, "sum q D (V - mid) over its fills"
        ),
        "eval/mm/belief_accuracy_mean": _measure(
            metrics["maker/belief_accuracy_mean"], "probability", "given to the truth, mean over steps"
        ),
        "eval/mm/avg_spread_mean": _measure(metrics["maker/quoted_spread_ticks"], "ticks", "ask - bid it quotes"),
        "eval/arb/pnl_mean": _measure(metrics["arbitrageur/pnl_tick_lots"], money, "marked to V"),
        "eval/market/realized_vol_mean": _measure(volatility, "ticks per sqrt(step)", "of the mid"),
        "eval/market/total_volume_mean": _measure(metrics["market/traded_lots"], "lots per episode", "traded"),
    }


UNITS: dict[str, tuple[str, str]] = {  # name in evaluation.metrics: unit, meaning
    "execution/shortfall_ticks": ("ticks per parent lot", "implementation shortfall, remainder included"),
    "execution/shortfall_units": ("reward units", "the same over is_unit_ticks"),
    "execution/shortfall_bps": ("basis points of the opening mid", "the same"),
    "execution/completion": ("share of the parent order", "done at the horizon"),
    "execution/child_orders": ("decisions per episode", "to send an order; the position limit leaves nothing of some"),
    "information/exact_accuracy": ("probability", "of naming z right, knowing the policy"),
    "information/fresh_efficiency": ("share of the information", "fresh detector's held-out nats over the exact ones"),
    "information/mine_efficiency": ("share of the information", "what the MI critic claims over the exact nats"),
    "information/belief_efficiency": ("share of the information", "what the belief claims over the exact nats"),
    "information/fresh_nats": ("nats", "I(z; F), fresh cross-fitted detector, held out, a lower bound"),
    "information/fresh_accuracy": ("probability", "of naming z right, fresh detector, held out"),
    "information/fresh_kl_nats": ("nats", "KL(F | z=1 || F | z=0), Donsker-Varadhan of the fresh detector, held out"),
    "information/belief_nats": ("nats", "what the maker's belief claims on the same episodes"),
    "information/belief_accuracy": ("probability", "the maker's belief names z right at the horizon"),
    "information/mine_nats": ("nats", "what the MI critic that prices the leakage claims"),
    "market/spread_ticks": ("ticks", "best ask - best bid, mean over steps"),
    "maker/markout_5_steps_tick_lots": ("tick-lots per episode", "mid's move against the maker after its fills"),
    "arbitrageur/snipe_lots": ("lots per episode", "filled against quotes of an earlier step"),
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


def _measure(estimate: Estimate, unit: str, meaning: str) -> Measure:
    half = NORMAL_95 * estimate.stderr
    return Measure(estimate.value, estimate.value - half, estimate.value + half, unit, meaning)


def flat(measures: Mapping[str, Measure]) -> dict[str, float | None]:
    """``name``, ``name_lower`` and ``name_upper`` of every measure; None for what is not a finite number."""
    numbers: dict[str, float] = {}
    for name, measure in measures.items():
        numbers[name] = measure.value
        if math.isfinite(measure.lower):
            numbers |= {f"{name}_lower": measure.lower, f"{name}_upper": measure.upper}
    return {name: x if math.isfinite(x) else None for name, x in numbers.items()}


def units_table(measures: Mapping[str, Measure]) -> str:
    """The companion table, CSV: name, value, 95% limits, unit, meaning."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "value", "lower_95", "upper_95", "unit", "meaning"))
    for name, m in measures.items():
        numbers = ("" if math.isnan(x) else f"{x:.6g}" for x in (m.value, m.lower, m.upper))
        writer.writerow((name, *numbers, m.unit, m.meaning))
    return text.getvalue()


def save_episodes(path: Path, episodes: FrozenEpisodes) -> None:
    """What figures need of the episodes, as ``.npz``: summaries, child orders, one trace."""
    rows = episodes.summary
    trace = jax.tree.map(lambda x: np.asarray(x)[0], episodes.trace)
    columns = {f"trace_{name}": getattr(trace, name) for name in trace.__dataclass_fields__ if name != "orders"}
    columns |= {f"trace_{name}": getattr(trace.orders, name) for name in trace.orders.__dataclass_fields__}
    columns |= {f"orders_{name}": getattr(episodes.orders, name) for name in episodes.orders.__dataclass_fields__}
    columns |= {name: getattr(rows, name) for name in ("z", "completion", "shortfall_ticks", "belief", "child_orders")}
    np.savez_compressed(path, allow_pickle=False, **{name: np.asarray(x) for name, x in columns.items()})
