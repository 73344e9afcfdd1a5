"""What an update needs, before anything is trained: shapes, parameters, arithmetic, memory, and what fits."""

import dataclasses
import math
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from amarl_jax.host.runlog import closing_table, duration
from amarl_jax.host.stages import say_if_short
from amarl_jax.host.workdir import Run
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import advance, begin, networks
from amarl_jax.trees import count_parameters
from amarl_jax.types import PyTree

BATCHES = tuple(2**k for k in range(7, 15))  # 128 to 16,384 environments, of which a dry run says whether they fit
USABLE = 0.9  # share of the free memory that a run may plan with
PARTS = {  # named scope to what it is
    "play": "environment and policies",
    "decode": "belief, one token per step",
    "exact": "reading the information exactly",
    "score": "leakage and predictability",
    "advantages": "values",
    "mine": "training MINE",
    "predictor": "training the predictor",
    "belief": "training the belief",
    "critic": "training the critic",
    "ppo": "PPO, the actors",
    "other": "all else",
}


@dataclasses.dataclass(frozen=True)
class Cost:
    """One update of one lane, compiled and not run."""

    flops: dict[str, float]  # of matrix products by part of the update, per environment step
    state_bytes: int  # what a lane carries from update to update
    scratch_bytes: int  # what the update needs besides, for all environments of a lane
    n_envs: int  # E
    more_envs: int = 0  # a larger E of which the scratch is known too; 0: none
    more_scratch_bytes: int = 0  # of that many environments

    def scratch_of(self, n_envs: int) -> float:
        """Scratch of a lane of so many environments, bytes: on the line through what is known, else in proportion.

        XLA's scratch is the most that any moment of the update needs. Each moment is linear in E, so between two sizes
        that were compiled the line is an upper bound.
        """
        if not self.more_envs:
            return self.scratch_bytes / self.n_envs * n_envs
        slope = (self.more_scratch_bytes - self.scratch_bytes) / (self.more_envs - self.n_envs)
        return self.scratch_bytes + slope * (n_envs - self.n_envs)

    @property
    def lane_bytes(self) -> int:
        """Memory of one lane while it trains."""
        return self.state_bytes + self.scratch_bytes

    def lanes_that_fit(self, available: float) -> int:
        """Lanes of ``n_envs`` environments in that many bytes."""
        return int(available // self.lane_bytes)

    def envs_that_fit(self, available: float) -> int:
        """Environments of a single lane in that many bytes, by :meth:`scratch_of`."""
        left = available - self.state_bytes - self.scratch_of(0)
        return max(0, int(left / (self.scratch_of(1) - self.scratch_of(0))))


def measure(setup: Setup, n_updates: int = 1) -> Cost:
    """Compile a chunk of updates for the default device, as a run does, and read off what it costs.

    Memory is XLA's ``memory_analysis()``. Its ``cost_analysis()`` counts the body of a loop once, whatever the loop's
    length, and everything here is a loop; so the matrix products are counted in the traced program.
    """
    traced, game = _traced(setup, n_updates), setup.game
    steps = n_updates * game.steps_per_update()
    flops = count_flops(traced.jaxpr.jaxpr, [game.episodes_per_phase(agents) for agents in game.phases()])
    memory = traced.lower().compile().memory_analysis()
    carried = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Cost(
        flops={name: flops[name] / steps for name in PARTS if flops.get(name)},
        state_bytes=int(carried),
        scratch_bytes=int(memory.temp_size_in_bytes),
        n_envs=game.learn.n_envs,
    )


def measure_more(cost: Cost, setup: Setup) -> Cost:
    """The same with the scratch of a larger number of environments, the largest of ``BATCHES`` or twice as many."""
    more = cost.n_envs * max(2, BATCHES[-1] // cost.n_envs)
    larger = dataclasses.replace(setup.game, learn=dataclasses.replace(setup.game.learn, n_envs=more))
    memory = _traced(setup.replace(game=larger), 1).lower().compile().memory_analysis()
    return dataclasses.replace(cost, more_envs=more, more_scratch_bytes=int(memory.temp_size_in_bytes))


def _traced(setup: Setup, n_updates: int) -> Any:
    """A chunk of updates for the default device, from shapes."""
    return advance.trace(placed_state(setup), setup, n_updates=n_updates)


def abstract_state(setup: Setup) -> TrainState:
    """Shapes of a learner."""
    return jax.eval_shape(lambda key: begin(key, setup), jax.random.key(0))


def placed_state(setup: Setup) -> TrainState:
    """The same, on the default device, where a run has it."""
    (device,) = jax.numpy.zeros(()).devices()
    place = jax.sharding.SingleDeviceSharding(device)
    shapes = abstract_state(setup)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)


def count_flops(jaxpr: Any, visits: list[int], scope: str = "other", times: float = 1.0) -> dict[str, float]:
    """Floating-point operations of the matrix products of a program, by the named scope of ``PARTS`` they are in.

    Args:
        jaxpr: the program; the bodies of its loops count as often as they run.
        visits: how often each branch of a switch with that many branches is taken, in proportion; branches of other
            switches count alike.
        scope: where the program stands.
        times: how often it runs.
    """
    total: dict[str, float] = defaultdict(float)
    for equation in jaxpr.eqns:
        here = _scope(equation, scope)
        if equation.primitive.name == "dot_general":
            total[here] += times * _product_flops(equation)
        repeats = times * equation.params.get("length", 1) if equation.primitive.name == "scan" else times
        inner = _subprograms(equation)
        weights = visits if len(visits) == len(inner) else [1] * len(inner)
        is_switch = equation.primitive.name == "cond"
        for program, weight in zip(inner, weights, strict=True):
            share = weight / sum(weights) if is_switch else 1.0
            for name, flops in count_flops(program, visits, here, repeats * share).items():
                total[name] += flops
    return dict(total)


def _scope(equation: Any, outer: str) -> str:
    """The innermost part that an equation belongs to; a part within a part only divides playing."""
    names = str(equation.source_info.name_stack).replace("(", "/").replace(")", "/").split("/")
    found = [name for name in names if name in PARTS]
    return found[-1] if found and outer in ("other", "play") else outer


def _product_flops(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(left[axis] for axis in contracted) * math.prod(equation.outvars[0].aval.shape)


def _subprograms(equation: Any) -> list[Any]:
    """The programs inside an equation: bodies of loops and branches, called functions."""
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            program = getattr(item, "jaxpr", item)
            if hasattr(program, "eqns"):
                found.append(program)
    return found


def free_bytes(devices: Sequence[jax.Device] | None = None) -> int:
    """Least free memory of the devices (default: the one that JAX computes on) that are this process's.

    For a CPU it is what the machine could give without swapping.
    """
    devices = devices or tuple(jax.numpy.zeros(()).devices())
    return min(_free_bytes(device) for device in devices if device.process_index == jax.process_index())


def _free_bytes(device: jax.Device) -> int:
    held = device.memory_stats() or {}
    if "bytes_limit" in held:
        return int(held["bytes_limit"] - held["bytes_in_use"])
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else ():
        if line.startswith("MemAvailable"):
            return 1024 * int(line.split()[1])
    return 0


def network_rows(state: TrainState) -> list[tuple[str, str, str]]:
    """Name, parameters and the matrices of each network, equal ones once."""
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


def describe(run: Run, devices: Sequence[jax.Device]) -> None:
    """Print what a run on those devices would be, without running it: the text of ``--dry_run``."""
    experiment = run.experiment
    setup, chunk = experiment.setup, min(experiment.run.log_interval, experiment.n_updates)
    learn, horizon = setup.game.learn, setup.game.market_spec.horizon
    print(
        f"workdir {run.path}: {experiment.n_updates} updates of {setup.game.steps_per_update():,} environment steps "
        f"({learn.n_envs} environments x {horizon} steps), nothing written"
    )
    say_if_short(experiment)
    state = abstract_state(setup)
    total = sum(count_parameters(network.params) for network in networks(state).values())
    closing_table("\nnetworks: parameters, and matrices with how many there are of each", network_rows(state))
    print(f"{total:,} parameters; with the optimiser's moments and the replay {_mib(tree_bytes(state))} per lane")
    started = time.perf_counter()
    cost = measure(setup, chunk)
    kept = "; the run will find it in the compilation cache" if experiment.run.compilation_cache_dir != "off" else ""
    print(f"\ncompiled in {duration(time.perf_counter() - started)}{kept}")
    closing_table("\nmatrix products of an update", flops_rows(cost))
    available = free_bytes(devices)
    closing_table("\nmemory, by XLA's own account", memory_rows(cost, available))
    cost = measure_more(cost, setup)
    title = f"\na lane of other sizes, by those of {cost.n_envs:,} and of {cost.more_envs:,} environments"
    n_memories = 1 if devices[0].platform == "cpu" else len(devices)  # processors share one
    closing_table(f"{title}; {len(devices)} x {devices[0].device_kind}", batch_rows(cost, available, n_memories))


def flops_rows(cost: Cost) -> list[tuple[str, str, str]]:
    """Arithmetic by part, and in all."""
    unit = "MFLOP per environment step"
    rows = [(PARTS[name], f"{flops / 1e6:.3f}", unit) for name, flops in cost.flops.items()]
    return [*rows, ("all", f"{sum(cost.flops.values()) / 1e6:.3f}", unit)]


def memory_rows(cost: Cost, available: int) -> list[tuple[str, str, str]]:
    """Bytes by environment and lane, and how many of each fit."""
    usable = USABLE * available
    where = f"in {USABLE:.0%} of the {available / 2**30:.1f} GiB that are free"
    return [
        ("learner", _mib(cost.state_bytes), "per lane"),
        ("scratch", _mib(cost.scratch_bytes / cost.n_envs), "per environment"),
        ("", _mib(cost.scratch_bytes), f"per lane of {cost.n_envs} environments"),
        ("lanes that fit", f"{cost.lanes_that_fit(usable):,}", f"{where}, of {cost.n_envs} environments"),
    ]


def batch_rows(cost: Cost, available: int, n_memories: int) -> list[tuple[str, str, str]]:
    """What a lane of each of ``BATCHES`` takes, and how many fit in so many equal memories; the largest lane of one."""
    usable = USABLE * available
    rows = []
    for n_envs in BATCHES:
        lane = cost.state_bytes + max(cost.scratch_of(n_envs), 0.0)
        fit = n_memories * int(usable // lane)
        said = f"{fit:,} {'lane fits' if fit == 1 else 'lanes fit'}" if fit else "does not fit"
        rows.append((f"{n_envs:,} environments", _mib(lane), said))
    return [*rows, ("environments that fit", f"{cost.envs_that_fit(usable):,}", "in one lane")]


def _mib(n_bytes: float) -> str:
    return f"{n_bytes / 2**20:,.2f} MiB"
