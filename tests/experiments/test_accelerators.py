"""The counts of the accelerator experiment, on a schedule small enough to count by hand."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from absl import flags

from amarl_jax import config as configuration
from amarl_jax import random_play, sweep, train

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "accelerators"))
import fit
import hlo
import model
import programs
import schedule

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "accelerators"
SCHEDULE = """\
000: kCommandBuffer [source | next=003 (1)]
    001: kCustomKernel [source | next=002 (1)] first grid: [1, 1, 1]
    002: kCopy         [prev=001 (1) | sink] kCopy
003: kWhile         [prev=000 (1) | next=012 (1)]
condition:
    004: kCustomKernel [source | sink] compare grid: [1, 1, 1]
  body:
    005: kCustomKernel [source | next=006 (1)] learn grid: [1, 1, 1]
    006: kConditional  [prev=005 (1) | sink]
      branch_0:
        007: kWhile         [source | sink]
condition:
            008: kCustomKernel [source | sink] test grid: [1, 1, 1]
          body:
            009: kCustomKernel [source | sink] halve grid: [1, 1, 1]
      branch_1:
        010: kCommandBuffer [source | sink]
            011: kCublasLtMatmul [source | sink] product
012: kCopy         [prev=003 (1) | sink] kCopy
"""
NAMES = {"first": 1, "loop": 3, "learn": 5, "choose": 6, "inner": 7, "halve": 9, "product": 11}
METADATA = "\n".join(
    f'thunk_metadata {{\n  thunk_info {{\n    profile_annotation: "{name}"\n    thunk_id: {number}\n  }}\n}}'
    for name, number in NAMES.items()
)
PROGRAM = """\
HloModule jit_advance

%fused (p0: f32[100,8], p1: s32[]) -> f32[1,8] {
  %p0 = f32[100,8]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  ROOT %row = f32[1,8]{1,0} dynamic-slice(%p0, %p1, %p1), dynamic_slice_sizes={1,8}
}

%body (state: f32[100,8]) -> f32[100,8] {
  %learn = f32[1,8]{1,0} fusion(%table, %index), kind=kLoop, calls=%fused, metadata={op_name="jit(advance)/ppo/add"}
  ROOT %choose = f32[8]{0} conditional(%learn), branch_computations={%one, %two}, metadata={op_name="jit(advance)/cond"}
}

%one (x: f32[8]) -> f32[8] {
  ROOT %inner = f32[8]{0} while(%x), body=%halving, metadata={op_name="jit(advance)/belief/while"}
}

%two (x: f32[8]) -> f32[8] {
  ROOT %product = f32[8]{0} custom-call(%x), metadata={op_name="jit(advance)/mine/dot"}
}

%halving (x: f32[8]) -> f32[8] {
  ROOT %halve = f32[8]{0} multiply(%x, %x), metadata={op_name="jit(advance)/belief/mul"}
}

ENTRY %main (table: f32[100,8]) -> f32[100,8] {
  %table = f32[100,8]{1,0} parameter(0)
  %first = f32[8]{0} add(%table, %table), metadata={op_name="jit(advance)/play/add"}
  ROOT %loop = f32[100,8]{1,0} while(%table), body=%body, backend_config={"known_trip_count":{"n":"12"}}
}
"""

TEST = """
%below (i: s32[]) -> pred[] {
  %i = s32[]{:T(128)} parameter(0)
  %most = s32[]{:T(128)} constant(5)
  ROOT %less = pred[]{:T(512)} compare(%i, %most), direction=LT
}

%test (state: f32[8]) -> pred[] {
  %state = f32[8]{0} parameter(0)
  ROOT %go = pred[]{:T(512)} fusion(%state), kind=kLoop, calls=%below
}
"""
TABLES = """HloModule jit_advance

FileNames
1 "/somewhere/run.py"
2 "/somewhere/amarl_jax/learn/update.py"
3 "/venv/lib/flax/linen/linear.py"

FunctionNames
1 "advance"

