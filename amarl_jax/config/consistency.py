"""Checks of settings that are valid one by one but not together."""

import math
from collections.abc import Mapping
from typing import Any

from amarl_jax.errors import ConfigError

_NOISE_CUT_OFF = 0.01  # largest share of steps whose noise orders may exceed the bound
_LEAST_OF_A_CLASS = 8  # two for each fold of a detector
_LEAST_BETA, _MOST_BETA = 1e-6, 1e4  # of a Beta law's a and b, and of a + b: float32 then has it to one percent


def check_consistency(values: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` unless the settings (dotted name to value) fit together."""
    _check_market(values)
    _check_networks(values)
    _check_learning(values)
    _check_exact(values)
    _check_sweep(values)


def size_beta(values: Mapping[str, Any]) -> tuple[float, float]:
    """Beta parameters of a noise order's size over ``max_order_size`` from its mean and standard deviation."""
    scale = values["agents.execution.max_order_size"]
    mean = values["environment.noise_order_size_mean"] / scale
    std = values["environment.noise_order_size_std"] / scale
    concentration = mean * (1 - mean) / std**2 - 1
    return mean * concentration, (1 - mean) * concentration


def _check_market(values: Mapping[str, Any]) -> None:
    """Check that the market's sizes fit together."""
    low, high = values["environment.offset_min_ticks"], values["environment.offset_max_ticks"]
    if low >= high:
        raise ConfigError("environment.offset_min_ticks", low, f"below offset_max_ticks = {high}")
    rate, bound = values["environment.noise_trader_arrival_rate"], values["environment.max_noise_orders"]
    needed = smallest_noise_bound(rate)
    if bound < needed:
        reason = f"at least {needed}, for noise_trader_arrival_rate = {rate:g} (else over 1% of steps are cut off)"
        raise ConfigError("environment.max_noise_orders", bound, reason)
    mean, largest = values["environment.noise_order_size_mean"], values["agents.execution.max_order_size"]
    if mean >= largest:
        raise ConfigError("environment.noise_order_size_mean", mean, f"below max_order_size = {largest} lots")
    if not (min(size_beta(values)) >= _LEAST_BETA and sum(size_beta(values)) <= _MOST_BETA):
        widest = math.sqrt(mean * (largest - mean))
        low, name = widest / math.sqrt(_MOST_BETA + 1), "environment.noise_order_size_std"
        reason = f"at least {low:.3g} and below {widest:.3g}, what a mean of {mean:g} of {largest} lots allows"
        raise ConfigError(name, values[name], reason)
    opening = values["environment.initial_levels"] * len(values["environment.initial_sizes"])
    capacity = values["environment.book_capacity"]
    if capacity <= opening:
        raise ConfigError("environment.book_capacity", capacity, f"above the {opening} orders that open each side")


def smallest_noise_bound(rate: float) -> int:
    """Smallest M with ``P(Poisson(rate) > M) <= 1%``."""
    from scipy.special import pdtrik  # takes a third of a second to import

    return math.ceil(pdtrik(1.0 - _NOISE_CUT_OFF, rate))


def _check_networks(values: Mapping[str, Any]) -> None:
    """Check the shapes of the belief Transformer."""
    width, heads = values["networks.belief_transformer.d_model"], values["networks.belief_transformer.n_heads"]
    if width % heads:
        raise ConfigError("networks.belief_transformer.n_heads", heads, f"a divisor of d_model = {width}")
    if width % 2:
        raise ConfigError("networks.belief_transformer.d_model", width, "even: positions are sine and cosine pairs")


def _check_learning(values: Mapping[str, Any]) -> None:
    """Check that batches divide, both classes occur, and checkpoints fall at the ends of compiled chunks."""
    n_envs = values["training.n_envs"]
    for name in ("training.n_minibatches", "training.belief_microbatch"):
        if n_envs % values[name]:
            raise ConfigError(name, values[name], f"a divisor of n_envs = {n_envs}")
    batch, microbatch = values["training.replay_batch"], values["training.belief_microbatch"]
    if batch % microbatch:
        raise ConfigError("training.replay_batch", batch, f"a multiple of belief_microbatch = {microbatch}")
    capacity = values["training.replay_capacity"]
    if capacity < batch:
        raise ConfigError("training.replay_capacity", capacity, f"at least replay_batch = {batch}")
    p = values["environment.informed_probability"]
    if not 1 <= round(p * n_envs) <= n_envs - 1:
        name = "environment.informed_probability"
        raise ConfigError(name, p, f"such that both classes occur among n_envs = {n_envs} episodes")
    episodes = values["eval_episodes"]
    rarest = min(round(p * episodes), episodes - round(p * episodes))
    if rarest < _LEAST_OF_A_CLASS:
        reason = f"such that each class has {_LEAST_OF_A_CLASS} of eval_episodes = {episodes}, to train a detector on"
        raise ConfigError("environment.informed_probability", p, reason)
    log, save = values["logging.log_interval"], values["checkpoint_interval"]
    if save % log:
        raise ConfigError("checkpoint_interval", save, f"a multiple of logging.log_interval = {log} updates")


def _check_exact(values: Mapping[str, Any]) -> None:
    """Check that the exact reader has a particle for each private number."""
    private, particles = values["exact.n_private"], values["exact.n_particles"]
    if private > particles:
        raise ConfigError("exact.n_private", private, f"at most exact.n_particles = {particles}")


def _check_sweep(values: Mapping[str, Any]) -> None:
    """Check that the grid goes from a smaller to a larger penalty."""
    low, high = values["sweep.lambda_min"], values["sweep.lambda_max"]
    if low >= high and values["sweep.n_lambdas"] > 1:
        raise ConfigError("sweep.lambda_min", low, f"below lambda_max = {high:g}")
