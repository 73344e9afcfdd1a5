"""Adversarial market microstructure as multi-agent reinforcement learning, end to end in JAX."""

__version__ = "0.1.0"
