"""What the programs are on an H100 and on a TPU v5e, found out without either: compiled ahead of time on a CPU.

    python experiments/accelerators/compile.py --venvs=$HOME/accelerators

installs a virtual environment for each target (the plugin of jax and its compiler; no driver is needed), compiles play,
update and a sweep over four devices, one after the other, and writes after each what there is to
``experiments/accelerators/compiled.json``: launches by part of the program, inside and outside of CUDA graphs, bytes
moved, memory, collectives, seconds of compiling. ``report.py`` makes the table, with the paper model beside it. The
default update takes a TPU's compiler a quarter of an hour and 6 GB; the belief's attention alone, in two ways, is for
the GPU only.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import targets  # noqa: E402
from programs import ATTENTION, PROGRAMS  # noqa: E402

from amarl_jax.host.provenance import provenance  # noqa: E402

CONSTRAINTS = ROOT / f"constraints-{sys.version_info.major}.{sys.version_info.minor}.txt"


def installed(name, venvs):
    """The Python of a target's virtual environment, made where there is none."""
    folder = venvs / name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        version = re.search(r"^jax==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE)[1]
        wheels = [wheel.format(jax=version) for wheel in targets.TARGETS[name].wheels]
        print(f"{name}: installing {', '.join(wheels)} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "-e", ROOT, *wheels], check=True)
        done.touch()
    return python


def compile_one(python, name, title):
    """The row of one program, or what kept it from compiling."""
    with tempfile.TemporaryDirectory() as dump:
        environment = targets.environment(name, dump) | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
        line = [python, HERE / "compile_one.py", name, title, dump]
        done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()]
        return {"failed": last[-1][:2000] if last else f"exit code {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=list(targets.TARGETS), choices=targets.TARGETS)
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS), choices=PROGRAMS)
    parser.add_argument("--venvs", type=Path, required=True, help="folder of the virtual environments, some GB")
    parser.add_argument("--output", type=Path, default=HERE / "compiled.json")
    options = parser.parse_args()
    config = {name: value for name, value in vars(options).items() if name not in ("output", "venvs")}
    rows = json.loads(options.output.read_text())["rows"] if options.output.exists() else {}
    for name in options.targets:
        python = installed(name, options.venvs.expanduser().resolve())
        for title in options.programs:
            if name == "v5e" and title in ATTENTION:
                continue
            made = provenance(config, None)  # before the minutes in which the checkout may move
            row = compile_one(python, name, title)
            made["command"] = re.sub(
                r"--(venvs|output)[= ]\S+", r"--\1=PLACE", made["command"]
            )  # of this machine alone
            rows[f"{name} {title}"] = row | {"provenance": made}
            options.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
            print(f"{name} {title}: {row.get('failed') or said(row)}", flush=True)


def said(row):
    """A row in a few words."""
    steps = row["steps_in_an_environment"]
    if "parts" not in row:
        return f"{row['operations']['operations'] / steps:,.0f} operations a step, {row['seconds']['cpu']:.0f} CPU s"
    launches = sum(part["launches"] for part in row["parts"].values())
    return f"{launches / steps:,.0f} launches a step, {row['seconds']['cpu']:.0f} CPU s"


if __name__ == "__main__":
    main()
