"""Description of a run without running it: the text of ``--dry_run``."""

import time
from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np

from amarl_jax.host import machine
from amarl_jax.host.runlog import closing_table, duration
from amarl_jax.host.stages import of_sizes, say_if_short, say_recorded, stage
from amarl_jax.host.workdir import Run
from amarl_jax.learn.cost import BATCHES, PARTS, Cost, abstract_state, measure, measure_more
from amarl_jax.learn.finite import networks
from amarl_jax.learn.split_update import part_of
from amarl_jax.learn.state import TrainState
from amarl_jax.trees import count_parameters
from amarl_jax.types import PyTree


def network_rows(state: TrainState) -> list[tuple[str, str, str]]:
    """Name, parameters and matrices of each network, equal networks once."""
    return [
        (name, f"{count_parameters(network.params):,}", _matrices(network.params))
        for name, network in networks(state).items()
    ]


def _matrices(params: PyTree) -> str:
    shapes = Counter(leaf.shape for leaf in jax.tree.leaves(params) if len(leaf.shape) > 1)
    return ", ".join("x".join(map(str, shape)) + (f" ({n})" if n > 1 else "") for shape, n in shapes.items())


def tree_bytes(tree: PyTree) -> int:
    """Bytes of a pytree of arrays or their shapes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def describe(run: Run, devices: Sequence[jax.Device], together: bool = False) -> None:
    """Print the description of a run on those devices, without running it.

    Devices that train it ``together`` have a part of the environments and of the replay each: one part is measured.
    """
    experiment = run.experiment
    setup, chunk = experiment.setup, min(experiment.run.log_interval, experiment.n_updates)
    learn, horizon = setup.game.learn, setup.game.market_spec.horizon
    print(
        f"workdir {run.path}: {experiment.n_updates} updates of {setup.game.steps_per_update():,} environment steps "
        f"({learn.n_envs} environments x {horizon} steps), nothing written"
    )
    say_if_short(experiment)
    say_recorded(experiment)
    in_parts = together and len(devices) > 1
    if in_parts:
        setup = part_of(setup, len(devices))
        n_envs = setup.game.learn.n_envs
        print(f"{len(devices)} devices train it together; what follows is the part of one, {n_envs} environments")
    state = abstract_state(setup)
    total = sum(count_parameters(network.params) for network in networks(state).values())
    closing_table("\nnetworks: parameters, and matrices with how many there are of each", network_rows(state))
    print(f"{total:,} parameters; with the optimiser's moments and the replay {_mib(tree_bytes(state))} per lane")
    started = time.perf_counter()
    with stage("compiling the update", remember=of_sizes(experiment)):
        cost = measure(setup, chunk)
    finds = experiment.run.compilation_cache_dir != "off" and not in_parts
    kept = "; the run will find it in the compilation cache" if finds else ""
    print(f"\ncompiled in {duration(time.perf_counter() - started)}{kept}")
    closing_table("\nmatrix products of an update", flops_rows(cost))
    available = machine.free_bytes(devices)
    n_memories = 1 if together or devices[0].platform == "cpu" else len(devices)  # processors share one
    closing_table("\nmemory, by XLA's own account", memory_rows(cost, available, n_memories))
    with stage("compiling it for other sizes", remember=of_sizes(experiment)):
        cost = measure_more(cost, setup)
    title = f"\na lane of other sizes, by those of {cost.n_envs:,} and of {cost.more_envs:,} environments"
    title += "" if cost.n_envs <= min(BATCHES) else "; a smaller one may take more than is said"
    closing_table(f"{title}; {len(devices)} x {devices[0].device_kind}", batch_rows(cost, available, n_memories))


def flops_rows(cost: Cost) -> list[tuple[str, str, str]]:
    """Floating-point operations by part, and in total."""
    unit = "MFLOP per environment step"
    rows = [(PARTS[name], f"{flops / 1e6:.3f}", unit) for name, flops in cost.flops.items()]
    return [*rows, ("all", f"{sum(cost.flops.values()) / 1e6:.3f}", unit)]


def memory_rows(cost: Cost, available: int, n_memories: int = 1) -> list[tuple[str, str, str]]:
    """Memory per lane and environment, and the number of lanes that fit in ``n_memories``."""
    usable = machine.USABLE * available
    where = f"in {machine.USABLE:.0%} of the {available / 2**30:.1f} GiB that are free"
    where += f" on each of {n_memories} devices" if n_memories > 1 else ""
    return [
        ("learner", _mib(cost.state_bytes), "per lane"),
        ("scratch", _mib(cost.scratch_bytes / cost.n_envs), "per environment"),
        ("", _mib(cost.scratch_bytes), f"per lane of {cost.n_envs} environments"),
        ("lanes that fit", f"{n_memories * cost.lanes_that_fit(usable):,}", f"{where}, of {cost.n_envs} environments"),
    ]


def batch_rows(cost: Cost, available: int, n_memories: int) -> list[tuple[str, str, str]]:
    """Memory of a lane for each of ``BATCHES``, and how many fit in ``n_memories``; the largest lane that fits."""
    usable = machine.USABLE * available
    rows = []
    for n_envs in BATCHES:
        lane = cost.state_bytes + max(cost.scratch_of(n_envs), 0.0)
        fit = n_memories * int(usable // lane)
        said = f"{fit:,} {'lane fits' if fit == 1 else 'lanes fit'}" if fit else "does not fit"
        rows.append((f"{n_envs:,} environments", _mib(lane), said))
    return [*rows, ("environments that fit", f"{cost.envs_that_fit(usable):,}", "in one lane")]


def _mib(n_bytes: float) -> str:
    return f"{n_bytes / 2**20:,.2f} MiB"
