"""A configuration, typed: static specs, traced leaves as Python numbers, and the settings of a run and a sweep."""

import dataclasses
import math

from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.learn.setup import Setup
from amarl_jax.market.noise import NoiseLaw, orders
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.nets.precision import of_the_run
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.posterior.exact import ExactSpec


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Settings of a run that change no number of the game: device, intervals, what is written."""

    exp_name: str  # names the default workdir
    seed: int  # root key of the run
    device: str  # "auto", "cpu", "gpu" or "tpu"
    precision: str  # of matrix products on accelerators; "mixed": of most networks one, of all else another
    prng_impl: str  # how random keys are made, by JAX's name of it; "auto" until a run is opened
    compilation_cache_dir: str  # "auto", "off" or a folder
    checkpoint_interval: int  # updates between checkpoints
    eval_episodes: int  # held-out episodes of the closing table, both classes together
    exact_episodes: int  # number of them, the first ones, that are read exactly
    exact_particles: int  # of each filter of the exact reader
    exact_private: int  # private numbers that represent their law
    log_interval: int  # updates between log lines, one compiled chunk
    use_tensorboard: bool
    use_wandb: bool
    wandb_project: str
    verbose: bool  # progress lines

    @property
    def products(self) -> str:
        """JAX's name of the precision that a run is traced in; that of some networks may differ."""
        return of_the_run(self.precision)

    @property
    def exact(self) -> ExactSpec:
        """Settings of the exact reader: how many episodes it reads, with how many particles."""
        return ExactSpec(self.exact_episodes, self.exact_particles, self.exact_private)


@dataclasses.dataclass(frozen=True)
class SweepSettings:
    """The grid of a sweep: arms times penalties times seeds."""

    lambda_min: float  # reward per nat
    lambda_max: float
    n_lambdas: int
    points_per_octave: float  # 0: equal spacing
    n_seeds: int
    axis: str  # setting that differs between the arms, "none" for a single arm
    axis_values: tuple[float, ...]  # of it, one arm each
    lanes_at_once: int  # per device, at most; 0: as many as fit

    def lambdas(self) -> tuple[float, ...]:
        """The penalties, ascending: ``lambda_min``, and a ladder ``lambda_max - lambda_min`` times ``2^(-k / p)``."""
        span, n = self.lambda_max - self.lambda_min, self.n_lambdas - 1
        if self.points_per_octave == 0:
            shares = [k / n for k in range(1, n + 1)]
        else:
            shares = [2.0 ** ((k - n) / self.points_per_octave) for k in range(1, n + 1)]
        return (self.lambda_min, *(self.lambda_min + span * share for share in shares))


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment, typed: the static specs, the traced leaves (as Python numbers) and the run settings."""

    market_spec: MarketSpec
    network_spec: NetworkSpec
    learn_spec: LearnSpec
    env_params: EnvParams
    weights: RewardWeights
    hypers: Hypers
    run: RunSettings
    sweep: SweepSettings
    total_timesteps: int  # environment steps asked for, summed over environments
    noise_law: NoiseLaw = orders  # of the noise traders' orders

    @property
    def n_updates(self) -> int:
        """Updates that reach ``total_timesteps``."""
        return math.ceil(self.total_timesteps / self.game.steps_per_update())

    @property
    def game(self) -> Game:
        """The static part, from which its programs are built."""
        return Game(self.market_spec, self.network_spec, self.learn_spec, noise_law=self.noise_law)

    @property
    def setup(self) -> Setup:
        """The game with the traced leaves as arrays: the arguments of its programs."""
        return Setup(self.hypers, self.weights, self.env_params, self.game).arrays()
