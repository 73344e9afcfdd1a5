"""Parts of a computation that do not depend on each other, run at the same time on the cores of a processor.

A compiled loop over small arrays keeps one core busy. An accelerator is filled by one program, and gets one part.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from amarl_jax.types import PyTree

AT_MOST = 4  # parts: each holds its arrays in memory


def n_parts(n_pieces: int) -> int:
    """Number of parts to deal ``n_pieces`` equal pieces of work to: as many as cores, each with two pieces or more.

    A loop over one piece would be compiled as no loop, and round differently.
    """
    if jax.default_backend() != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, AT_MOST, n_pieces // 2))


def dealt(n_pieces: int) -> np.ndarray:
    """Numbers of the pieces of each part, dealt in turn, [n_parts, n] int32; those at the end may repeat the first."""
    parts = n_parts(n_pieces)
    n = -(-n_pieces // parts)
    return np.resize(np.arange(n_pieces, dtype=np.int32), (n, parts)).T


def together(leaves: Sequence[np.ndarray], n_pieces: int) -> np.ndarray:
    """The rows [n_pieces * r, ...] in the order of the pieces, of the rows [n * r, ...] of each part that was dealt."""
    n = -(-n_pieces // len(leaves))
    turns = np.stack([leaf.reshape(n, -1, *leaf.shape[1:]) for leaf in leaves], axis=1)
    pieces = turns.reshape(-1, *turns.shape[2:])[:n_pieces]
    return pieces.reshape(-1, *pieces.shape[2:])


def side_by_side(program: Callable[[Any], PyTree], parts: Sequence[Any]) -> list[PyTree]:
    """Host arrays of what a compiled ``program`` makes of each part, in a thread each."""

    def run(part: Any) -> PyTree:
        return jax.tree.map(np.asarray, program(part))

    if len(parts) == 1:
        return [run(parts[0])]
    with ThreadPoolExecutor(len(parts), thread_name_prefix="part") as threads:
        return list(threads.map(run, parts))
