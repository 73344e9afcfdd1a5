"""Which GPUs of a node a process takes, by what its launcher says."""

import json
import os
import subprocess
import sys

import pytest

from amarl_jax.errors import BadInput
from amarl_jax.host import machine, node

STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "2"}
ALL_FOUR = {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_GPUS_ON_NODE": "4"}
ONE_OF_FOUR = {"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "4"}


def task(local, process, n_processes, per_node, **gpus):
    """The environment of a task of a Slurm step over two nodes."""
    place = {"SLURM_LOCALID": local, "SLURM_PROCID": process, "SLURM_NTASKS": n_processes, "SLURM_NODEID": 1}
    return STEP | gpus | {name: str(value) for name, value in place.items()} | {"SLURM_STEP_TASKS_PER_NODE": per_node}


CASES = {  # what JAX is to take, of the GPUs that the process sees
    "one process per node, four GPUs": (task(0, 1, 2, "1(x2)", **ALL_FOUR), "0,1,2,3"),
    "four processes per node, which see all four": (task(3, 7, 8, "4(x2)", **ALL_FOUR), "3"),
    "four processes per node, one GPU given to each": (task(3, 7, 8, "4(x2)", **ONE_OF_FOUR), "0"),
    "two processes per node, two GPUs each": (task(1, 3, 4, "2(x2)", **ALL_FOUR), "2,3"),
    "fewer on the second node than on the first": (task(0, 4, 5, "4,1", **ALL_FOUR), "0,1,2,3"),
    "the user's own choice": (task(0, 1, 2, "1(x2)", **ALL_FOUR) | {"JAX_LOCAL_DEVICE_IDS": "1"}, "1"),
    "no GPU anywhere": (task(1, 1, 2, "1(x2)", CUDA_VISIBLE_DEVICES=""), "1"),  # JAX's own, which asks for nothing
}
JOIN = """
import json, os, sys
from unittest.mock import MagicMock
from jax._src import distributed, xla_bridge
from amarl_jax.host import processes as hosts

distributed._jax = MagicMock()  # there is nobody to connect to
plain = dict(os.environ)
for variables in json.loads(sys.argv[1]):
    os.environ.clear()
    os.environ.update(plain | variables)
    distributed.global_state.__dict__.clear()
    hosts.join()
    print(xla_bridge.CUDA_VISIBLE_DEVICES.value)
"""


def test_a_process_takes_its_gpus_of_the_node():
    line = [sys.executable, "-c", JOIN, json.dumps([variables for variables, _ in CASES.values()])]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "CUDA", "JAX_LOCAL"))}
    done = subprocess.run(line, capture_output=True, text=True, env=clean, check=False)
    assert done.returncode == 0, done.stderr
    assert dict(zip(CASES, done.stdout.split(), strict=True)) == {name: taken for name, (_, taken) in CASES.items()}


@pytest.fixture
def slurm(monkeypatch):
    def set_to(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_to


def test_more_processes_than_gpus_is_one_line(slurm):
    slurm(task(4, 4, 8, "8", **ALL_FOUR) | {"SLURM_NODEID": "0"})
    with pytest.raises(BadInput, match="8 processes on a node share 4 GPUs: must be at most as many"):
        node.own_gpus()


def test_open_mpi_says_it_in_its_own_words(slurm, monkeypatch):
    monkeypatch.delenv("SLURM_LOCALID", raising=False)
    monkeypatch.delenv("SLURM_GPUS_ON_NODE", raising=False)
    slurm({"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "CUDA_VISIBLE_DEVICES": "2,3,5,7"})
    assert node.own_gpus() == [2, 3]


def test_gpus_are_counted_by_their_device_files(tmp_path, monkeypatch):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.setattr(node, "_DEVICES", tmp_path)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    assert node.n_gpus() == 2
    monkeypatch.setenv("SLURM_LOCALID", "0")
    assert node.own_gpus() == [0, 1]


@pytest.mark.parametrize(("per_node", "n_seen", "used"), [("1", 1, 1), ("2", 1, 2), ("1", 4, 4), ("4", 1, 4)])
def test_gpus_that_nobody_uses_are_named(slurm, per_node, n_seen, used):
    slurm({"SLURM_GPUS_ON_NODE": "4", "SLURM_STEP_TASKS_PER_NODE": per_node, "SLURM_NODEID": "0"})
    assert machine.unused("gpu", n_seen) == (f" ({used} of the 4 GPUs of this node)" if used < 4 else "")
    assert machine.unused("cpu", n_seen) == ""
