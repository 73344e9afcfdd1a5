"""Leakage of the order flow to a reader who knows the policy: the exact posterior, by a particle filter."""
