"""What the two theories predict over a range of penalties, as plain numbers for a file or a figure."""

from collections.abc import Sequence
from typing import Any

from amarl_jax.theory.deterministic import best_leverage, leverage_at, linear_haste
from amarl_jax.theory.gaussian_channel import Channel, accuracy, divergence, information
from amarl_jax.theory.randomised import best_mixture

QUIET_NATS = 0.05  # a loudest episode that says less has nothing to hide: no curve is calibrated to it
LARGEST_LEVERAGE = 6.0  # I there is ln 2 to four digits, and no measurement tells it from more


def calibrated_curves(penalty: Sequence[float], loud_nats: float, prior: float = 0.5) -> dict[str, Any] | None:
    """Both predictions for a market whose trader leaks ``loud_nats`` where nothing is paid for hiding; None if too few.

    The theory has one free number, the signal-to-noise ratio ``d_max`` of the most impatient execution: the one whose
    Gaussian channel leaks what was measured. Haste is worth one reward unit, as ``is_unit_ticks`` is set, spread evenly
    over d (``g(d) = d / d_max``), and the side is known, for public value shows it. Nothing is fitted to the curve.

    Args:
        penalty: lambda, reward units per nat.
        loud_nats: I measured at the smallest penalty, which should be 0.
        prior: p_z.
    """
    if not loud_nats > QUIET_NATS:
        return None
    channel = Channel(prior)
    most = float(information(LARGEST_LEVERAGE, channel))
    d_max = LARGEST_LEVERAGE if loud_nats >= most else leverage_at(loud_nats, channel)
    return theory_curves(penalty, d_max, prior) | {"calibrated_to_nats": float(loud_nats)}


def theory_curves(penalty: Sequence[float], max_leverage: float, prior: float = 0.5) -> dict[str, Any]:
    """The deterministic and the randomising trader with ``g(d) = d / d_max``, the side known, at each penalty.

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
