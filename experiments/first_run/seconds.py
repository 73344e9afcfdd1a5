"""Seconds of the README's first command, from its start to what a reader waits for; with an empty cache, then again.

    python experiments/first_run/seconds.py

runs it twice on a machine that should have nothing else to do, each time into a fresh folder, and writes seconds.json
beside itself: the first line, the first update, the closing table (after which the figures are drawn) and the end. The
second run finds the compiled programs of the first. Goals on two quiet cores: 25 s to the first update and 95 s to the
table, 45 s for all of a second run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from amarl_jax.host.provenance import provenance

HERE = Path(__file__).resolve().parent
COMMAND = ["-m", "amarl_jax.train", "--config=configs/fast_debug.py"]
MARKS = {"first update": "update ", "closing table": "implementation shortfall"}  # how its line begins


def seconds(workdir: Path, cache: Path) -> dict[str, float]:
    """Seconds from the start of a run to each mark, and to its end."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    line = [sys.executable, *COMMAND, f"--workdir={workdir}"]
    began, found = time.perf_counter(), {}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE.parents[1]) as process:
        for said in process.stdout or ():
            now = round(time.perf_counter() - began, 1)
            print(f"{now:6.1f} s  {said}", end="", flush=True)
            found.setdefault("first line", now)
            for mark, start in MARKS.items():
                if said.startswith(start):
                    found.setdefault(mark, now)
    if process.returncode:
        raise SystemExit(process.returncode)
    figures = all((workdir / name).is_file() for name in ("training.png", "episode.png", "evaluation.json"))
    return found | {"end, with the figures" if figures else "end": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "seconds.json")
    given = parser.parse_args()
    about = provenance({"command": " ".join(["python", *COMMAND])}, 0)  # the machine's load before, not of these runs
    with tempfile.TemporaryDirectory() as folder:
        runs = [seconds(Path(folder) / name, Path(folder) / "cache") for name in ("first", "second")]
    document = {"provenance": about, "seconds": dict(zip(("empty cache", "again"), runs, strict=True))}
    given.output.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document["seconds"], indent=2))


if __name__ == "__main__":
    main()