FileLocations
1 {file_name_id=1 function_name_id=1 line=3 end_line=3 column=1 end_column=9}
2 {file_name_id=2 function_name_id=1 line=8 end_line=8 column=1 end_column=9}
3 {file_name_id=3 function_name_id=1 line=9 end_line=9 column=1 end_column=9}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=3}

"""


@pytest.fixture(scope="module")
def counted():
    counter = schedule.Counter(schedule.names(METADATA), hlo.read(PROGRAM), shares=[1, 3])
    counter.count(schedule.parse(SCHEDULE))
    return counter


def test_launches_are_counted_by_part_over_loops_and_branches(counted):
    """12 passes; a quarter take the first branch, whose loop has no known length and counts once, test included."""
    parts = {name: (part.nodes, part.graphs, part.bare) for name, part in counted.parts.items()}
    assert parts == {
        "play": (1, 1, 0),
        "other": (1, 0, 1),  # two copies
        "ppo": (0, 0, 12),
        "belief": (0, 0, 2 * 12 / 4),
        "mine": (12 * 3 / 4, 12 * 3 / 4, 0),
    }
    assert counted.unknown_loops == 1


def test_launches_are_counted_by_the_file_of_the_package_that_asks_for_them():
    """A line of a library counts for the one that called it; a copy, and what is called from outside, for none."""
    assert hlo.files(PROGRAM) == {}
    assert hlo.files(TABLES + PROGRAM) == {2: "learn/update.py", 3: "learn/update.py"}
    frames = {"play/add": 1, "ppo/add": 2, "mine/dot": 3}
    program = TABLES + PROGRAM
    for name, frame in frames.items():
        program = program.replace(f'{name}"', f'{name}" stack_frame_id={frame}')
    counter = schedule.Counter(schedule.names(METADATA), hlo.read(program), [1, 3], hlo.files(program))
    counter.count(schedule.parse(SCHEDULE))
    assert counter.by_file == {"": 1 + 2 + 2 * 12 / 4, "learn/update.py": 12 + 12 * 3 / 4}


def test_bytes_of_a_slice_are_those_of_the_slice(counted):
    assert counted.parts["ppo"].bytes == 12 * (2 * 8 * 4 + 4), "a row in and out, and an index"
    assert counted.parts["play"].bytes == (2 * 100 * 8 + 8) * 4


def test_a_program_without_a_schedule_is_walked(counted):
    computations = hlo.read(PROGRAM)
    walk = hlo.Walk().run(computations[hlo.entry(PROGRAM)], computations)
    assert walk.operations == 1 + 12 * (1 + (1 + 1) / 2)
    assert walk.unknown_loops == 1
    bounded = PROGRAM.replace("body=%halving", "condition=%test, body=%halving") + TEST
    walk = hlo.Walk().run(hlo.read(bounded)[hlo.entry(bounded)], hlo.read(bounded))
    assert (walk.operations, walk.unknown_loops) == (1 + 12 * (1 + (5 + 1) / 2), 0)
    told = 'metadata={op_name="jit(advance)/belief/mul"}'
    for cycles, known in ((7, 6.0), (2**63 - 1, 0.0)):
        with_cycles = PROGRAM.replace(told, f'{told}, backend_config={{"estimated_cycles":"{cycles}"}}')
        walk = hlo.Walk().run(hlo.read(with_cycles)[hlo.entry(with_cycles)], hlo.read(with_cycles))
        assert (walk.cycles, walk.without_cycles) == (7 * known, walk.operations - known), "12 passes of half a branch"
    assert hlo.collectives(computations) == 0
    assert hlo.collectives(hlo.read(PROGRAM.replace("multiply(%x", "all-reduce-start(%x"))) == 1


def test_the_paper_model_adds_what_it_is_given():
    part = {"nodes": 1e6, "graphs": 1e3, "bare": 1e3, "bytes": 2.7e12}
    row = {"parts": {"play": part, "belief": part}, "flops": 45e12, "devices": 2, "env_steps": 6.0}
    spent = model.seconds(row)
    assert spent == pytest.approx({"launches": 2 * (2.0 + 0.006 + 0.0035), "memory": 2.0, "products": 1.0})
    assert model.steps_per_second(row) == pytest.approx(6.0 / sum(spent.values()))
    assert model.seconds_of_lanes(row, 3) == pytest.approx(spent["launches"] + 9.0)


def test_what_is_counted_multiplies_in_the_precision_of_a_run():
    """A compiler counts other kernels for products in bfloat16 or TensorFloat-32."""
    program = programs.Program("attention in blocks", "configs/fast_debug.py", n_envs=8)
    said = re.findall(r"precision=(.*)", str(programs.trace(program, jax.devices()).jaxpr))
    assert said
    assert set(said) == {"(Precision.HIGHEST, Precision.HIGHEST)"}


def test_the_constants_of_the_model_come_back_from_what_it_says(tmp_path):
    row = {
        "parts": {"play": {"launches": 500.0, "bytes": 3.0e6}},
        "steps_in_an_environment": 5,
        "env_steps": 10 * 5,
    }
    launch, bandwidth = 2e-6, 2e12
    for n_envs in (128, 1024, 4096):
        seconds = 100 * launch + n_envs * 6e4 / bandwidth
        line = f"  speed              {n_envs / seconds:,.3f}  environment steps per second, compiled\n"
        (tmp_path / f"play_{n_envs}.txt").write_text("amarl_jax\n" + line)
    found = fit.fitted(list(fit.measured(tmp_path)), row)
    assert found["microseconds_of_a_launch"] == pytest.approx(2.0, rel=1e-4)
    assert found["bytes_per_second"] == pytest.approx(bandwidth, rel=1e-4)
    with pytest.raises(ValueError, match="at least two are needed"):
        fit.fitted([], row)


STUB = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in *random_play*) echo "  speed   1,000,000.0  environment steps per second, compiled";; esac
"""


