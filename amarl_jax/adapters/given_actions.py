"""Checks of the actions that an external learner gives, with errors for those that cannot be played."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FROM_A_RUN = "load_policy(..., units='box') gives actions of this box"


def given_action(agent: str, action: Any, size: int) -> Any:
    """One agent's action, an array [size] of float32 inside ``[-1, 1]``.

    Values are checked only outside of a trace. Inside one only the shape is known: there a value that is not finite
    makes the agent's reward NaN (:meth:`amarl_jax.adapters.playable.Playable.step`).

    Raises:
        ValueError: not numbers, of another shape, or not finite; in one line that names agent and shape.
    """
    wanted = f"action of {agent!r}: must be ({size},) finite numbers of [-1, 1]"
    try:
        traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(action))
        array = jnp.asarray(action) if traced else np.asarray(action)
    except (TypeError, ValueError):
        raise ValueError(f"{wanted}, is {type(action).__name__} of no shape") from None
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise ValueError(f"{wanted}, is {array.shape} of {array.dtype}")
    if array.shape != (size,):
        raise ValueError(f"{wanted}, has the shape {array.shape}; {FROM_A_RUN}")
    if traced:
        return array.astype(jnp.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{wanted}, is {array.tolist()}")
    return np.clip(array, -1, 1).astype(np.float32)


def given_actions(actions: Any, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Every agent's action, by name, in the order of ``sizes``.

    Raises:
        ValueError: one is missing, unknown, or as :func:`given_action` says.
    """
    if not isinstance(actions, Mapping):
        raise ValueError(f"actions: must be a dict with {', '.join(sizes)}, is {type(actions).__name__}")
    for agent, size in sizes.items():
        if agent not in actions:
            raise ValueError(f"action of {agent!r}: must be ({size},) finite numbers of [-1, 1], is missing")
    for agent in actions:
        if agent not in sizes:
            raise ValueError(f"action of {agent!r}: there is no such agent, must be one of {', '.join(sizes)}")
    return {agent: given_action(agent, actions[agent], size) for agent, size in sizes.items()}
