"""What is asked of the main sweep, each question with a number, a test and a word, put down before its last seeds.

All of it was written when the loud start and seeds 0 to 3 of the quiet one were known, and before any other was.

One number per seed answers each question; the mean over the seeds is tested against a bound by Student's t, from both
sides. There are two families, and p-values are corrected for the number in theirs (Holm 1979). The questions of the
first come from the system that this one succeeds or from the theory, and have all seeds, both starts averaged; how two
of them are measured, the last ones, was changed after a look at four seeds. Those of the second come from what was
seen: only the quiet lanes of seeds 4 to 7 decide, alone or less the loud lanes of their seeds.
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
LOUD, QUIET = 0, 1
FIRST_NEW_SEED = 4  # of the quiet start: those below it were known when the second family was put
MIDDLE = (0.3, 1.3)  # penalties between which four seeds showed no trace of the start
SAME_NATS = 0.03  # starts that differ by less leak the same: a twentieth of what there is
END = 8.0  # penalty from which the trader does less of its order
HIDING = (0.3, 2.1), (1.9, 21.0)  # penalties between which the price of hiding is added up; both hold lanes at 2
HIGH_CORRELATION = 0.6  # of spread and belief, which the reference expects where the penalty is small
NOISE = 0.05  # advantage over guessing that still counts as none


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The lanes of one source that both starts have, as [2, S, L]: loud, then quiet."""

    table: LaneTable
    source: str
    first_seed: int = 0  # seeds from it on

    def keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Seeds [S] and penalties [L] that both starts have whole."""
        loud, quiet = (self.table.by_seed(I, f"{self.source}, {start}") for start in STARTS)
        seeds = np.intersect1d(loud[0], quiet[0])
        return seeds[seeds >= self.first_seed], np.intersect1d(loud[1], quiet[1])

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
    """I of the loud start less that of the quiet one, mean over the penalty axis, nats."""
    nats, axis = lanes.of(I), penalty_axis(lanes.keys()[1])
    return np.trapezoid(nats[LOUD] - nats[QUIET], axis, axis=1) / np.ptp(axis)


def start_in_the_middle(lanes: Lanes) -> np.ndarray:
    """The same, mean over the penalties of the middle, nats."""
    nats, penalty = lanes.of(I), lanes.keys()[1]
    return (nats[LOUD] - nats[QUIET])[:, (MIDDLE[0] < penalty) & (penalty < MIDDLE[1])].mean(axis=1)


def start_at_the_end(lanes: Lanes) -> np.ndarray:
    """Objective ``C + lambda I``, loud less quiet start, mean over the largest penalties, units."""
    penalty = lanes.keys()[1]
    total = lanes.of(COST) + penalty * lanes.of(I)
    return (total[LOUD] - total[QUIET])[:, penalty >= END].mean(axis=1)


def left_on_the_table(low: float, high: float) -> Reading:
    """What hiding costs the quiet start from one penalty to another, less the least that it is worth, units.

    ``C(b) - C(a)`` less the sum of the smaller penalty of neighbours times the information given up between them. Of
    policies that are optimal at their penalties no term is below 0, whatever the market.
    """

    def gap(lanes: Lanes) -> np.ndarray:
        penalty = lanes.keys()[1]
        here = (low < penalty) & (penalty < high)
        cost, nats = (lanes.of(name)[QUIET][:, here] for name in (COST, I))
        return cost[:, -1] - cost[:, 0] + np.sum(penalty[here][:-1] * np.diff(nats, axis=1), axis=1)

    return gap


def trend(measure: str) -> Reading:
    """Spearman's rank correlation of a measure with the penalty; mean over the starts."""

    def correlation(lanes: Lanes) -> np.ndarray:
        penalty, values = lanes.keys()[1], lanes.of(measure)
        found = np.full(values.shape[:2], np.nan)
        for i, j in np.ndindex(*found.shape):
            if np.ptp(values[i, j]) > 0.0:
                found[i, j] = stats.spearmanr(values[i, j], penalty).statistic
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
    measure: str = ""  # of which the change from the least to the largest penalty is told
    margin: float = 0.0  # a mean surely this close to the bound counts as on it


