"""Episodes divided into what fits a critic, what stops it and what it is read from, for each fold."""

import jax.numpy as jnp
import numpy as np

from amarl_jax.information.estimate_fit import EstimateSpec, Parts
from amarl_jax.information.groups import deal, generator
from amarl_jax.types import Array

MAX_PAIRED = 2048  # episodes at most of a part of which all pairs are formed
N_BLOCKS = 40  # of the jackknife, per fold
FEWER_BLOCKS = (N_BLOCKS, 20, 10, 4)  # of whole groups, where these are few or uneven
FULL = 0.9  # share of the held-out episodes that blocks of equal size should hold
LEAST = 10  # episodes that fit and that stop a critic

Rows = list[tuple[np.ndarray, ...]]  # of each fold: that fit, of which the training curve is read, that stop, held out


def divide(
    key: Array, labels: np.ndarray | None, n: int, spec: EstimateSpec, groups: np.ndarray | None = None
) -> tuple[list[Parts], int]:
    """Draw the parts of each fold, and count the blocks of equal size that each held-out part lies in, one by one.

    Parts have the same sizes in every fold.

    Args:
      key: typed key.
      labels: [n] to stratify by; None: x is continuous, and parts of which pairs are formed have at most 2,048 rows.
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
    """Every row by itself."""
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
    """Whole groups together, cut to the sizes of the smallest fold's; also how many blocks a held-out part has."""
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
    """Rows of each fold in blocks of whole groups, [n_blocks, size], as many as leave most rows in them.

    Without any one block, what is left has every label: else the jackknife would read a bound of fewer labels.
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
    """True if a label of [n_blocks, size] occurs in a single block only, or in fewer labels than others have."""
    return any(np.any(labels == label, axis=1).sum() < 2 for label in np.unique(labels))
