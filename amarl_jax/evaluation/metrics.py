"""Metrics of frozen policies: means with standard errors, and information measured held out."""

import dataclasses
import math
from typing import NamedTuple, Protocol

import jax
import numpy as np

from amarl_jax.evaluation.episodes import EpisodeSummary
from amarl_jax.evaluation.frozen import Trace
from amarl_jax.information import mine
from amarl_jax.information.detector import Detection
from amarl_jax.information.tape_detector import TapeDetectorSpec, detect_tapes
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.posterior.exact import ExactRow, exact_information
from amarl_jax.types import Array


class MetricValue(NamedTuple):
    """A mean over episodes and its standard error."""

    value: float
    stderr: float


@dataclasses.dataclass(frozen=True)
class Scale:
    """Conversion of ticks into the units of a report, and the prior of z."""

    prior: float  # p_z
    unit_ticks: float  # ticks per parent lot in one reward unit
    tick_bps: float  # one tick in basis points of the opening mid

    @classmethod
    def of(cls, params: EnvParams, spec: MarketSpec) -> "Scale":
        """The scale of the market that episodes were played in."""
        return cls(float(params.informed_probability), float(params.is_unit_ticks), spec.tick_bps)


class Evaluation(NamedTuple):
    """Held-out metrics of a set of episodes; every name says its unit."""

    metrics: dict[str, MetricValue]
    n_episodes: int
    n_informed: int
    detection: Detection  # by the fresh detector, [n] in the order of the episodes
    unread: str = ""  # why there is no exact information; empty where there is, or where none was asked for
    n_read: int = 0  # how many of the episodes, the first, were read exactly
    trace: Trace | None = None  # [n, T] some of them step by step, where the caller keeps them


