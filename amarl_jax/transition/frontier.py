"""The measured frontier of cost over information, its convex hull, and the I(lambda) that the hull predicts.

Whoever minimises ``C + lambda I`` over a set of policies sits on a corner of the set's lower convex hull (its Legendre
transform), and moves from one corner to the next where lambda passes the slope of the piece between them. A piece that
passes below policies which nothing else dominates ("unsupported efficient", Ehrgott 2005) is a concave stretch of the
frontier, and a jump of I(lambda). A piece with nothing measured above it is a gap of the measurement: a jump of up to
its length cannot be told from a steep fall.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from amarl_jax.transition.intervals import (
    N_RESAMPLES,
    NOT_DETERMINED,
    Location,
    percentile_interval,
    resampled_seeds,
)
from amarl_jax.transition.straight import StraightPart, longest_straight

JUMP, GAP = "jump", "gap"  # kinds of a straight piece, beside "not determined"
LEVEL = 0.05  # of the test that a frontier is convex, over all its pieces together
ROUNDING = 1e-9  # of the range of costs: closer to the hull a policy lies on it


@dataclasses.dataclass(frozen=True)
class Policies:
    """Measured policies: means, and resamples of all of them together."""

    names: tuple[str, ...]  # [P]
    points: np.ndarray  # [P, 2] I in nats, C in reward units
    resampled: np.ndarray  # [R, P, 2] the same, resampled; R = 0 where no interval can be given

    @classmethod
    def learned(
        cls, penalty: np.ndarray, information: np.ndarray, cost: np.ndarray, seed: int = 0, name: str = "learned"
    ) -> "Policies":
        """Means over seeds at each penalty; whole seeds are resampled, since they share keys across penalties.

        Resampled means vary by ``(S - 1) / S`` of what means do and have a normal's tails; the deviations of a
        resample, all of them so that contrasts stay paired, are scaled by ``sqrt(S / chi2)`` with S - 1 degrees of
        freedom, which gives one mean Student's interval.

        Args:
            penalty: [L].
            information: [S, L] nats.
            cost: [S, L] reward units.
            seed: of the bootstrap.
            name: of the arm.
        """
        both = np.stack([information, cost], axis=-1).astype(np.float64)
        n = len(both)
        means = both[resampled_seeds(n, seed)].mean(axis=1)
        freedom = np.random.default_rng([seed, 1]).chisquare(max(n - 1, 1), (len(means) - 1, 1, 1))
        resampled = means[0] + np.sqrt(n / freedom) * (means[1:] - means[0])
        return cls(tuple(f"{name}, lambda {x:g}" for x in penalty), means[0], resampled)

    @classmethod
    def scripted(cls, names: Sequence[str], values: np.ndarray, errors: np.ndarray, seed: int = 1) -> "Policies":
        """Policies measured once each, on enough episodes for Gaussian errors, independent of each other.

        Args:
            names: [P].
            values: [P, 2] I in nats and C in reward units.
            errors: [P, 2] their standard errors.
            seed: of the bootstrap.
        """
        noise = np.random.default_rng(seed).normal(size=(N_RESAMPLES, *values.shape))
        return cls(tuple(names), np.asarray(values, np.float64), values + errors * noise)

    def __add__(self, other: "Policies") -> "Policies":
        """Both sets as one; without an interval if either has none."""
        n = min(len(self.resampled), len(other.resampled))
        both = np.concatenate([self.resampled[:n], other.resampled[:n]], axis=1)
        return Policies(self.names + other.names, np.concatenate([self.points, other.points]), both)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A straight piece of the hull: at its penalty I goes from the loud corner to the quiet one."""

    loud: str  # name of the policy at the corner with more information
    quiet: str
    penalty: Location  # minus the slope, reward units per nat
    size_nats: Location  # by how much I falls there; 0 in a resample in which the policy it passes over is a corner
    passes_over: tuple[str, ...]  # efficient policies between its ends
    depth_units: float  # most that one of them costs above the piece
    p_value: float | None  # of so much depth anywhere on a convex frontier; None: nothing passed over, or no interval
    kind: str  # "jump", "gap" (nothing measured between its ends) or "not determined"

    def as_json(self) -> dict[str, Any]:
        """Ready for a strict JSON file."""
        document = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        located = {name: document[name].as_json() for name in ("penalty", "size_nats")}
        return document | located | {"passes_over": list(self.passes_over)}


