"""How fast a whole update trains, against environments and lanes, what of it takes the time, and the machine's floor.

Full training steps per wall and per CPU-second of the program that ``train`` runs, one lane and several by ``vmap``;
the parts of an update, each compiled and timed alone on the same learner; its matrix products as counted in the traced
program, beside what a large product reaches on this machine; compilation, cold and from the persistent cache.
An update here plays one episode per phase: what it does per step does not depend on how many.

    python experiments/benchmarks/train.py --config=configs/default.py --n_envs 16 64 256 1024 --lanes 1 2 4 8 16
"""

import argparse
import dataclasses
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from amarl_jax import config as configuration
from amarl_jax.host import machine
from amarl_jax.host.provenance import provenance
from amarl_jax.learn import cost, phases, ppo
from amarl_jax.learn import tape_readers as sources
from amarl_jax.learn.experience import market_experience
from amarl_jax.learn.finite import networks
from amarl_jax.learn.game import Game
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts
from amarl_jax.learn.scoring import score
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState, init_state
from amarl_jax.learn.update import update
from amarl_jax.market.params import EnvParams
from amarl_jax.nets.belief import init_memory
from amarl_jax.policies.uniform import Uniform
from amarl_jax.trees import count_parameters
from amarl_jax.types import Agent, Array, Tape

LARGEST_LAMBDA = 3.0  # lanes spread lambda evenly over [0, this]


@dataclasses.dataclass
class Program:
    """One compiled program, its arguments, what compiling took and what running it took, run by run."""

    compiled: Any
    arguments: tuple
    cold_cpu_seconds: float
    warm_cpu_seconds: float
    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)

    def run(self) -> Any:
        """Run once, timed."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        result = jax.block_until_ready(self.compiled(*self.arguments))
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(cpu_seconds() - cpu)
        return result

    def report(self, steps: int) -> dict[str, Any]:
        """What was measured; ``steps`` environment steps per run."""
        wall, cpu = statistics.median(self.wall), statistics.median(self.cpu)
        return {
            "compile_cpu_seconds": {"cold": round(self.cold_cpu_seconds, 2), "warm": round(self.warm_cpu_seconds, 2)},
            "wall_seconds": {"median": wall, "min": min(self.wall), "max": max(self.wall), "runs": len(self.wall)},
            "cpu_seconds_median": cpu,
            "env_steps": steps,
            "env_steps_per_wall_second": steps / wall,
            "env_steps_per_cpu_second": steps / cpu,
        }


def cpu_seconds() -> float:
    """CPU time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def compile_twice(function: Callable, *arguments: Any) -> Program:
    """Trace and compile with an empty persistent cache, then once more with what that left in it."""
    seconds = []
    for _ in range(2):
        jax.clear_caches()
        started = cpu_seconds()
        compiled = jax.jit(lambda *a: function(*a)).lower(*arguments).compile()
        seconds.append(cpu_seconds() - started)
    return Program(compiled, arguments, *seconds)


def game_for(experiment: configuration.Experiment, n_envs: int) -> Game:
    """The experiment's game with that many environments and one episode per phase."""
    learn = dataclasses.replace(
        experiment.learn_spec,
        n_envs=n_envs,
        n_minibatches=min(experiment.learn_spec.n_minibatches, n_envs),
        belief_microbatch=min(experiment.learn_spec.belief_microbatch, n_envs),
        replay_capacity=max(experiment.learn_spec.replay_capacity, n_envs),
        execution_phase_steps=1,
        maker_arbitrageur_phase_steps=1,
    )
    return dataclasses.replace(experiment.game, learn=learn)


def fresh_learner(setup: Setup) -> TrainState:
    """A learner that has seen nothing."""
    return jax.jit(init_state)(jax.random.key(0), setup)


def lanes_of(state: TrainState, setup: Setup, n: int) -> tuple[TrainState, Setup]:
    """``n`` copies of a learner, key included, that differ in lambda alone."""
    stack = lambda tree: jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)) + 0, tree)  # noqa: E731
    data = jax.random.key_data(state.key)
    states = stack(state.replace(key=data))
    states = states.replace(key=jax.random.wrap_key_data(states.key))
    swept = dataclasses.replace(stack(setup.weights), leakage_weight=jnp.linspace(0.0, LARGEST_LAMBDA, n))
    return states, setup.replace(weights=swept)


