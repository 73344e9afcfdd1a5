"""Predictions of the two theories over a range of penalties, as plain numbers for a file or a figure."""

from collections.abc import Sequence
from typing import Any

from amarl_jax.theory.deterministic import best_leverage, linear_haste
from amarl_jax.theory.gaussian_channel import Channel, accuracy, divergence, information
from amarl_jax.theory.randomised import best_mixture


def theory_curves(penalty: Sequence[float], max_leverage: float, prior: float = 0.5) -> dict[str, Any]:
    """Optima of the deterministic and the randomising trader at each penalty, ``g(d) = d / d_max`` and the side known.

    Args:
        penalty: lambda, in units of what haste saves per nat.
        max_leverage: d_max, the signal-to-noise ratio of the most impatient execution.
        prior: p_z.

    Returns:
        Lists over the penalties: information and KL in nats, accuracy, and the share of the haste that is kept.
    """
    channel, haste = Channel(prior), linear_haste(max_leverage)
    pure = [best_leverage(one, haste, channel) for one in penalty]
    mixed = [best_mixture(one, haste, channel) if one > 0 else None for one in penalty]
    loudest = float(information(max_leverage, channel))
    return {
        "penalty": [float(one) for one in penalty],
        "max_leverage": max_leverage,
        "deterministic": {
            "information_nats": [float(information(d, channel)) for d in pure],
            "kl_nats": [float(divergence(d, channel)) for d in pure],
            "accuracy": [float(accuracy(d, channel)) for d in pure],
            "haste": [d / max_leverage for d in pure],
        },
        "randomised": {
            "information_nats": [loudest if one is None else one.information for one in mixed],
            "haste": [1.0 if one is None else one.haste for one in mixed],
        },
    }
