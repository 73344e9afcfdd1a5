"""Instruments of information: estimators, detectors, divergences and tests on any flow, all in nats."""

from amarl_jax.information.estimate import Estimate, LearningCurve, estimate
from amarl_jax.information.estimate_fit import EstimateSpec

__all__ = ["Estimate", "EstimateSpec", "LearningCurve", "estimate"]
