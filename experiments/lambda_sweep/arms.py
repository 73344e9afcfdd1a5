"""The main sweep and its arms: what each changes in the configuration, and how many lanes it gets at either size."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from amarl_jax import config as configuration
from amarl_jax.config.consistency import smallest_noise_bound

BASES = {
    "tiny": "configs/lambda_sweep.py:fast",
    "cpu": "configs/lambda_sweep.py:fast",
    "full": "configs/lambda_sweep.py",
}
N_UPDATES = {"tiny": 2, "cpu": 40, "full": 60}
EVAL_EPISODES = {"tiny": 256, "cpu": 1024, "full": 4096}
MAIN_GRID = {"tiny": (5, 1), "cpu": (8, 1), "full": (14, 2)}  # penalties, points per octave
MAIN_LAMBDA_MAX = {"tiny": 4.0, "cpu": 16.0, "full": 4.0}  # small lanes are cheap enough to ask where hiding ends
ARM_GRID = {"tiny": (5, 1), "cpu": (5, 1), "full": (7, 1)}  # a part of the main sweep's
LANES_AT_ONCE = {"tiny": 0, "cpu": 5, "full": 0}  # a divisor of an arm's lanes; 0: the program chooses
N_SEEDS = {"tiny": 1, "cpu": 3, "full": 8}  # of most arms
MORE_SEEDS = {"tiny": 1, "cpu": 8, "full": 8}  # where intervals decide
FORCED_TICKS = 100.0  # kappa, ticks per lot left over: ten times the price of hiding
LOUD = {"agents.execution.start_gate": 0.9, "agents.execution.start_along": 0.98}
BOOK = "environment.book_capacity"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One sweep that differs from the main one."""

    why: str  # what it is for, one line
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)  # settings
    noise: float = 1.0  # times the noise orders of the main sweep
    scaled: bool = False  # whether parent order and slot rate grow as the square root of them
    longer: int = 1  # times the horizon, with the parent order in proportion
    more_seeds: bool = False  # than most
    starts_at: str = ""  # the end of the penalties from which lambda comes, "low" or "high": half of the updates


ARMS: dict[str, Arm] = {
    "main": Arm("the answer", more_seeds=True),
    "no_randomiser": Arm(
        "a trader that cannot mix loud and quiet episodes: does it jump?",
        {"agents.execution.private_randomiser": False},
        more_seeds=True,
    ),
    "loud": Arm("first policy acts in 0.9 of the steps, 0.98 of them along its side", LOUD),
    "quiet": Arm("first policy is the mimic: the slot's law at z = 0"),
    "up": Arm("lambda comes from 0", starts_at="low"),
    "down": Arm("lambda comes from the largest", starts_at="high"),
    "no_randomiser_up": Arm(
        "the same without the randomiser", {"agents.execution.private_randomiser": False}, starts_at="low"
    ),
    "no_randomiser_down": Arm(
        "the same without the randomiser", {"agents.execution.private_randomiser": False}, starts_at="high"
    ),
    "forced": Arm(
        "lots left over cost ten times as much", {"agents.execution.terminal_inventory_penalty": FORCED_TICKS}
    ),
    "no_arbitrageur": Arm("nobody who sees V trades on it", {"agents.arbitrageur.order_size_lots": 0}),
    "belief_frozen": Arm("b = p_z for everyone: detection moves no price", {"agents.market_maker.belief_frozen": True}),
    "noise_quarter": Arm("a quarter of the noise, same parent order", noise=0.25),
    "noise_x4": Arm("four times the noise, same parent order", noise=4.0),
    "noise_x16": Arm("sixteen times the noise, same parent order", noise=16.0),
    "noise_quarter_scaled": Arm("a quarter of the noise, half the parent order", noise=0.25, scaled=True),
    "noise_x4_scaled": Arm("four times the noise, twice the parent order", noise=4.0, scaled=True),
    "noise_x16_scaled": Arm("sixteen times the noise, four times the parent order", noise=16.0, scaled=True),
    "maker_first": Arm(
        "the maker is faster than the arbitrageur",
        {"environment.latency_ms.market_maker": 0.0, "environment.latency_ms.jitter": 0.0},
    ),
    "maker_late": Arm(
        "the maker's quotes reach the book half a minute late", {"environment.latency_ms.market_maker": 30_000.0}
    ),
    "long_day": Arm("twice the horizon and the parent order: does the width shrink?", longer=2),
}


