"""Central critic: one trunk on the global state, one value head per agent."""

from collections.abc import Sequence

import chex
import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from amarl_jax.nets.mlp import MLP
from amarl_jax.nets.orthogonal import orthogonal
from amarl_jax.nets.precision import products_in
from amarl_jax.types import N_AGENTS, Array


class Critic(nn.Module):
    """Values ``V_i(s, a_-i)`` of the three agents.

    Head i sees the executed actions of the others, injected after the trunk, and never its own: actions are
    simultaneous, so a baseline that knows ``a_-i`` leaves agent i's policy gradient unbiased (the counterfactual
    baseline of Foerster et al. 2018), which one that knew ``a_i`` would not.
    """

    hidden: tuple[int, ...] = (512, 512, 256)
    head_hidden: int = 64
    products: str | None = None  # precision of matrix products, see amarl_jax.nets.precision

    @nn.compact
    def __call__(self, global_state: Array, actions: Sequence[Array]) -> Array:
        """Global state [D] and one action vector [D_i] per agent to values [agent], in reward units."""
        chex.assert_rank([global_state, *actions], 1)
        chex.assert_equal(len(actions), N_AGENTS)
        with products_in(self.products):
            trunk = global_state
            for width in self.hidden:
                trunk = nn.Dense(width, kernel_init=orthogonal(np.sqrt(2.0)))(trunk)
                trunk = nn.relu(nn.LayerNorm()(trunk))
            values = []
            for agent in range(N_AGENTS):
                others = [action for other, action in enumerate(actions) if other != agent]
                values.append(MLP((self.head_hidden,), 1, nn.relu)(jnp.concatenate([trunk, *others])))
        return jnp.concatenate(values)
