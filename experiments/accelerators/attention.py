"""The belief's attention alone, as it is and in another way, to count what each would cost on a GPU.

Learning: forwards and backwards over whole episodes, in blocks of a window as
:func:`amarl_jax.nets.attention.banded_attention` does, or by ``jax.nn.dot_product_attention`` with a local window.
Playing: one step after the other against a ring of keys and values, whole, or in four parts of an episode each of which
reads no more of the ring than is written by its end.
"""

import jax
import jax.numpy as jnp

from amarl_jax.nets.attention import banded_attention, ring_attention
from amarl_jax.nets.belief import window

PARTS_OF_A_RING = 4


def _shapes(experiment):
    """Episodes, steps, heads, width of a head, window."""
    spec, horizon = experiment.network_spec.belief, experiment.market_spec.horizon
    heads, width = spec.n_heads, spec.d_model // spec.n_heads
    return experiment.learn_spec.n_envs, horizon, heads, width, window(spec, horizon)


def learning(experiment, of_library):
    """A function ``attend`` of queries, keys and values [E, T, 3, head, d_head] to its gradient, and that shape."""
    n, steps, heads, width, reach = _shapes(experiment)

    def library(x):
        query, key, value = jnp.moveaxis(x, 2, 0)
        return jax.nn.dot_product_attention(query, key, value, is_causal=True, local_window_size=(reach - 1, 0))

    def attend(x):
        mixed = library if of_library else jax.vmap(lambda row: banded_attention(row, reach))
        with jax.named_scope("belief"):
            return jax.grad(lambda y: jnp.sum(mixed(y) ** 2))(x)

    return attend, jax.ShapeDtypeStruct((n, steps, 3, heads, width), jnp.float32)


def playing(experiment, in_parts):
    """A function ``attend`` of queries, keys and values [T, E, 3, head, d_head] to what steps read, and that shape."""
    n, steps, heads, width, reach = _shapes(experiment)
    part = -(-reach // PARTS_OF_A_RING)
    ends = [*range(part, reach, part), steps] if in_parts else [steps]

    def read(length):
        def one(rings, row):
            (query, key, value), t = jnp.moveaxis(row[0], 1, 0), row[1]
            at = (0, 0, t % reach, 0)
            rings = [
                jax.lax.dynamic_update_slice(ring, x[:, :, None], at)
                for ring, x in zip(rings, (key, value), strict=True)
            ]
            written = [ring[:, :, :length] for ring in rings]
            return rings, jax.vmap(ring_attention, in_axes=(0, 0, 0, None))(query, *written, t)

        return one

    def attend(x):
        rings = [jnp.zeros((n, heads, reach, width), jnp.float32)] * 2
        outputs, begin, time = [], 0, jnp.arange(steps, dtype=jnp.int32)
        with jax.named_scope("decode"):
            for end in ends:
                rings, mixed = jax.lax.scan(read(min(end, reach)), rings, (x[begin:end], time[begin:end]))
                outputs.append(mixed)
                begin = end
        return jnp.concatenate(outputs)

    return attend, jax.ShapeDtypeStruct((steps, n, 3, heads, width), jnp.float32)
