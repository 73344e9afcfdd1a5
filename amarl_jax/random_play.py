"""Play random orders in the market and check its books.

  python -m amarl_jax.random_play --config=configs/fast_debug.py

Three agents act uniformly at random in a batch of environments with both kinds of episodes. The command checks after
every step that cash and lots sum to exactly zero over all owners and that no position limit is broken, and prints how
the market behaved and how fast it ran. It writes nothing.
"""

import functools
import sys
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections.config_flags import DEFINE_config_file, get_override_values

from amarl_jax import config as configuration
from amarl_jax.errors import BadInput
from amarl_jax.host import cli, machine
from amarl_jax.host.runlog import closing_table
from amarl_jax.host.stages import of_sizes, stage
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import Trajectory, rollouts, stratified_labels
from amarl_jax.market.env import Market
from amarl_jax.market.noise import NoiseLaw, orders
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.uniform import Uniform
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent, Array, Owner


@functools.partial(jax.jit, static_argnames=("spec", "n_envs", "law"))
def play(key: Array, params: EnvParams, spec: MarketSpec, n_envs: int, law: NoiseLaw = orders) -> Trajectory:
    """One batch of random episodes, [n_envs] leading."""
    key_labels, key_episodes = jax.random.split(key)
    z = stratified_labels(key_labels, n_envs, params.informed_probability)
    everyone = Players(*(Uniform(spec, agent) for agent in Agent))
    return rollouts(jax.random.split(key_episodes, n_envs), Market(spec, law), everyone, PriorBelief(), z, params)


def broken_rules(trajectory: Trajectory, params: EnvParams) -> list[str]:
    """Conservation laws and limits that some step of some episode broke; empty if none."""
    out = jax.tree.map(np.asarray, trajectory.output)
    limits = {
        Owner.SLOT: int(params.parent_lots),
        Owner.MAKER: int(params.maker_inventory_limit),
        Owner.ARBITRAGEUR: int(params.arbitrageur_position_limit),
    }
    broken = [] if (out.cash_change.sum(axis=-1) == 0).all() else ["cash does not sum to 0 over owners"]
    broken += [] if (out.inventory_change.sum(axis=-1) == 0).all() else ["lots do not sum to 0 over owners"]
    for owner, limit in limits.items():
        if (np.abs(out.inventory[..., owner]) > limit).any():
            broken.append(f"the {owner.name.lower()} went beyond {limit} lots")
    return broken


def main(values: flags.FlagValues) -> None:
    """Play, check, print."""
    if values.config is None:
        raise BadInput("--config is required, for example --config=configs/fast_debug.py")
    given = get_override_values(values["config"])
    configuration.apply_own_flow(values.config, given)
    configuration.apply_overrides(values.config, given)
    experiment = configuration.resolve(values.config)
    with machine.prepared(experiment.run) as device:
        print(f"{device} | nothing is written")
        _play_and_check(experiment)


def _play_and_check(experiment: configuration.Experiment) -> None:
    """Play two batches, the second timed; raises RuntimeError where a rule of the market is broken."""
    params, spec, n_envs = as_arrays(experiment.env_params), experiment.market_spec, experiment.learn_spec.n_envs
    key_warm, key_play = jax.random.split(jax.random.key(experiment.run.seed))
    random_play = functools.partial(play, params=params, spec=spec, n_envs=n_envs, law=experiment.noise_law)
    what = f"compiling and playing {n_envs:,} random episodes twice, the second time by the clock"
    with stage(what, remember=of_sizes(experiment)):
        jax.block_until_ready(random_play(key_warm))
        started = time.perf_counter()
        trajectory = jax.block_until_ready(random_play(key_play))
        seconds = time.perf_counter() - started
    closing_table(f"\n{n_envs} random episodes of {spec.horizon} steps", rows(trajectory, seconds))
    broken = broken_rules(trajectory, params)
    if broken:
        raise RuntimeError("; ".join(broken))
    print("cash and lots sum to 0 over all owners after every step; no position limit was broken")


def rows(trajectory: Trajectory, seconds: float) -> list[tuple[str, float | str | None, str]]:
    """Rows of the table on what the market did."""
    out, final = trajectory.output, trajectory.final
    n_steps = out.value.size
    side = np.asarray(trajectory.direction)
    resting = float(np.percentile(np.asarray(out.resting_orders), 99.9))
    return [
        ("speed", n_steps / seconds, "environment steps per second, compiled"),
        ("messages", float(jnp.mean(out.n_messages)), "per step"),
        ("traded", float(jnp.mean(jnp.sum(out.traded_lots, axis=1))), "lots per episode"),
        ("spread", float(jnp.mean(out.tape.spread_ticks.astype(jnp.float32))), "ticks, mean over steps"),
        ("price found", float(np.mean(side * np.asarray(final.mid2) / 2)), "ticks mid moved towards value"),
        ("value", float(np.mean(side * np.asarray(final.value))), "ticks value moved"),
        ("sniped", float(jnp.mean(jnp.sum(out.snipe_lots, axis=1))), "lots per episode from stale maker quotes"),
        ("resting orders", resting, "per side, the most in 99.9% of steps"),
        ("noise cut off", float(jnp.mean(final.noise_cut.astype(jnp.float32))), "orders per episode above the bound"),
    ]


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Define the flag of the configuration."""
    DEFINE_config_file(
        "config",
        None,
        "Configuration, PATH or PATH:VARIANT; after it --config.NAME=VALUE.",
        values,
        lock_config=True,
        sys_argv=list(argv),
    )


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
