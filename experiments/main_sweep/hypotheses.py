"""What was asked of the main sweep before its last seeds were run, each question with a number, a test and a word.

One number per seed answers each question, the mean over the seeds is tested against a bound by Student's t, from both
sides, and the p-values of a source are corrected for their number (Holm 1979). The questions about the start were put
when seeds 0 to 3 of the quiet start were known, so what seeds 4 to 7 say alone stands beside; the others come from the
system that this one succeeds or from the theory.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special, stats

from amarl_jax.lanes.table import LaneTable
from amarl_jax.lanes.trade_off import COST
from amarl_jax.transition.bistability import LEVEL, POWER
from amarl_jax.transition.curve_fits import penalty_axis
from amarl_jax.transition.intervals import FEWEST_SEEDS, NOT_DETERMINED, student_half_width

I = "exact_nats"  # noqa: E741
STARTS = ("loud", "quiet")
FIRST_NEW_SEED = 4  # the quiet start's seeds below it were known when the questions about the start were put
MIDDLE = (0.3, 1.3)  # penalties between which four seeds showed no trace of the start
END = 8.0  # penalty from which the trader does less of its order
HIDING = (0.3, 2.1), (1.9, 21.0)  # penalties over which the price of a nat is taken; both hold lanes at 2
HIGH_CORRELATION = 0.6  # of spread and belief, which the reference expects where the penalty is small
NOISE = 0.05  # total variation that still counts as noise


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The lanes of one source that both starts have, as [2, S, L]: loud, then quiet."""

    table: LaneTable
    source: str

    def keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Seeds [S] and penalties [L] that both starts have whole."""
        loud, quiet = (self.table.by_seed(I, f"{self.source}, {start}") for start in STARTS)
        return np.intersect1d(loud[0], quiet[0]), np.intersect1d(loud[1], quiet[1])

    def of(self, measure: str) -> np.ndarray:
        """A measure, [2, S, L]; NaN where a lane has none."""
        seeds, penalties = self.keys()
        columns = self.table.columns
        found = np.full((2, len(seeds), len(penalties)), np.nan)
        for i, start in enumerate(STARTS):
            rows = (columns["arm"] == f"{self.source}, {start}") & np.isin(columns["seed"], seeds)
            rows &= np.isin(columns["lambda"], penalties)
            place = np.searchsorted(seeds, columns["seed"][rows]), np.searchsorted(penalties, columns["lambda"][rows])
            found[i][place] = columns[measure][rows]
        return found


Reading = Callable[[Lanes], np.ndarray]  # one number per seed, [S]


def start_area(lanes: Lanes) -> np.ndarray:
    """I of the loud start less that of the quiet one, integrated over the penalty axis, nats."""
    nats = lanes.of(I)
    return np.trapezoid(nats[0] - nats[1], penalty_axis(lanes.keys()[1]), axis=1)


def start_in_the_middle(lanes: Lanes) -> np.ndarray:
    """The same, mean over the penalties of the middle, nats."""
    nats, penalty = lanes.of(I), lanes.keys()[1]
    return (nats[0] - nats[1])[:, (MIDDLE[0] < penalty) & (penalty < MIDDLE[1])].mean(axis=1)


def start_at_the_end(lanes: Lanes) -> np.ndarray:
    """Objective ``C + lambda I``, loud less quiet start, mean over the largest penalties, units."""
    penalty = lanes.keys()[1]
    total = lanes.of(COST) + penalty * lanes.of(I)
    return (total[0] - total[1])[:, penalty >= END].mean(axis=1)


def price(low: float, high: float) -> Reading:
    """What hiding costs between two penalties over what the penalties say it is worth, a ratio.

    ``C(b) - C(a)`` over the integral of ``lambda`` over the information given up: 1 for a trader that hides until the
    next nat costs what it saves. Mean over the starts.
    """

    def ratio(lanes: Lanes) -> np.ndarray:
        penalty = lanes.keys()[1]
        here = (low < penalty) & (penalty < high)
        cost, nats = (lanes.of(name)[..., here].mean(axis=0) for name in (COST, I))
        worth = np.sum(0.5 * (penalty[here][1:] + penalty[here][:-1]) * -np.diff(nats, axis=1), axis=1)
        return (cost[:, -1] - cost[:, 0]) / worth

    return ratio


def trend(measure: str, against: str | None = None) -> Reading:
    """Spearman's rank correlation of a measure with the penalty, or another measure; mean over the starts."""

    def correlation(lanes: Lanes) -> np.ndarray:
        penalty, values = lanes.keys()[1], lanes.of(measure)
        others = np.broadcast_to(penalty, values.shape) if against is None else lanes.of(against)
        found = np.full(values.shape[:2], np.nan)
        for i, j in np.ndindex(*found.shape):
            if np.ptp(values[i, j]) > 0.0 < np.ptp(others[i, j]):
                found[i, j] = stats.spearmanr(values[i, j], others[i, j]).statistic
        return found.mean(axis=0)

    return correlation


