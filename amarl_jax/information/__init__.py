"""Instruments of information: estimators, detectors, divergences and tests on any flow, all in nats."""

from amarl_jax.information.critic_fit import EstimateSpec
from amarl_jax.information.estimate import Estimate, LearningCurve, estimate

__all__ = ["Estimate", "EstimateSpec", "LearningCurve", "estimate"]
