"""Signals of known information, planted in given episodes: labels that depend on a column."""

import numpy as np
from scipy import optimize, special

from amarl_jax.information.groups import constant_in_groups

STEEPEST = 10.0  # slope of a planted label in normal scores
N_BINS = 10  # equally filled, of a column, in which its planted information about a group's label is measured


def planted_order(
    rng: np.random.Generator, column: np.ndarray, labels: np.ndarray, nats: float, prior: float
) -> np.ndarray:
    """Order of the episodes in which a column [n] has a known information about the labels [n].

    An episode with normal score ``s`` of the column goes to a place with label 1 with probability
    ``sigmoid(a s + b)``: ``b`` keeps the class counts, ``a`` makes I exactly ``nats`` over these episodes at the given
    prior. Systematic sampling meets both counts and probabilities.
    """
    score, share = _normal_scores(column), labels.mean()

    def excess(slope: float) -> float:
        return _information(_inclusion(slope, score, share), prior) - nats

    if excess(STEEPEST) < 0:
        raise ValueError(f"{nats} nats cannot be planted in a column of {np.unique(column).size} values")
    chosen = _sampled(rng, _inclusion(optimize.brentq(excess, 0.0, STEEPEST), score, share), labels.sum())
    ones, zeros = rng.permutation(np.flatnonzero(chosen)), rng.permutation(np.flatnonzero(~chosen))
    order = np.empty(column.size, int)
    order[labels == 1], order[labels == 0] = ones, zeros
    return order


def planted_labels(
    rng: np.random.Generator,
    column: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    nats: float,
    prior: float,
) -> np.ndarray:
    """Labels [n] about which a column [n] has ``nats`` of information: by group if each has one label, else by row."""
    if constant_in_groups(labels, groups).all():
        return planted_groups(rng, column, labels, groups, nats, prior)
    planted = np.empty_like(labels)
    planted[planted_order(rng, column, labels, nats, prior)] = labels
    return planted


def planted_groups(
    rng: np.random.Generator,
    column: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    nats: float,
    prior: float,
) -> np.ndarray:
    """Labels [n], one for each group, as many groups of each as before, that depend on a column [n].

    As :func:`planted_order` does with rows, but with groups by their mean normal score. ``a`` is such that the column,
    in ``N_BINS`` bins, of a single row has ``nats`` of information about its group's label: a detector sees one row.
    """
    sizes = np.bincount(groups)
    mean = np.bincount(groups, weights=_normal_scores(column)) / sizes
    of_group = np.zeros(sizes.size, int)
    of_group[groups] = labels
    bins = np.minimum((_midrank(column) - 0.5) / column.size * N_BINS, N_BINS - 1).astype(int)

    def excess(slope: float) -> float:
        p = _inclusion(slope, mean / mean.std(), of_group.mean())[groups]
        within = np.bincount(bins, weights=p, minlength=N_BINS) / np.maximum(np.bincount(bins, minlength=N_BINS), 1)
        return _information(within[bins], prior) - nats

    if not mean.std() > 0 or excess(STEEPEST) < 0:
        raise ValueError(f"{nats} nats cannot be planted by group in a column that varies little between groups")
    p = _inclusion(optimize.brentq(excess, 0.0, STEEPEST), mean / mean.std(), of_group.mean())
    return _sampled(rng, p, of_group.sum()).astype(labels.dtype)[groups]


def _normal_scores(column: np.ndarray) -> np.ndarray:
    return special.ndtri((_midrank(column) - 0.5) / column.size)


def _inclusion(slope: float, score: np.ndarray, share: float) -> np.ndarray:
    """``sigmoid(a s + b)`` [n] with mean ``share``."""
    shift = optimize.brentq(lambda b: special.expit(slope * score + b).mean() - share, -50.0, 50.0)
    return special.expit(slope * score + shift)


def _sampled(rng: np.random.Generator, p: np.ndarray, size: float) -> np.ndarray:
    """Systematic sample of ``size`` with probabilities in proportion to p [n], bool [n]."""
    shuffled, chosen = rng.permutation(p.size), np.zeros(p.size, bool)
    total = np.cumsum(p[shuffled]) * (size / p.sum())
    chosen[shuffled] = np.diff(np.floor(total + rng.random()), prepend=0.0) > 0
    return chosen


def _information(p: np.ndarray, prior: float) -> float:
    """I(z; episode) in nats where episode i has ``P(z = 1 | i) = p_i`` in the sample, read at a prior."""
    laws = np.stack([(1.0 - p) / (1.0 - p).sum(), p / p.sum()])
    weights = np.array([1.0 - prior, prior])
    mixture = weights @ laws
    return float(np.sum(weights @ special.rel_entr(laws, mixture[None])))


def _midrank(column: np.ndarray) -> np.ndarray:
    """Ranks 1 .. n of a column [n], ties at their mean."""
    _, code, counts = np.unique(column, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[code]
