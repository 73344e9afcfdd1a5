"""Compile one program for one target, in a process of the target's virtual environment; its numbers as a line of JSON.

    python compile_one.py TARGET PROGRAM DUMP

Started by compile.py, which sets the environment; DUMP is where XLA leaves its account.
"""

import json
import sys
import time
from pathlib import Path

import hlo
import programs
import schedule
import targets

from amarl_jax.learn.cost import count_flops


def compiled(name, program):
    """Numbers of a program that hold on every target, the executable, and the shares of the phases of its update."""
    shares, (per_run, total) = phases(program), programs.steps_of(program)
    clock = time.perf_counter(), time.process_time()
    traced = programs.trace(program, targets.devices(name, program.n_devices))
    seconds = {"trace": time.process_time() - clock[1]}
    executable = traced.lower(lowering_platforms=(targets.TARGETS[name].platform,)).compile()
    seconds |= {"cpu": time.process_time() - clock[1], "wall": time.perf_counter() - clock[0]}
    memory = executable.memory_analysis()
    sizes = ("argument", "output", "alias", "temp")
    return (
        {
            "steps_in_an_environment": per_run,
            "env_steps": total,
            "devices": program.n_devices,
            "seconds": seconds,
            "flops": sum(count_flops(traced.jaxpr.jaxpr, shares).values()),
            "bytes": {size: getattr(memory, f"{size}_size_in_bytes") for size in sizes},
        },
        executable,
        shares,
    )


def phases(program):
    """How often each phase of an update runs, in proportion; nothing for play."""
    if program.kind not in ("update", "sweep"):
        return [1]
    game = programs.experiment_of(program).game
    return [game.episodes_per_phase(agents) for agents in game.phases()]


def gpu_account(dump, shares):
    """Launches and bytes by part, of the schedule in the folder."""

    def text(ending):
        (path,) = [path for kind in ("play", "advance", "attend") for path in dump.glob(f"*jit_{kind}*{ending}")]
        return path.read_text()

    optimised = text("gpu_after_optimizations.txt")
    computations, files = hlo.read(optimised), hlo.files(optimised)
    counter = schedule.Counter(schedule.names(text("thunk_metadata.txt")), computations, shares, files)
    counter.count(schedule.parse(text("thunk_sequence_after_thunk_passes.txt")))
    parts = {part: vars(counts) | {"launches": counts.launches} for part, counts in counter.parts.items()}
    return {
        "parts": parts,
        "files": dict(sorted(counter.by_file.items(), key=lambda pair: -pair[1])),
        "loops_of_unknown_length": counter.unknown_loops,
        "collectives": hlo.collectives(computations),
    }


def tpu_account(text):
    """Operations and the compiler's own cycles, of the optimised program."""
    computations = hlo.read(text)
    entry = computations[hlo.entry(text)]
    walk = hlo.Walk().run(entry, computations)
    return {"operations": vars(walk), "collectives": hlo.collectives(computations)}


def main():
    name, title, dump = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    row, executable, shares = compiled(name, programs.PROGRAMS[title])
    on_gpu = targets.TARGETS[name].platform == "cuda"
    row |= gpu_account(dump, shares) if on_gpu else tpu_account(executable.as_text())
    print(json.dumps(row))


if __name__ == "__main__":
    main()
