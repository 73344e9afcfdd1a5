"""Training that keeps the check with the smallest validation loss."""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from amarl_jax.trees import select
from amarl_jax.types import Array, PyTree


@struct.dataclass
class Candidate:
    """Result to keep from one check, and its loss."""

    kept: PyTree
    loss: Array  # [] on validation


def keep_best(
    step: Callable[[Any, Any], tuple[Any, None]],
    state: tuple[PyTree, ...],
    check: Callable[[PyTree], tuple[Candidate, PyTree]],
    batches: PyTree,
    first: Candidate,
) -> tuple[PyTree, PyTree]:
    """Step through all batches, check after each stretch of them, and keep the check with the smallest loss.

    Args:
        step: the body of a scan over a stretch's batches.
        state: its carry at the start; the parameters come first.
        check: from parameters to their candidate and what is recorded of them.
        batches: leaves [n_checks, n_steps, ...].
        first: the candidate of the start, which a later one replaces if its loss is smaller.

    Returns:
        ``kept`` of the best candidate, and the records, [n_checks, ...].
    """

    def stretch(carry: tuple[tuple, Candidate], batches: PyTree) -> tuple[tuple[tuple, Candidate], PyTree]:
        state, best = carry
        state, _ = jax.lax.scan(step, state, batches)
        current, record = check(state[0])
        return (state, select(current.loss < best.loss, current, best)), record

    (_, best), records = jax.lax.scan(stretch, (state, first), batches)
    return best.kept, records