def whole_update(setup: Setup, n_lanes: int) -> Program:
    """The update, of one learner or of several lanes."""
    state = fresh_learner(setup)
    if n_lanes == 1:
        return compile_twice(update, state, setup)
    axes = Setup(hypers=None, weights=0, params=None, game=setup.game)  # type: ignore[arg-type]
    return compile_twice(jax.vmap(update, in_axes=(0, axes)), *lanes_of(state, setup, n_lanes))


def measure_update(
    experiment: configuration.Experiment, n_envs: int, n_lanes: int, repeats: int, limit: float
) -> dict[str, Any]:
    """One row: speed, compilation and memory; not run where it would need more than ``limit`` bytes."""
    setup = experiment.setup.replace(game=game_for(experiment, n_envs))
    program = whole_update(setup, n_lanes)
    memory = program.compiled.memory_analysis()
    needed = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    row = {
        "n_envs": n_envs,
        "lanes": n_lanes,
        "bytes": {
            "state": int(memory.argument_size_in_bytes),
            "scratch": int(memory.temp_size_in_bytes),
            "scratch_per_environment": int(memory.temp_size_in_bytes / (n_envs * n_lanes)),
        },
    }
    if needed > limit:
        return row | {"skipped": f"needs {needed / 2**30:.1f} GiB"}
    program.run()  # pages are touched for the first time, threads started
    program.wall.clear()
    program.cpu.clear()
    for _ in range(repeats):
        program.run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return row | program.report(n_lanes * setup.game.steps_per_update()) | {"peak_resident_bytes_so_far": peak}


def random_play(game: Game, key: Array, params: EnvParams) -> Any:
    """Episodes of uniform actions, no networks: the environment alone."""
    everyone = Players(*(Uniform(game.market_spec, agent) for agent in Agent))
    n_envs = game.learn.n_envs
    z = jnp.arange(n_envs) % 2
    return rollouts(jax.random.split(key, n_envs), game.market, everyone, PriorBelief(), z, params).output


def decode(game: Game, state: TrainState, tape: Tape) -> Array:
    """The belief read step by step over episodes that were played, [E, T, ...]."""

    def episode(tape: Tape) -> Array:
        def step(cache: Any, inputs: tuple[Array, Tape]) -> tuple[Any, Array]:
            time_now, row = inputs
            cache, logit, _ = game.belief.apply(state.belief.params, cache, row, time_now, method=game.belief.decode)
            return cache, logit

        start = init_memory(game.network.belief, game.market_spec.horizon)
        return jax.lax.scan(step, start, (jnp.arange(game.market_spec.horizon), tape))[1]

    return jax.vmap(episode)(tape)


def parts_of_update(setup: Setup) -> dict[str, Program]:
    """Every part of an update on a fresh learner; all but the first two of them happen in one."""
    game, hypers, params = setup.game, setup.hypers, setup.params
    state, key = fresh_learner(setup), jax.random.key(1)
    play = compile_twice(lambda k, s: phases.play(k, s, setup), key, state)
    episodes = play.run()
    scored = compile_twice(lambda s, t: score(s, t, setup), state, episodes)
    scores = scored.run()
    values = compile_twice(
        lambda s, t, r: ppo.make_batch(s.critic.params, market_experience(t, r, setup), game, hypers),
        state,
        episodes,
        scores.reward,
    )
    batch = values.run()
    parts = {
        "environment": compile_twice(lambda k: random_play(game, k, params), key),
        "belief_decode": compile_twice(lambda s, t: decode(game, s, t), state, episodes.output.tape),
        "play": play,
        "score": scored,
        "advantages": values,
        "mine": compile_twice(lambda k, s, t: sources.fit_mine(k, s, t, setup), key, state, episodes),
        "predictor": compile_twice(lambda s, x: sources.fit_predictor(s, x, setup), state, scores.series),
        "belief_training": compile_twice(
            lambda k, s, t: sources.fit_belief(k, s, t.output.tape, t.z, setup), key, state, episodes
        ),
    }
    names = ("ppo_phase_a", "ppo_phase_b") if game.learn.alternating else ("ppo_joint",)
    for name, agents in zip(names, game.phases(), strict=True):
        parts[name] = compile_twice(
            lambda k, s, b, agents=agents: ppo.improve(k, s, b, agents, game, hypers), key, state, batch
        )
    return parts