RANK = "rank correlation"
BEFORE = (
    Hypothesis("the order is split finer as lambda rises", RANK, trend("child_lots"), 0.0, -1, "child_lots"),
    Hypothesis("the spread is narrower as lambda rises", RANK, trend("spread_ticks"), 0.0, -1, "spread_ticks"),
    Hypothesis(
        "the maker earns more, before adverse selection, as lambda rises",
        RANK,
        trend("maker_pnl_tick_lots"),
        0.0,
        1,
        "maker_pnl_tick_lots",
    ),
    Hypothesis(
        "the arbitrageur earns less as lambda rises",
        RANK,
        trend("arbitrageur_pnl_tick_lots"),
        0.0,
        -1,
        "arbitrageur_pnl_tick_lots",
    ),
    Hypothesis(
        "the spread follows the belief at lambda 0",
        "correlation",
        at(0, lambda lanes: lanes.of("spread_belief_correlation")),
        HIGH_CORRELATION,
        1,
    ),
    Hypothesis(
        "child orders differ from noise at the largest lambda",
        "total variation, less that of shuffled labels",
        at(-1, lambda lanes: lanes.of("order_variation") - lanes.of("order_variation_null")),
        0.0,
        1,
    ),
    Hypothesis(
        "the record tells trader from noise at the largest lambda",
        "2 accuracy - 1",
        at(-1, lambda lanes: 2.0 * lanes.of("exact_accuracy") - 1.0),
        NOISE,
        1,
    ),
)
AFTER = (
    Hypothesis("the loud start leaks more, over all penalties", "nats, mean over the axis", start_area, 0.0, 1),
    Hypothesis("it leaks more between 0.3 and 1.3", "nats", start_in_the_middle, 0.0, 1, margin=SAME_NATS),
    Hypothesis("it has the worse objective from 8 on", "units", start_at_the_end, 0.0, 1),
    Hypothesis("hiding costs less than it is worth, 0.3 to 2", "units", left_on_the_table(*HIDING[0]), 0.0, -1),
    Hypothesis("hiding costs less than it is worth, 2 to 20", "units", left_on_the_table(*HIDING[1]), 0.0, -1),
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the seeds say of one hypothesis."""

    hypothesis: Hypothesis
    values: np.ndarray  # [S]
    p_value: float  # from both sides, corrected for the number of its family
    n_family: int
    change: np.ndarray | None = None  # [S] of the measure, from the least to the largest penalty

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(self.values.std(ddof=1)) / math.sqrt(len(self.values))

    @property
    def least(self) -> float:
        """Distance from the bound found with power 0.8 at the strictest step of the correction."""
        freedom = len(self.values) - 1
        tail = LEVEL / (2.0 * self.n_family)
        return float(special.stdtrit(freedom, 1.0 - tail) + special.stdtrit(freedom, POWER)) * self.error

    @property
    def word(self) -> str:
        """Reading of the p-value and the side; of a mean surely on the bound, that it is (two one-sided tests)."""
        if not np.isfinite(self.values).all():
            return NOT_DETERMINED
        distance = self.values.mean() - self.hypothesis.bound
        if self.p_value < LEVEL:
            if distance * self.hypothesis.sign > 0.0:
                return "yes"
            return "no, the opposite" if self.hypothesis.bound == 0.0 else "no"
        half = float(student_half_width(self.values, 1.0 - 2.0 * LEVEL))
        if abs(distance) + half < self.hypothesis.margin:
            return f"the same, within {self.hypothesis.margin:g}"
        return "not seen"


def student(values: np.ndarray) -> float:
    """P-value of a mean of 0, from both sides; 0 if all seeds have one value that is not 0, 1 where one has none."""
    if not np.isfinite(values).all():
        return 1.0
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


def answers(lanes: Lanes, family: Sequence[Hypothesis]) -> list[Answer]:
    """Every hypothesis of a family."""
    read = [hypothesis.reading(lanes) for hypothesis in family]
    corrected = holm([student(values - hypothesis.bound) for hypothesis, values in zip(family, read, strict=True)])
    found = []
    for hypothesis, values, p_value in zip(family, read, corrected, strict=True):
        measured = lanes.of(hypothesis.measure).mean(axis=0) if hypothesis.measure else None
        change = None if measured is None else measured[:, -1] - measured[:, 0]
        found.append(Answer(hypothesis, values, float(p_value), len(family), change))
    return found


def lines(table: LaneTable, source: str) -> list[str]:
    """The tables of one source, or why there are none."""
    both = {f"{source}, {start}" for start in STARTS} <= set(table.arms())
    lanes, new = (Lanes(table, source, first) for first in (0, FIRST_NEW_SEED))
    if not both or len(lanes.keys()[0]) < FEWEST_SEEDS:
        return [f"- {source}: {NOT_DETERMINED}, {FEWEST_SEEDS} seeds of both starts are needed.", ""]
    done = " and ".join(f"{share:.2f} ({start})" for share, start in zip(_done(lanes), STARTS, strict=True))
    return [
        f"{source}, asked by the system that this one succeeds and by theory; "
        f"{len(lanes.keys()[0])} seeds, mean of both starts; at the largest lambda "
        f"{done} of the order is done:",
        "",
        *_rows(answers(lanes, BEFORE), changes=True),
        "",
        f"{source}, asked after the loud start and four seeds of the quiet one; the quiet start of "
        f"{len(new.keys()[0])} other seeds, alone or with the loud one of these:",
        "",
        *_rows(answers(new, AFTER), changes=False),
        "",
    ]


def _done(lanes: Lanes) -> np.ndarray:
    """Share of the order done at the largest penalty, by start."""
    return lanes.of("completion")[..., -1].mean(axis=1)


def _rows(found: Sequence[Answer], changes: bool) -> list[str]:
    """A table of one family."""
    head = ["hypothesis", "unit", "bound", "mean", "p, corrected", "found with power 0.8", "reading"]
    if changes:
        head.append("from the least lambda to the largest")
    text = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for answer in found:
        hypothesis = answer.hypothesis
        cells = [
            hypothesis.claim,
            hypothesis.unit,
            f"{'above' if hypothesis.sign > 0 else 'below'} {hypothesis.bound:g}",
            f"{answer.values.mean():.3f} ± {student_half_width(answer.values):.3f}",
            f"{answer.p_value:.2g}",
            f"{answer.least:.3f}",
            answer.word,
        ]
        if answer.change is not None:
            change = f"{answer.change.mean():+.3f} ± {student_half_width(answer.change):.3f}"
            cells.append(f"{change} {_UNITS[hypothesis.measure]}")
        elif changes:
            cells.append("")
        text.append(f"| {' | '.join(cells)} |")
    return text


_UNITS = {
    "child_lots": "lots an order",
    "spread_ticks": "ticks",
    "maker_pnl_tick_lots": "tick-lots an episode",
    "arbitrageur_pnl_tick_lots": "tick-lots an episode",
}
