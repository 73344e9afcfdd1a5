"""What the arms' committed files say, as numbers with intervals; nothing here runs the market."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special, stats

from amarl_jax.evaluation.branches import bimodality, hysteresis
from amarl_jax.evaluation.lanes import OK, LaneTable, read_lanes
from amarl_jax.evaluation.transition import FEWEST_SEEDS, upper_limit
from amarl_jax.evaluation.verdict import Verdict, judge
from amarl_jax.theory.covert import leverage, signed_order_deviation

HIDDEN_NATS = 0.05  # a lane below it counts as hidden where the square-root law is looked for
HIGH_CORRELATION = 0.6  # of spread and belief, which the reference expects where lambda is small
NEAR_ZERO = 0.1  # what counts as near 0, of a correlation
CYCLE = 0.05  # smallest autocorrelation that counts
VARIATION = 0.05  # largest total variation that counts as noise
N_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95% interval by Student's t; no interval with one seed."""

    value: float
    half: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        return f"{self.value:.3f}" if math.isnan(self.half) else f"{self.value:.3f} ± {self.half:.3f}"

    @property
    def lower(self) -> float:
        """Lower limit; NaN without an interval."""
        return self.value - self.half

    @property
    def upper(self) -> float:
        """Upper limit; NaN without an interval."""
        return self.value + self.half


@dataclasses.dataclass(frozen=True)
class Measured:
    """One arm's files."""

    name: str
    document: dict[str, Any]  # sweep.json
    table: LaneTable

    @property
    def config(self) -> dict[str, Any]:
        """What it ran with."""
        return self.document["provenance"]["config"]

    @property
    def located(self) -> dict[str, Any]:
        """lambda* and verdict."""
        return next(iter(self.document["located"].values()))

    @property
    def penalties(self) -> np.ndarray:
        """[L] ascending."""
        return np.unique(self.table.columns["lambda"])

    def at(self, penalty: float, measure: str) -> Interval:
        """A measure at one penalty, over its whole lanes."""
        here = (self.table.columns["lambda"] == penalty) & (self.table.columns["status"] == OK)
        return interval(self.table.columns[measure][here])

    def grid(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Penalties [L] and values [S, L] of whole seeds."""
        return self.table.grid(measure)

    def lags(self, penalty: float) -> np.ndarray:
        """Autocorrelation of snipe times by lag of every whole lane at a penalty, [S, K]."""
        rows = [lane for lane in self.document["lanes"] if lane["lambda"] == penalty and lane["measures"]]
        return np.array(
            [[math.nan if r is None else r for r in row["measures"]["snipe_autocorrelations"]] for row in rows]
        )

    @property
    def leverage(self) -> float:
        """``Q / (sigma sqrt(N))``: parent order over the deviation of the noise's signed volume in an episode."""
        environment = self.config["environment"]
        sigma = signed_order_deviation(environment["noise_order_size_mean"], environment["noise_order_size_std"])
        return leverage(self.config["agents"]["execution"]["inventory_lots"], sigma, self.n_noise)

    @property
    def n_noise(self) -> float:
        """N, noise orders of an episode."""
        environment = self.config["environment"]
        return environment["noise_trader_arrival_rate"] * environment["max_steps_per_episode"]


def read(folder: Path) -> Measured:
    """The files of one arm."""
    return Measured(folder.name, json.loads((folder / "sweep.json").read_text()), read_lanes(folder / "lanes.csv"))


def interval(values: np.ndarray) -> Interval:
    """Mean over seeds; what is not finite is left out."""
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return Interval(float(values[0]) if n else math.nan, math.nan, n)
    return Interval(float(values.mean()), float(special.stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n)), n)


