"""The GPUs of this node, and which of them are this process's where several processes share it.

Only the environment and ``/dev`` are read, as JAX has to be told before it starts; it is told positions among the GPUs
that the process sees.
"""

import os
import re
from pathlib import Path

from amarl_jax.errors import BadInput

_SEEN = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_DEVICES = Path("/dev")
_PROCESSES = {  # launcher: what says a process's place on its node
    "slurm": "SLURM_LOCALID",
    "open mpi": "OMPI_COMM_WORLD_LOCAL_RANK",
}


def n_gpus() -> int:
    """GPUs that the node has for this job: what Slurm says, else what is in ``/dev``; 0 where there are none."""
    return _number("SLURM_GPUS_ON_NODE") or len(_present())


def own_gpus() -> list[int] | None:
    """Positions of this process's GPUs among those it sees; None where there are none, or no launcher.

    A process alone on its node takes all. Of several, each takes those it was given where a launcher gave it fewer
    than the node has (``--gpus-per-task``), else its share of what all of them see (``--gpus-per-node``). JAX by itself
    takes one GPU per process, at the process's own position: other GPUs stay idle, or there is none at that position.

    Raises :class:`BadInput` where more processes share the same GPUs than there are GPUs.
    """
    n_seen, n_processes = _n_seen(), n_processes_here()
    place = next((number for name in _PROCESSES.values() if (number := _number(name)) is not None), None)
    if not n_seen or place is None:
        return None
    all_of_node = n_seen >= n_gpus() if "SLURM_GPUS_ON_NODE" in os.environ else n_seen > 1
    if n_processes == 1 or not all_of_node:
        return list(range(n_seen))
    if n_processes > n_seen:
        raise BadInput(
            f"--distributed: {n_processes} processes on a node share {n_seen} GPUs: must be at most as many; "
            "docs/cluster.md"
        )
    return list(range(place * n_seen // n_processes, (place + 1) * n_seen // n_processes))


def n_processes_here() -> int:
    """Processes of this program on this node, by its launcher; 1 where there is none."""
    if (of_mpi := _number("OMPI_COMM_WORLD_LOCAL_SIZE")) is not None:
        return of_mpi
    counts = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_TASKS_PER_NODE") or "1"
    by_node: list[int] = []  # Slurm writes 4,4,2 as 4(x2),2
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        by_node += [int(count)] * int(times or 1)
    node = _number("SLURM_NODEID") or 0
    return by_node[node] if node < len(by_node) else 1


def _n_seen() -> int:
    """GPUs that a process may ask CUDA or ROCm for."""
    named = next((os.environ[name] for name in _SEEN if name in os.environ), None)
    if named is None:
        return len(_present())
    return len([gpu for gpu in named.split(",") if gpu.strip() not in ("", "-1", "NoDevFiles")])


def _present() -> list[Path]:
    """NVIDIA's device files present."""
    return [path for path in _DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]


def _number(name: str) -> int | None:
    """The number in an environment variable; None where it is not set or not a number."""
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None
