"""The longest stretch of a frontier that may be straight: a jump of its length cannot be told from a steep fall.

It goes from one corner of the hull to another, and no policy between them lies below the chord by more than its noise.
Where the true frontier has a straight or concave piece, noise puts corners on it, so that no single piece of the
measured hull shows its length.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

LEVEL = 0.05  # of the test that a stretch is straight
SMALLEST = 1e-9  # noise of a policy measured without error, of the range of costs


@dataclasses.dataclass(frozen=True)
class StraightPart:
    """Corners of a hull that noise may have taken off a chord."""

    quiet: str  # name of the corner with the least information
    loud: str
    size_nats: float  # information between them
    penalty: float  # minus the slope of the chord, reward units per nat
    depth_units: float  # most that a policy between them lies below the chord
    p_value: float  # of so much depth if all lie on it

    def as_json(self) -> dict[str, Any]:
        """Ready for a strict JSON file."""
        return dataclasses.asdict(self)


def longest_straight(
    names: Sequence[str], points: np.ndarray, resampled: np.ndarray, is_corner: np.ndarray
) -> StraightPart | None:
    """The longest stretch that a test does not tell from a straight line; None with fewer than two corners.

    A policy's depth below the chord, in units of ``C + lambda I`` at the chord's slope, is divided by its noise; the
    largest of a stretch is compared with that of the resamples' deviations. All efficient policies are looked at, not
    corners alone, which are chosen for lying low. Without resamples nothing is noise, and the longest single piece is
    the answer.

    Args:
        names: [P] of the efficient policies.
        points: [P, 2] I in nats and C in reward units, from the least information to the least cost.
        resampled: [R, P, 2] the same, resampled.
        is_corner: [P] of the hull.
    """
    found = []
    for i, j in itertools.combinations(np.flatnonzero(is_corner).tolist(), 2):
        here = slice(i, j + 1)
        stretch = _stretch(names[i], names[j], points[here], resampled[:, here])
        if stretch.p_value >= LEVEL:
            found.append(stretch)
    return max(found, key=lambda stretch: stretch.size_nats, default=None)


def _stretch(quiet: str, loud: str, points: np.ndarray, resampled: np.ndarray) -> StraightPart:
    """The stretch from the first to the last of some policies, with the p-value that it is straight."""
    (first, last), size = points[[0, -1]], float(points[-1, 0] - points[0, 0])
    penalty = float(first[1] - last[1]) / size
    share = (points[:, 0] - first[0]) / size  # of the way along the chord

    def below(both: np.ndarray) -> np.ndarray:
        """How far those between the ends lie below what is straight from end to end, [..., P - 2]."""
        total = both[..., 1] + penalty * both[..., 0]
        straight = total[..., :1] + share * (total[..., -1:] - total[..., :1])
        return (straight - total)[..., 1:-1]

    depth, p_value = below(points), 1.0
    if depth.size:
        noise = below(resampled - points)
        smallest = SMALLEST * max(abs(float(first[1] - last[1])), 1e-300)
        scale = np.maximum(noise.std(axis=0) if len(noise) else smallest, smallest)
        deepest = np.max(depth / scale)
        p_value = float(1 + np.sum(np.max(noise / scale, axis=1) >= deepest)) / (1 + len(noise))
        if not len(noise):
            p_value = float(deepest <= 1.0)
    return StraightPart(quiet, loud, size, penalty, float(depth.max(initial=0.0)), p_value)