def at(place: int, reading: Callable[[Lanes], np.ndarray]) -> Reading:
    """A quantity [2, S, L] at the penalty of that place; mean over the starts."""
    return lambda lanes: reading(lanes)[..., place].mean(axis=0)


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A claim about the mean of one number per seed."""

    claim: str
    unit: str
    reading: Reading
    bound: float  # the claim is about which side of it the mean is on
    sign: int  # 1: above it, -1: below it
    first_seen: bool = False  # put after the first seeds were seen


HYPOTHESES = (
    Hypothesis("the loud start leaks more, over all penalties", "nats", start_area, 0.0, 1, True),
    Hypothesis("it leaks more between 0.3 and 1.3", "nats", start_in_the_middle, 0.0, 1, True),
    Hypothesis("it ends with the worse objective, from 8 on", "units", start_at_the_end, 0.0, 1, True),
    Hypothesis("a nat costs less than it is worth, 0.3 to 2", "ratio", price(*HIDING[0]), 1.0, -1, True),
    Hypothesis("a nat costs less than it is worth, 2 to 20", "ratio", price(*HIDING[1]), 1.0, -1, True),
    Hypothesis("the order is split finer as lambda rises", "rank correlation", trend("child_lots"), 0.0, -1),
    Hypothesis("the spread is narrower as lambda rises", "rank correlation", trend("spread_ticks"), 0.0, -1),
    Hypothesis("the maker earns more as lambda rises", "rank correlation", trend("maker_pnl_tick_lots"), 0.0, 1),
    Hypothesis(
        "the arbitrageur earns less as lambda rises", "rank correlation", trend("arbitrageur_pnl_tick_lots"), 0.0, -1
    ),
    Hypothesis(
        "the spread follows the belief at lambda 0",
        "correlation",
        at(0, lambda lanes: lanes.of("spread_belief_correlation")),
        HIGH_CORRELATION,
        1,
    ),
    Hypothesis(
        "snipes cluster more where the belief moves faster",
        "rank correlation",
        trend("snipe_autocorrelation", "belief_speed"),
        0.0,
        1,
    ),
    Hypothesis(
        "child orders are noise at the largest lambda",
        "total variation",
        at(-1, lambda lanes: lanes.of("order_variation") - lanes.of("order_variation_null")),
        NOISE,
        -1,
    ),
    Hypothesis(
        "the whole record is noise at the largest lambda",
        "2 accuracy - 1",
        at(-1, lambda lanes: 2.0 * lanes.of("exact_accuracy") - 1.0),
        NOISE,
        -1,
    ),
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the seeds say of one hypothesis."""

    hypothesis: Hypothesis
    values: np.ndarray  # [S]
    new: np.ndarray  # of the seeds that were not known
    p_value: float  # from both sides, corrected for the number of hypotheses

    @property
    def least(self) -> float:
        """Distance from the bound that so many seeds find with power 0.8, without the correction."""
        n = len(self.values)
        error = self.values.std(ddof=1) / math.sqrt(n)
        return float((special.stdtrit(n - 1, 1.0 - LEVEL / 2.0) + special.stdtrit(n - 1, POWER)) * error)

    @property
    def word(self) -> str:
        """Reading of the p-value and the side."""
        if not self.p_value < LEVEL:
            return "not seen"
        right = (self.values.mean() - self.hypothesis.bound) * self.hypothesis.sign > 0.0
        return "yes" if right else "no, the opposite"


def student(values: np.ndarray) -> float:
    """P-value of a mean of 0, from both sides; 0 if all seeds have one value that is not 0."""
    error = values.std(ddof=1) / math.sqrt(len(values))
    if error == 0.0:
        return float(values[0] == 0.0)
    return float(2.0 * special.stdtr(len(values) - 1, -abs(values.mean()) / error))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values corrected for their number: with no effect, one is below 0.05 once in twenty times (Holm 1979)."""
    order = np.argsort(p_values)
    steps = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected


def answers(table: LaneTable, source: str) -> list[Answer] | None:
    """Every hypothesis that has a number; None with fewer than eight seeds of both starts."""
    lanes = Lanes(table, source)
    if not {f"{source}, {start}" for start in STARTS} <= set(table.arms()) or len(lanes.keys()[0]) < FEWEST_SEEDS:
        return None
    new = lanes.keys()[0] >= FIRST_NEW_SEED
    read = [(hypothesis, hypothesis.reading(lanes)) for hypothesis in HYPOTHESES]
    whole = [(hypothesis, values) for hypothesis, values in read if np.isfinite(values).all()]
    corrected = holm([student(values - hypothesis.bound) for hypothesis, values in whole])
    return [Answer(*asked, asked[1][new], p) for asked, p in zip(whole, corrected, strict=True)]


def lines(table: LaneTable, source: str) -> list[str]:
    """The table of one source, or why there is none."""
    found = answers(table, source)
    if found is None:
        return [f"- {source}: {NOT_DETERMINED}, {FEWEST_SEEDS} seeds of both starts are needed.", ""]
    text = [
        "| hypothesis | unit | bound | mean | seeds from 4 on | p, corrected | found with power 0.8 | reading |",
        "|---" * 8 + "|",
    ]
    for answer in found:
        hypothesis, values = answer.hypothesis, answer.values
        again = ""
        if hypothesis.first_seen and len(answer.new) > 1:
            again = f"{answer.new.mean():.3f} ± {student_half_width(answer.new):.3f}"
        bound = f"{'above' if hypothesis.sign > 0 else 'below'} {hypothesis.bound:g}"
        mean = f"{values.mean():.3f} ± {student_half_width(values):.3f}"
        cells = (hypothesis.claim, hypothesis.unit, bound, mean, again, f"{answer.p_value:.2g}", f"{answer.least:.3f}")
        text.append(f"| {' | '.join(cells)} | {answer.word} |")
    return [f"{source}, {len(found[0].values)} seeds, both starts:", "", *text, ""]