def config_of(name: str, size: str, n_updates: int | None = None, n_seeds: int | None = None) -> ConfigDict:
    """The configuration of one arm.

    Args:
        name: of the arm.
        size: "cpu", the debug market and networks; "full"; or "tiny", to see that it runs.
        n_updates: of every lane; None is the size's own number.
        n_seeds: at each penalty, likewise.
    """
    arm, base = ARMS[name], configuration.load(BASES[size])
    n_updates = n_updates or N_UPDATES[size]
    n_lambdas, per_octave = (MAIN_GRID if name == "main" else ARM_GRID)[size]
    asks_where_hiding_ends = name == "main" or arm.noise != 1.0
    changes = {
        "exp_name": f"lambda_sweep_{size}_{name}",
        "eval_episodes": EVAL_EPISODES[size],
        "sweep.n_lambdas": n_lambdas,
        "sweep.points_per_octave": per_octave,
        "sweep.lambda_max": MAIN_LAMBDA_MAX[size] if asks_where_hiding_ends else base.sweep.lambda_max,
        "sweep.lanes_at_once": 0 if name == "main" else LANES_AT_ONCE[size],
        "sweep.n_seeds": n_seeds or (MORE_SEEDS if arm.more_seeds else N_SEEDS)[size],
        "logging.verbose": True,
        **arm.changes,
        **_noise(arm, base),
        **_horizon(arm, base),
    }
    if name == "quiet":
        changes |= {"agents.execution.start_gate": base.environment.slot_rate, "agents.execution.start_along": 0.5}
    if arm.starts_at:
        start = base.sweep.lambda_min if arm.starts_at == "low" else base.sweep.lambda_max
        changes |= {"agents.execution.lambda_start": start, "agents.execution.lambda_ramp_updates": n_updates // 2}
    sized = configuration.load(BASES[size], changes | {"training.total_timesteps": 10**9})
    steps = configuration.resolve(sized).game.steps_per_update()
    return configuration.load(BASES[size], changes | {"training.total_timesteps": n_updates * steps})


def _noise(arm: Arm, base: ConfigDict) -> dict[str, Any]:
    """Arrivals, and the sizes that hold them; with ``scaled`` the order that hides in them."""
    if arm.noise == 1.0:
        return {}
    environment, execution = base.environment, base.agents.execution
    rate = arm.noise * environment.noise_trader_arrival_rate
    changes = {"environment.noise_trader_arrival_rate": rate}
    if arm.noise > 1.0:  # as many orders at rest as arrive in a lifetime, by side, and room for their fluctuation
        resting = rate * (1 - environment.market_order_probability) * environment.order_lifetime_steps / 2
        changes |= {"environment.max_noise_orders": smallest_noise_bound(rate), BOOK: int(1.2 * resting + 48)}
    if arm.scaled:
        order = round(execution.inventory_lots * arm.noise**0.5)
        changes |= {"agents.execution.inventory_lots": order}
        changes |= {"environment.slot_rate": environment.slot_rate * arm.noise**0.5}
    return changes


def _horizon(arm: Arm, base: ConfigDict) -> dict[str, Any]:
    """A longer day with a larger order; as many episodes per phase."""
    if arm.longer == 1:
        return {}
    phases = ("exec_phase_steps", "mm_arb_phase_steps")
    steps = {f"training.alternating.{phase}": arm.longer * base.training.alternating[phase] for phase in phases}
    order = arm.longer * base.agents.execution.inventory_lots
    horizon = arm.longer * base.environment.max_steps_per_episode
    return steps | {"environment.max_steps_per_episode": horizon, "agents.execution.inventory_lots": order}