class Metric(Protocol):
    """A number per episode that is reported with the others, as a mean with its standard error."""

    @property
    def name(self) -> str:
        """Name of the metric, ``group/quantity_unit``."""
        ...

    @property
    def unit(self) -> str:
        """Unit of the number."""
        ...

    @property
    def meaning(self) -> str:
        """Meaning, for the table of units."""
        ...

    def __call__(self, rows: EpisodeSummary) -> np.ndarray:
        """One number per episode that counts, from host arrays [n]."""
        ...


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Report ``metric`` from now on; ValueError if the name is taken by another registered one."""
    if metric.name in METRICS:
        raise ValueError(f"a metric named {metric.name!r} exists already")
    METRICS[metric.name] = metric
    return metric


def mean_and_error(x: np.ndarray) -> MetricValue:
    """Mean over episodes and its standard error."""
    x = np.asarray(x, np.float64)
    return MetricValue(float(x.mean()), float(x.std(ddof=1) / math.sqrt(x.size)) if x.size > 1 else math.nan)


def claimed_information(belief: np.ndarray, z: np.ndarray, prior: float) -> MetricValue:
    """Information that a posterior claims on episodes it was not trained on: ``E log p(z | F) / p(z)``, nats.

    This is the Barber-Agakov bound.

    Args:
        belief: [n] ``P(z = 1 | F)`` at the horizon.
        z: [n] labels.
        prior: p_z.
    """
    right = np.where(z == 1, belief, 1.0 - belief).astype(np.float64)
    base = np.where(z == 1, prior, 1.0 - prior)
    return mean_and_error(np.log(np.clip(right, 1e-6, 1.0)) - np.log(base))


NORMAL_95 = 1.959964  # standard errors from a mean to the ends of its 95% interval
DETECTOR = TapeDetectorSpec()  # settings of every fresh detector


def fresh_detection(key: Array, summaries: EpisodeSummary, prior: float) -> Detection:
    """A detector trained from scratch, cross-fitted, on the tapes of these episodes."""
    return detect_tapes(key, summaries.tape, np.asarray(summaries.z), prior=prior, spec=DETECTOR)


LEAST_EXACT_NATS = 0.01  # below it a detector has no efficiency: both it and the exact value are noise
DETECTORS = ("fresh", "mine", "belief")  # whose efficiency is reported


def exact_metrics(exact: ExactRow, z: np.ndarray, prior: float) -> dict[str, MetricValue]:
    """The exact information with its bracket, and the accuracy of a reader that knows the policy.

    Args:
        exact: [m] rows of the first m episodes.
        z: [n] labels of all.
        prior: p_z.

    Raises:
        ValueError: the policy did what has probability 0 under its law.
    """
    found = exact_information(jax.tree.map(np.asarray, exact), z[: len(exact.lawless_step)], prior)
    return {
        "information/exact_nats": MetricValue(found.nats, found.stderr),
        "information/exact_nats_lower": MetricValue(found.lower, math.nan),
        "information/exact_nats_upper": MetricValue(found.upper, math.nan),
        "information/exact_accuracy": MetricValue(found.accuracy, found.accuracy_stderr),
    }


def efficiency(found: MetricValue, exact: MetricValue) -> MetricValue:
    """Held-out nats of a detector over the exact ones; NaN where there is next to no information.

    The error is the delta method's for independent errors: too large where both are positively correlated.
    """
    if not exact.value >= LEAST_EXACT_NATS:
        return MetricValue(math.nan, math.nan)
    share = found.value / exact.value
    return MetricValue(share, math.hypot(found.stderr, share * exact.stderr) / exact.value)


def evaluate_summaries(
    key: Array, summaries: EpisodeSummary, scale: Scale, exact: ExactRow | None = None
) -> Evaluation:
    """Metrics of fresh episodes of frozen policies, by a detector freshly trained on them.

    Args:
        key: typed key of the fresh detector.
        summaries: [n] episodes that nothing was trained on.
        scale: units of the market that was played.
        exact: [m] rows of the first m of them; None: no exact information.
    """
    return evaluate_detected(fresh_detection(key, summaries, scale.prior), summaries, scale, exact)


def evaluate_detected(
    detection: Detection, summaries: EpisodeSummary, scale: Scale, exact: ExactRow | None = None
) -> Evaluation:
    """Metrics as :func:`evaluate_summaries` makes them, from a given detection on these episodes."""
    rows, prior = jax.tree.map(np.asarray, summaries), scale.prior
    informed = rows.z == 1
    claimed = claimed_information(rows.belief, rows.z, prior)
    shortfall, unit, bps = mean_and_error(rows.shortfall_ticks[informed]), scale.unit_ticks, scale.tick_bps
    right = (rows.belief > prior) == informed
    metrics = {
        "execution/shortfall_ticks": shortfall,
        "execution/shortfall_units": MetricValue(shortfall.value / unit, shortfall.stderr / unit),
        "execution/shortfall_bps": MetricValue(shortfall.value * bps, shortfall.stderr * bps),
        "execution/completion": mean_and_error(rows.completion[informed]),
        "execution/child_orders": mean_and_error(rows.child_orders[informed]),
        "information/fresh_nats": MetricValue(float(detection.mi), float(detection.mi_stderr)),
        "information/fresh_accuracy": MetricValue(float(detection.accuracy), float(detection.accuracy_stderr)),
        "information/fresh_kl_nats": MetricValue(float(detection.kl_nats), math.nan),
        "information/belief_nats": claimed,
        "information/belief_accuracy": mean_and_error(right),
        "information/bound_nats": MetricValue(float(mine.prior_entropy(prior)), 0.0),
        "market/spread_ticks": mean_and_error(rows.spread_ticks),
        "market/traded_lots": mean_and_error(rows.traded_lots),
        "maker/quoted_spread_ticks": mean_and_error(rows.quoted_spread_ticks),
        "maker/pnl_tick_lots": mean_and_error(rows.maker_pnl),
        "maker/adverse_selection_tick_lots": mean_and_error(rows.adverse_selection),
        "maker/markout_5_steps_tick_lots": mean_and_error(rows.maker_markout),
        "maker/belief_accuracy_mean": mean_and_error(rows.belief_accuracy),
        "arbitrageur/pnl_tick_lots": mean_and_error(rows.arbitrageur_pnl),
        "arbitrageur/snipe_lots": mean_and_error(rows.snipe_lots),
    }
    metrics |= {name: mean_and_error(metric(rows)) for name, metric in METRICS.items() if name not in metrics}
    if rows.mine is not None:
        metrics["information/mine_nats"] = claimed_information(rows.mine, rows.z, prior)
    if exact is not None:
        there = exact_metrics(exact, rows.z, prior)
        named = {name: metrics.get(f"information/{name}_nats") for name in DETECTORS}
        metrics |= there | {
            f"information/{name}_efficiency": efficiency(found, there["information/exact_nats"])
            for name, found in named.items()
            if found is not None
        }
    n_read = 0 if exact is None else len(exact.lawless_step)
    return Evaluation(metrics, int(rows.z.size), int(informed.sum()), detection, n_read=n_read)