def rank_correlation(arm: Measured, measure: str) -> Interval:
    """Spearman's of a measure with lambda over the whole lanes; interval by resampling seeds."""
    penalty, values = arm.grid(measure)
    whole = values[np.isfinite(values).all(axis=1)]
    if len(whole) < 2 or np.ptp(whole) == 0:
        return Interval(math.nan, math.nan, len(whole))

    def of(rows: np.ndarray) -> float:
        return float(stats.spearmanr(np.tile(penalty, len(rows)), rows.reshape(-1)).statistic)

    chosen = np.random.default_rng(0).integers(0, len(whole), (N_RESAMPLES // 4, len(whole)))
    limits = np.quantile([of(whole[rows]) for rows in chosen], (0.025, 0.975))
    return Interval(of(whole), float(np.ptp(limits) / 2), len(whole))


def splitting(arm: Measured) -> tuple[str, str]:
    """Claim 1: at larger lambda the order is split finer."""
    trend = rank_correlation(arm, "child_lots")
    low, high = (arm.at(penalty, "child_lots") for penalty in arm.penalties[[0, -1]])
    orders = [arm.at(penalty, "child_orders") for penalty in arm.penalties[[0, -1]]]
    number = (
        f"{low} lots per child order at lambda {arm.penalties[0]:g}, {high} at {arm.penalties[-1]:g}; {orders[0]} and "
        f"{orders[1]} child orders; rank correlation of lots with lambda {trend}"
    )
    return number, _word(trend.upper < 0, trend.lower >= 0)


def widening(arm: Measured) -> tuple[str, str]:
    """Claim 2: the spread follows the belief where lambda is small, and not where it is large."""
    low, high = (arm.at(penalty, "spread_belief_correlation") for penalty in arm.penalties[[0, -1]])
    number = f"correlation {low} at lambda {arm.penalties[0]:g}, {high} at {arm.penalties[-1]:g}"
    holds = low.lower > HIGH_CORRELATION and abs(high.value) + high.half < NEAR_ZERO
    return number, _word(holds, low.upper < HIGH_CORRELATION or abs(high.value) - high.half > NEAR_ZERO)


def cycles(arms: dict[str, Measured]) -> tuple[str, str]:
    """Claim 3: snipes come in cycles, whose rhythm the maker's latency and the belief's speed set."""
    texts, found, refuted = [], False, True
    for name in ("maker_first", "main", "maker_late"):
        if name not in arms:
            continue
        lags = arms[name].lags(arms[name].penalties[0])
        means = [interval(column) for column in lags.T]
        if not means or math.isnan(means[0].value):
            texts.append(f"{name}: no snipes")
            continue
        beyond = max(range(1, len(means)), key=lambda k: means[k].value)
        rises = means[beyond].value > means[beyond - 1].value
        found |= rises and means[beyond].lower > CYCLE
        refuted &= all(one.upper < CYCLE for one in means[1:])
        latency = arms[name].config["environment"]["latency_ms"]["market_maker"]
        texts.append(f"maker at {latency:g} ms: r(1) = {means[0]}, largest beyond r({beyond + 1}) = {means[beyond]}")
    main = arms["main"].table.columns
    speed, r1 = main["belief_speed"], main["snipe_autocorrelation"]
    both = np.isfinite(speed) & np.isfinite(r1)
    if both.sum() > 2:
        rank = stats.spearmanr(speed[both], r1[both])
        texts.append(
            f"over lanes, rank correlation of r(1) with belief speed {rank.statistic:.2f} (p {rank.pvalue:.2g})"
        )
    return "; ".join(texts), _word(found, refuted)


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


def hidden_lots(arm: Measured) -> Interval:
    """The most lots done, of the lanes of a seed with I below :data:`HIDDEN_NATS`; over seeds that hid at all."""
    _, information = arm.grid("information_nats")
    _, completion = arm.grid("completion")
    hidden = np.where(information < HIDDEN_NATS, completion, -np.inf).max(axis=1)
    order = arm.config["agents"]["execution"]["inventory_lots"]
    return interval(np.where(np.isfinite(hidden), order * np.maximum(hidden, 0.0), np.nan))


def exponent(arms: list[Measured]) -> tuple[float, float, float]:
    """Slope of log hidden lots on log N over arms, with limits from the seeds' errors; NaN with fewer than two arms."""
    points = [(arm.n_noise, hidden_lots(arm)) for arm in arms]
    points = [(n, lots) for n, lots in points if lots.n > 1 and lots.value > 0]
    if len(points) < 2:
        return math.nan, math.nan, math.nan
    x = np.log([n for n, _ in points])
    rng = np.random.default_rng(0)
    errors = np.array([lots.half / 1.96 for _, lots in points])
    draws = np.array([lots.value for _, lots in points]) + errors * rng.normal(size=(N_RESAMPLES, len(points)))
    y = np.log(np.maximum(np.concatenate([[[lots.value for _, lots in points]], draws]), 1e-3))
    slopes = (y - y.mean(axis=1, keepdims=True)) @ (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    return float(slopes[0]), *(float(q) for q in np.quantile(slopes[1:], (0.025, 0.975)))


def distance(one: Measured, other: Measured) -> Interval:
    """Mean over common penalties of |I - I'| beyond what the seeds' errors explain is not claimed: value and error."""
    common = np.intersect1d(one.penalties, other.penalties)
    pairs = [(one.at(p, "information_nats"), other.at(p, "information_nats")) for p in common]
    gaps = [abs(a.value - b.value) for a, b in pairs]
    errors = [math.hypot(a.half, b.half) for a, b in pairs]
    return Interval(float(np.mean(gaps)), float(np.sqrt(np.mean(np.square(errors)))), len(common))


def starts_verdict(arms: dict[str, Measured]) -> Verdict | None:
    """The verdict over starts and horizons; None where an arm that it needs was not run."""
    starts = [
        ("loud", "loud"),
        ("quiet", "quiet"),
        ("no_randomiser", "quiet"),
        ("long_day", "quiet"),
        ("long_day", "loud"),
    ]
    if not {"loud", "quiet"} <= arms.keys():
        return None
    curves = []
    for name, start in starts:
        if name in arms:
            config = arms[name].config
            about = {
                "horizon": config["environment"]["max_steps_per_episode"],
                "private_randomiser": config["agents"]["execution"]["private_randomiser"],
            }
            curves.append(arms[name].table.curves(start=start, **about))
    return judge(curves)


def branches(arms: dict[str, Measured]) -> list[str]:
    """Bimodal seeds, and what warm starts from either end differ by; one line each."""
    lines = []
    for name in ("main", "no_randomiser"):
        if name in arms:
            splits = bimodality(*arms[name].grid("information_nats"))
            if splits is None:
                lines.append(f"{name}: bimodality of seeds not determined, {FEWEST_SEEDS} are needed")
                continue
            two = [
                f"{s.penalty:g} ({s.n_loud} loud at {s.loud_nats:.2f}, {s.quiet_nats:.2f} nats)"
                for s in splits
                if s.bimodal
            ]
            lines.append(
                f"{name}: " + (f"two groups of seeds at lambda {', '.join(two)}" if two else "no bimodal seeds")
            )
    for up, down in (("up", "down"), ("no_randomiser_up", "no_randomiser_down")):
        if {up, down} <= arms.keys():
            penalty, rising = arms[up].grid("information_nats")
            falling = arms[down].grid("information_nats")[1]
            n = min(len(rising), len(falling))
            found = hysteresis(penalty, rising[:n], falling[:n])
            text = str(found) if found.found is not None else f"area {found.area:.3f} nats, interval not determined"
            widest = f"widest {found.widest_nats:.3f} nats at lambda {found.widest_at:g}"
            lines.append(f"{up} against {down}, {n} seeds: {text}; {widest}")
    return lines


def control(arm: Measured) -> tuple[Interval, float]:
    """Information of shuffled labels over all lanes, and the largest upper limit at any penalty."""
    values = arm.table.columns["control_information_nats"]
    whole = values[np.isfinite(values)]
    _, grid = arm.grid("control_information_nats")
    return interval(whole), float(upper_limit(grid).max()) if len(grid) > 1 else math.nan
