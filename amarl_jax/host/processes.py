"""Several processes that compute as one (``jax.distributed``): who writes files, and what all must agree on.

Every process runs the same program on its own devices and sees the same folder. With a single process, each function
here is trivial.
"""

import os

import jax
import numpy as np
from jax.experimental import multihost_utils

from amarl_jax.errors import BadInput
from amarl_jax.host import node


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


def _gathered(value: int | bool) -> np.ndarray:
    """Every process's value; all of them must call this."""
    return np.asarray(multihost_utils.process_allgather(np.asarray(value))) if several() else np.asarray([value])


def say(line: str) -> None:
    """Print from the chief process only."""
    if is_chief():
        print(line, flush=True)
