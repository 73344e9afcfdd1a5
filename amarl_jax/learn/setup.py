"""The bundle of all that an update depends on beside the learner."""

from flax import struct

from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.market.params import EnvParams
from amarl_jax.trees import as_arrays


class Setup(struct.PyTreeNode):
    """A pytree of what one might sweep, whose structure carries the static game.

    A jitted function takes it as any other argument: setups of equal games share a trace, another game makes a new one.
    The lanes of a sweep are one setup whose leaves lead with an axis.
    """

    hypers: Hypers
    params: EnvParams
    game: Game = struct.field(pytree_node=False)

    def arrays(self) -> "Setup":
        """The same with every leaf a strongly typed array."""
        return self.replace(hypers=as_arrays(self.hypers), params=as_arrays(self.params))
