"""The main experiment: the penalty lambda from 0 to 4 in a lean market, every lane in one compiled program.

``configs/lambda_sweep.py:fast`` is the debug market with the debug networks on a coarse grid: the whole path, small.
"""

from pathlib import Path

from ml_collections import ConfigDict

from amarl_jax import config as amarl_config


def get_config(variant: str = "") -> ConfigDict:
    """The sweep, in what differs from ``default.py``; variant ``fast`` differs from ``fast_debug.py`` instead."""
    if variant == "fast":
        config = amarl_config.load(Path(__file__).with_name("fast_debug.py"))
        config.exp_name = "lambda_sweep_fast"
        pay_for_information_alone(config)
        shorten(config)
        return config
    if variant:
        raise ValueError(f"unknown variant {variant!r}; there is fast")
    config = amarl_config.load(Path(__file__).with_name("default.py"))
    config.exp_name = "lambda_sweep"
    config.eval_episodes = 4096  # held-out episodes of each lane, both classes together
    lean_market(config)
    pay_for_information_alone(config)
    return config


def lean_market(config: ConfigDict) -> None:
    """Half the order in half the noise: the floor of full completion is lower, an episode costs half."""
    environment, agents = config.environment, config.agents
    environment.book_capacity = 64  # N, orders per side; in 99.9% of episodes of experiments/foundation at most 51
    environment.noise_trader_arrival_rate = 5.0  # orders per step
    environment.max_noise_orders = 12  # M_max, orders per step
    environment.slot_rate = 0.05  # orders per step: a patient completer of 50 lots needs about ten in 390 steps
    agents.execution.inventory_lots = 50  # Q, lots
    agents.market_maker.max_spread_ticks = 5  # ticks


def pay_for_information_alone(config: ConfigDict) -> None:
    """The objective is ``E[g] - lambda I`` and nothing else, as in every figure and theory curve.

    The predictability of the whole tape is high without a parent order too, and paying for it costs up to half a unit.
    """
    config.agents.execution.mu_predictability = 0.0  # mu, reward per nat


def shorten(config: ConfigDict) -> None:
    """Six penalties, two seeds, a dozen updates."""
    config.training.total_timesteps = 153_600  # environment steps per lane: 12 updates
    config.eval_episodes = 1024  # held-out episodes of each lane, both classes together
    config.sweep.n_lambdas = 6  # 0, 1/4, 1/2, 1, 2, 4
    config.sweep.points_per_octave = 1.0  # of the penalty
    config.sweep.n_seeds = 2  # too few for a verdict, which will say so
