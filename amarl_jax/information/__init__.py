"""Instruments of information: estimators, detectors, divergences and tests on any flow, all in nats."""

from amarl_jax.information.estimate import Estimate, EstimateSpec, LearningCurve, estimate

__all__ = ["Estimate", "EstimateSpec", "LearningCurve", "estimate"]
