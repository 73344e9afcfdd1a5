"""Groups of rows that belong together (one day's, one account's, copies of a row), dealt and permuted as a whole."""

import warnings
from collections.abc import Sequence

import jax
import numpy as np

from amarl_jax.types import Array

MANY_ROWS = 20  # up to so many different rows that occur again are taken for those of a coarse law
SAME = 0.95  # share of such rows whose copies all have the same x
DEVIATIONS = 4.0  # standard deviations by which their number must exceed chance


def generator(key: Array) -> np.random.Generator:
    """A host generator from a typed key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def group_codes(groups: Sequence | np.ndarray | None, n: int) -> np.ndarray | None:
    """Codes 0 .. G-1 of the group of each row, int32 [n]; None stays None.

    Args:
      groups: [n], integers, strings, dates or whatever else can be sorted.
      n: rows.

    Raises:
      ValueError: not [n], missing entries, what cannot be compared, or a single group.
    """
    if groups is None:
        return None
    array = np.asarray(groups)
    if array.shape != (n,):
        raise ValueError(f"expected groups [{n}], one for each row, got {array.shape}")
    if array.dtype.kind in "fcmMO" and (array != array).any():
        raise ValueError("groups must name a group for every row, got missing entries")
    try:
        names, codes = np.unique(array, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"groups must be of one kind that can be sorted: {error}") from None
    if names.size < 2:
        raise ValueError(f"groups must be at least 2, got {names.size}")
    return codes.astype(np.int32)


def row_codes(values: np.ndarray) -> np.ndarray:
    """Codes of the rows of values [n, ...]: equal for equal rows."""
    rows = np.ascontiguousarray(values.reshape(values.shape[0], -1) + np.zeros((), values.dtype))  # -0 becomes 0
    return np.unique(rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel(), return_inverse=True)[1]


def warn_of_repeats(x: np.ndarray, y: np.ndarray, groups: np.ndarray | None, name: str = "x") -> None:
    """Warn where rows of y [n, ...] occur again, with the same x [n, ...] nearly always: copies, not coincidences.

    With one copy in training and another held out, a critic can memorise instead of infer. Coarse laws repeat rows
    too, but then x differs as by chance, or there are few distinct rows. Copies inside a group are never separated.
    """
    own, of_x = row_codes(y), row_codes(x)
    if groups is not None:
        kept = np.unique(np.stack([own, groups], axis=1), axis=0, return_index=True)[1]
        own, of_x = own[kept], of_x[kept]
    _, own, copies = np.unique(own, return_inverse=True, return_counts=True)
    repeated = copies > 1
    if np.count_nonzero(repeated) <= MANY_ROWS:
        return
    pairs = np.bincount(np.unique(np.stack([own, of_x], axis=1), axis=0)[:, 0])  # different x of each row of y
    same = pairs[repeated] == 1
    law = np.bincount(of_x) / of_x.size
    sizes, index = np.unique(copies[repeated], return_inverse=True)
    chance = np.array([np.sum(law**size) for size in sizes])[index]
    beyond = same.sum() - chance.sum() > DEVIATIONS * np.sqrt(np.sum(chance * (1.0 - chance)))
    if same.mean() >= SAME and beyond:
        warnings.warn(
            f"{np.count_nonzero(copies[own] > 1)} of {own.size} rows occur more than once, with the same {name}: rows "
            "that are copies, or belong together, inflate the estimate unless groups= names the group of each row",
            stacklevel=3,
        )


def deal(
    rng: np.random.Generator, groups: np.ndarray, labels: np.ndarray | None, shares: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Part of each row, [n]: whole groups dealt into parts with about the given shares of the rows and of each label.

    Each group goes to the part that holds least of the group's labels for its share; the largest group goes first
    where shares are equal.

    Args:
      rng: generator of the order.
      groups: [n] codes; not all need occur.
      labels: [n] codes 0 .. C-1 to balance, or None.
      shares: of the rows, one for each part.
    """
    names, codes = np.unique(groups, return_inverse=True)
    sizes = np.bincount(codes).astype(float)
    of_labels = [] if labels is None else [np.bincount(codes, weights=labels == label) for label in np.unique(labels)]
    held = np.stack([sizes, *of_labels], axis=1)
    weights = 1.0 / held.sum(axis=0) ** 2
    weights[0] *= 1e-3 if labels is not None else 1.0  # the total only breaks ties
    order = rng.permutation(names.size)
    if np.ptp(shares) == 0:
        order = order[np.argsort(-sizes[order], kind="stable")]
    load, part = np.zeros((len(shares), held.shape[1])), np.zeros(names.size, int)
    for group in order:
        part[group] = np.argmin(load @ (weights * held[group]) / np.asarray(shares))
        load[part[group]] += held[group]
    return part[codes]


def constant_in_groups(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Flags [G] of groups with one label in all rows."""
    ones, sizes = np.bincount(groups, weights=labels), np.bincount(groups)
    return (ones == 0) | (ones == sizes)


def permuted_labels(rng: np.random.Generator, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Labels [n] permuted among the groups that have one label, and within each group that has two."""
    constant = constant_in_groups(labels, groups)
    of_group = np.zeros(constant.size, labels.dtype)
    of_group[groups] = labels
    of_group[constant] = rng.permutation(of_group[constant])
    inside = np.empty_like(labels)
    inside[np.argsort(groups, kind="stable")] = labels[np.lexsort((rng.random(labels.size), groups))]
    return np.where(constant[groups], of_group[groups], inside)
