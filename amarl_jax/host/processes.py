"""Several processes that compute as one (``jax.distributed``): who writes files, and what all must agree on.

Every process runs the same program on its own devices and sees the same folder. With a single process, each function
here is trivial.
"""

import json
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from amarl_jax.errors import BadInput
from amarl_jax.host import node

Job = TypeVar("Job")

_BLOCK = 1 << 16  # bytes; texts are sent in a whole number of blocks, so that few programs are compiled for it


def join() -> None:
    """Find the other processes: from Slurm, from another launcher that JAX knows, or from JAX's own variables.

    This process takes its own GPUs of the node, as :func:`amarl_jax.host.node.own_gpus` deals them, unless
    ``JAX_LOCAL_DEVICE_IDS`` names others.

    Raises :class:`BadInput` where nothing says which processes there are, or too many share a node's GPUs.
    """
    own = None if os.environ.get("JAX_LOCAL_DEVICE_IDS") else node.own_gpus()
    try:
        jax.distributed.initialize(local_device_ids=own)
    except ValueError as error:
        raise BadInput(
            f"--distributed: no launcher says which processes there are ({error}); docs/cluster.md"
        ) from None


def several() -> bool:
    """True if there are other processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_chief() -> bool:
    """True if this process writes the files and prints; exactly one does."""
    return not several() or jax.process_index() == 0


def wait(name: str) -> None:
    """Block until every process reaches ``name``."""
    if several():
        multihost_utils.sync_global_devices(name)


def any_of(flag: bool) -> bool:
    """True if ``flag`` is true in any process."""
    return bool(_gathered(flag).any())


def smallest(number: int) -> int:
    """The least of all processes' numbers."""
    return int(_gathered(number).min())


def shares(jobs: Sequence[Job]) -> list[tuple[Job, ...]]:
    """The jobs of every process in rounds, one for each process a round; the last round may be short.

    A round's jobs are by index of the process that does them.
    """
    n = jax.process_count() if several() else 1
    return [tuple(jobs[i : i + n]) for i in range(0, len(jobs), n)]


def own(of_round: Sequence[Job]) -> Job | None:
    """This process's job of a round; None where the round leaves it out."""
    index = jax.process_index() if several() else 0
    return of_round[index] if index < len(of_round) else None


def exchanged(value: Any) -> list[Any]:
    """Every process's value, by its index; all of them must call this. Of several, values go as JSON."""
    if not several():
        return [value]
    text = np.frombuffer(json.dumps(value, default=float).encode(), np.uint8)
    lengths = _gathered(len(text))
    block = np.zeros(-(-int(lengths.max()) // _BLOCK) * _BLOCK, np.uint8)
    block[: len(text)] = text
    together = np.asarray(multihost_utils.process_allgather(block))
    return [json.loads(row[:length].tobytes()) for row, length in zip(together, lengths, strict=True)]


def _gathered(value: int | bool) -> np.ndarray:
    """Every process's value; all of them must call this."""
    return np.asarray(multihost_utils.process_allgather(np.asarray(value))) if several() else np.asarray([value])


def say(line: str) -> None:
    """Print from the chief process only."""
    if is_chief():
        print(line, flush=True)
