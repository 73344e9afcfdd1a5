"""The constants of the paper model, from what run.sh measured of random play.

    python experiments/accelerators/fit.py FOLDER

A step of E environments takes ``launches * a + E * bytes * b`` seconds: a line in E. Its value at 0 over the launches
of a step is what a launch takes, graphs shared out; the bytes that a step of an environment moves over its slope is the
bandwidth that these kernels get. Launches and bytes are those of compiled.json.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

COUNTED = Path(__file__).resolve().with_name("compiled.json")


def measured(folder):
    """(environments, seconds of a step of all of them) of each file of random play."""
    for path in sorted(folder.glob("play_*.txt")):
        speed = re.search(r"^\s*speed\s+([\d,.e+]+)", path.read_text(), re.MULTILINE)
        if speed:
            n_envs = int(path.stem.removeprefix("play_"))
            yield n_envs, n_envs / float(speed[1].replace(",", ""))


def fitted(points, row):
    """Constants of the line through (environments, seconds), by least squares of relative errors.

    Raises ValueError where there are fewer than two points.
    """
    if len(points) < 2:
        raise ValueError(f"{len(points)} measurements of random play: at least two are needed")
    n_envs, seconds = np.array(points, float).T
    rows = np.stack([np.ones_like(n_envs), n_envs], axis=1) / seconds[:, None]
    at_zero, slope = np.linalg.lstsq(rows, np.ones_like(seconds), rcond=None)[0]
    parts, steps = row["parts"].values(), row["steps_in_an_environment"]
    launches = sum(part["launches"] for part in parts) / steps
    moved = sum(part["bytes"] for part in parts) / row["env_steps"]
    return {
        "seconds_of_a_step_without_environments": at_zero,
        "seconds_of_an_environment_step": slope,
        "microseconds_of_a_launch": 1e6 * at_zero / launches,
        "bytes_per_second": moved / slope,
        "largest_relative_error": float(np.max(np.abs((at_zero + slope * n_envs) / seconds - 1))),
    }


def main():
    folder = Path(sys.argv[1])
    row = json.loads(COUNTED.read_text())["rows"].get("h100 play_default")
    if row is None:
        sys.exit(f"{COUNTED}: counts no play of the default market; run experiments/accelerators/compile.py first")
    print(json.dumps(fitted(list(measured(folder)), row), indent=1))


if __name__ == "__main__":
    main()
