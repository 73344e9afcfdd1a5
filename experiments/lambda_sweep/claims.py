"""The reference system's four emergent claims, each with its number and a word, from the arms' files."""

import math

import numpy as np
from measured import Interval, Measured, interval
from scipy import stats

from amarl_jax.lanes.table import OK

HIGH_CORRELATION = 0.6  # of spread and belief, which the reference expects where lambda is small
NEAR_ZERO = 0.1  # what counts as near 0, of a correlation
CYCLE = 0.05  # smallest autocorrelation that counts
VARIATION = 0.05  # largest total variation that counts as noise


def rank_correlation(arm: Measured, measure: str, against: str = "lambda") -> Interval:
    """Spearman's of two measures over the lanes of a seed, which share their keys; mean and interval over seeds."""
    columns = arm.table.columns
    x, y = columns[against], columns[measure]
    finite = np.isfinite(x) & np.isfinite(y)
    found = []
    for seed in np.unique(columns["seed"]):
        mine = finite & (columns["seed"] == seed)
        if mine.sum() > 2 and np.ptp(x[mine]) > 0 < np.ptp(y[mine]):
            found.append(float(stats.spearmanr(x[mine], y[mine]).statistic))
    return interval(np.array(found))


def splitting(arm: Measured) -> tuple[str, str]:
    """Claim 1: at larger lambda the order is split finer."""
    trend = rank_correlation(arm, "child_lots")
    low, high = (arm.at(penalty, "child_lots") for penalty in arm.penalties[[0, -1]])
    orders = [str(arm.at(penalty, "sent_orders")) for penalty in arm.penalties[[0, -1]]]
    sent = "" if "-" in orders else f"{orders[0]} and {orders[1]} of them reach the book; "
    number = (
        f"{low} lots per child order at lambda {arm.penalties[0]:g}, {high} at {arm.penalties[-1]:g}; {sent}"
        f"rank correlation of lots with lambda {trend}"
    )
    return number, _word(trend.upper < 0, trend.lower >= 0)


def widening(arm: Measured) -> tuple[str, str]:
    """Claim 2: the spread follows the belief where lambda is small, and not where it is large."""
    low, high = (arm.at(penalty, "spread_belief_correlation") for penalty in arm.penalties[[0, -1]])
    number = f"correlation {low} at lambda {arm.penalties[0]:g}, {high} at {arm.penalties[-1]:g}"
    holds = low.lower > HIGH_CORRELATION and abs(high.value) + high.half < NEAR_ZERO
    return number, _word(holds, low.upper < HIGH_CORRELATION or abs(high.value) - high.half > NEAR_ZERO)


def cycles(arms: dict[str, Measured]) -> tuple[str, str]:
    """Claim 3: snipes come in cycles, whose rhythm the maker's latency and the belief's speed set.

    A cycle is a second peak: an autocorrelation beyond the first lag above the one before it and, with all lags looked
    at (Bonferroni), above :data:`CYCLE`. There is none where each is surely below that, or below the one before it.
    """
    texts, found, refuted, seen = [], False, True, False
    for name in ("maker_first", "main", "maker_late"):
        if name not in arms:
            continue
        lags = arms[name].lags()
        means = [interval(column) for column in lags.T]
        if len(means) < 2 or math.isnan(means[0].value):
            texts.append(f"{name}: no snipes")
            continue
        beyond = max(range(1, len(means)), key=lambda k: means[k].value)
        corrected = interval(lags.T[beyond], 0.05 / (len(means) - 1))
        seen, rises = True, means[beyond].value > means[beyond - 1].value
        found |= rises and corrected.lower > CYCLE
        rise = [interval(column) for column in np.diff(lags).T]
        refuted &= all(one.upper < CYCLE or step.upper < 0.0 for one, step in zip(means[1:], rise, strict=True))
        latency = arms[name].config["environment"]["latency_ms"]["market_maker"]
        texts.append(f"maker at {latency:g} ms: r(1) = {means[0]}, largest beyond r({beyond + 1}) = {means[beyond]}")
    speed = rank_correlation(arms["main"], "snipe_autocorrelation", "belief_speed")
    texts.append(f"rank correlation of r(1) with belief speed over the lanes of a seed {speed}")
    return "; ".join(texts), _word(found, seen and refuted)


def convergence(arm: Measured) -> tuple[str, str]:
    """Claim 4: the flow becomes noise in total variation."""
    order, null, accuracy = (
        [arm.at(p, name) for p in arm.penalties[[0, -1]]]
        for name in ("order_variation", "order_variation_null", "accuracy")
    )
    excess = [arm_excess(arm, p) for p in arm.penalties[[0, -1]]]
    number = (
        f"child orders {order[0]} at lambda {arm.penalties[0]:g}, {order[1]} at {arm.penalties[-1]:g} "
        f"(labels shuffled: {null[0]}, {null[1]}); "
        f"whole tapes, at least 2 accuracy - 1 = {2 * accuracy[0].value - 1:.3f}, {2 * accuracy[1].value - 1:.3f}"
    )
    tape = 2.0 * accuracy[1].value - 1.0
    holds = excess[1].upper < VARIATION and tape + 2.0 * accuracy[1].half < VARIATION
    return number, _word(holds, excess[1].lower > VARIATION or tape - 2.0 * accuracy[1].half > VARIATION)


def arm_excess(arm: Measured, penalty: float) -> Interval:
    """Order-level total variation beyond that of shuffled labels, paired by lane."""
    here = (arm.table.columns["lambda"] == penalty) & (arm.table.columns["status"] == OK)
    columns = arm.table.columns
    return interval(columns["order_variation"][here] - columns["order_variation_null"][here])


def _word(holds: bool, fails: bool) -> str:
    return "confirmed" if holds else "refuted" if fails else "not determined"
