"""Causal attention banded to a window, over a whole sequence and from a ring: the same sums in two orders."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.types import Array

_MASKED = -1e30  # score of a position out of the band; finite, so its gradient is 0 and not nan


def banded_attention(query_key_value: Array, window: int) -> Array:
    """Attention of position t to ``t - window + 1 .. t``, [T, head, d_head], of [T, 3, head, d_head].

    Queries go in blocks of ``window``, each against its own block and the one before, so the cost grows as T window.
    """
    chex.assert_shape(query_key_value, (None, 3, None, None))
    n_steps, _, n_heads, d_head = query_key_value.shape
    n_blocks = -(-n_steps // window)
    padded = jnp.pad(query_key_value, ((0, n_blocks * window - n_steps), (0, 0), (0, 0), (0, 0)))
    blocks = padded.reshape(n_blocks, window, 3, n_heads, d_head).transpose(2, 3, 0, 1, 4)
    query, keys_values = blocks[0], blocks[1:]
    if n_blocks > 1:
        keys_values = _with_previous_block(keys_values)
    key, value = keys_values
    scores = jnp.einsum("hbqd,hbkd->hbqk", query, key) / math.sqrt(d_head)
    scores = jnp.where(_band(n_blocks, key.shape[2], window)[None], scores, _MASKED)
    mixed = jnp.einsum("hbqk,hbkd->hbqd", jax.nn.softmax(scores), value)
    return mixed.transpose(1, 2, 0, 3).reshape(-1, n_heads, d_head)[:n_steps]


def ring_attention(query: Array, keys: Array, values: Array, t: Array) -> Array:
    """Attention of step t, [head, d_head], to a ring [head, W, d_head] that holds steps ``t - W + 1 .. t``.

    Step s lies at ``s % W``; before the ring is full, slots above t are empty. Order does not matter to a sum. What the
    ring rounds to bfloat16 is computed with in float32.
    """
    chex.assert_rank([query, keys, values], [2, 3, 3])
    keys, values = keys.astype(query.dtype), values.astype(query.dtype)
    scores = jnp.einsum("hd,hwd->hw", query, keys) / math.sqrt(query.shape[-1])
    written = jnp.arange(keys.shape[1], dtype=jnp.int32) <= t
    scores = jnp.where(written[None], scores, _MASKED)
    return jnp.einsum("hw,hwd->hd", jax.nn.softmax(scores), values)


def _with_previous_block(x: Array) -> Array:
    """Each block [..., b, W, d] behind the one before it, [..., b, 2 W, d]; the first behind zeros."""
    previous = jnp.concatenate([jnp.zeros_like(x[..., :1, :, :]), x[..., :-1, :, :]], axis=-3)
    return jnp.concatenate([previous, x], axis=-2)


def _band(n_blocks: int, n_keys: int, window: int) -> np.ndarray:
    """Mask of the keys that each query of each block sees, bool [b, W, n_keys]."""
    block = np.arange(n_blocks)[:, None, None] * window
    query_step = block + np.arange(window)[None, :, None]
    key_step = block + window - n_keys + np.arange(n_keys)[None, None]
    age = query_step - key_step
    return (key_step >= 0) & (age >= 0) & (age < window)
