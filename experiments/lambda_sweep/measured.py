"""What the arms' committed files say, as numbers with intervals; nothing here runs the market."""

import dataclasses
import functools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from amarl_jax.evaluation.markdown import programs
from amarl_jax.lanes.table import OK, LaneTable, read_lanes
from amarl_jax.theory.deterministic import leverage, signed_order_deviation
from amarl_jax.transition.bistability import POWER, bimodality, hysteresis
from amarl_jax.transition.intervals import FEWEST_SEEDS, student_half_width
from amarl_jax.transition.verdict import Verdict, judge


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
        """A measure at one penalty, over its whole lanes; nothing where the arm's table is older than the measure."""
        if measure not in self.table.columns:
            return Interval(math.nan, math.nan, 0)
        here = (self.table.columns["lambda"] == penalty) & (self.table.columns["status"] == OK)
        return interval(self.table.columns[measure][here])

    def grid(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Penalties [L] and values [S, L] of whole seeds."""
        return self.table.grid(measure)

    def seeds_at(self, penalties: np.ndarray, measure: str) -> np.ndarray:
        """Values [S, P] of the seeds that are whole at these penalties."""
        columns, status = self.table.columns, self.table.columns["status"]
        values = np.full((len(seeds := np.unique(columns["seed"])), len(penalties)), np.nan)
        for i, seed in enumerate(seeds):
            for j, penalty in enumerate(penalties):
                here = (columns["seed"] == seed) & (columns["lambda"] == penalty) & (status == OK)
                values[i, j] = columns[measure][here][0] if here.any() else np.nan
        return values[np.isfinite(values).all(axis=1)]

    @property
    def order_lots(self) -> int:
        """Q."""
        return self.config["agents"]["execution"]["inventory_lots"]

    @property
    def commit(self) -> str:
        """What it was run with, ten digits, and whether that is an older program."""
        return programs([self.document["provenance"]["commit"]])

    @property
    def steps(self) -> int:
        """Environment steps of every lane."""
        return self.config["training"]["total_timesteps"]

    def lags(self) -> np.ndarray:
        """Autocorrelation of snipe times by lag, [S, K]: means over the lanes of a seed, which share their keys."""
        seeds: dict[int, list[list[float]]] = {}
        for lane in self.document["lanes"]:
            if lane["measures"]:
                row = lane["measures"]["snipe_autocorrelations"]
                seeds.setdefault(lane["seed"], []).append([math.nan if r is None else r for r in row])
        return np.array([_means_of_finite(np.array(rows)) for rows in seeds.values()])

    @property
    def leverage(self) -> float:
        """``Q / (sigma sqrt(N))``: parent order over the deviation of the noise's signed volume in an episode."""
        environment = self.config["environment"]
        sigma = signed_order_deviation(environment["noise_order_size_mean"], environment["noise_order_size_std"])
        return leverage(self.order_lots, sigma, self.n_noise)

    @property
    def n_noise(self) -> float:
        """N, noise orders of an episode."""
        environment = self.config["environment"]
        return environment["noise_trader_arrival_rate"] * environment["max_steps_per_episode"]


def read(folder: Path) -> Measured:
    """The files of one arm."""
    return Measured(folder.name, json.loads((folder / "sweep.json").read_text()), read_lanes(folder / "lanes.csv"))


def interval(values: np.ndarray, level: float = 0.05) -> Interval:
    """Mean over seeds with its interval, 95% unless said otherwise; what is not finite is left out."""
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return Interval(float(values[0]) if n else math.nan, math.nan, n)
    return Interval(float(values.mean()), float(student_half_width(values, 1.0 - level)), n)


def common_penalties(arms: Iterable[Measured]) -> np.ndarray:
    """Penalties that all of the arms were run at, ascending: where arms may be compared."""
    return functools.reduce(np.intersect1d, [arm.penalties for arm in arms])


def starts_verdict(arms: dict[str, Measured]) -> Verdict | None:
    """The verdict over starts and horizons; None where an arm that it needs was not run or has no whole seed.

    The longer day was run from the main sweep's own start, which is no loud one.
    """
    starts = {"loud": "loud", "main": "quiet", "quiet": "quiet", "no_randomiser": "quiet", "long_day": "quiet"}
    curves = {}
    for name, start in starts.items():
        if name in arms and len(arms[name].grid("information_nats")[1]):
            config = arms[name].config
            about = {
                "horizon": config["environment"]["max_steps_per_episode"],
                "private_randomiser": config["agents"]["execution"]["private_randomiser"],
            }
            curves[name] = arms[name].table.curves(start=start, **about)
    return judge(list(curves.values())) if {"loud", "quiet"} <= curves.keys() else None


def branches(arms: dict[str, Measured]) -> list[str]:
    """Bimodal seeds, and what warm starts from either end differ by; one line each."""
    lines = [_bimodality(arms[name]) for name in ("main", "no_randomiser") if name in arms]
    for up, down in (("up", "down"), ("no_randomiser_up", "no_randomiser_down")):
        if {up, down} <= arms.keys():
            lines.append(_hysteresis(arms[up], arms[down]))
    return lines


def _bimodality(arm: Measured) -> str:
    """Whether the seeds of one penalty fall into two groups."""
    splits = bimodality(*arm.grid("information_nats"))
    if splits is None:
        return f"{arm.name}: bimodality of seeds not determined, {FEWEST_SEEDS} are needed"
    two = [
        f"{s.penalty:g} ({s.n_loud} loud at {s.loud_nats:.2f}, {s.quiet_nats:.2f} nats)" for s in splits if s.bimodal
    ]
    seen = f"two groups of seeds at lambda {', '.join(two)}" if two else "no bimodal seeds seen"
    least, most = (f(s.detectable_nats for s in splits) for f in (min, max))
    return f"{arm.name}: {seen}; groups {least:.2f} to {most:.2f} nats apart, by lambda, are found with power {POWER:g}"


def _hysteresis(up: Measured, down: Measured) -> str:
    """Both ways through the penalties, paired by seed."""
    seeds, penalty, rising = up.table.by_seed("information_nats")
    others, penalty_down, falling = down.table.by_seed("information_nats")
    both = np.intersect1d(seeds, others)
    if not len(both) or not np.array_equal(penalty, penalty_down):
        return f"{up.name} against {down.name}: nothing to pair"
    found = hysteresis(penalty, rising[np.isin(seeds, both)], falling[np.isin(others, both)])
    text = str(found) if found.found is not None else f"area {found.area:.3f} nats, interval not determined"
    widest = f"widest {found.widest_nats:.3f} nats at lambda {found.widest_at:g}"
    return f"{up.name} against {down.name}, {len(both)} seeds: {text}; {widest}"


def control(arm: Measured) -> Interval:
    """Information of shuffled labels: means over the lanes of a seed, which share their keys, then over seeds."""
    columns = arm.table.columns
    values, seeds = columns["control_information_nats"], columns["seed"]
    finite = np.isfinite(values)
    return interval(np.array([values[finite & (seeds == seed)].mean() for seed in np.unique(seeds[finite])]))


def difference(one: Measured, other: Measured, measure: str, penalties: np.ndarray) -> Interval:
    """How much larger a measure is in ``one``, mean over penalties: Welch's interval over the seeds of either arm."""
    a, b = (arm.seeds_at(penalties, measure).mean(axis=1) for arm in (one, other))
    gap, n = float(a.mean() - b.mean()) if min(len(a), len(b)) else math.nan, min(len(a), len(b))
    if n < 2:
        return Interval(gap, math.nan, n)
    squares = np.array([x.var(ddof=1) / len(x) for x in (a, b)])
    error = math.sqrt(squares.sum())
    if error == 0.0:
        return Interval(gap, 0.0, n)
    freedom = squares.sum() ** 2 / np.sum(squares**2 / (np.array([len(a), len(b)]) - 1))
    return Interval(gap, float(special.stdtrit(freedom, 0.975)) * error, n)


def _means_of_finite(rows: np.ndarray) -> np.ndarray:
    """Means over the rows, NaN where a column has nothing finite."""
    finite = np.isfinite(rows)
    n = finite.sum(axis=0)
    return np.where(n > 0, np.where(finite, rows, 0.0).sum(axis=0) / np.maximum(n, 1), math.nan)
