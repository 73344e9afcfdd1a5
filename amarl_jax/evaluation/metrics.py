"""Numbers to report of frozen policies: means with standard errors, and information measured held out."""

import math
from typing import NamedTuple, Protocol

import jax
import numpy as np

from amarl_jax.evaluation.episodes import EpisodeSummary
from amarl_jax.evaluation.frozen import Trace
from amarl_jax.information import mine
from amarl_jax.information.detector import Detection
from amarl_jax.information.tape_detector import TapeDetectorSpec, detect_tapes
from amarl_jax.posterior.exact import ExactRow, exact_information
from amarl_jax.types import Array


class Estimate(NamedTuple):
    """A mean over episodes and its standard error."""

    value: float
    stderr: float


class Evaluation(NamedTuple):
    """Held-out metrics of a set of episodes; every name says its unit."""

    metrics: dict[str, Estimate]
    n_episodes: int
    n_informed: int
    detection: Detection  # of the fresh detector, [n] in the order of the episodes
    unread: str = ""  # why there is no exact information; empty where there is, or nobody asked
    trace: Trace | None = None  # [n, T] some of them step by step, where the caller keeps them


class Metric(Protocol):
    """A number per episode that is reported with the others, as a mean with its standard error."""

    @property
    def name(self) -> str:
        """As ``group/quantity_unit``."""
        ...

    @property
    def unit(self) -> str:
        """Of the number."""
        ...

    @property
    def meaning(self) -> str:
        """For the table of units."""
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


def mean_and_error(x: np.ndarray) -> Estimate:
    """Mean over episodes and its standard error."""
    x = np.asarray(x, np.float64)
    return Estimate(float(x.mean()), float(x.std(ddof=1) / math.sqrt(x.size)) if x.size > 1 else math.nan)


def claimed_information(belief: np.ndarray, z: np.ndarray, prior: float) -> Estimate:
    """What a posterior claims on episodes it did not train on: ``E log p(z | F) / p(z)``, Barber-Agakov, nats.

    Args:
        belief: [n] ``P(z = 1 | F)`` at the horizon.
        z: [n] labels.
        prior: p_z.
    """
    right = np.where(z == 1, belief, 1.0 - belief).astype(np.float64)
    base = np.where(z == 1, prior, 1.0 - prior)
    return mean_and_error(np.log(np.clip(right, 1e-6, 1.0)) - np.log(base))


DETECTOR = TapeDetectorSpec()  # what every fresh detector is trained with


def fresh_detection(key: Array, summaries: EpisodeSummary, prior: float) -> Detection:
    """A detector trained from scratch, cross-fitted, on the tapes of these episodes."""
    return detect_tapes(key, summaries.tape, np.asarray(summaries.z), prior=prior, spec=DETECTOR)


LEAST_EXACT_NATS = 0.01  # below it a detector has no efficiency: both it and the exact value are noise
DETECTORS = ("fresh", "mine", "belief")  # whose efficiency is reported


def exact_metrics(exact: ExactRow, z: np.ndarray, prior: float) -> dict[str, Estimate]:
    """The exact information with its bracket, and how often whoever knows the policy names z right.

    Args:
        exact: [m] rows of the first m episodes.
        z: [n] labels of all.
        prior: p_z.

    Raises:
        ValueError: the policy did what its law calls impossible.
    """
    found = exact_information(jax.tree.map(np.asarray, exact), z[: len(exact.lawless_step)], prior)
    return {
        "information/exact_nats": Estimate(found.nats, found.stderr),
        "information/exact_nats_lower": Estimate(found.lower, math.nan),
        "information/exact_nats_upper": Estimate(found.upper, math.nan),
        "information/exact_accuracy": Estimate(found.accuracy, found.accuracy_stderr),
    }


def efficiency(found: Estimate, exact: Estimate) -> Estimate:
    """Held-out nats of a detector over the exact ones; NaN where next to nothing is there.

    The error is the delta method's for independent errors: too large where both rise together.
    """
    if not exact.value >= LEAST_EXACT_NATS:
        return Estimate(math.nan, math.nan)
    share = found.value / exact.value
    return Estimate(share, math.hypot(found.stderr, share * exact.stderr) / exact.value)


def evaluate_summaries(
    key: Array,
    summaries: EpisodeSummary,
    prior: float,
    unit_ticks: float,
    tick_bps: float,
    exact: ExactRow | None = None,
) -> Evaluation:
    """Metrics of fresh episodes of frozen policies, by a detector freshly trained on them.

    Args:
        key: typed key of the fresh detector.
        summaries: [n] episodes that nothing was trained on.
        prior: p_z.
        unit_ticks: ``is_unit_ticks``, ticks per parent lot in one reward unit.
        tick_bps: one tick in basis points of the opening mid.
        exact: [m] rows of the first m of them; None for no exact information.
    """
    detection = fresh_detection(key, summaries, prior)
    return evaluate_detected(detection, summaries, prior, unit_ticks, tick_bps, exact)


def evaluate_detected(
    detection: Detection,
    summaries: EpisodeSummary,
    prior: float,
    unit_ticks: float,
    tick_bps: float,
    exact: ExactRow | None = None,
) -> Evaluation:
    """The same with what a fresh detector found on these episodes given; other arguments as above."""
    rows = jax.tree.map(np.asarray, summaries)
    informed = rows.z == 1
    claimed = claimed_information(rows.belief, rows.z, prior)
    shortfall = mean_and_error(rows.shortfall_ticks[informed])
    right = (rows.belief > prior) == informed
    metrics = {
        "execution/shortfall_ticks": shortfall,
        "execution/shortfall_units": Estimate(shortfall.value / unit_ticks, shortfall.stderr / unit_ticks),
        "execution/shortfall_bps": Estimate(shortfall.value * tick_bps, shortfall.stderr * tick_bps),
        "execution/completion": mean_and_error(rows.completion[informed]),
        "execution/child_orders": mean_and_error(rows.child_orders[informed]),
        "information/fresh_nats": Estimate(float(detection.mi), float(detection.mi_stderr)),
        "information/fresh_accuracy": Estimate(float(detection.accuracy), float(detection.accuracy_stderr)),
        "information/fresh_kl_nats": Estimate(float(detection.kl_nats), math.nan),
        "information/belief_nats": claimed,
        "information/belief_accuracy": mean_and_error(right),
        "information/bound_nats": Estimate(float(mine.prior_entropy(prior)), 0.0),
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
    return Evaluation(metrics=metrics, n_episodes=int(rows.z.size), n_informed=int(informed.sum()), detection=detection)
