"""Signs of bistability: seeds that split into two groups, and curves that differ by the direction of warm starts."""

import dataclasses

import numpy as np
from scipy import special

from amarl_jax.transition.curve_fits import penalty_axis
from amarl_jax.transition.intervals import FEWEST_SEEDS, N_RESAMPLES, NOT_DETERMINED

LEVEL = 0.05  # of a test, over all penalties together
APART_NATS = 0.05  # two groups of seeds closer than this are one
N_NULL = 4000  # Gaussian samples behind a p-value
POWER = 0.8  # at which a difference is called detectable
DISTANCES = np.arange(1.0, 20.1, 0.5)  # of two groups' means, in standard deviations of a group, whose power is tried
N_ALTERNATIVE = 500  # samples behind a power


@dataclasses.dataclass(frozen=True)
class Split:
    """The best division of the seeds at one penalty into a quiet and a loud group."""

    penalty: float
    quiet_nats: float  # mean of the lower group
    loud_nats: float  # mean of the upper group
    n_loud: int
    p_value: float  # of so clean a division of as many Gaussian seeds, times the number of penalties
    bimodal: bool
    detectable_nats: float  # distance of two equal groups that would be found here with power 0.8; infinite: none


@dataclasses.dataclass(frozen=True)
class Hysteresis:
    """Warm starts from small penalties up against warm starts from large penalties down."""

    area: float  # integral over the penalty axis of (I going up - I coming down), nats
    lower: float | None  # None: not determined
    upper: float | None
    widest_nats: float  # largest mean difference at one penalty
    widest_at: float  # that penalty
    found: bool | None  # the interval lies above 0, as of two branches or of training too short; None: not determined
    detectable_area: float | None  # nats that would be found with power 0.8; None: not determined

    def __str__(self) -> str:
        if self.found is None:
            return f"hysteresis {NOT_DETERMINED}"
        word = "the start is seen" if self.found else "no hysteresis seen"
        power = f"an area of {self.detectable_area:.3f} is found with power {POWER:g}"
        return f"{word}: area {self.area:.3f} [{self.lower:.3f}, {self.upper:.3f}] nats; {power}"


def bimodality(penalty: np.ndarray, information: np.ndarray, seed: int = 0) -> list[Split] | None:
    """The best division of the seeds at each penalty into two groups; None with fewer than eight seeds.

    Sorted values are cut where the sum of squares within groups is smallest, with at least two seeds in each group.
    Under a single Gaussian, the law of the share of squares that remains depends on the number of seeds alone; the
    p-value comes from samples of that law and is corrected for the number of penalties (Bonferroni). Two kinds of
    *episodes* of one policy are mixing, which shows in per-episode fills; two kinds of *seeds* are policies stuck on
    different branches. Each division also has the distance of two equal groups, scattered as the seeds are there, that
    this test finds with power 0.8.

    Args:
        penalty: [L].
        information: [S, L] nats.
        seed: of the null samples.
    """
    information = np.asarray(information, np.float64)
    n = len(information)
    if n < FEWEST_SEEDS:
        return None
    rng = np.random.default_rng(seed)
    null = _remaining_share(rng.normal(size=(N_NULL, n)))[0]
    detectable = _detectable_distance(rng, null, n, len(penalty))
    remaining, cut = _remaining_share(information.T)
    splits = []
    for j, ordered in enumerate(np.sort(information, axis=0).T):
        p_value = (1.0 + np.sum(null <= remaining[j])) / (1.0 + N_NULL)
        corrected = min(1.0, p_value * len(penalty))
        quiet, loud = float(ordered[: cut[j]].mean()), float(ordered[cut[j] :].mean())
        bimodal = bool(corrected < LEVEL and loud - quiet > APART_NATS)
        within = ordered[: cut[j]].std(ddof=1), ordered[cut[j] :].std(ddof=1)
        scatter = float(np.max(within)) if bimodal else float(ordered.std(ddof=1))
        least = max(detectable * scatter, APART_NATS)
        splits.append(Split(float(penalty[j]), quiet, loud, int(n - cut[j]), float(corrected), bimodal, least))
    return splits


def _detectable_distance(rng: np.random.Generator, null: np.ndarray, n: int, n_penalties: int) -> float:
    """Distance of the means of two Gaussian groups of n / 2 seeds, in standard deviations, found with power 0.8."""
    least = LEVEL / n_penalties * (1.0 + len(null)) - 1.0  # null samples that may be as clean
    critical = np.sort(null)[max(int(np.ceil(least)) - 1, 0)]
    noise, loud = rng.normal(size=(N_ALTERNATIVE, n)), np.arange(n) >= n // 2
    for distance in DISTANCES:
        if np.mean(_remaining_share(noise + distance * loud)[0] <= critical) >= POWER:
            return float(distance)
    return np.inf


def _remaining_share(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest share of squares left within two groups of sorted samples [B, S], and the size of the lower, [B]."""
    ordered = np.sort(samples, axis=1)
    n = ordered.shape[1]
    total = ordered.var(axis=1) * n
    within = np.stack([ordered[:, :k].var(axis=1) * k + ordered[:, k:].var(axis=1) * (n - k) for k in range(2, n - 1)])
    best = np.argmin(within, axis=0)
    share = within[best, np.arange(len(ordered))] / np.maximum(total, 1e-300)
    return np.where(total > 0, share, 1.0), best + 2


def hysteresis(penalty: np.ndarray, up: np.ndarray, down: np.ndarray, seed: int = 0) -> Hysteresis:
    """Area between the curves of the two directions, with a 95% interval over seeds, which are paired.

    The way up starts loud: with two branches it stays loud to larger penalties, and the area is positive.

    Args:
        penalty: [L] ascending.
        up: [S, L] nats, each lane started from the one at the next smaller penalty.
        down: [S, L] nats, from the next larger one.
        seed: of the bootstrap.
    """
    difference = np.asarray(up, np.float64) - np.asarray(down, np.float64)
    n = len(difference)
    areas = np.trapezoid(difference, penalty_axis(penalty), axis=1)
    mean = difference.mean(axis=0)
    widest = int(np.argmax(np.abs(mean)))
    lower = upper = found = detectable = None
    if n >= FEWEST_SEEDS:
        chosen = np.random.default_rng(seed).integers(0, n, (N_RESAMPLES, n))
        lower, upper = (float(limit) for limit in np.quantile(areas[chosen].mean(axis=1), (0.025, 0.975)))
        found = lower > 0.0
        error = float(areas.std(ddof=1)) / np.sqrt(n)
        detectable = float((special.stdtrit(n - 1, 0.975) + special.stdtrit(n - 1, POWER)) * error)
    return Hysteresis(float(areas.mean()), lower, upper, float(mean[widest]), float(penalty[widest]), found, detectable)
