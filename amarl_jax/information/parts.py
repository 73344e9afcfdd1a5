"""Episodes of each fold divided into those that fit a critic, those that stop it and those it is read from."""

import jax.numpy as jnp
import numpy as np

from amarl_jax.information.estimate_fit import EstimateSpec, Parts
from amarl_jax.information.groups import deal, generator
from amarl_jax.types import Array

MAX_PAIRED = 2048  # episodes, at most, in a part in which all pairs are formed
N_BLOCKS = 40  # of the jackknife, per fold
FEWER_BLOCKS = (N_BLOCKS, 20, 10, 4)  # numbers tried of blocks of whole groups, which may be few or uneven
FULL = 0.9  # share of the held-out episodes that blocks of equal size should hold
LEAST = 10  # episodes, at least, to fit a critic and to stop it

Rows = list[tuple[np.ndarray, ...]]  # of each fold: fitting, training curve, validation, held out


def divide(
    key: Array, labels: np.ndarray | None, n: int, spec: EstimateSpec, groups: np.ndarray | None = None
) -> tuple[list[Parts], int]:
    """Draw the parts of each fold; also return the number of equal blocks that make up each held-out part, in order.

    Parts have the same sizes in every fold.

    Args:
      key: typed key.
      labels: [n] to stratify by; None: x is continuous, and parts in which pairs are formed have at most 2,048 rows.
      n: episodes.
      spec: settings.
      groups: [n] codes; no group is in two parts of a fold, nor in two blocks.

    Raises:
      ValueError: too few episodes or groups, of some label or of all.
    """
    rng = generator(key)
    if groups is None:
        folds, n_blocks = _rows_divided(rng, labels, n, spec), N_BLOCKS
    else:
        folds, n_blocks = _groups_divided(rng, labels, groups, spec)
    for parts in folds:
        if labels is not None and any(np.unique(labels[rows]).size < np.unique(labels).size for rows in parts):
            raise ValueError("every label needs episodes in each part, training, validation and held out")
    return [Parts(*(jnp.asarray(rows, jnp.int32) for rows in parts)) for parts in folds], n_blocks


def _rows_divided(rng: np.random.Generator, labels: np.ndarray | None, n: int, spec: EstimateSpec) -> Rows:
    """Rows of each part, dealt singly."""
    order = rng.permutation(n)
    if labels is not None:  # spread every label evenly, so that any contiguous part holds its share of each
        position = np.zeros(n)
        for label in np.unique(labels):
            members = order[labels[order] == label]
            position[members] = (np.arange(members.size) + rng.random()) / members.size
        order = np.argsort(position, kind="stable")
    limit = n if labels is not None else MAX_PAIRED
    n_held_out = min(n // spec.n_folds, limit) // N_BLOCKS * N_BLOCKS
    n_validation = min(int(spec.validation_fraction * (n - n_held_out)), limit)
    if n_held_out < N_BLOCKS or min(n_validation, n - n_held_out - n_validation) < LEAST:
        raise ValueError(f"{n} episodes are too few: each of {spec.n_folds} folds must hold out at least {N_BLOCKS}")
    folds = []
    for fold in range(spec.n_folds):
        held_out, validation, fitting = np.split(
            np.roll(order, -fold * n_held_out), [n_held_out, n_held_out + n_validation]
        )
        folds.append(tuple(rng.permutation(part) for part in (fitting, fitting[:n_held_out], validation, held_out)))
    return folds


def _groups_divided(
    rng: np.random.Generator, labels: np.ndarray | None, groups: np.ndarray, spec: EstimateSpec
) -> tuple[Rows, int]:
    """Rows of each part, whole groups together, cut to the smallest fold's sizes; and blocks of a held-out part."""
    limit = groups.size if labels is not None else MAX_PAIRED
    fold = deal(rng, groups, labels, np.ones(spec.n_folds))
    held_out = _held_out_blocks(rng, labels, groups, [np.flatnonzero(fold == i) for i in range(spec.n_folds)])
    held_out = [blocks[:, : max(limit // len(blocks), 1)] for blocks in held_out]
    shares = (spec.validation_fraction, 1.0 - spec.validation_fraction)
    stopping, fitting = [], []
    for i in range(spec.n_folds):
        rows = rng.permutation(np.flatnonzero(fold != i))
        stops = deal(rng, groups[rows], None if labels is None else labels[rows], shares) == 0
        stopping.append(rows[stops])
        fitting.append(rows[~stops])
    n_stopping, n_fitting = min(limit, *map(len, stopping)), min(map(len, fitting))
    if min(n_stopping, n_fitting) < LEAST:
        raise ValueError(f"{groups.max() + 1} groups are too few, or too uneven, for {spec.n_folds} folds")
    folds: Rows = []
    for blocks, stops, fits in zip(held_out, stopping, fitting, strict=True):
        fits = fits[:n_fitting]
        folds.append((fits, fits[: blocks.size], stops[:n_stopping], blocks.ravel()))
    return folds, len(held_out[0])


def _held_out_blocks(
    rng: np.random.Generator, labels: np.ndarray | None, groups: np.ndarray, folds: list[np.ndarray]
) -> list[np.ndarray]:
    """Rows of each fold in blocks of whole groups, [n_blocks, size]; the most blocks that hold ``FULL`` of the rows.

    Where no number of blocks does, the one that holds most rows. Every label remains when any one block is left out,
    else the jackknife would read a bound over fewer labels.
    """
    n, best = sum(map(len, folds)), list[np.ndarray]()
    fewest = min(np.unique(groups[rows]).size for rows in folds)
    for n_blocks in (number for number in FEWER_BLOCKS if number <= fewest):
        dealt = [deal(rng, groups[rows], None if labels is None else labels[rows], np.ones(n_blocks)) for rows in folds]
        size = min(int(np.bincount(part, minlength=n_blocks).min()) for part in dealt)
        blocks = [
            np.stack([rng.permutation(rows[part == block])[:size] for block in range(n_blocks)])
            for rows, part in zip(folds, dealt, strict=True)
        ]
        if labels is not None and any(_leans_on_one_block(labels[rows]) for rows in blocks):
            continue
        if sum(rows.size for rows in blocks) > sum(rows.size for rows in best):
            best = blocks
        if sum(rows.size for rows in best) >= FULL * n:
            break
    if not best:
        raise ValueError(
            f"{groups.max() + 1} groups are too few: each of {len(folds)} folds must hold out {FEWER_BLOCKS[-1]}, "
            "and 2 of each label"
        )
    return best


def _leans_on_one_block(labels: np.ndarray) -> bool:
    """True if a label of [n_blocks, size] occurs in a single block only."""
    return any(np.any(labels == label, axis=1).sum() < 2 for label in np.unique(labels))
