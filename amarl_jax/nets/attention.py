"""Causal attention banded to a window, over a whole sequence and from a ring: the same sums in two orders."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.types import Array

_MASKED = -1e30  # score of a position out of the band; finite, so its gradient is 0 and not nan


def banded_attention(query: Array, key: Array, value: Array, window: int) -> Array:
    """Attention of position t to ``t - window + 1 .. t``, [T, head, d_head], all three inputs alike.

    Queries go in blocks of ``window``, each against its own block and the one before, so the cost grows as T window.
    """
    chex.assert_rank(query, 3)
    chex.assert_equal_shape([query, key, value])
    n_steps = query.shape[0]
    n_blocks = -(-n_steps // window)
    pad = ((0, n_blocks * window - n_steps), (0, 0), (0, 0))
    query, key, value = (jnp.pad(x, pad).reshape(n_blocks, -1, *x.shape[1:]) for x in (query, key, value))
    if n_blocks > 1:
        key, value = _with_previous_block(key), _with_previous_block(value)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    scores = jnp.where(_band(n_blocks, key.shape[1], window)[:, None], scores, _MASKED)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)
    return mixed.reshape(-1, *mixed.shape[2:])[:n_steps]


def ring_attention(query: Array, keys: Array, values: Array, t: Array) -> Array:
    """Attention of step t, [head, d_head], to a ring [head, W, d_head] that holds steps ``t - W + 1 .. t``.

    Step s lies at ``s % W``; before the ring is full, slots above t are empty. Order does not matter to a sum.
    """
    chex.assert_rank([query, keys, values], [2, 3, 3])
    scores = jnp.einsum("hd,hwd->hw", query, keys) / np.sqrt(query.shape[-1])
    written = jnp.arange(keys.shape[1]) <= t
    scores = jnp.where(written[None], scores, _MASKED)
    return jnp.einsum("hw,hwd->hd", jax.nn.softmax(scores), values)


def _with_previous_block(x: Array) -> Array:
    """Each block [b, W, ...] behind the one before it, [b, 2 W, ...]; the first behind zeros."""
    previous = jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])
    return jnp.concatenate([previous, x], axis=1)


def _band(n_blocks: int, n_keys: int, window: int) -> np.ndarray:
    """Which keys each query of each block sees, bool [b, W, n_keys]."""
    block = np.arange(n_blocks)[:, None, None] * window
    query_step = block + np.arange(window)[None, :, None]
    key_step = block + window - n_keys + np.arange(n_keys)[None, None]
    age = query_step - key_step
    return (key_step >= 0) & (age >= 0) & (age < window)