def measure_split(experiment: configuration.Experiment, n_envs: int, repeats: int) -> dict[str, Any]:
    """Where the time of an update goes: its parts, interleaved over the repeats, and how often each runs in it."""
    game = game_for(experiment, n_envs)
    setup = experiment.setup.replace(game=game)
    parts = parts_of_update(setup)
    for part in parts.values():
        part.run()
        part.wall.clear()
        part.cpu.clear()
    for _ in range(repeats):
        for part in parts.values():
            part.run()
    n_phases = len(game.phases())
    often = dict.fromkeys(("environment", "belief_decode", "play", "score", "advantages", "mine"), n_phases)
    steps = n_envs * game.market_spec.horizon
    rows = {name: part.report(steps) | {"per_update": often.get(name, 1)} for name, part in parts.items()}
    state = fresh_learner(setup)
    return {
        "n_envs": n_envs,
        "parts": rows,
        "flops_per_env_step": cost.measure(setup).flops,
        "parameters": {name: count_parameters(net.params) for name, net in networks(state).items()},
    }


def matrix_product(size: int = 2048, repeats: int = 5) -> dict[str, float]:
    """The machine's arithmetic: the fastest of a few large float32 products, GFLOP per wall and per CPU-second."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="float32"))
    jax.block_until_ready(product(a))
    runs = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), cpu_seconds()
        jax.block_until_ready(product(a))
        runs.append((time.perf_counter() - wall, cpu_seconds() - cpu))
    work = 2 * size**3 / 1e9
    wall, cpu = min(runs)
    return {"size": size, "gflop_per_wall_second": work / wall, "gflop_per_cpu_second": work / max(cpu, 1e-9)}


def points(n_envs: Sequence[int], lanes: Sequence[int], lane_envs: int) -> list[tuple[int, int]]:
    """(environments, lanes) to measure: environments in one lane, then lanes of ``lane_envs`` environments."""
    return list(dict.fromkeys([(n, 1) for n in n_envs] + [(lane_envs, n) for n in lanes]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/default.py")
    parser.add_argument("--n_envs", type=int, nargs="*", default=[16, 32, 64, 128, 256, 512, 1024])
    parser.add_argument("--lanes", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--lane_envs", type=int, default=64, help="environments of each lane")
    parser.add_argument("--split_envs", type=int, default=128, help="environments of the time split; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    experiment = configuration.resolve(configuration.load(args.config))
    output = args.output or Path(f"experiments/benchmarks/train_{Path(args.config).stem}_{jax.default_backend()}.json")
    limit = machine.USABLE * machine.free_bytes()
    settings = {name: value for name, value in vars(args).items() if name != "output"}
    document = {"provenance": provenance(settings, 0), "matrix_product": matrix_product(), "updates": [], "split": None}
    precise = jax.default_matmul_precision(experiment.run.products)
    with precise, tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        for n_envs, n_lanes in points(args.n_envs, args.lanes, args.lane_envs):
            row = measure_update(experiment, n_envs, n_lanes, args.repeats, limit)
            document["updates"].append(row)
            output.write_text(json.dumps(document, indent=1) + "\n")
            print({name: value for name, value in row.items() if name != "bytes"}, flush=True)
        if args.split_envs:
            document["split"] = measure_split(experiment, args.split_envs, args.repeats)
            output.write_text(json.dumps(document, indent=1) + "\n")
            for name, part in document["split"]["parts"].items():
                print(f"{name:16s} {part['per_update']} x {part['cpu_seconds_median']:.3f} CPU s", flush=True)


if __name__ == "__main__":
    main()