def run_script(folder, seconds):
    """What run.sh has its interpreter do, a list of arguments each, and its account of the parts."""
    (folder / "python").write_text(STUB)
    (folder / "python").chmod(0o755)
    calls = folder / "calls.txt"
    own = {"PYTHON": str(folder / "python"), "SECONDS_LEFT": str(seconds), "CALLS": str(calls)}
    script = FOLDER / "run.sh"
    done = subprocess.run(
        ["bash", script, folder / "out"], env=os.environ | own, capture_output=True, text=True, check=True
    )
    assert (folder / "out" / "results.tar.gz").exists(), done.stderr
    return [shlex.split(line) for line in calls.read_text().splitlines()], (folder / "out" / "parts.txt").read_text()


def test_the_script_for_a_device_calls_what_there_is(tmp_path):
    """Every flag and setting is read by the command's own parser; what it measures is what is fitted."""
    calls, parts = run_script(tmp_path, 720)
    assert re.findall(r"^(\w+): exit code 0", parts, re.MULTILINE)[1:5] == [
        f"play_{n}" for n in (16384, 4096, 1024, 128)
    ]
    assert len(list(fit.measured(tmp_path / "out"))) == 4
    commands = {"train": train, "sweep": sweep, "random_play": random_play}
    for module, *arguments in (call[1:] for call in calls if call[0] == "-m"):
        values = flags.FlagValues()
        commands[module.partition(".")[2]].define_flags(values, ["command", *arguments])
        assert values(["command", *arguments]) == ["command"], "nothing is left that is no flag"
        assert configuration.resolve(values.config), "and the sizes go together"
    called = {call[0] for call in calls}
    assert called >= {f"experiments/benchmarks/{name}.py" for name in ("book", "train")}
    for call in calls:
        if call[0].startswith("experiments/benchmarks/"):
            text = (FOLDER.parents[1] / call[0]).read_text()
            assert all(f'"{flag}"' in text for flag in call if flag.startswith("--") and "=" not in flag)


def test_the_script_for_a_device_leaves_out_what_it_has_no_time_for(tmp_path):
    """Each part leaves the later ones their share of forty seconds, and needs fifteen."""
    calls, parts = run_script(tmp_path, 40)
    assert "play_128: left out, no time" in parts
    assert not [call for call in calls if "amarl_jax.random_play" in call]
    assert "sweep: exit code 0" in parts
