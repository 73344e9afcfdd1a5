"""What the work for accelerators costs on a CPU: compiling and running an update, before it and after, in turns.

    python experiments/accelerators/cpu.py --before=5ab1c1e185 --repeats=3

checks the two commits out into folders of their own, and in processes that take turns compiles the debug update of each
and runs it; cpu.json beside this file has CPU-seconds of tracing and lowering, of compiling, and of an update, of every
process. CPU-seconds, since other programs may share the machine. The goal is no more than 5% of either.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from amarl_jax.host.provenance import provenance

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ONE = """
import json, sys, time
import jax
from amarl_jax import config
from amarl_jax.learn.update import advance, begin

def spent(work):
    clock = time.process_time()
    made = work()
    return made, time.process_time() - clock

setup = config.resolve(config.load("configs/fast_debug.py")).setup
state = jax.block_until_ready(begin(jax.random.key(0), setup))
lowered, tracing = spent(lambda: advance.lower(state, setup, 1))
program, compiling = spent(lowered.compile)
updates = []
for _ in range(int(sys.argv[1])):
    (state, _), seconds = spent(lambda: jax.block_until_ready(program(state, setup)))
    updates.append(seconds)
print(json.dumps({"trace and lower": tracing, "compile": compiling, "updates": updates}))
"""


def measured(tree: Path, n_updates: int) -> dict:
    """CPU-seconds of one process with the package of a folder."""
    environment = os.environ | {"PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu"}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    line = [sys.executable, "-c", ONE, str(n_updates)]
    done = subprocess.run(line, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="5ab1c1e185", help="the commit before")
    parser.add_argument("--after", default="HEAD", help="the commit after")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each")
    parser.add_argument("--updates", type=int, default=8, help="updates of each process; the first is left out")
    parser.add_argument("--output", type=Path, default=HERE / "cpu.json")
    given = parser.parse_args()
    sides, about = {"before": given.before, "after": given.after}, {"updates": given.updates, "repeats": given.repeats}
    origin = provenance(about, None)  # before the minutes in which the checkout may move
    with tempfile.TemporaryDirectory() as folder:
        trees = {name: Path(folder) / name for name in sides}
        for name, commit in sides.items():
            subprocess.run(["git", "clone", "-q", "--no-checkout", str(ROOT), str(trees[name])], check=True)
            commit = subprocess.check_output(["git", "rev-parse", commit], cwd=ROOT, text=True).strip()
            subprocess.run(["git", "checkout", "-q", commit], cwd=trees[name], check=True)
            about[name] = commit
        runs: dict = {name: [] for name in sides}
        for repeat in range(given.repeats):
            for name in sorted(sides, reverse=repeat % 2 == 1):
                runs[name].append(measured(trees[name], given.updates))
                print(name, {kind: runs[name][-1][kind] for kind in ("trace and lower", "compile")}, flush=True)
    middle = {
        name: {
            "trace and lower": statistics.median(run["trace and lower"] for run in runs[name]),
            "compile": statistics.median(run["compile"] for run in runs[name]),
            "an update": statistics.median(statistics.median(run["updates"][1:]) for run in runs[name]),
        }
        for name in runs
    }
    document = {"provenance": origin | {"config": about}, "CPU-seconds, middle": middle, "runs": runs}
    given.output.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(middle, indent=1))


if __name__ == "__main__":
    main()
