"""Shapes of the heads, and initial policies that hardly depend on the state."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.nets import heads
from amarl_jax.nets.actors import ArbitrageurActor, ExecutionActor, MakerActor

ACTORS = [
    (ExecutionActor((16,)), heads.ExecutionHead((3,), (2,), (2,))),
    (MakerActor((16,)), heads.NormalHead((4,), (4,))),
    (ArbitrageurActor((16,)), heads.TanhNormalHead((), ())),
]


@pytest.mark.parametrize(("actor", "shapes"), ACTORS, ids=lambda x: type(x).__name__)
def test_head_shapes_gradients_and_initial_policy(actor, shapes, key):
    observations = jnp.stack([jnp.linspace(-3, 3, 11), jnp.full(11, 2.0)])

    @jax.jit
    def evaluate(parameters):
        head, other = (actor.apply(parameters, observation) for observation in observations)
        latents = head.mode()
        chex.assert_trees_all_equal_shapes_and_dtypes(latents, jax.eval_shape(head.sample, key))

        def log_prob(parameters):
            return actor.apply(parameters, observations[0]).log_prob(latents)

        return head, other, jax.value_and_grad(log_prob)(parameters)

    head, other, (value, gradient) = evaluate(jax.jit(actor.init)(key, observations[0]))
    for name, shape in vars(shapes).items():
        chex.assert_shape(getattr(head, name), shape)
    chex.assert_shape(value, ())
    chex.assert_tree_all_finite(gradient)
    # features of norm at most 4 times the last layer's 0.01, through slopes of at most 1, for either observation
    chex.assert_trees_all_close(head, other, atol=0.1)
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(head), jax.tree.leaves(other), strict=True))
