"""One of two processes that train a sweep together: ``python -m tests.two_processes WORKDIR PORT INDEX``, INDEX 0 or 1.

Four devices each. The chief says whether the compiled update has collectives, and how three jobs were shared out;
test_sweep.py reads what they wrote.
"""

import json
import sys

from tests import conftest  # noqa: F401  the strict settings of every test, eight devices among them

import jax  # isort: skip

from amarl_jax import sweep
from amarl_jax.config.grid import lanes_of
from amarl_jax.host import processes as hosts
from amarl_jax.host.checkpoint import Checkpointer
from amarl_jax.host.cli import parse
from amarl_jax.host.preemption import StopRequest
from amarl_jax.lanes import program as lane_program


def main(workdir, port, index, flags):
    """All of the command but the measuring; how that is shared out, with names in place of measures."""
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_disable_most_optimizations", True)
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=index)
    assert (len(jax.devices()), len(jax.local_devices())) == (8, 4)
    hosts.join = lambda: None  # there is no launcher here to ask
    run = sweep._open(parse(sweep.define_flags, ["sweep", *flags, f"--workdir={workdir}", "--distributed"]), {})
    lanes = lanes_of(run.experiment)
    program = lane_program.compile_lanes(run, lanes)
    with Checkpointer(run.checkpoints) as checkpoints:
        state = sweep._first_state(run, checkpoints, program)
        sweep._train_lanes(run, checkpoints, program, state, StopRequest())
    done = []
    for of_round in hosts.shares(["a", "b", "c" * 70_000]):
        own = hosts.own(of_round)
        rows = hosts.exchanged(None if own is None else {"job": own, "by": jax.process_index()})
        done += [[job, row["job"], row["by"]] for job, row in zip(of_round, rows, strict=False)]
    (run.path / f"shared_{index}.json").write_text(json.dumps([[row[0] == row[1], row[2]] for row in done]))
    if hosts.is_chief():
        (run.path / "program.txt").write_text(program.advance.as_text())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
