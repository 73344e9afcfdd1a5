"""Kill savers inside a save, again and again: ``python -m tests.host.killed_saves FOLDER N_KILLS`` prints JSON of it.

Each saver is a process that restores the latest checkpoint, compares it with what was saved, and saves the next one; it
gets SIGKILL some milliseconds after the temporary directory of that save has appeared. This process imports all it
needs and starts no JAX backend, so a saver costs a fork and no import.
"""

import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.host.checkpoint import Checkpointer

LONGEST_DELAY = 0.06  # seconds from the temporary directory to the kill; a save takes about half of that
BEST = 2  # step of the lowest cost
OLD_LEFTOVER = "999999.orbax-checkpoint-tmp"


def state_of(step: int) -> dict:
    """A state that differs from step to step in every leaf, and does not compress."""
    draw = np.random.default_rng(step)
    weights = {f"layer_{i}": jnp.asarray(draw.standard_normal((128, 65), np.float32)) for i in range(12)}
    return {"weights": weights, "key": jax.random.key(step), "moments": (jnp.int32(step), jnp.arange(9) * step)}


def check(checkpoints: Checkpointer, step: int) -> None:
    """The checkpoint is what was saved."""
    plain = [
        {**state, "key": jax.random.key_data(state["key"])}
        for state in (checkpoints.restore(jax.eval_shape(lambda: state_of(0)), step), state_of(step))
    ]
    jax.tree.map(np.testing.assert_array_equal, *plain)


def save_next(folder: Path) -> None:
    """What a saver does."""
    with Checkpointer(folder, best="cost") as checkpoints:
        latest = checkpoints.latest_step()
        if latest is not None:
            check(checkpoints, latest)
        step = (latest or 0) + 1
        checkpoints.save(step, state_of(step), {"cost": abs(step - BEST)})


def check_latest_and_best(folder: Path) -> None:
    """Both are there, after all that."""
    with Checkpointer(folder, best="cost") as checkpoints:
        assert checkpoints.best_step() == BEST, checkpoints.all_steps()
        check(checkpoints, BEST)
        check(checkpoints, checkpoints.latest_step())


def save_to_a_full_disk(folder: Path) -> None:
    """Files may not grow beyond a few kilobytes: the real error, from where Orbax writes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Checkpointer(folder, best="cost") as checkpoints:
        latest = checkpoints.latest_step()
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match="File too large"):
            checkpoints.save(latest + 1, state_of(latest + 1), {"cost": 0.0})
        assert not list(folder.glob("*orbax-checkpoint-tmp")), "what was written is given back"
        check(checkpoints, latest)


def forked(work: Callable[[Path], None], folder: Path) -> int:
    """Process id of a child that does ``work`` and exits 0, or 1 with a traceback."""
    child = os.fork()
    if child:
        return child
    try:
        work(folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def finish(work: Callable[[Path], None], folder: Path) -> None:
    """Run ``work`` in a child to its end."""
    _, status = os.waitpid(forked(work, folder), 0)
    if status:
        sys.exit(f"{work.__name__} failed")


def committed(folder: Path) -> list[int]:
    """Steps of whole checkpoints, from names alone."""
    return sorted(int(name) for name in os.listdir(folder) if name.isdigit())


def kill_inside_a_save(folder: Path, delay: float) -> bool:
    """Whether the saver was killed before its checkpoint was whole."""
    before = committed(folder)
    unfinished = folder / f"{before[-1] + 1}.orbax-checkpoint-tmp"
    child = forked(save_next, folder)
    deadline = time.monotonic() + 60
    while not unfinished.exists() and committed(folder) == before:
        if time.monotonic() > deadline:
            sys.exit("no save began within a minute")
        time.sleep(0.0002)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status:
        sys.exit("a saver failed")
    if committed(folder)[-1] != before[-1]:
        return False
    unfinished.rename(folder / OLD_LEFTOVER)  # else the next wait would see it and take it for its own
    return True


def main(folder: Path, n_kills: int) -> None:
    for _ in range(3):
        finish(save_next, folder)
    draw, inside, after = random.Random(0), 0, 0
    while inside < n_kills:
        if kill_inside_a_save(folder, draw.uniform(0.0, LONGEST_DELAY)):
            inside += 1
        else:
            after += 1
    finish(save_to_a_full_disk, folder)
    finish(save_next, folder)
    finish(check_latest_and_best, folder)
    print(json.dumps({"inside": inside, "after": after, "files": sorted(os.listdir(folder))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
