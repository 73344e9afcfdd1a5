"""Cost of an update, before anything is trained: arithmetic, memory, and what fits."""

import dataclasses
import math
from collections import defaultdict
from typing import Any

import jax

from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.learn.update import advance, begin

BATCHES = tuple(2**k for k in range(7, 15))  # 128 to 16,384 environments, of which a dry run says whether they fit
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
        """Scratch of a lane of ``n_envs`` environments, bytes: linear through two compiled sizes, else proportional.

        XLA's scratch is the peak over the update. The need at each point of it is linear in E, so the peak is convex
        and between two compiled sizes the line is an upper bound.
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
    """Add the scratch of a larger number of environments, the largest of ``BATCHES`` or twice as many."""
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
    """Shapes of a learner, placed on the default device as in a run."""
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
        scope: the part that the program belongs to.
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
    """The part that an equation belongs to: the outer one, except that parts inside "play" count on their own."""
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
