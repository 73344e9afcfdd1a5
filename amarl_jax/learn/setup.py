"""Everything that an update depends on beside the learner."""

import dataclasses

import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.market.params import EnvParams
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.trees import as_arrays
from amarl_jax.types import Array


class Setup(struct.PyTreeNode):
    """A pytree of what one might sweep, whose structure carries the static game.

    A jitted function takes it as any other argument: setups of equal games share a trace, another game makes a new one.
    The lanes of a sweep are one setup whose leaves have a leading axis.
    """

    hypers: Hypers
    weights: RewardWeights
    params: EnvParams
    game: Game = struct.field(pytree_node=False)

    def arrays(self) -> "Setup":
        """Convert every leaf to a strongly typed array."""
        return Setup(as_arrays(self.hypers), as_arrays(self.weights), as_arrays(self.params), self.game)


def annealed(setup: Setup, update: Array) -> Setup:
    """The setup of one update, with lambda and the weight of the policies' entropy as scheduled.

    A ramp of n updates trains the first at the start's lambda and the (n + 1)-th at the lane's own: a warm start from
    another penalty. Without a ramp lambda is the lane's own throughout. The entropy bonus falls while learning rates
    are still large: under it the policy is noisier than the optimum, which biases its cost and its leakage.
    """
    hypers, weights = setup.hypers, setup.weights
    start, end = hypers.leakage_weight_start, weights.leakage_weight
    share = update / jnp.maximum(hypers.leakage_ramp_updates, 1.0)
    on_the_way = update < hypers.leakage_ramp_updates
    bonus_updates = jnp.maximum(hypers.entropy_share * hypers.n_updates, 1.0)
    done = jnp.clip(update.astype(jnp.float32) / bonus_updates, 0.0, 1.0)
    bonus = hypers.entropy_weight + done * (hypers.entropy_weight_end - hypers.entropy_weight)
    penalty = jnp.where(on_the_way, start + share * (end - start), end)
    return setup.replace(
        hypers=dataclasses.replace(hypers, entropy_weight=bonus),
        weights=dataclasses.replace(weights, leakage_weight=penalty),
    )
