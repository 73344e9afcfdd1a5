"""What one update costs: compile seconds, time split, peak bytes, environment steps per second.

Each part of an update is compiled and timed alone on the same learner, interleaved over the repeats; the whole update
is timed beside them. Compile time is CPU-seconds of a cold compilation, the persistent cache switched off.

    python experiments/benchmarks/first_look.py --config=configs/default.py --n_envs 8 64 128
"""

import argparse
import dataclasses
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from amarl_jax import config as configuration
from amarl_jax.evaluation.provenance import provenance
from amarl_jax.learn import phases, ppo, sources
from amarl_jax.learn.experience import market_experience
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.hypers import as_arrays as hypers_as_arrays
from amarl_jax.learn.rollout import Players, PriorBelief, rollouts
from amarl_jax.learn.scoring import score
from amarl_jax.learn.state import init_state
from amarl_jax.learn.update import networks, update
from amarl_jax.market.params import EnvParams
from amarl_jax.market.params import as_arrays as params_as_arrays
from amarl_jax.policies.uniform import Uniform
from amarl_jax.trees import count_parameters
from amarl_jax.types import Agent


@dataclasses.dataclass
class Part:
    """One compiled program, its arguments and what was measured of it."""

    name: str
    compiled: Any
    arguments: tuple
    compile_cpu_seconds: float
    bytes: dict[str, int]
    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)


def cpu_seconds() -> float:
    """CPU time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def compile_part(name: str, function: Callable, *arguments: Any) -> Part:
    """Compile cold and remember what it took."""
    started = cpu_seconds()
    compiled = jax.jit(function).lower(*arguments).compile()
    taken = cpu_seconds() - started
    memory = compiled.memory_analysis()
    names = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return Part(name, compiled, arguments, taken, {n: int(getattr(memory, n)) for n in names})


def run_part(part: Part) -> Any:
    """Run once, timed."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = jax.block_until_ready(part.compiled(*part.arguments))
    part.wall.append(time.perf_counter() - wall)
    part.cpu.append(cpu_seconds() - cpu)
    return result


def random_play(game: Game, params: EnvParams) -> Callable:
    """Episodes of uniform actions, no networks."""
    everyone = Players(*(Uniform(game.market_spec, agent) for agent in Agent))
    n_envs = game.learn.n_envs

    def play(key: jax.Array, params: EnvParams) -> Any:
        z = jnp.arange(n_envs) % 2
        return rollouts(jax.random.split(key, n_envs), game.market, everyone, PriorBelief(), z, params).output

    return play


def parts_of_update(game: Game, hypers: Hypers, params: EnvParams) -> list[Part]:
    """Every part of an update on a fresh learner, and the whole."""
    state = jax.jit(lambda k: init_state(k, game, hypers, params))(jax.random.key(0))
    key = jax.random.key(1)
    play = compile_part("play", lambda k, s, p: phases.play(k, s, game, hypers, p), key, state, params)
    trajectory = play.compiled(*play.arguments)
    scored = compile_part("score", lambda s, t: score(s, t, game, hypers, params), state, trajectory)
    reward = scored.compiled(*scored.arguments).reward
    batched = compile_part(
        "advantages",
        lambda s, t, r: ppo.make_batch(s.critic.params, market_experience(t, r, game, params), game, hypers),
        state,
        trajectory,
        reward,
    )
    batch = batched.compiled(*batched.arguments)
    learn_a, learn_b = (agents for agents in game.phases())
    return [
        compile_part("random_play", random_play(game, params), key, params),
        play,
        scored,
        batched,
        compile_part("ppo_phase_a", lambda k, s, b: ppo.improve(k, s, b, learn_a, game, hypers), key, state, batch),
        compile_part("ppo_phase_b", lambda k, s, b: ppo.improve(k, s, b, learn_b, game, hypers), key, state, batch),
        compile_part("mine", lambda k, s, t: sources.fit_mine(k, s, t, game, hypers, params), key, state, trajectory),
        compile_part("predictor", lambda s, t: sources.fit_predictor(s, t, game, hypers), state, trajectory),
        compile_part("belief", lambda k, s, t: sources.fit_belief(k, s, t, game, hypers), key, state, trajectory),
        compile_part("update", lambda s, h, p: update(s, h, p, game), state, hypers, params),
    ]


def floor_gflops(size: int = 2048, repeats: int = 5) -> float:
    """The machine's arithmetic: best of a few large float32 matrix products, GFLOP per wall second."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(a))
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(product(a))
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9


def report(part: Part, steps: int) -> dict[str, Any]:
    """Numbers of one part; ``steps`` environment steps per run."""
    wall, cpu = statistics.median(part.wall), statistics.median(part.cpu)
    return {
        "compile_cpu_seconds": round(part.compile_cpu_seconds, 2),
        "wall_seconds": {"median": wall, "min": min(part.wall), "max": max(part.wall)},
        "cpu_seconds_median": cpu,
        "env_steps": steps,
        "env_steps_per_wall_second": steps / wall,
        "env_steps_per_cpu_second": steps / cpu,
        "bytes": part.bytes,
    }


def measure(experiment: configuration.Experiment, n_envs: int, repeats: int) -> dict[str, Any]:
    """All parts at one number of environments."""
    minibatches = min(experiment.learn_spec.n_minibatches, n_envs)
    microbatch = min(experiment.learn_spec.belief_microbatch, n_envs)
    learn = dataclasses.replace(
        experiment.learn_spec, n_envs=n_envs, n_minibatches=minibatches, belief_microbatch=microbatch
    )
    game = Game(experiment.market_spec, experiment.network_spec, learn)
    hypers, params = hypers_as_arrays(experiment.hypers), params_as_arrays(experiment.env_params)
    parts = parts_of_update(game, hypers, params)
    for _ in range(repeats):
        for part in parts:
            run_part(part)
    rollout_steps = n_envs * game.market_spec.horizon
    steps = {part.name: rollout_steps for part in parts} | {"update": game.steps_per_update()}
    state = parts[-1].arguments[0]
    update_part = parts[-1]
    return {
        "n_envs": n_envs,
        "parts": {part.name: report(part, steps[part.name]) for part in parts},
        "peak_bytes_per_env_of_update": update_part.bytes["temp_size_in_bytes"] // n_envs,
        "state_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state.replace(key=jnp.zeros(2, jnp.uint32)))),
        "parameters": {name: count_parameters(net.params) for name, net in networks(state).items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/default.py")
    parser.add_argument("--n_envs", type=int, nargs="+", default=[8, 64, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    experiment = configuration.resolve(configuration.load(args.config))
    name = Path(args.config).stem
    output = args.output or Path(f"experiments/benchmarks/first_look_{name}_{jax.default_backend()}.json")
    rows: list[dict[str, Any]] = []
    for n_envs in args.n_envs:
        rows.append(measure(experiment, n_envs, args.repeats))
        config = {"config": args.config, "n_envs": args.n_envs, "repeats": args.repeats}
        document = {"provenance": provenance(config, 0), "matmul_gflops": floor_gflops(), "rows": rows}
        output.write_text(json.dumps(document, indent=1) + "\n")
        for part, numbers in rows[-1]["parts"].items():
            compiling, running = numbers["compile_cpu_seconds"], numbers["wall_seconds"]["median"]
            speed = f"{numbers['env_steps_per_cpu_second']:10,.0f} steps/cpu s"
            print(f"{n_envs:5d} {part:12s} compile {compiling:6.1f} cpu s | {running:8.3f} s | {speed}", flush=True)


if __name__ == "__main__":
    main()