@dataclasses.dataclass(frozen=True)
class Frontier:
    """The hull of measured policies and what follows from it."""

    policies: Policies
    corners: tuple[int, ...]  # places in ``policies``, from the least information to the least cost
    pieces: tuple[Piece, ...]  # in the same order, one fewer
    straight: StraightPart | None  # the longest that may be straight and has no jump in it; None: a jump everywhere

    @property
    def jumps(self) -> tuple[Piece, ...]:
        """Pieces that are jumps, the longest first."""
        found = (piece for piece in self.pieces if piece.kind == JUMP)
        return tuple(sorted(found, key=lambda piece: piece.size_nats.value or 0.0, reverse=True))

    @property
    def resolution_nats(self) -> float:
        """Length of the longest stretch that may be straight: a smaller jump may hide in it. 0 with a single corner."""
        return 0.0 if self.straight is None else self.straight.size_nats

    def __str__(self) -> str:
        """One sentence: the jumps with sizes and penalties, or what could hide where none was seen."""
        if not len(self.policies.resampled):
            return f"jump {NOT_DETERMINED}: no intervals"
        hides = f"a jump of up to {self.resolution_nats:.2f} nats cannot be excluded"
        told = [f"a jump of {piece.size_nats} nats at lambda {piece.penalty}" for piece in self.jumps]
        return "; ".join([*(told or ["no jump seen"]), f"elsewhere {hides}" if told else hides])

    def predicted(self, penalty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """I(lambda) of whoever minimises ``C + lambda I`` over the policies, [L], and 95% limits, [2, L] (NaN: none).

        Args:
            penalty: [L] reward units per nat.
        """
        best = legendre(self.policies.points[None], penalty)[0]
        if not len(self.policies.resampled):
            return best, np.full((2, len(best)), np.nan)
        return best, np.quantile(legendre(self.policies.resampled, penalty), (0.025, 0.975), axis=0)

    def as_json(self, penalty: np.ndarray) -> dict[str, Any]:
        """Ready for a strict JSON file, with the prediction at the given penalties [L]."""
        value, limits = self.predicted(penalty)
        lower, upper = limits.tolist() if np.isfinite(limits).all() else (None, None)
        means = self.policies.points.tolist()
        return {
            "statement": str(self),
            "resolution_nats": self.resolution_nats,
            "straight": None if self.straight is None else self.straight.as_json(),
            "pieces": [piece.as_json() for piece in self.pieces],
            "policies": [
                {"name": n, "nats": i, "units": c} for n, (i, c) in zip(self.policies.names, means, strict=True)
            ],
            "corners": list(self.corners),
            "predicted": {
                "lambda": np.asarray(penalty, float).tolist(),
                "nats": value.tolist(),
                "lower": lower,
                "upper": upper,
            },
        }


class _Hull(NamedTuple):
    """Corners of one resample's hull, as Python's numbers."""

    places: list[int]
    nats: list[float]
    units: list[float]


def _hull_of(points: np.ndarray) -> _Hull:
    places = lower_hull(points)
    return _Hull(places.tolist(), *points[places].T.tolist())


def frontier(policies: Policies) -> Frontier:
    """The lower convex hull of the policies, every straight piece told from what noise makes of a convex frontier.

    The null: the efficient policies lie on the hull, where their noise lifts some above it. The depth of a policy is
    what it costs above the hull, over the noise of its ``C + lambda I``; its law under the null comes from adding the
    deviations of the resamples to policies on the hull and taking hulls again. Straightness is the least favourable
    convex frontier, and choosing the corners is part of the law.
    """
    points = policies.points
    corners = lower_hull(points)
    efficient = efficient_policies(points)
    noise, null = _null_depths(policies, corners, efficient)
    hulls = [_hull_of(sample) for sample in policies.resampled]
    pieces = []
    for quiet, loud in itertools.pairwise(corners.tolist()):
        between = (points[:, 0] > points[quiet, 0]) & (points[:, 0] < points[loud, 0])
        above = np.flatnonzero(efficient & between & ~np.isin(np.arange(len(points)), corners))
        pieces.append(_piece(policies, hulls, (quiet, loud), above, noise, null))
    return Frontier(
        policies, tuple(int(i) for i in corners), tuple(pieces), _straight(policies, corners, efficient, pieces)
    )


def _straight(
    policies: Policies, corners: np.ndarray, efficient: np.ndarray, pieces: Sequence[Piece]
) -> StraightPart | None:
    """The longest stretch of the hull, none of whose pieces is a jump, that may be straight."""
    points, jumps = policies.points, [i for i, piece in enumerate(pieces) if piece.kind == JUMP]
    found = []
    for first, last in zip([0, *(i + 1 for i in jumps)], [*jumps, len(pieces)], strict=True):
        ends = points[corners[[first, last]], 0]
        inside = np.flatnonzero(efficient & (points[:, 0] >= ends[0]) & (points[:, 0] <= ends[1]))
        inside = inside[np.argsort(points[inside, 0])]
        names = [policies.names[i] for i in inside]
        found.append(longest_straight(names, points[inside], policies.resampled[:, inside], np.isin(inside, corners)))
    return max((one for one in found if one is not None), key=lambda one: one.size_nats, default=None)


def _piece(
    policies: Policies,
    hulls: Sequence[_Hull],
    ends: tuple[int, int],
    above: np.ndarray,
    noise: np.ndarray,
    null: np.ndarray,
) -> Piece:
    """One piece with its interval from the ``hulls`` of the resamples, and its kind from the policies ``above`` it."""
    points, (quiet, loud) = policies.points, ends
    depth = _depth(points, points[[quiet, loud]], above)
    names = tuple(policies.names[i] for i in above)
    deepest = int(above[np.argmax(depth / noise[above])]) if len(above) else None
    middle = 0.5 * (points[quiet, 0] + points[loud, 0])
    over = np.full(len(hulls), middle) if deepest is None else policies.resampled[:, deepest, 0]
    samples = np.array([_spanning(*each, deepest) for each in zip(hulls, over.tolist(), strict=True)]).reshape(-1, 2)
    own = np.array([_slope(points[quiet], points[loud]), points[loud, 0] - points[quiet, 0]])
    slope, size = (percentile_interval(np.append(own[i], samples[:, i])) for i in (0, 1))
    p_value = None
    if deepest is not None and len(null):
        p_value = float(1 + np.sum(null >= np.max(depth / noise[above]))) / (1 + len(null))
    kind = GAP if deepest is None else NOT_DETERMINED
    if p_value is not None and p_value < LEVEL and size.lower is not None and size.lower > 0.0:
        kind = JUMP
    return Piece(
        loud=policies.names[loud],
        quiet=policies.names[quiet],
        penalty=slope,
        size_nats=size,
        passes_over=names,
        depth_units=float(depth.max(initial=0.0)),
        p_value=p_value,
        kind=kind,
    )


def lower_hull(points: np.ndarray) -> np.ndarray:
    """Places of the corners of the lower convex hull of points [P, 2], from the least information to the least cost.

    Andrew's monotone chain (1979), on Python's floats: the sets are small and many.
    """
    nats, units = points[:, 0].tolist(), points[:, 1].tolist()
    chain: list[int] = []
    for i in np.lexsort((points[:, 1], points[:, 0])).tolist():
        x, y = nats[i], units[i]
        while len(chain) > 1:
            a, b = chain[-2], chain[-1]
            if (nats[b] - nats[a]) * (y - units[a]) > (units[b] - units[a]) * (x - nats[a]):
                break  # they turn left: b stays
            chain.pop()
        if not chain or x > nats[chain[-1]]:
            chain.append(i)
    cheapest = min(range(len(chain)), key=lambda k: units[chain[k]])
    return np.array(chain[: cheapest + 1])


def efficient_policies(points: np.ndarray) -> np.ndarray:
    """True [P] where no policy has less information at no more cost, nor the same at less."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    cost = points[order, 1]
    cheapest_before = np.concatenate([[np.inf], np.minimum.accumulate(cost)[:-1]])
    efficient = np.empty(len(points), bool)
    efficient[order] = cost < cheapest_before
    return efficient


def legendre(points: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """I of the policy with the least ``C + lambda I``, [R, L], for sets of policies [R, P, 2] and penalties [L]."""
    best = np.argmin(points[:, None, :, 1] + np.asarray(penalty)[:, None] * points[:, None, :, 0], axis=-1)
    return np.take_along_axis(points[..., 0], best, axis=1)


def _null_depths(policies: Policies, corners: np.ndarray, efficient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise [P] of each policy's ``C + lambda I``, and the largest depth of R noisy frontiers that are convex, [R]."""
    points, deviations = policies.points, policies.resampled - policies.points
    hull = points[corners]
    smallest = ROUNDING * max(float(np.ptp(points[:, 1])), 1e-300)
    if not len(deviations):
        return np.full(len(points), smallest), np.zeros(0)
    piece = np.clip(np.searchsorted(hull[:, 0], points[:, 0]) - 1, 0, max(len(hull) - 2, 0))
    slope = np.zeros(len(points))
    if len(hull) > 1:
        slope = np.array([_slope(a, b) for a, b in itertools.pairwise(hull)])[piece]
    noise = np.maximum((deviations[..., 1] + slope * deviations[..., 0]).std(axis=0), smallest)
    flat = np.stack([points[:, 0], np.interp(points[:, 0], *hull.T)], axis=1)[efficient]
    depths = np.zeros(len(deviations))
    for i, deviation in enumerate(deviations[:, efficient]):
        noisy = flat + deviation
        found = lower_hull(noisy)
        above = np.flatnonzero(efficient_policies(noisy))
        depths[i] = np.max(_depth(noisy, noisy[found], above) / noise[efficient][above])
    return noise, depths


def _depth(points: np.ndarray, hull: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Cost of the chosen policies above a hull [n, 2], reward units; exactly 0 within rounding."""
    depth = points[chosen, 1] - np.interp(points[chosen, 0], *hull.T)
    return np.where(depth > ROUNDING * np.ptp(points[:, 1]), depth, 0.0)


def _spanning(hull: _Hull, nats: float, deepest: int | None) -> tuple[float, float]:
    """Slope and length of the piece of the hull over ``nats``; length 0 where policy ``deepest`` is a corner of it."""
    if len(hull.places) < 2:
        return 0.0, 0.0
    right = min(max(bisect.bisect_right(hull.nats, nats), 1), len(hull.places) - 1)
    length = hull.nats[right] - hull.nats[right - 1]
    slope = (hull.units[right - 1] - hull.units[right]) / length
    return slope, 0.0 if deepest in hull.places else length


def _slope(quiet: np.ndarray, loud: np.ndarray) -> float:
    """Reward units saved per nat from one policy to a louder one: the penalty at which both are as good."""
    return float((quiet[1] - loud[1]) / (loud[0] - quiet[0]))
