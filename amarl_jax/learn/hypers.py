"""The learner's numbers: static sizes in :class:`LearnSpec`, everything one might sweep in :class:`Hypers`."""

import dataclasses

from flax import struct

from amarl_jax.learn.split import EnvSplit
from amarl_jax.nets.actors import start_size
from amarl_jax.types import Array

EXACT = "exact"  # the leakage source, and the belief's target, that know the policy
NOBODY = "none"  # is frozen


@dataclasses.dataclass(frozen=True)
class LearnSpec:
    """Sizes and switches of the learner. Closed over, never traced."""

    n_envs: int = 128  # E, episodes per rollout
    n_epochs: int = 10  # PPO passes over a rollout
    n_minibatches: int = 4  # of whole environments, must divide n_envs
    execution_phase_steps: int = 1000  # environment steps per environment in phase A, rounded up to episodes
    maker_arbitrageur_phase_steps: int = 1000  # likewise in phase B
    alternating: bool = True  # False trains all agents at once
    n_mine_steps: int = 16  # steps of MINE after each rollout, and of the predictor after each of phase A
    n_belief_steps: int = 16  # belief optimiser steps after each rollout of phase B
    belief_microbatch: int = 8  # episodes per backward pass of the belief, four times as many on an accelerator
    replay_capacity: int = 256  # packed episodes
    replay_batch: int = 8  # replayed episodes per belief step, beside the fresh ones
    belief_target: str = "label"  # or "exact": what the belief is fitted to
    leakage_source: str = "mine"  # or "belief", or "exact"
    exact_particles: int = 16  # K of the exact source's filters
    exact_private: int = 4  # private numbers that represent N(0, 1) in them
    leakage_credit: str = "increment"  # or "level"
    shortfall_credit: str = "marked"  # or "horizon"
    frozen: str = NOBODY  # or agents, as maker+arbitrageur, whose policies never train
    mi_estimator: str = "mine"  # a name in information.estimators.REGISTRY, or module:name
    n_devices: int = 1  # that compute an update together, each with its part of the environments

    @property
    def split(self) -> EnvSplit:
        """The environments over the devices that compute an update together."""
        return EnvSplit(self.n_devices)


@struct.dataclass
class Hypers:
    """Traced hyperparameters: leaves that a sweep may vary lane by lane."""

    # ramp of lambda to its weight
    leakage_weight_start: Array | float = 0.0  # lambda of the first update, if there is a ramp
    leakage_ramp_updates: Array | float = 0.0  # updates over which lambda moves from there in equal steps; 0: no ramp
    # the initial policy, and the maker's belief
    start_gate: Array | float = 0.3  # P(act in a step) of the fresh execution policy
    start_along: Array | float = 0.75  # P(along its side | act) of it
    start_size: Array | tuple[float, ...] = start_size(4.44, 13.31)  # biases of a and b of its sizes, [2]: as noise's
    belief_frozen: Array | float = 0.0  # 1: everyone sees b = p_z whatever the tape says
    # PPO
    discount: Array | tuple[float, ...] = (1.0, 0.99, 0.99)  # gamma, [agent]
    gae_decay: Array | float = 0.95
    clip_ratio: Array | float = 0.2
    entropy_weight: Array | float = 0.01  # at the first update
    entropy_weight_end: Array | float = 0.0  # after the share of updates below, reached linearly
    entropy_share: Array | float = 0.5  # of the updates
    value_weight: Array | float = 0.5
    max_grad_norm: Array | float = 0.5
    weight_decay: Array | float = 1e-5
    # learning rates, at the start of the schedule
    lr_actor: Array | float = 3e-4
    lr_critic: Array | float = 1e-3
    lr_mine: Array | float = 1e-3
    lr_belief: Array | float = 3e-4
    lr_final_fraction: Array | float = 0.0  # of the linear schedule; 1 is constant
    n_updates: Array | float = 34.0  # updates over which the schedule runs
    # information
    mine_ema: Array | float = 0.99  # decay of the partition's moving average
    belief_loss_entropy: Array | float = 0.05  # beta_entropy of the belief's loss
    # replay
    replay_alpha: Array | float = 0.6  # priority exponent
    replay_beta: Array | float = 1.0  # importance-weight exponent; below 1 the belief is less certain than Bayes
