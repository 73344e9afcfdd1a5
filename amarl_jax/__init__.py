"""Adversarial market microstructure as multi-agent reinforcement learning, end to end in JAX."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``load_policy``, when it is first asked for: importing the package stays light."""
    if name == "load_policy":
        from amarl_jax.evaluation.trained_policy import load_policy

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
